"""stunnel before a server that knows no client certificates, such as the open VictoriaMetrics: it asks for them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from otmirror.embedded.brokers import Tls
from otmirror.embedded.maven import apt_install
from otmirror.embedded.processes import Server, free_port, port_is_free
from otmirror.errors import UnavailableError

_CONFIG = """\
foreground = yes
pid =
syslog = no
[door]
accept = 127.0.0.1:{port}
connect = {target}
cert = {certificate}
key = {key}
CAfile = {authority}
verifyChain = yes
sslVersionMin = TLSv1.2
"""


class Stunnel:
    """Listens on 127.0.0.1 over TLS, lets in certificates of its authority, and passes on to a plaintext server."""

    def __init__(self, folder: Path, tls: Tls, target: str):
        """Take its folder, its own certificate with the authority of its clients, and `host:port` of the server."""
        self._server = Server("stunnel", folder)
        self._tls, self._target = tls, target
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            UnavailableError: it is not installed, or does not start.
        """
        folder = self._server.folder
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "stunnel.conf"
        files = {name: getattr(self._tls, name) for name in ("certificate", "key", "authority")}
        config.write_text(_CONFIG.format(port=self.port, target=self._target, **files))
        self._server.start([str(binary()), str(config)], lambda: not port_is_free(self.port), 30.0)

    def stop(self) -> None:
        """Stop it."""
        self._server.stop()


def binary() -> Path:
    """Return stunnel's program, installing Debian's package when there is none and there is root.

    Raises:
        UnavailableError: there is none and it cannot be installed.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin"
    found = shutil.which("stunnel4", path=path) or shutil.which("stunnel", path=path)
    if not found and apt_install("stunnel4"):
        found = shutil.which("stunnel4", path=path)
    if not found:
        raise UnavailableError("stunnel was not found: install it (Debian: apt-get install stunnel4)")
    return Path(found)
