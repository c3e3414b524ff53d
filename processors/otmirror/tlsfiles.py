"""The PEM files of a TLS client: whose certificate it believes, and its own; what is wrong with them, when they end."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from otmirror.clock import Clock
from otmirror.metrics.definitions import EXPIRY
from otmirror.metrics.figures import Figures
from otmirror.notices import Notices
from otmirror.opcua.chain import thumbprint
from otmirror.opcua.security import InUse, expiring

AUTHORITY, CERTIFICATE, KEY = "CA Certificate File", "Client Certificate File", "Client Key File"
"""What the properties are called."""
EVERY = 3600.0
"""Seconds between two looks at the certificates' ends."""


@dataclass(frozen=True)
class TlsFiles:
    """Paths as the properties give them; all may be missing."""

    authority: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def pair(self) -> tuple[str, str] | None:
        """Certificate and key, when there are both."""
        return (self.certificate, self.key) if self.certificate and self.key else None

    def problems(self, secured: bool) -> list[str]:
        """Return what is wrong; `secured` says whether there is an https address they could be used with."""
        problems = []
        if not secured:
            given = ((AUTHORITY, self.authority), (CERTIFICATE, self.certificate), (KEY, self.key))
            problems += [f"{name}: has no use with an http:// URL" for name, value in given if value]
        if self.authority:
            problems += _authority_problems(self.authority)
        if bool(self.certificate) != bool(self.key):
            problems.append(f"{CERTIFICATE} and {KEY}: set both or none")
        elif self.pair:
            problems += _pair_problems(*self.pair)
        return problems

    def expiring(self, now: datetime.datetime) -> list[tuple[str, str]]:
        """Return a warning, key and sentence, for each file whose certificate ends within 30 days or has ended."""
        named = ((AUTHORITY, self.authority), (CERTIFICATE, self.certificate))
        used = [found for name, path in named if path for found in _in_use(name, path)]
        return expiring(used, now)

    def ends(self) -> list[tuple[str, float]]:
        """Return when each file's first certificate to end does: the file's name, seconds since 1970."""
        named = [(name, path) for name, path in ((AUTHORITY, self.authority), (CERTIFICATE, self.certificate)) if path]
        found = [(Path(path).name, [one.until.timestamp() for one in _in_use(name, path)]) for name, path in named]
        return [(file, min(ends)) for file, ends in found if ends]


class Expiry:
    """Looks once an hour whether the files' certificates end soon."""

    def __init__(self, clock: Clock):
        """Take the clock; the first look is at the first call."""
        self._clock, self._next = clock, float("-inf")

    def look(self, files: TlsFiles, notices: Notices, figures: Figures) -> None:
        """Say which certificates end within 30 days, unless that was looked at within the hour."""
        if self._clock.monotonic() < self._next:
            return
        self._next = self._clock.monotonic() + EVERY
        now = datetime.datetime.fromtimestamp(self._clock.now_us() / 1e6, datetime.timezone.utc)
        for key, message in files.expiring(now):
            notices.say("warn", key, message)
        figures.replace(EXPIRY, dict(files.ends()))


def _authority_problems(path: str) -> list[str]:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        reason = "holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
        return [f"{AUTHORITY}: {path}: {reason}"]
    return []


def _pair_problems(certificate: str, key: str) -> list[str]:
    for name, path in ((CERTIFICATE, certificate), (KEY, key)):
        try:
            with open(path, "rb") as file:
                encrypted = name == KEY and b"ENCRYPTED" in file.read()
        except OSError as error:
            return [f"{name}: {path}: {error.strerror}"]
        if encrypted:
            return [f"{KEY}: {path}: is protected by a password; give one without, readable by NiFi's user only"]
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key)
    except ssl.SSLError:
        return [f"{CERTIFICATE}: {certificate} and {key} are no PEM certificate and its key"]
    return []


def _in_use(name: str, path: str) -> list[InUse]:
    try:
        with open(path, "rb") as file:
            found = x509.load_pem_x509_certificates(file.read())
    except (OSError, ValueError):
        # That is told by `problems`, or by the request that fails.
        return []
    return [
        InUse(
            f"{name} {number}", f"{name}: {path}", thumbprint(one.public_bytes(Encoding.DER)), one.not_valid_after_utc,
            "replace it; then stop and start this processor",
        )
        for number, one in enumerate(found)
    ]  # fmt: skip
