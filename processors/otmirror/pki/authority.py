"""A certificate authority in memory: it issues certificates for servers and clients. No files."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from otmirror.errors import ConfigError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Kind = Literal["rsa", "ec"]
AUTHORITY_DAYS = 3650
DAYS = 825
"""How long certificates last by default: what most programs still accept of a server's."""

_HOUR = datetime.timedelta(hours=1)
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_NO_USAGE = dict.fromkeys(
    ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
     "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False,
)  # fmt: skip


@dataclass(frozen=True)
class Validity:
    """From when until when a certificate holds, both with their zone."""

    start: datetime.datetime
    end: datetime.datetime

    @classmethod
    def lasting(cls, days: float, start: datetime.datetime | None = None) -> Validity:
        """Return so many days from `start`, or from now and the hour before."""
        if start is None:
            now = datetime.datetime.now(datetime.timezone.utc)
            # A clock that is a little behind is no reason to refuse.
            return cls(now - _HOUR, now + datetime.timedelta(days=days))
        return cls(start, start + datetime.timedelta(days=days))


@dataclass(frozen=True)
class Request:
    """What a certificate is for: its common name, the hosts and URIs it speaks for, and in which roles."""

    name: str
    hosts: Sequence[str] = ()
    """Host names and IP addresses."""
    uris: Sequence[str] = ()
    """Such as the application URI of an OPC UA server."""
    server: bool = True
    client: bool = True
    validity: Validity = field(default_factory=lambda: Validity.lasting(DAYS))


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)


class Authority:
    """An authority: its certificate and its key."""

    def __init__(self, own: Issued):
        """Take certificate and key of the authority."""
        self.certificate, self._key = own.certificate, own.key

    @classmethod
    def create(cls, name: str, validity: Validity | None = None, kind: Kind = "rsa") -> Issued:
        """Return a new self-signed authority's certificate and key, which may issue leaf certificates only."""
        key = new_key(kind, 3072)
        usage = x509.KeyUsage(**_NO_USAGE | {"digital_signature": True, "key_cert_sign": True, "crl_sign": True})
        builder = _builder(_named(name), _named(name), key, validity or Validity.lasting(AUTHORITY_DAYS))
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        return Issued(certificate, key)

    def issue(self, request: Request, kind: Kind = "rsa") -> Issued:
        """Return a new certificate with a new key; it does not outlast the authority's.

        Raises:
            ConfigError: one of the hosts is neither a host name nor an IP address.
        """
        key = new_key(kind, 2048)
        names = [*map(_general_name, request.hosts), *map(x509.UniformResourceIdentifier, request.uris)]
        wanted = ((request.server, ExtendedKeyUsageOID.SERVER_AUTH), (request.client, ExtendedKeyUsageOID.CLIENT_AUTH))
        valid = Validity(request.validity.start, min(request.validity.end, self.certificate.not_valid_after_utc))
        builder = (
            _builder(_named(request.name), self.certificate.subject, key, valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**_NO_USAGE | _usage(key, request)), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose for is_, purpose in wanted if is_]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )  # fmt: skip
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return Issued(builder.sign(self._key, hashes.SHA256()), key)


def new_key(kind: Kind, bits: int) -> PrivateKey:
    """Return a new private key: RSA with so many bits, or on the curve P-256."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _usage(key: PrivateKey, request: Request) -> dict[str, bool]:
    used = {"digital_signature": True, "key_encipherment": isinstance(key, rsa.RSAPrivateKey)}
    # An application instance certificate of OPC UA has these as well: OPC 10000-6, 6.2.2.
    return used | ({"content_commitment": True, "data_encipherment": True} if request.uris else {})


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, validity: Validity
) -> x509.CertificateBuilder:  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.start)
        .not_valid_after(validity.end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ConfigError(f"{host!r} is neither a host name nor an IP address")
    return x509.DNSName(host)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
