"""Where the doctor looks: a NiFi by its address, or the embedded one that left its marks in the work folder."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from otmirror.embedded.server import EmbeddedNifi
from otmirror.errors import ConfigError
from otmirror.flow.api import Login
from otmirror.workspace import work

REST_SECONDS = 4.0
"""How long one answer of NiFi may take."""


@dataclass(frozen=True)
class Site:
    """One installation.

    Attributes:
        url: NiFi's REST API.
        login: whom to be there; None: as the environment says.
        server: the embedded NiFi, when it is one: its processes, log and files can be looked at.
        flow: look at this flow only; None: at all.
        metrics: folders with the processors' metrics files.
        exporter: address of `otmirror metrics serve`; None: not known.
    """

    url: str
    login: Login | None = None
    server: EmbeddedNifi | None = None
    flow: str | None = None
    metrics: tuple[Path, ...] = ()
    exporter: str | None = None

    @property
    def local(self) -> bool:
        """Whether NiFi runs on this machine, so that the files it names can be looked at."""
        if self.server is not None:
            return True
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def home(self) -> Path | None:
        """NiFi's home, which relative paths of the flow begin at; None where it is not known."""
        return self.server.home if self.server else None

    def file(self, named: str | None) -> Path | None:
        """Return the file or folder a property names, when it can be looked at from here."""
        if not named or "://" in named or not self.local:
            return None
        path = Path(named)
        if path.is_absolute():
            return path
        return self.home / path if self.home else None


def find(
    url: str | None = None,
    home: Path | None = None,
    flow: str | None = None,
    metrics: tuple[Path, ...] = (),
    exporter: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Site:
    """Return what to look at: the NiFi at `url`, the embedded one in `home`, or the one in the work folder.

    Of several in the work folder the one that runs counts, else the one that was used last.

    Raises:
        ConfigError: there is none; or the login in the environment is not complete.
    """
    named = environ.get("OTMIRROR_METRICS")
    folders = metrics or ((Path(named),) if named else ())
    if url:
        return Site(url, None, None, flow, folders, exporter)
    if home and not home.is_dir():
        raise ConfigError(f"--home {home}: there is no such folder")
    server = EmbeddedNifi(home) if home else _in_work_folder()
    login = None
    if server.client:
        files = server.client
        login = Login(authority=str(files.authority), certificate=str(files.certificate), key=str(files.key))
    return Site(server.url, login, server, flow, folders or (server.home / "metrics",), exporter)


def _in_work_folder() -> EmbeddedNifi:
    marks = [*work().glob("*/nifi/nifi.pid"), *work().glob("nifi/*/nifi.pid")]
    homes = sorted((mark.parent for mark in marks), key=lambda home: (home / "nifi.pid").stat().st_mtime, reverse=True)
    if not homes:
        raise ConfigError(
            f"no embedded NiFi was started in {work()} (or it was stopped in good order): start one, or name yours "
            "with --nifi http://HOST:PORT/nifi-api"
        )
    servers = [EmbeddedNifi(home) for home in homes]
    return next((server for server in servers if server.pid), servers[0])
