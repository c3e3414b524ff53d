"""Child servers: real processes, ended by us and by nobody else's number."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otmirror.embedded import processes
from otmirror.embedded.processes import Server, claim, free_port, memory_mb, port_is_free, started, wait_until
from otmirror.errors import UnavailableError

# A server with a child of its own, that says so in a file once both live.
PARENT = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""
STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text("up")
time.sleep(600)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server("Thing", tmp_path / "thing")
    yield server
    server.stop(1.0)


def up(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and bool(path.read_text())


def run(server: Server, program: str, path: Path) -> None:
    server.start([sys.executable, "-c", program, str(path)], up(path), 20.0, info={"port": 4711})


def test_one_answer_is_enough(server: Server) -> None:
    """A server under load that answered once in time may be too slow the next time."""
    answers = iter([False, True])
    server.start([sys.executable, "-c", "import time; time.sleep(600)"], lambda: next(answers), 20.0)
    assert server.running


def test_it_starts_stops_and_takes_its_children_along(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "child"
    run(server, PARENT, file)
    child = int(file.read_text())
    assert server.running
    assert server.info["port"] == 4711
    assert sorted(server.processes()) == sorted([server.pid, child])
    assert memory_mb(server.pid) > 1
    server.stop()
    assert not server.running
    assert server.pid is None
    assert started(child) is None
    assert server.info == {}


def test_another_command_finds_it_again(server: Server, tmp_path: Path) -> None:
    run(server, PARENT, tmp_path / "child")
    other = Server("Thing", server.folder)
    assert other.pid == server.pid
    with pytest.raises(UnavailableError, match=rf"Thing runs already \(pid {server.pid}\)"):
        other.start(["true"], lambda: True)
    other.stop()
    assert not server.running


def test_what_a_crash_left_behind_ends_at_the_next_start(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "child"
    run(server, PARENT, file)
    orphan = int(file.read_text())
    server.kill()
    assert not server.running
    assert server.processes() == [orphan]
    file.unlink()
    again = Server("Thing", server.folder)
    run(again, PARENT, file)
    assert started(orphan) is None
    assert orphan not in again.processes()
    again.stop()


def test_a_pid_given_out_again_is_left_alone(server: Server, tmp_path: Path) -> None:
    # A stranger that is a group leader, under the pid that the file of a server long gone names.
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        server.folder.mkdir()
        (server.folder / "thing.pid").write_text(json.dumps({"pid": stranger.pid, "started": "1@another boot"}))
        assert not server.running
        assert server.processes() == []
        server.kill()
        server.stop(1.0)
        run(server, PARENT, tmp_path / "child")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(10)


def test_what_ignores_a_request_to_end_is_killed(server: Server, tmp_path: Path) -> None:
    run(server, STUBBORN, tmp_path / "up")
    begun = time.monotonic()
    server.stop(patience=0.5)
    assert not server.running
    assert time.monotonic() - begun < 10


def test_it_is_not_reached_by_a_ctrl_c_of_the_command(server: Server, tmp_path: Path) -> None:
    run(server, PARENT, tmp_path / "child")
    assert server.pid is not None
    assert os.getsid(server.pid) == server.pid != os.getsid(0)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            [sys.executable, "-c", "raise SystemExit('no licence found')"],
            "Thing ended while it started: no licence found",
        ),
        (["/nowhere/at-all"], "Thing: /nowhere/at-all does not start: No such file or directory"),
        ([sys.executable, "-c", "pass"], "Thing ended while it started: it said nothing"),
    ],
)
def test_a_start_that_fails_says_why(server: Server, argv: list[str], message: str) -> None:
    with pytest.raises(UnavailableError) as told:
        server.start(argv, lambda: False, 20.0)
    assert str(told.value) == message
    assert server.processes() == []


def test_one_that_never_gets_ready_is_ended(server: Server) -> None:
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(UnavailableError, match=r"Thing was not ready after 0 s"):
        server.start(argv, lambda: False, 0.3)
    assert server.processes() == []


def test_an_interrupted_start_leaves_nothing(server: Server) -> None:
    def interrupted() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        server.start([sys.executable, "-c", "import time; time.sleep(600)"], interrupted)
    assert server.processes() == []


def test_ports() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not port_is_free(taken.getsockname()[1])
    assert port_is_free(free_port())


def test_a_process_that_is_gone_has_no_start() -> None:
    child = subprocess.Popen(["sleep", "600"])
    assert started(child.pid)
    child.send_signal(signal.SIGKILL)
    # A zombie, until it is waited for, is gone too.
    assert wait_until(lambda: started(child.pid) is None, 10)
    child.wait(10)


def test_a_claim_ends_with_its_command_however_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "demo.lock"
    program = (
        "import pathlib, sys, time; from otmirror.embedded.processes import claim;"
        "held = claim(pathlib.Path(sys.argv[1]), 'it'); print('held', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UnavailableError) as told:
            claim(path, "the demo")
        assert str(told.value) == f"the demo is in use by another command (pid {other.pid})"
    finally:
        other.kill()
        other.communicate(timeout=10)
    with claim(path, "the demo"):
        assert path.read_text() == str(os.getpid())
    claim(path, "the demo").close()


def test_without_proc_no_server_is_started(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PROC", tmp_path / "none")
    with pytest.raises(UnavailableError, match="Linux only"):
        server.start(["true"], lambda: True)


def test_what_has_not_our_mark_is_not_ours(server: Server) -> None:
    # A recorded leader of a group whose processes another program started.
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        server.folder.mkdir()
        record = {"pid": stranger.pid, "started": started(stranger.pid)}
        (server.folder / "thing.pid").write_text(json.dumps(record))
        assert server.processes() == []
    finally:
        stranger.kill()
        stranger.wait(10)
        (server.folder / "thing.pid").unlink()
