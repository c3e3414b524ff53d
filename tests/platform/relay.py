"""The relay of the compose stack as it is there, but for its addresses: Debian's HAProxy on loopback."""

from __future__ import annotations

import socket
from pathlib import Path

import requests

from otmirror.embedded import haproxy
from otmirror.embedded.pki import Authority
from otmirror.embedded.processes import Server, free_port
from otmirror.workspace import PROJECT


def certificates(folder: Path, *clients: str) -> Path:
    """Return a folder with an authority, clients and a relay, named as compose/make-secrets names its files."""
    authority = Authority(folder)
    for name in clients:
        authority.issue(name)
    own = authority.issue("relay")
    (folder / "relay.pair.pem").write_bytes(own.key.read_bytes() + own.certificate.read_bytes())
    return folder


class Relay:
    """HAProxy with compose/relay/haproxy.cfg before a server on `there`, known as localhost."""

    def __init__(self, folder: Path, secrets: Path, there: int, port: int | None = None):
        self.port, self._health = port or free_port(), free_port()
        self.server = Server("relay", folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = (PROJECT / "compose/relay/haproxy.cfg").read_text()
        for inside, here in {
            '":${RELAY_PORT}"': '"127.0.0.1:${RELAY_PORT}"', "/run/secrets": str(secrets),
            "127.0.0.1:8404": f"127.0.0.1:{self._health}", "inter 5s": "inter 200ms",
        }.items():  # fmt: skip
            assert inside in text
            text = text.replace(inside, here)
        self._file = folder / "haproxy.cfg"
        self._file.write_text(text)
        self._env = {"RELAY_PORT": str(self.port), "RELAY_TO": f"127.0.0.1:{there}"}

    def start(self) -> None:
        self.server.start([str(haproxy.binary()), "-W", "-db", "-f", str(self._file)], self.answers, 20, env=self._env)

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def healthy(self) -> bool:
        return requests.get(f"http://127.0.0.1:{self._health}/health", timeout=5).ok
