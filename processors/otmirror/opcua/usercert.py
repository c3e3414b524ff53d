"""The X.509 certificate a user logs in with, and its private key."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from otmirror.errors import ConfigError, MistakesError
from otmirror.opcua import chain

CERTIFICATE, KEY, PASSWORD = "User Certificate File", "User Key File", "User Key Password"


@dataclass(frozen=True)
class UserCertificate:
    """A user's certificate, the file it is from, and its key."""

    file: Path
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)

    @property
    def thumbprint(self) -> str:
        """The certificate's SHA-1 thumbprint."""
        return chain.thumbprint(chain.der(self.certificate))


def load(file: Path, key_file: Path, password: str | None, now: datetime.datetime | None = None) -> UserCertificate:
    """Read a user's certificate and key (PEM or DER), and check that they can be used now.

    Raises:
        MistakesError: with everything that is wrong with them.
    """
    problems: list[str] = []
    certificate = key = None
    try:
        certificate = _certificate(file, now or datetime.datetime.now(datetime.timezone.utc))
    except ConfigError as error:
        problems.append(str(error))
    try:
        key = _key(key_file, password)
    except ConfigError as error:
        problems.append(str(error))
    if certificate is not None and key is not None and certificate.public_key() != key.public_key():
        problems.append(f"{KEY}: {key_file} does not belong to the certificate {file}")
    if problems or certificate is None or key is None:
        raise MistakesError(problems)
    return UserCertificate(file, certificate, key)


def _certificate(file: Path, now: datetime.datetime) -> x509.Certificate:
    try:
        certificate = chain.load(_content(CERTIFICATE, file))[0]
    except ValueError:
        raise ConfigError(f"{CERTIFICATE}: {file} is no X.509 certificate (PEM or DER)") from None
    wrong = chain.dated(certificate, now)
    if wrong is not None:
        raise ConfigError(f"{CERTIFICATE}: {file} {wrong}: replace it, and check the clock of this machine")
    return certificate


def _key(file: Path, password: str | None) -> rsa.RSAPrivateKey:
    content = _content(KEY, file)
    parse = serialization.load_pem_private_key if b"-----BEGIN" in content else serialization.load_der_private_key
    try:
        key = parse(content, None if password is None else password.encode())
    except TypeError:  # says whether a password is needed
        if password is None:
            raise ConfigError(f"{KEY}: {file} is encrypted: set {PASSWORD}") from None
        raise ConfigError(f"{PASSWORD}: is set, but the key in {file} is not encrypted: remove the password") from None
    except (ValueError, UnsupportedAlgorithm):
        if password is None:
            raise ConfigError(f"{KEY}: {file} is no private key (PEM or DER)") from None
        raise ConfigError(f"{PASSWORD}: does not open {file}, or that is no private key (PEM or DER)") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError(f"{KEY}: the key in {file} is no RSA key, as the security policies here need")
    return key


def _content(name: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: {file} cannot be read: {error.strerror or type(error).__name__}") from None
