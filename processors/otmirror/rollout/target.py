"""Which NiFi is meant, and how it is reached: by address, or the one that runs here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from otmirror.embedded.cluster import layout
from otmirror.embedded.server import EmbeddedNifi
from otmirror.errors import ConfigError
from otmirror.flow.api import Login, Rest
from otmirror.flow.client import NifiApi
from otmirror.rollout.canvas import flow_file
from otmirror.workspace import work

PATIENCE = 10.0
"""Seconds that one request to a NiFi in trouble may take."""


@dataclass(frozen=True)
class Target:
    """A NiFi: the address of its REST API, and its home when it is one of this machine's."""

    url: str
    home: Path | None = None

    def api(self) -> NifiApi:
        """Return its REST API, as its administrator when it is an embedded one over HTTPS."""
        api = NifiApi(self.url, PATIENCE)
        client = EmbeddedNifi(self.home).client if self.home else None
        if client:
            login = Login(None, None, str(client.authority), str(client.certificate), str(client.key))
            api.rest = Rest(self.url, PATIENCE, login)
        return api

    def server(self) -> EmbeddedNifi | None:
        """Return its processes when they are this machine's."""
        return EmbeddedNifi(self.home) if self.home else None


def find(url: str | None, home: Path | None) -> Target:
    """Return the NiFi meant: the one named, else the one embedded NiFi that runs here, else the one that ran.

    Raises:
        ConfigError: there is none, several run, or both an address and a home are given.
    """
    if url and home:
        raise ConfigError("--url and --home: give one of them")
    if url:
        return Target(url)
    if home is not None:
        return _embedded(home)
    homes = _homes()
    running = [one for one in homes if EmbeddedNifi(one).pid is not None]
    if len(running) > 1:
        raise ConfigError(f"several NiFi run here: name one with --home ({', '.join(map(str, running))})")
    if not running and len(homes) != 1:
        told = f"several homes: {', '.join(map(str, homes))}" if homes else f"none was ever started in {work()}"
        raise ConfigError(f"no embedded NiFi runs here ({told}): name it with --home, or another one with --url")
    return _embedded((running or homes)[0])


def _embedded(home: Path) -> Target:
    if layout(home):
        raise ConfigError(f"{home} is a cluster: name one of its nodes with --url http://HOST:PORT/nifi-api")
    if not flow_file(home).exists() and EmbeddedNifi(home).pid is None:
        raise ConfigError(f"--home {home}: no NiFi was ever started there")
    return Target(EmbeddedNifi(home).url, home)


def _homes() -> Sequence[Path]:
    """Return the homes of `otmirror nifi start`, `make run` and `otmirror demo` that have a flow."""
    places = (work() / "nifi" / "pilot", work() / "run" / "nifi", work() / "demo" / "nifi")
    return [place for place in places if flow_file(place).exists()]
