"""One embedded NiFi: started, watched and stopped."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from otmirror.embedded.brokers import Tls
from otmirror.embedded.conf import Member, render
from otmirror.embedded.https import Https
from otmirror.embedded.install import Installation, install
from otmirror.embedded.java import java_home
from otmirror.embedded.loopback import session
from otmirror.embedded.processes import Server, free_port, port_is_free
from otmirror.errors import ConfigError, UnavailableError
from otmirror.metrics.meter import FOLDER

START_TIMEOUT = 360.0
"""Seconds; a NiFi is up after 20 s on two idle cores, two are after 2 min on two cores with others to serve."""


@dataclass(frozen=True)
class NifiStatus:
    """What an operator asks first: does it run, where, which version, with how many processes."""

    running: bool
    url: str | None
    pid: int | None
    version: str | None
    processes: int


class EmbeddedNifi:
    """A NiFi whose whole life is in the folder `home`: configuration, repositories, flow, logs."""

    def __init__(
        self, home: Path, port: int = 0, extensions: Path | None = None, nars: Sequence[Path] = (),
        installation: Installation | None = None, member: Member | None = None, https: Https | None = None,
    ):  # fmt: skip
        """Take the home, the canvas's port (0: any free one), the processors' folder and NARs to load.

        A `member` is a node of a cluster (`otmirror.embedded.cluster`). With `https` it is reached over TLS only.
        """
        self.home = home.resolve()
        self.extensions, self.nars = extensions, tuple(nars)
        self._wanted_port, self._installation = port, installation
        self._member, self._https = member, https
        self._server = Server("NiFi", self.home)

    @property
    def port(self) -> int:
        """The port it runs on, or would."""
        return int(self._server.info.get("port", self._wanted_port))

    @property
    def client(self) -> Tls | None:
        """The administrator's certificate when it runs, or would, over HTTPS."""
        info = self._server.info
        if "certificate" in info:
            return Tls(*(Path(str(info[part])) for part in ("authority", "certificate", "key")))
        return self._https.client if self._https and not info else None

    @property
    def url(self) -> str:
        """The address of its REST API."""
        return f"{self._base(self.port)}/nifi-api"

    @property
    def canvas(self) -> str:
        """The address of its canvas, for a browser."""
        return f"{self._base(self.port)}/nifi/"

    def _base(self, port: int) -> str:
        # A name, not an address: what people type, and what an identity provider sends them back to.
        return f"https://localhost:{port}" if self.client else f"http://127.0.0.1:{port}"

    @property
    def app_log(self) -> Path:
        """NiFi's log, the Python processors' lines included."""
        return self.home / "logs" / "nifi-app.log"

    @property
    def metrics(self) -> Path:
        """The folder where the processors write their metrics."""
        return self.home / "metrics"

    @property
    def pid(self) -> int | None:
        """The process id of NiFi's Java while it runs."""
        return self._server.pid

    def processes(self) -> list[int]:
        """Return the pids of NiFi and of its Python processes."""
        return self._server.processes()

    def python_processes(self) -> dict[str, int]:
        """Return the pid of each live Python process by its processor's type; `discovery` is the one without."""
        log = self.app_log.read_text(errors="replace") if self.app_log.exists() else ""
        types = {int(pid): kind for pid, kind in re.findall(r"\[python-log-(\d+)\] \S+ Loaded module (\w+)", log)}
        found: dict[str, int] = {}
        for pid in self.processes():
            if pid != self.pid:
                kind = types.get(pid, "discovery")
                found[f"{kind} ({pid})" if kind in found else kind] = pid
        return found

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start NiFi and wait until its REST API answers; installs it first when it is missing.

        Raises:
            ConfigError: NIFI_HOME, a NAR or the processors' folder is not what it should be.
            UnavailableError: it does not start; the message says why in one line.
        """
        if self._server.running:
            raise UnavailableError(f"NiFi runs already at {self.canvas} (pid {self.pid})")
        installation = self._installation or install()
        port = self._wanted_port or self._last_port() or free_port()
        if not port_is_free(port):
            raise UnavailableError(f"NiFi: port {port} of 127.0.0.1 is in use; choose another one (--port)")
        java = java_home() / "bin" / "java"
        self._place_nars()
        if self.extensions is not None and not self.extensions.is_dir():
            raise ConfigError(f"the processors' folder {self.extensions} does not exist")
        properties = render(self.home, installation, port, self.extensions, self._member, self._https)
        heap = os.environ.get("OTMIRROR_NIFI_HEAP") or ("800m" if self._member else "1g")
        offset = self.app_log.stat().st_size if self.app_log.exists() else 0
        client = self._https.client if self._https else None
        url = f"https://localhost:{port}/nifi-api" if client else f"http://127.0.0.1:{port}/nifi-api"
        self._server.start(
            command(java, installation, properties, self.app_log.parent, heap),
            lambda: _asked(url, client) is not None,
            timeout,
            env={"JAVA_HOME": str(java.parent.parent), FOLDER: str(self.metrics)},
            cwd=self.home,
            info={"port": port, **({part: str(file) for part, file in vars(client).items()} if client else {})},
            why=lambda: reason(self.app_log, offset) or last_logged(self.app_log, offset),
        )

    def stop(self, patience: float = 40.0) -> None:
        """Stop NiFi and its Python processes; FlowFiles in its queues stay and go on at the next start."""
        self._server.stop(patience)

    def kill(self) -> None:
        """End NiFi's Java at once, as a crash would."""
        self._server.kill()

    def status(self) -> NifiStatus:
        """Return whether NiFi runs, and its version when it answers."""
        pid = self._server.pid
        if pid is None:
            return NifiStatus(False, None, None, None, len(self.processes()))
        return NifiStatus(True, self.canvas, pid, about(self.url, self.client), len(self.processes()))

    def logs(self, lines: int = 50) -> list[str]:
        """Return the last lines of NiFi's log; of its Java's output when there is no log yet."""
        source = self.app_log if self.app_log.exists() else self._server.log
        return source.read_text(errors="replace").splitlines()[-lines:] if source.exists() else []

    def _last_port(self) -> int:
        """Return the port of a NiFi that was killed, so that addresses stay; 0 when it is taken by now."""
        return self.port if self.port and port_is_free(self.port) else 0

    def _place_nars(self) -> None:
        folder = self.home / "nars"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.nar"):
            old.unlink()
        for nar in self.nars:
            if not nar.is_file():
                raise ConfigError(f"the NAR {nar} does not exist")
            shutil.copyfile(nar, folder / nar.name)


