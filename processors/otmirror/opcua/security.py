"""This client's own certificate in the PKI folder, and when certificates expire.

own/cert.der and own/key.pem are made on first use and kept; a certificate of your own may be put there instead. The
folder's other parts are those of `otmirror.opcua.trust`.
"""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from otmirror.errors import ConfigError
from otmirror.opcua.chain import thumbprint

_VALID_DAYS = 3650
_KEY_BITS = 2048
EXPIRY_NOTICE = datetime.timedelta(days=30)
"""How long before a certificate's end it is time to replace it."""


@dataclass(frozen=True)
class OwnCertificate:
    """This client's certificate: its files, its application URI, SHA-1 thumbprint (hex) and end."""

    certificate: Path
    key: Path
    application_uri: str
    thumbprint: str
    until: datetime.datetime


def application_uri() -> str:
    """Return the application URI of a client that has no certificate."""
    return f"urn:{socket.gethostname()}:otmirror"


def own_certificate(folder: Path, now: datetime.datetime | None = None) -> OwnCertificate:
    """Return this client's certificate, made when the folder has none.

    Raises:
        ConfigError: the folder cannot be written, or its certificate or key cannot be used.
    """
    own = folder / "own"
    certificate, key = own / "cert.der", own / "key.pem"
    try:
        if not certificate.exists() and not key.exists():
            _create(folder, own)
        return _load(certificate, key, now or datetime.datetime.now(datetime.timezone.utc))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"PKI Directory: {error.filename or own}: {reason}") from None


def _load(certificate: Path, key: Path, now: datetime.datetime) -> OwnCertificate:
    for file, other in ((certificate, key), (key, certificate)):
        if not file.exists():
            raise ConfigError(f"PKI Directory: {file} is missing, but {other} exists; restore it or remove both")
    try:
        parsed = x509.load_der_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise ConfigError(f"PKI Directory: {certificate} or {key} cannot be used: {error}") from None
    if not uris or parsed.public_key() != private.public_key():
        raise ConfigError(f"PKI Directory: {certificate} has no application URI or does not belong to {key}")
    if parsed.not_valid_after_utc < now:
        raise ConfigError(f"PKI Directory: {certificate} expired on {parsed.not_valid_after_utc:%Y-%m-%d}; replace it")
    return OwnCertificate(certificate, key, uris[0], thumbprint(certificate.read_bytes()), parsed.not_valid_after_utc)


def _create(folder: Path, own: Path) -> None:
    """Make key and certificate in a folder of their own and move it into place, so that none is ever half there."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".own-", dir=folder))
    try:
        key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        (made / "cert.der").write_bytes(_self_signed(key).public_bytes(serialization.Encoding.DER))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        handle = os.open(made / "key.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        try:
            made.rename(own)
        except OSError:
            if not (own / "cert.der").exists():  # else another processor on the same folder was quicker
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    """Return an application instance certificate with the fields of OPC 10000-6, 6.2.2."""
    host = socket.gethostname()
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"otmirror@{host}"[:64]),
         x509.NameAttribute(NameOID.ORGANIZATION_NAME, "otmirror")]
    )  # fmt: skip
    now = datetime.datetime.now(datetime.timezone.utc)
    public = key.public_key()
    usage = dict.fromkeys(("key_agreement", "crl_sign", "encipher_only", "decipher_only"), False)
    usage |= dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_cert_sign"), True
    )
    names = [x509.UniformResourceIdentifier(application_uri()), x509.DNSName(host)]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        # A controller's clock is often slow: a certificate from the future would be refused.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


@dataclass(frozen=True)
class InUse:
    """A certificate in use: what messages call it, its thumbprint, its last day, and what to do before."""

    key: str
    name: str
    thumbprint: str
    until: datetime.datetime
    advice: str


def expiring(
    certificates: Iterable[InUse], now: datetime.datetime, within: datetime.timedelta = EXPIRY_NOTICE
) -> list[tuple[str, str]]:
    """Return a warning, key and sentence, for each certificate that expires within a time from now, or has expired."""
    return [
        (f"expiry {one.key}",
         f"{one.name}, thumbprint {one.thumbprint}, {'expires' if one.until >= now else 'expired'} on "
         f"{one.until:%Y-%m-%d}: {one.advice}")
        for one in certificates
        if one.until <= now + within
    ]  # fmt: skip
