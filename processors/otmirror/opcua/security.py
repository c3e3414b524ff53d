"""The PKI folder: this client's own certificate, and which server certificates it trusts.

own/cert.der, own/key.pem   made on first use and kept; a certificate of your own may be put there instead
trusted/                    certificates of servers that are trusted, one a file (DER or PEM)
rejected/                   what a server showed and was not trusted
"""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from otmirror.errors import ConfigError
from otmirror.opcua.config import ANY, FIRST_USE

_VALID_DAYS = 3650
_KEY_BITS = 2048


@dataclass(frozen=True)
class OwnCertificate:
    """This client's certificate: its files, its application URI and its SHA-1 thumbprint (hex)."""

    certificate: Path
    key: Path
    application_uri: str
    thumbprint: str


def thumbprint(der: bytes) -> str:
    """Return a certificate's SHA-1 thumbprint, as certificate viewers and OPC UA servers show it."""
    return hashlib.sha1(der).hexdigest().upper()  # noqa: S324 - a name, as OPC 10000-4, 7.3 has it, not a proof


def application_uri() -> str:
    """Return the application URI of a client that has no certificate."""
    return f"urn:{socket.gethostname()}:otmirror"


def own_certificate(folder: Path) -> OwnCertificate:
    """Return this client's certificate, made when the folder has none.

    Raises:
        ConfigError: the folder cannot be written, or its certificate or key cannot be used.
    """
    own = folder / "own"
    certificate, key = own / "cert.der", own / "key.pem"
    try:
        if not certificate.exists() and not key.exists():
            _create(folder, own)
        return _load(certificate, key)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"PKI Directory: {error.filename or own}: {reason}") from None


def _load(certificate: Path, key: Path) -> OwnCertificate:
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
    if parsed.not_valid_after_utc < datetime.datetime.now(datetime.timezone.utc):
        raise ConfigError(f"PKI Directory: {certificate} expired on {parsed.not_valid_after_utc:%Y-%m-%d}; replace it")
    return OwnCertificate(certificate, key, uris[0], thumbprint(certificate.read_bytes()))


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
class ServerTrust:
    """Decides whether a server's certificate is trusted, by the files in the PKI folder."""

    folder: Path
    rule: str

    def check(self, der: bytes, host: str, port: int) -> None:
        """Accept the certificate the server at this host and port shows.

        Raises:
            ConfigError: it is not trusted; the message says which file to move where.
        """
        if self.rule == ANY:
            return
        trusted, rejected = self.folder / "trusted", self.folder / "rejected"
        pinned = trusted / (re.sub(r"[^\w.-]", "_", f"{host}_{port}") + ".der")
        try:
            for place in (trusted, rejected):
                place.mkdir(parents=True, exist_ok=True)
            if any(_holds(file, der) for file in trusted.iterdir()):
                return
            if self.rule == FIRST_USE and not pinned.exists():
                _write(pinned, der)
                return
            kept = rejected / f"{thumbprint(der)}.der"
            _write(kept, der)
            old = thumbprint(pinned.read_bytes()) if self.rule == FIRST_USE else None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(f"PKI Directory: {error.filename or self.folder}: {reason}") from None
        raise ConfigError(self._refusal(der, host, port, kept, pinned, old))

    def _refusal(self, der: bytes, host: str, port: int, kept: Path, pinned: Path, old: str | None) -> str:
        if old is None:
            return (
                f"the certificate of the server at {host}:{port}, thumbprint {thumbprint(der)}, is not trusted; "
                f"if it is the right one, move {kept} to {pinned.parent}"
            )
        return (
            f"the certificate of the server at {host}:{port} changed: its thumbprint was {old} and is now "
            f"{thumbprint(der)}; if the server's certificate was really replaced, move {kept} over {pinned}, "
            "otherwise somebody else answers in the server's place"
        )


def _holds(file: Path, der: bytes) -> bool:
    if not file.is_file():
        return False
    content = file.read_bytes()
    if content.lstrip().startswith(b"-----BEGIN"):
        try:
            return any(
                c.public_bytes(serialization.Encoding.DER) == der for c in x509.load_pem_x509_certificates(content)
            )
        except ValueError:
            return False
    return content == der


def _write(file: Path, content: bytes) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(file)


def first_certificate(chain: bytes) -> bytes:
    """Return the first certificate of a DER chain: its SEQUENCE states its length (X.690, 8.1.3)."""
    if len(chain) < 4 or chain[0] != 0x30 or not chain[1] & 0x80:
        raise ConfigError("the server offers security but shows no certificate: check the server's own certificate")
    octets = chain[1] & 0x7F
    return chain[: 2 + octets + int.from_bytes(chain[2 : 2 + octets], "big")]
