"""The development PKI: a folder with one authority and a certificate for every service and user of the mirror.

Not for a plant: the authority's key lies in the folder, and no key has a password.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from otmirror.embedded.install import locked
from otmirror.errors import ConfigError
from otmirror.opcua import chain
from otmirror.pki import stores
from otmirror.pki.authority import DAYS, Authority, Kind, Request, Validity

SERVERS = ("nifi", "mosquitto", "kafka", "victoriametrics", "catalog", "s3", "keycloak", "openbao", "plant")
CLIENTS = ("admin", "otmirror-edge", "otmirror-hub", "telegraf", "kafka-admin")
PLANT_URI = "urn:otmirror:plant:server"
"""The application URI of `otmirror plant`, which its OPC UA certificate has to carry."""
LOCAL = ("localhost", "127.0.0.1", "::1")

# Nodes of a cluster are clients of each other.
_BOTH = frozenset({"nifi", "kafka"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TAKEN = frozenset({"ca", "truststore"})


@dataclass(frozen=True)
class Files:
    """Where one certificate is: PEM files, and the same as PKCS #12 with its password in a file."""

    certificate: Path
    key: Path
    keystore: Path
    password: Path

    @classmethod
    def of(cls, folder: Path, name: str) -> Files:
        """Return the files of a name in a folder, whether they are there or not."""
        return cls(*(folder / f"{name}.{ending}" for ending in ("pem", "key", "p12", "password")))


@dataclass(frozen=True)
class Made:
    """One certificate of the folder: whether it was made just now, and why it may not be what was asked for."""

    name: str
    certificate: x509.Certificate
    new: bool
    doubt: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What the folder shall hold: names, the hosts of all servers and of single ones, dates, names to make anew."""

    servers: Sequence[str] = SERVERS
    clients: Sequence[str] = CLIENTS
    hosts: Sequence[str] = ()
    hosts_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    validity: Validity = field(default_factory=lambda: Validity.lasting(DAYS))
    renew: Sequence[str] = ()
    kind: Kind = "rsa"
    """Of the keys; `ec` is quicker, but OPC UA's usual policies want RSA."""

    def requests(self) -> list[Request]:
        """Return the certificates to ask the authority for.

        Raises:
            ConfigError: a name cannot be one, is a server and a client, or is asked for hosts or anew but not at all.
        """
        names = [*self.servers, *self.clients]
        for name in names:
            if not _NAME.fullmatch(name) or name in _TAKEN:
                raise ConfigError(
                    f"{name!r} cannot be a certificate's name: letters, digits, '.', '_', '-'; at most 64"
                )
        both = set(self.servers) & set(self.clients)
        strangers = [name for name in (*self.hosts_of, *self.renew) if name not in names]
        if both or strangers:
            why = f"{min(both)} is a server and a client" if both else f"there is no certificate {strangers[0]!r}"
            raise ConfigError(f"{why} (servers: {', '.join(self.servers)}; clients: {', '.join(self.clients)})")
        for_servers = [
            Request(
                name, _unique([name, *LOCAL, *self.hosts, *self.hosts_of.get(name, ())]),
                [PLANT_URI] if name == "plant" else [], client=name in _BOTH, validity=self.validity,
            )
            for name in dict.fromkeys(self.servers)
        ]  # fmt: skip
        for_clients = [
            Request(name, self.hosts_of.get(name, ()), server=False, validity=self.validity)
            for name in dict.fromkeys(self.clients)
        ]
        return for_servers + for_clients


def make(folder: Path, wanted: Wanted | None = None) -> list[Made]:
    """Make what the folder lacks, and return all that was wanted; what exists is kept.

    Files: ca.pem, ca.key, truststore.p12 and .password; for each name .pem, .key, .p12 and .password. Keys, stores
    and passwords are their owner's alone (0600).

    Raises:
        ConfigError: a name or host cannot be one, what is there cannot be used, or the folder cannot be written.
    """
    wanted = wanted or Wanted()
    requests = wanted.requests()
    try:
        with locked(folder / ".lock"):
            authority = _authority(folder, wanted.kind)
            return [_made(folder, authority, request, wanted) for request in requests]
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror}") from None


def authority(folder: Path) -> Authority:
    """Return the authority of a folder that `make` filled.

    Raises:
        ConfigError: its files are missing or unreadable.
    """
    return Authority(stores.read_pair(folder / "ca.pem", folder / "ca.key"))


def _authority(folder: Path, kind: Kind) -> Authority:
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if not certificate.exists() and not key.exists():
        stores.write_pair(Authority.create("otmirror development CA", kind=kind), certificate, key)
    if certificate.exists() and not key.exists():
        raise ConfigError(f"{certificate} is there without its key {key}: nothing can be issued in this folder")
    found = authority(folder)
    if wrong := chain.dated(found.certificate, _now()):
        raise ConfigError(f"{certificate} {wrong}; take a new folder")
    store = folder / "truststore.p12"
    if not store.exists():
        stores.write_truststore(found.certificate, store, stores.password(folder / "truststore.password"))
    return found


def _made(folder: Path, authority: Authority, request: Request, wanted: Wanted) -> Made:
    files = Files.of(folder, request.name)
    new = request.name in wanted.renew or not files.certificate.exists()
    if new:
        stores.write_pair(authority.issue(request, wanted.kind), files.certificate, files.key)
    issued = stores.read_pair(files.certificate, files.key)
    if new or not files.keystore.exists():
        stores.write_keystore(issued, authority.certificate, files.keystore, stores.password(files.password))
    doubt = None if new else _doubt(issued.certificate, authority, request)
    return Made(request.name, issued.certificate, new, doubt)


def _doubt(certificate: x509.Certificate, authority: Authority, request: Request) -> str | None:
    """Return why a certificate that was kept is not what is wanted now."""
    if not chain.issued(certificate, authority.certificate):
        return "was issued by another authority"
    if wrong := chain.dated(certificate, _now()):
        return wrong
    missing = [host for host in request.hosts if not chain.is_for_host(certificate, host)]
    return f"does not name {', '.join(missing)}" if missing else None


def _unique(hosts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(hosts))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
