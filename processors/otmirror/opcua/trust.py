"""Whether a server's certificate is trusted, by the files in the PKI folder (OPC 10000-4, 6.1.3).

trusted/    certificates that are trusted: servers' own, and authorities', whose every certificate is accepted then
issuers/    certificates of authorities between those and the servers, not trusted by themselves
crl/        revocation lists of these authorities
rejected/   what a server showed and was not trusted

Files are DER or PEM; names beginning with a dot are left alone.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cryptography import x509

from otmirror.errors import ConfigError
from otmirror.opcua import chain
from otmirror.opcua.config import ANY, FIRST_USE

Warnings = list[tuple[str, str]]
"""What the operator should know: a key that tells what it is about, and a sentence."""

T = TypeVar("T")


@dataclass(frozen=True)
class Shown:
    """What a server shows of itself at the configured host and port.

    `certificate` is its own and `others` are what it sends along with it; `uri` is the application URI it states.

    Raises:
        ConfigError: from `of`, when there is no certificate, or none that can be read.
    """

    certificate: x509.Certificate
    others: tuple[x509.Certificate, ...]
    host: str
    port: int
    uri: str

    @classmethod
    def of(cls, sent: bytes, host: str, port: int, uri: str) -> Shown:
        """Take what an endpoint's description holds: a DER certificate, maybe followed by its issuers'."""
        parts = chain.split(sent)
        if not parts:
            raise ConfigError(
                f"the server at {host}:{port} offers security but shows no certificate: check the server's own "
                "certificate"
            )
        try:
            own, *others = [x509.load_der_x509_certificate(part) for part in parts]
        except ValueError as error:
            raise ConfigError(f"the certificate of the server at {host}:{port} cannot be read: {error}") from None
        return cls(own, tuple(others), host, port, uri)

    @property
    def der(self) -> bytes:
        """The certificate's bytes."""
        return chain.der(self.certificate)

    @property
    def name(self) -> str:
        """The certificate as messages call it."""
        return f"the certificate of the server at {self.host}:{self.port}, thumbprint {chain.thumbprint(self.der)},"


@dataclass
class _Store:
    """The folder's certificates and revocation lists as they are now."""

    trusted: list[x509.Certificate] = field(default_factory=list)
    issuers: list[x509.Certificate] = field(default_factory=list)
    lists: list[x509.CertificateRevocationList] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    """Where each of `lists` is from."""
    warnings: Warnings = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path) -> _Store:
        """Read the folder, whose parts are made when they are missing.

        Raises:
            ConfigError: a revocation list cannot be read: what it revokes would be accepted.
        """
        store = cls()
        (folder / "rejected").mkdir(parents=True, exist_ok=True)
        for name, into in (("trusted", store.trusted), ("issuers", store.issuers)):
            for file, found in _parsed(folder / name, chain.load):
                if found is None:
                    text = f"PKI Directory: {file} is no certificate (PEM or DER) and counts for nothing: remove it"
                    store.warnings.append((f"pki {file}", text))
                into += found or ()
        for file, crl in _parsed(folder / "crl", chain.load_crl):
            if crl is None:
                raise ConfigError(f"PKI Directory: {file} is no revocation list (PEM or DER): replace or remove it")
            store.lists.append(crl)
            store.files.append(file)
        return store

    def outdated(self, issuers: tuple[x509.Certificate, ...], now: datetime.datetime) -> Warnings:
        """Return a warning for each list of these issuers that should have been replaced by now."""
        found: Warnings = []
        for crl, file in zip(self.lists, self.files, strict=True):
            until = crl.next_update_utc
            if until is None or until >= now or not any(any(chain.of_issuer(one, [crl])) for one in issuers):
                continue
            text = (
                f"PKI Directory: revocation list {file} of {crl.issuer.rfc4514_string()!r} is out of date since "
                f"{until:%Y-%m-%d}: replace it with a newer one"
            )
            found.append((f"pki {file}", text))
        return found