def about(url: str, client: Tls | None = None) -> str | None:
    """Return the version of the NiFi at `url` (its REST API); None when it does not answer or not to `client`."""
    answer = _asked(url, client)
    try:
        return str(answer.json()["about"]["version"]) if answer is not None else None
    except (ValueError, KeyError):
        return None


def _asked(url: str, client: Tls | None) -> requests.Response | None:
    """Return what NiFi says of itself, or that it does not tell `client`; None while it is not there."""
    files: dict[str, Any] = {}
    if client:
        files = {"verify": str(client.authority), "cert": (str(client.certificate), str(client.key))}
    try:
        with session(url) as asking:
            answer = asking.get(f"{url}/flow/about", timeout=5, **files)
    except (requests.RequestException, OSError):
        return None
    return answer if answer.ok or answer.status_code in (401, 403) else None


def command(java: Path, installation: Installation, properties: Path, logs: Path, heap: str) -> list[str]:
    """Return the command that runs NiFi without its bootstrap process; `heap` in Java's notation, such as `1g`."""
    return [
        str(java),
        f"-Xmx{heap}",
        "-Djava.awt.headless=true",
        "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
        "--enable-native-access=ALL-UNNAMED",
        f"-Dnifi.properties.file.path={properties}",
        # Its default port is fixed, so that a second NiFi would not start.
        f"-Dorg.apache.nifi.management.server.address=127.0.0.1:{free_port()}",
        f"-Dorg.apache.nifi.bootstrap.config.log.dir={logs}",
        "-cp",
        f"{properties.parent}{os.pathsep}{installation.lib}/*",
        "org.apache.nifi.NiFi",
    ]


def reason(log: Path, offset: int) -> str | None:
    """Return why NiFi did not start, from what it logged after byte `offset`: the innermost causes."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    causes = [_brief(line.partition("Caused by: ")[2]) for line in lines if line.startswith("Caused by: ")]
    errors = [_brief(line.split("] ", 1)[-1].partition(" ")[2]) for line in lines if " ERROR [" in line]
    told = list(dict.fromkeys(causes[-3:] or errors[-1:]))
    return f"{'; '.join(told)} (log: {log})" if told else None


def last_logged(log: Path, offset: int) -> str | None:
    """Return the last line logged after byte `offset`, which is what a slow start is busy with; None: there is none."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            lines = [line for line in file.read().decode(errors="replace").splitlines() if " [" in line]
    except OSError:
        return None
    return f"the last it logged: {lines[-1][:200]} (log: {log})" if lines else None


def _brief(message: str) -> str:
    """Return a Java message without the exception's package, at most 200 characters."""
    return re.sub(r"^(?:\w+\.)+(?=[A-Z]\w+: )", "", message)[:200]
