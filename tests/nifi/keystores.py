"""PKCS12 stores for flows that speak TLS, made by the cryptography package."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.x509.oid import NameOID


def keystores(folder: Path, password: str) -> dict[str, str]:
    """Make a key with a self-signed certificate; return the parameters tls.* that name its stores."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "otmirror-test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    lock = BestAvailableEncryption(password.encode())
    keystore, truststore = folder / "keystore.p12", folder / "truststore.p12"
    keystore.write_bytes(pkcs12.serialize_key_and_certificates(b"otmirror", key, certificate, None, lock))
    trusted = [pkcs12.PKCS12Certificate(certificate, b"ca")]
    truststore.write_bytes(pkcs12.serialize_java_truststore(trusted, lock))
    return {
        "tls.keystore": str(keystore),
        "tls.keystore.password": password,
        "tls.truststore": str(truststore),
        "tls.truststore.password": password,
    }
