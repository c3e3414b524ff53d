"""When certificates end: those in files and folders, and the one a server shows."""

from __future__ import annotations

import datetime
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from otmirror.errors import ConfigError, MirrorError, UnavailableError
from otmirror.opcua import chain
from otmirror.opcua.security import EXPIRY_NOTICE

NOTICE_DAYS = EXPIRY_NOTICE.days
TIMEOUT = 10.0
"""Seconds a server has for its handshake."""
ENDINGS = (".pem", ".crt", ".cer", ".der", ".p12", ".pfx")

_HOST_PORT = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:/\s]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Finding:
    """One certificate, or the reason why there is none: where it is, and what is to be said of it."""

    where: str
    certificate: x509.Certificate | None
    problem: str | None = None
    """Why it cannot be used: expired, not valid yet, unreadable, not answering."""
    warning: str | None = None
    days: int = 0
    """Whole days until its end; negative when that has passed."""


def check(target: str, now: datetime.datetime, days: float = NOTICE_DAYS) -> list[Finding]:
    """Return a finding for each certificate of a folder, a file or a server `host:port`, soonest end first.

    A PKCS #12 file is opened with the password in the file of its name that ends in .password. A server's certificate
    is looked at, not trusted.

    Raises:
        ConfigError: there is no such file, or the folder has no certificates.
    """
    path = Path(target)
    if path.is_dir():
        found = (file for file in path.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())
        files = sorted(found, key=lambda file: (ENDINGS.index(file.suffix.lower()), file.name))
        findings = _once([finding for file in files for finding in _in_file(file, now, days, alone=False)])
        if not findings:
            raise ConfigError(f"{path} has no certificates ({', '.join(ENDINGS)})")
    elif path.exists():
        findings = _in_file(path, now, days, alone=True)
    elif match := _HOST_PORT.fullmatch(target):
        findings = [_of_server(match["ipv6"] or match["host"], int(match["port"]), now, days)]
    else:
        raise ConfigError(f"{target} is no file, no folder and no host:port")
    return sorted(findings, key=lambda one: (one.certificate is not None, one.days))


def judged(where: str, certificate: x509.Certificate, now: datetime.datetime, days: float = NOTICE_DAYS) -> Finding:
    """Return what is to be said of a certificate at a time: it has to be replaced `days` before its end."""
    end = certificate.not_valid_after_utc
    problem = chain.dated(certificate, now)
    soon = problem is None and end <= now + datetime.timedelta(days=days)
    warning = f"expires on {end:%Y-%m-%d}: replace it" if soon else None
    return Finding(where, certificate, problem, warning, (end - now) // datetime.timedelta(days=1))


def _once(findings: list[Finding]) -> list[Finding]:
    """Leave out what repeats the certificate of a file before it, as a .p12 beside its .pem does."""
    first = {finding.certificate: finding for finding in reversed(findings) if finding.certificate is not None}
    return [one for one in findings if one.certificate is None or first[one.certificate] is one]


def _in_file(path: Path, now: datetime.datetime, days: float, *, alone: bool) -> list[Finding]:
    try:
        certificates = list(_read(path))
    except MirrorError as error:
        return [Finding(str(path), None, str(error))]
    if not certificates and alone:
        return [Finding(str(path), None, "holds no certificate")]
    return [judged(str(path), certificate, now, days) for certificate in certificates]


def _read(path: Path) -> Iterator[x509.Certificate]:
    try:
        content = path.read_bytes()
        if path.suffix.lower() in (".p12", ".pfx"):
            yield from _in_keystore(path, content)
        elif b"-----BEGIN" not in content:
            yield x509.load_der_x509_certificate(content)
        elif b"-----BEGIN CERTIFICATE-----" in content:
            yield from x509.load_pem_x509_certificates(content)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError("holds no readable certificate") from None


def _in_keystore(path: Path, content: bytes) -> Iterator[x509.Certificate]:
    file = path.with_suffix(".password")
    if not file.is_file():
        raise ConfigError(f"needs its password in {file.name}")
    try:
        store = pkcs12.load_pkcs12(content, file.read_bytes().strip())
    except ValueError:
        raise ConfigError(f"cannot be opened with the password in {file.name}") from None
    for entry in (store.cert, *store.additional_certs):
        if entry is not None:
            yield entry.certificate


def _of_server(host: str, port: int, now: datetime.datetime, days: float) -> Finding:
    where = f"{host}:{port}"
    try:
        return judged(where, shown_by(host, port), now, days)
    except MirrorError as error:
        return Finding(where, None, str(error))


def shown_by(host: str, port: int) -> x509.Certificate:
    """Return the certificate that a TLS server shows, whoever issued it.

    Raises:
        UnavailableError: nothing listens there, or no TLS handshake comes about.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        name = None if _is_address(host) else host
        with (
            socket.create_connection((host, port), TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=name) as secured,
        ):
            der = secured.getpeercert(binary_form=True)
    except ssl.SSLError as error:
        raise UnavailableError(f"no TLS handshake: {error.reason or 'the server ended it'}") from None
    except (OSError, OverflowError) as error:
        raise UnavailableError(f"cannot be reached: {getattr(error, 'strerror', None) or error}") from None
    if not der:
        raise UnavailableError("showed no certificate")
    return x509.load_der_x509_certificate(der)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
