"""Certificates for the tests: authorities, what they issue, and revocation lists."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM
SERVER_URI = "urn:test.example:server"


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    """A key of one's own for each number; making them takes long."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Entity:
    """A certificate with its key and, unless it is self-signed, its issuer."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    issuer: Entity | None = field(default=None, repr=False)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(PEM)

    @property
    def thumbprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA1()).hex().upper()

    @property
    def key_pem(self) -> bytes:
        return self.encrypted_key(None)

    def encrypted_key(self, password: str | None, encoding: serialization.Encoding = PEM) -> bytes:
        how = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        return self.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, how)

    def files(self, folder: Path, name: str, *others: Entity) -> dict[str, str]:
        """Write what a server needs: its chain and its key."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
        certificate.write_bytes(b"".join(one.pem for one in (self, *others)))
        key.write_bytes(self.key_pem)
        return {"certificateFile": str(certificate), "privateKeyFile": str(key), "applicationUri": SERVER_URI}


def _signed(
    name: str, issuer: Entity | None, key: rsa.RSAPrivateKey, extensions: list[tuple[Any, bool]],
    begin: datetime.datetime, until: datetime.datetime,
) -> Entity:  # fmt: skip
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(issuer.certificate.subject if issuer else who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(until)
    )
    signer = issuer.key if issuer else key
    identifiers = [
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
    ]
    for extension, critical in extensions + identifiers:
        builder = builder.add_extension(extension, critical)
    return Entity(builder.sign(signer, hashes.SHA256()), key, issuer)


def _usage(*names: str) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in names for name in every})


def authority(
    name: str, key: int, issuer: Entity | None = None, *, length: int | None = None, ca: bool = True,
    begin: datetime.datetime = NOW - 400 * DAY, until: datetime.datetime = NOW + 400 * DAY,
) -> Entity:  # fmt: skip
    """An authority's certificate, self-signed without an issuer; `ca` false: it only looks like one."""
    usage = _usage("digital_signature", "key_cert_sign", "crl_sign") if ca else _usage("digital_signature")
    basic = x509.BasicConstraints(ca=ca, path_length=length if ca else None)
    return _signed(name, issuer, rsa_key(key), [(basic, True), (usage, True)], begin, until)


def server(
    name: str = "server", issuer: Entity | None = None, *, key: int = 9, uri: str | None = SERVER_URI,
    hosts: tuple[str, ...] = ("127.0.0.1",), ca: bool = False,
    begin: datetime.datetime = NOW - 300 * DAY, until: datetime.datetime = NOW + 300 * DAY,
) -> Entity:  # fmt: skip
    """An application instance certificate of a server or a client (OPC 10000-6, 6.2.2)."""
    names: list[x509.GeneralName] = [] if uri is None else [x509.UniformResourceIdentifier(uri)]
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    usage = _usage("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_cert_sign")
    extensions: list[tuple[Any, bool]] = [
        (x509.BasicConstraints(ca=ca, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    ]
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    return _signed(name, issuer, rsa_key(key), extensions, begin, until)


def user(name: str = "operator", key: int = 8, **dates: datetime.datetime) -> Entity:
    """A user's certificate, self-signed."""
    return server(name, key=key, uri=f"urn:test.example:{name}", hosts=(), **dates)


def crl(
    issuer: Entity, *revoked: Entity, until: datetime.datetime = NOW + 30 * DAY, signer: Entity | None = None
) -> bytes:
    """An authority's revocation list (DER), which revoked on 2026-02-03; `signer` forges it."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(NOW - 60 * DAY)
        .next_update(until)
    )
    for entity in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(entity.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(datetime.datetime(2026, 2, 3)).build())
    made = builder.sign((signer or issuer).key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


def put(folder: Path, **files: bytes) -> Path:
    """Write files (trusted__root=b'...' is trusted/root) into a PKI folder."""
    for name, content in files.items():
        file = folder.joinpath(*name.split("__"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder
