"""The development authority, and what the peers step says about brokers that cannot be had."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from otmirror.cli import setup
from otmirror.embedded import (
    brokers,
    compose,
    haproxy,
    nftables,
    opa,
    openbao,
    opensearch,
    prometheus,
    rsyslog,
    stunnel,
    vmtools,
)
from otmirror.embedded.pki import Authority
from otmirror.errors import UnavailableError


def test_a_certificate_is_its_authoritys_and_fits_its_key(tmp_path):
    authority = Authority(tmp_path / "pki")
    files = authority.issue("edge")
    issued = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    root = x509.load_pem_x509_certificate(files.authority.read_bytes())
    issued.verify_directly_issued_by(root)
    assert [name.value for name in issued.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["edge"]
    key = load_pem_private_key(files.key.read_bytes(), None)
    assert key.public_key() == issued.public_key()
    assert files.key.stat().st_mode & 0o077 == 0
    other = x509.load_pem_x509_certificate(Authority(tmp_path / "other").certificate.read_bytes())
    with pytest.raises((ValueError, InvalidSignature)):
        issued.verify_directly_issued_by(other)


def test_a_broker_that_cannot_be_had_is_told_and_is_no_failure(monkeypatch):
    def missing(*_):
        raise UnavailableError("no such thing here")

    monkeypatch.setattr(setup.shutil, "which", lambda name: f"/usr/bin/{name}")
    peers = [(brokers, "mosquitto_binary"), (brokers, "kafka_jars"), (nftables, "nft_binary"), (stunnel, "binary")]
    peers += [(haproxy, "binary")]
    peers += [(one, "install") for one in (opa, compose, openbao, opensearch, rsyslog)]
    peers += 2 * [(prometheus, "checker")] + 2 * [(vmtools, "tool")]
    for module, name in peers:
        monkeypatch.setattr(module, name, missing)
    said: list[str] = []
    setup.peers(said.append)
    assert said == len(peers) * ["no such thing here; the tests that need it will skip"]
    said.clear()
    setup.heavy(said.append)
    assert said == 2 * ["no such thing here; the tests that need it will skip"]


def test_a_broker_with_tls_asks_for_certificates_and_takes_no_anonymous(tmp_path):
    tls = Authority(tmp_path / "pki").issue("broker")
    broker = brokers.Mosquitto(tmp_path / "m", tls=tls, acl=tmp_path / "acl")
    told = dict(line.split(" ", 1) for line in broker._config())
    assert told["require_certificate"] == "true"
    assert told["use_identity_as_username"] == "true"
    assert told["allow_anonymous"] == "false"
    assert told["acl_file"] == str(tmp_path / "acl")
    assert told["persistence"] == "true"
    assert told["max_queued_messages"] == "0"
