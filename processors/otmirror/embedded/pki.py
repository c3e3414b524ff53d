"""A certificate authority of one's own for tests and laboratories: PEM files for brokers and their clients.

Keys lie beside the certificates without a password and live for a day: nothing here is meant for a plant.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from otmirror.embedded.brokers import Tls
from otmirror.pki import authority as x509
from otmirror.pki import stores

HOSTS = ("localhost", "127.0.0.1")


class Authority:
    """An authority whose certificate is `ca.pem` in its folder; what it issues lies beside it."""

    def __init__(self, folder: Path, name: str = "otmirror development"):
        """Take the folder, which is made when missing, and the authority's common name."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        own = x509.Authority.create(name, x509.Validity.lasting(1), "ec")
        self._authority = x509.Authority(own)
        self.certificate = folder / "ca.pem"
        stores.write_pair(own, self.certificate, folder / "ca.key")

    def issue(self, name: str, validity: x509.Validity | None = None, hosts: Sequence[str] = HOSTS) -> Tls:
        """Return the files of a new key whose common name is `name`, good for a server on 127.0.0.1 and for a client.

        The files are `<name>.pem` and `<name>.key` (PKCS#8, readable by their owner alone). It lasts a day, or for as
        long as `validity` says: one that is over makes a certificate that has expired.
        """
        wanted = x509.Request(name, hosts, validity=validity or x509.Validity.lasting(1))
        files = Tls(self.certificate, self._folder / f"{name}.pem", self._folder / f"{name}.key")
        stores.write_pair(self._authority.issue(wanted, "ec"), files.certificate, files.key)
        return files
