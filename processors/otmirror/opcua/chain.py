"""X.509 certificates one by one: a server's chain, who issued whom, revocation, names. No files, no rules of trust."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

_LONGEST = 10
"""Certificates of a chain that are looked at: a server may send any number."""

T = TypeVar("T", bound=x509.ExtensionType)


def thumbprint(der: bytes) -> str:
    """Return a certificate's SHA-1 thumbprint, as certificate viewers and OPC UA servers show it."""
    return hashlib.sha1(der).hexdigest().upper()  # noqa: S324 - a name, as OPC 10000-4, 7.3 has it, not a proof


def der(certificate: x509.Certificate) -> bytes:
    """Return a certificate's DER bytes."""
    return certificate.public_bytes(serialization.Encoding.DER)


def split(chain: bytes) -> list[bytes]:
    """Return the DER certificates of a chain, the server's own first: each SEQUENCE states its length (X.690, 8.1.3).

    What follows the first one and is no such SEQUENCE is left out.
    """
    found: list[bytes] = []
    while len(found) < _LONGEST and len(chain) >= 4 and chain[0] == 0x30 and chain[1] & 0x80:
        octets = chain[1] & 0x7F
        end = 2 + octets + int.from_bytes(chain[2 : 2 + octets], "big")
        if end > len(chain):
            break
        found.append(chain[:end])
        chain = chain[end:]
    return found


def load(content: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM or DER file.

    Raises:
        ValueError: there is none, or one cannot be read.
    """
    if b"-----BEGIN" in content:
        return x509.load_pem_x509_certificates(content)
    return [x509.load_der_x509_certificate(content)]


def load_crl(content: bytes) -> x509.CertificateRevocationList:
    """Return the revocation list of a PEM or DER file.

    Raises:
        ValueError: it is none.
    """
    if b"-----BEGIN" in content:
        return x509.load_pem_x509_crl(content)
    return x509.load_der_x509_crl(content)


def subject(certificate: x509.Certificate) -> str:
    """Return whom a certificate is for, as text."""
    return certificate.subject.rfc4514_string()


def extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    """Return an extension, None when the certificate has none or an unreadable one."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return None


def application_uris(certificate: x509.Certificate) -> list[str]:
    """Return the application URI a certificate carries (OPC 10000-6, 6.2.2), in a list."""
    names = extension(certificate, x509.SubjectAlternativeName)
    return names.get_values_for_type(x509.UniformResourceIdentifier) if names else []


def hosts(certificate: x509.Certificate) -> list[str]:
    """Return the host names and addresses a certificate is made out for."""
    names = extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return []
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return names.get_values_for_type(x509.DNSName) + addresses


def is_for_host(certificate: x509.Certificate, host: str) -> bool:
    """Return whether a certificate is made out for a host name or address; case does not matter."""
    return _plain(host) in {_plain(name) for name in hosts(certificate)}


def _plain(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().rstrip(".")


def is_authority(certificate: x509.Certificate) -> bool:
    """Return whether a certificate may issue others (RFC 5280, 4.2.1.3 and 4.2.1.9).

    One that carries an application URI is a server's own, whatever else it says of itself: trusting a server must not
    mean trusting what that server could issue.
    """
    basic, usage = extension(certificate, x509.BasicConstraints), extension(certificate, x509.KeyUsage)
    if basic is None or not basic.ca or (usage is not None and not usage.key_cert_sign):
        return False
    return not application_uris(certificate)


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether `issuer` is the one named in a certificate and its key signed it."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def dated(certificate: x509.Certificate, now: datetime.datetime) -> str | None:
    """Return why a certificate is not valid at a time, such as `expired on 2024-05-01`; None when it is."""
    if certificate.not_valid_after_utc < now:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if certificate.not_valid_before_utc > now:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    return None


def revocation(
    certificate: x509.Certificate,
    issuers: Iterable[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
) -> datetime.date | None:
    """Return the day a certificate was revoked by one of its issuers' lists; None when none has it."""
    for issuer in issuers:
        for crl in of_issuer(issuer, lists):
            entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
            if entry is not None:
                return entry.revocation_date_utc.date()
    return None


def of_issuer(
    issuer: x509.Certificate, lists: Iterable[x509.CertificateRevocationList]
) -> Iterator[x509.CertificateRevocationList]:
    """Yield the revocation lists that carry an issuer's name and its signature."""
    for crl in lists:
        try:
            if crl.issuer == issuer.subject and crl.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]
                yield crl
        except (UnsupportedAlgorithm, TypeError):  # another kind of key with the same name
            continue


@dataclass(frozen=True)
class Route:
    """The way from a certificate up to a trusted authority.

    `certificates` begins with the certificate itself. When `complete`, it ends with the trusted one; else it goes as
    far as issuers are known, and `obstacles` says what is in the way.
    """

    certificates: tuple[x509.Certificate, ...]
    complete: bool
    obstacles: tuple[str, ...]


def route(
    leaf: x509.Certificate,
    pool: Sequence[x509.Certificate],
    trusted: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
    now: datetime.datetime,
) -> Route:
    """Look for the shortest way from a certificate to a trusted authority (OPC 10000-4, 6.1.3).

    Args:
        leaf: where to begin; its own dates and revocation are not looked at.
        pool: certificates of which authorities may be on the way, trusted or not.
        trusted: the certificates of the pool where the way may end.
        lists: revocation lists; one that no authority on the way signed counts for nothing.
        now: the time at which authorities have to be valid.
    """
    authorities = [one for one in dict.fromkeys(pool) if is_authority(one)]
    ends = set(trusted)
    seen = {leaf}
    obstacles: list[str] = []
    longest: tuple[x509.Certificate, ...] = (leaf,)
    open_ends = [longest]
    while open_ends:
        way = open_ends.pop(0)
        longest = max(longest, way, key=len)
        for issuer in authorities:
            if issuer in seen or not issued(way[-1], issuer):
                continue
            obstacle = _obstacle(way, issuer, [one for one in authorities if issued(issuer, one)], lists, now)
            if obstacle is not None:
                obstacles.append(obstacle)
                continue
            seen.add(issuer)
            if issuer in ends:
                return Route((*way, issuer), True, ())
            open_ends.append((*way, issuer))
    return Route(longest, False, tuple(obstacles))


def _obstacle(
    way: Sequence[x509.Certificate],
    issuer: x509.Certificate,
    above: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
    now: datetime.datetime,
) -> str | None:
    """Return why the way may not go on over an issuer, given the authorities that issued that one."""
    wrong = dated(issuer, now)
    if wrong is not None:
        return f"its authority {subject(issuer)!r} {wrong}"
    basic, below = extension(issuer, x509.BasicConstraints), len(way) - 1
    if basic is not None and basic.path_length is not None and below > basic.path_length:
        return f"its authority {subject(issuer)!r} may have {basic.path_length} others below it, and has {below}"
    day = revocation(issuer, above, lists)
    return f"its authority {subject(issuer)!r} was revoked on {day}" if day else None
