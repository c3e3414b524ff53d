"""Certificates and keys in files: PEM, and PKCS #12 as Java reads it. Keys and passwords are their owner's alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from otmirror.errors import ConfigError
from otmirror.pki.authority import Issued, PrivateKey


def write_pair(issued: Issued, certificate: Path, key: Path) -> None:
    """Write a certificate and its key (PKCS #8, not encrypted) as PEM files; the certificate comes last."""
    write_private(key, issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    _replace(certificate, issued.certificate.public_bytes(Encoding.PEM), 0o644)


def read_pair(certificate: Path, key: Path) -> Issued:
    """Return what two PEM files hold.

    Raises:
        ConfigError: one of them is missing or unreadable, or they do not belong together.
    """
    try:
        issued = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ConfigError(f"{certificate} or {key} is no PEM file, or the key has a password") from None
    if private.public_key() != issued.public_key():
        raise ConfigError(f"{key} is not the key of {certificate}")
    if not isinstance(private, PrivateKey):
        raise ConfigError(f"{key}: only RSA and elliptic curve keys are supported")
    return Issued(issued, private)


def write_keystore(issued: Issued, authority: x509.Certificate, path: Path, password: str) -> None:
    """Write a PKCS #12 file with key, certificate and the authority's certificate; one password for file and key."""
    lock, name = BestAvailableEncryption(password.encode()), path.stem.encode()
    data = pkcs12.serialize_key_and_certificates(name, issued.key, issued.certificate, [authority], lock)
    write_private(path, data)


def write_truststore(authority: x509.Certificate, path: Path, password: str) -> None:
    """Write a PKCS #12 file with one trusted certificate, marked as Java wants it."""
    trusted = [pkcs12.PKCS12Certificate(authority, b"ca")]
    write_private(path, pkcs12.serialize_java_truststore(trusted, BestAvailableEncryption(password.encode())))


def password(path: Path) -> str:
    """Return the password in a file, made on first use."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24).encode() + b"\n")
    return path.read_text("utf-8").strip()


def write_private(path: Path, data: bytes | str) -> None:
    """Write a file, text as UTF-8, that only its owner may read; it is there as a whole or not at all."""
    _replace(path, data.encode() if isinstance(data, str) else data, 0o600)


def _replace(path: Path, data: bytes, mode: int) -> None:
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    new.replace(path)
