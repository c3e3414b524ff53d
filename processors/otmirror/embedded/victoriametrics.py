"""VictoriaMetrics as a child server: the hot store of the demo and of the tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from otmirror.embedded.brokers import Tls
from otmirror.embedded.install import locked
from otmirror.embedded.loopback import session
from otmirror.embedded.maven import apt_program
from otmirror.embedded.processes import Server, free_port, port_is_free
from otmirror.embedded.vmtools import VERSION as VERSION
from otmirror.embedded.vmtools import go_install
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import work

_HOW = (
    "VictoriaMetrics was not found: put its binary victoria-metrics on PATH, name it in VICTORIAMETRICS_BINARY, "
    "or install Go 1.26 or newer to build it"
)


def install(say: Callable[[str], object] = print) -> Path:
    """Return the path of a VictoriaMetrics binary, built with Go or taken from Debian's package when there is none.

    Raises:
        ConfigError: VICTORIAMETRICS_BINARY names no file.
        UnavailableError: there is none and it cannot be had.
    """
    named = os.environ.get("VICTORIAMETRICS_BINARY")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"VICTORIAMETRICS_BINARY={named} does not exist")
        return Path(named)
    with locked(work() / "bin" / "victoria-metrics.lock"):
        return _found() or _built(say) or _packaged(say)


@dataclass(frozen=True)
class Guard:
    """HTTPS and basic authentication: the server's files, the user and the file with its password."""

    tls: Tls
    user: str
    password_file: Path


class VictoriaMetrics:
    """One VictoriaMetrics on 127.0.0.1 with its data in `folder`."""

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        binary: Path | None = None,
        guard: Guard | None = None,
        more: Sequence[str] = (),
    ):
        """Take the folder for data and log, the port (0: any free one, kept over restarts), the binary, more flags.

        With a `guard` it speaks HTTPS only, and to that user only.
        """
        self._more = tuple(more)
        self._server = Server("VictoriaMetrics", folder)
        self._binary, self._wanted_port, self._guard = binary, port, guard

    @property
    def port(self) -> int:
        """The port it runs on, or would."""
        return int(self._server.info.get("port", self._wanted_port))

    @property
    def url(self) -> str:
        """The address of its API and of its own UI (under /vmui)."""
        return f"{'https' if self._guard else 'http'}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._server.pid

    @property
    def log(self) -> Path:
        """What it says since its last start."""
        return self._server.log

    def start(self, timeout: float = 90.0) -> None:
        """Start it and wait until it answers.

        Raises:
            UnavailableError: it cannot be had, or does not start; the message says why in one line.
        """
        binary = self._binary or install()
        port = self._wanted_port or self.port or free_port()
        if not self._server.running and not port_is_free(port):
            raise UnavailableError(f"VictoriaMetrics: port {port} of 127.0.0.1 is in use; choose another one")
        self._wanted_port = port
        self._server.start(
            [
                str(binary),
                f"-storageDataPath={self._server.folder / 'data'}",
                f"-httpListenAddr=127.0.0.1:{port}",
                "-retentionPeriod=100y",
                # Exact repeats of a sample, which a retry may send, count once.
                "-dedup.minScrapeInterval=1ms",
                # A query right after a write must find it.
                "-search.latencyOffset=0s",
                *self._guarded(),
                *self._more,
            ],
            lambda: _healthy(self.url, self._guard),
            timeout,
            info={"port": port},
        )

    def stop(self) -> None:
        """Stop it; what it accepted is on disk."""
        self._server.stop()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._server.kill()

    def _guarded(self) -> list[str]:
        if self._guard is None:
            return []
        return [
            "-tls",
            f"-tlsCertFile={self._guard.tls.certificate}",
            f"-tlsKeyFile={self._guard.tls.key}",
            "-tlsMinVersion=TLS12",
            f"-httpAuth.username={self._guard.user}",
            # Read again every second: a new password needs no restart, and none is seen in the arguments.
            f"-httpAuth.password=file://{self._guard.password_file}",
        ]


def _healthy(url: str, guard: Guard | None) -> bool:
    verify = str(guard.tls.authority) if guard else True
    try:
        with session(url) as asking:
            # Before anybody logs in, it is known by its certificate.
            return asking.get(f"{url}/health", timeout=2, verify=verify).status_code in (200, 401)
    except requests.RequestException:
        return False


def _found() -> Path | None:
    built = work() / "bin" / "victoria-metrics"
    if built.is_file():
        return built
    on_path = shutil.which("victoria-metrics")
    return Path(on_path) if on_path else None


def _built(say: Callable[[str], object]) -> Path | None:
    target = work() / "bin" / "victoria-metrics"
    return target if go_install(target.name, target, say) else None


def _packaged(say: Callable[[str], object]) -> Path:
    say("VictoriaMetrics: fetching Debian's package")
    target = work() / "bin" / "victoria-metrics"
    if apt_program("victoria-metrics", target):
        return target
    log = target.with_suffix(".log")
    built = f" (the build failed, see {log})" if log.exists() else ""
    raise UnavailableError(_HOW + built)
