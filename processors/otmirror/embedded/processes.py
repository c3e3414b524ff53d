"""Child servers that outlive the command which started them: a pid file, a log, a readiness probe, an end.

Each server runs in a session and process group of its own, so a Ctrl-C meant for the command does not reach it and
everything it started ends with it. A process is ours only when its start time, or the mark in its environment,
says so: a pid that was given out again is never signalled. Both are read from /proc: Linux only.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from otmirror.errors import UnavailableError

_MARK = "OTMIRROR_SERVER"
_POLL = 0.1
_PROC = Path("/proc")


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Return whether nothing listens on a TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until(done: Callable[[], bool], seconds: float, pause: float = _POLL) -> bool:
    """Ask `done` every `pause` s until it is true or `seconds` have passed; return whether it became true."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= end:
            return False
        time.sleep(pause)
    return True


def claim(path: Path, what: str) -> TextIO:
    """Return the open lock file `path`; `what` is this command's until it closes the file or ends in whatever way.

    Raises:
        UnavailableError: `what` is another command's, whose pid the message names.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            file.seek(0)
            raise UnavailableError(f"{what} is in use by another command (pid {file.read() or 'unknown'})") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


class Server:
    """One child server, known by its name and the folder that holds `<name>.pid` and `<name>.log` in small letters."""

    def __init__(self, name: str, folder: Path):
        """Take the name shown in messages and the folder, which `start` makes when it is missing."""
        self.name, self.folder = name, folder.resolve()
        self.log = self.folder / f"{name.lower()}.log"
        self._file = self.folder / f"{name.lower()}.pid"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def info(self) -> dict[str, int | str]:
        """What `start` recorded beside the pid; empty when the server was never started or was stopped."""
        try:
            return dict(json.loads(self._file.read_text()))
        except (OSError, ValueError):
            return {}

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        info = self.info
        pid = int(info.get("pid", 0))
        self._reap()
        born = started(pid) if pid else None
        return pid if born is not None and born == info.get("started") else None

    @property
    def running(self) -> bool:
        """Whether the process that `start` made is alive."""
        return self.pid is not None

    def start(
        self,
        argv: Sequence[str],
        ready: Callable[[], bool],
        timeout: float = 60.0,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        info: Mapping[str, int | str] | None = None,
        why: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Start `argv` and wait until `ready`; `why` finds the reason when it ends before that.

        Raises:
            UnavailableError: it runs already, cannot be started, ends at once, or is not ready after `timeout` s.
        """
        if not _PROC.joinpath("self").exists():
            raise UnavailableError(f"{self.name}: servers are run on Linux only (there is no /proc)")
        if self.running:
            raise UnavailableError(f"{self.name} runs already (pid {self.pid}); stop it first")
        self._end_leftovers()
        self._spawn(argv, env, cwd, dict(info or {}))
        try:
            self._await(ready, timeout, why)
        except BaseException:
            self.stop(2.0)
            raise

    def stop(self, patience: float = 20.0) -> None:
        """End the server and all it started: SIGTERM, and SIGKILL for what is left after `patience` seconds."""
        pid = self.pid
        if pid is not None:
            _signal(pid, signal.SIGTERM)
            wait_until(lambda: self.pid is None, patience)
        self._end_leftovers()
        self._file.unlink(missing_ok=True)

    def kill(self) -> None:
        """End the server's own process at once, as a crash would; the next `start` ends what it left behind."""
        pid = self.pid
        if pid is not None:
            _signal(pid, signal.SIGKILL)
            wait_until(lambda: self.pid is None, 10.0)

    def processes(self) -> list[int]:
        """Return the pids of the server and of everything it started that is still alive."""
        leader = int(self.info.get("pid", 0))
        if not leader:
            return []
        self._reap()
        born = started(leader)
        if born is not None and born != self.info.get("started"):
            return []
        return [pid for pid in _group(leader) if self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        return environment(pid).get(_MARK) == str(self._file)

    def _spawn(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: Path | None,
        info: dict[str, int | str],
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        surroundings = {**os.environ, **(env or {}), _MARK: str(self._file)}
        with self.log.open("wb") as log:
            try:
                self._child = subprocess.Popen(
                    list(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=True, env=surroundings, cwd=cwd or self.folder,
                )  # fmt: skip
            except OSError as error:
                raise UnavailableError(f"{self.name}: {argv[0]} does not start: {error.strerror}") from None
        pid = self._child.pid
        self._file.write_text(json.dumps({**info, "pid": pid, "started": started(pid)}))

    def _await(self, ready: Callable[[], bool], timeout: float, why: Callable[[], str | None]) -> None:
        answered = False

        def over() -> bool:
            nonlocal answered
            answered = self.running and ready()
            return answered or not self.running

        wait_until(over, timeout)
        if answered and self.running:
            return
        what = f"was not ready after {timeout:.0f} s" if self.running else "ended while it started"
        raise UnavailableError(f"{self.name} {what}: {why() or last_lines(self.log) or 'it said nothing'}")

    def _end_leftovers(self) -> None:
        for sign, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0)):
            if not self.processes():
                return
            for pid in self.processes():
                _signal(pid, sign)
            wait_until(lambda: not self.processes(), patience)

    def _reap(self) -> None:
        if self._child is not None and self._child.poll() is not None:
            self._child = None


def memory_mb(pid: int | None) -> float:
    """Return the resident memory of a process in MB; 0 when it does not live."""
    if not pid or started(pid) is None:
        return 0.0
    pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def environment(pid: int) -> dict[str, str]:
    """Return what a process was started with as its environment; empty when that cannot be seen."""
    try:
        raw = (_PROC / str(pid) / "environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(entry.partition("=")[::2] for entry in raw.split("\0") if "=" in entry)


def last_lines(log: Path) -> str | None:
    """Return the last three lines of a log that are not blank, as one line of at most 400 characters."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return None
    return " ".join(lines[-3:])[-400:] or None


def started(pid: int) -> str | None:
    """Return when a process began, in a notation of the system's own; None when it does not live."""
    try:
        # proc(5): the name in brackets may hold blanks; after it state is field 3, starttime field 22.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{fields[19]}@{_boot()}"


def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _group(leader: int) -> list[int]:
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if _in_group(pid, leader)]


def _in_group(pid: int, leader: int) -> bool:
    try:
        state, _parent, group = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False
    return int(group) == leader and state not in "ZX"


def _signal(pid: int, sign: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, sign)