@dataclass(frozen=True)
class ServerTrust:
    """Decides whether a server's certificate is trusted, by a folder and the rule of Server Certificate Trust."""

    folder: Path
    rule: str

    def pinned(self, shown: Shown) -> Path:
        """Return the file a certificate is kept in that was accepted as the first one at a host and port."""
        return self.folder / "trusted" / (re.sub(r"[^\w.-]", "_", f"{shown.host}_{shown.port}") + ".der")

    def check(self, shown: Shown, now: datetime.datetime) -> Warnings:
        """Accept what a server shows at a time, and return what is odd about it.

        Raises:
            ConfigError: it is not accepted; the message says which file to move where, or what else to do.
        """
        warnings = mismatches(shown)
        wrong = chain.dated(shown.certificate, now)
        if self.rule == ANY:
            text = f"{shown.name} {wrong}; it is accepted because Server Certificate Trust is 'any'"
            return warnings + ([("certificate date", text)] if wrong else [])
        try:
            store = _Store.load(self.folder)
            if wrong is not None:
                raise ConfigError(f"{shown.name} {wrong}: {_date_advice(wrong)}")
            return warnings + store.warnings + self._trusted(shown, store, now)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(f"PKI Directory: {error.filename or self.folder}: {reason}") from None

    def _trusted(self, shown: Shown, store: _Store, now: datetime.datetime) -> Warnings:
        pool = [*store.trusted, *store.issuers, *shown.others]
        issuers = tuple(one for one in pool if chain.is_authority(one) and chain.issued(shown.certificate, one))
        day = chain.revocation(shown.certificate, issuers, store.lists)
        if day is not None:
            authority = shown.certificate.issuer.rfc4514_string()
            raise ConfigError(f"{shown.name} was revoked on {day} by {authority!r}: have it replaced on the server")
        if shown.certificate in store.trusted:
            return store.outdated(issuers, now)
        route = chain.route(shown.certificate, pool, store.trusted, store.lists, now)
        if route.complete:
            return store.outdated(route.certificates[1:], now)
        pinned = self.pinned(shown)
        if self.rule == FIRST_USE and not pinned.exists():
            _write(pinned, shown.der)
            return []
        kept = self.folder / "rejected" / f"{chain.thumbprint(shown.der)}.der"
        _write(kept, shown.der)
        raise ConfigError(self._refusal(shown, kept, route))

    def _refusal(self, shown: Shown, kept: Path, route: chain.Route) -> str:
        pinned = self.pinned(shown)
        if self.rule != FIRST_USE:
            return (
                f"{shown.name} is not trusted{_why(route)}; if it is the right one, move {kept} to {pinned.parent}"
                f"{self._or_authority(route)}"
            )
        old = chain.thumbprint(pinned.read_bytes())
        return (
            f"the certificate of the server at {shown.host}:{shown.port} changed: its thumbprint was {old} and is now "
            f"{chain.thumbprint(shown.der)}{_why(route)}; if the server's certificate was really replaced, move {kept} "
            f"over {pinned}{self._or_authority(route)}, otherwise somebody else answers in the server's place"
        )

    def _or_authority(self, route: chain.Route) -> str:
        last = route.certificates[-1]
        if last.issuer == last.subject and len(route.certificates) == 1:
            return ""
        top = chain.subject(last) if last.issuer == last.subject else last.issuer.rfc4514_string()
        return f", or put the certificate of the authority {top!r} into {self.folder / 'trusted'}"


def mismatches(shown: Shown) -> Warnings:
    """Return what does not fit between a certificate and the server that shows it: host name, application URI."""
    found, name = [], f"the certificate of the server at {shown.host}:{shown.port}"
    if not chain.is_for_host(shown.certificate, shown.host):
        hosts = ", ".join(chain.hosts(shown.certificate)) or "no host"
        text = (
            f"{name} is made out for {hosts}, not for the host {shown.host!r} of Endpoint URL: use one of its names "
            "there, or have the certificate replaced"
        )
        found.append(("certificate host", text))
    uris = chain.application_uris(shown.certificate)
    if shown.uri not in uris:
        text = (
            f"{name} is made out for the application URI {', '.join(uris) or '(none)'}, but the server calls itself "
            f"{shown.uri}: have the certificate replaced"
        )
        found.append(("certificate uri", text))
    return found


def _why(route: chain.Route) -> str:
    if route.obstacles:
        return f", as {' and '.join(dict.fromkeys(route.obstacles))}"
    last = route.certificates[-1]
    if last.issuer != last.subject:
        return f", and the certificate of its authority {last.issuer.rfc4514_string()!r} is missing"
    return "" if len(route.certificates) == 1 else f", nor is its authority {chain.subject(last)!r}"


def _date_advice(wrong: str) -> str:
    if wrong.startswith("expired"):
        return "have it replaced on the server; only Server Certificate Trust 'any' accepts it as it is"
    return "check the clocks of the server and of this machine"


def _parsed(folder: Path, parse: Callable[[bytes], T]) -> Iterator[tuple[Path, T | None]]:
    """Yield the folder's files with what they hold, None for what cannot be read as such."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not file.is_file():
            continue
        content = file.read_bytes()
        try:
            yield file, parse(content)
        except ValueError:
            yield file, None


def _write(file: Path, content: bytes) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(file)
