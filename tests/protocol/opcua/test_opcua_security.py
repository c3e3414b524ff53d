"""Signing, encryption, users and trust, both ways, against a server with a real trust list."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from opcua_server import Server, all_bad, all_good, messages, rows, tags

from otmirror.clock import SystemClock
from otmirror.errors import MistakesError
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.reader import OpcUaReader
from otmirror.opcua.security import own_certificate

Connect = Callable[..., OpcUaReader]
SIGN: dict[str, Any] = {"policy": "Basic256Sha256", "mode": "Sign"}
ENCRYPT: dict[str, Any] = {"policy": "Basic256Sha256", "mode": "SignAndEncrypt"}
USER: dict[str, Any] = {"username": "operator", "password": "s3cret-\u00e4"}
TAGS = tags("Type.Double", "Type.Int64")


@pytest.fixture
def trusted(plant: Server, tmp_path: Path) -> Path:
    """The test's PKI folder, with a certificate the server trusts."""
    plant.do("trust", file=str(own_certificate(tmp_path / "pki").certificate))
    return tmp_path / "pki"


@pytest.mark.parametrize("security", [SIGN, ENCRYPT], ids=["Sign", "SignAndEncrypt"])
@pytest.mark.parametrize("user", [{}, USER], ids=["anonymous", "user"])
@pytest.mark.usefixtures("trusted")
def test_signed_and_encrypted_reads(
    plant: Server, connect: Connect, security: dict[str, Any], user: dict[str, Any]
) -> None:
    reader = connect(plant, TAGS, **security, **user)
    found = rows(reader.read())
    assert (found["Type.Double"]["value"], found["Type.Int64"]["text"]) == (0.1, "9223372036854775807")
    assert plant.do("sessions") == 1
    reader.close()
    assert plant.do("sessions") == 0


def test_user_and_password_without_security_when_allowed(plant: Server, connect: Connect) -> None:
    assert all_good(rows(connect(plant, TAGS, **USER, allow_plain_password=True).read()))


@pytest.mark.usefixtures("trusted")
def test_the_ends_of_the_certificates_in_use_are_measured(plant: Server, connect: Connect, tmp_path: Path) -> None:
    reader = connect(plant, TAGS, **ENCRYPT)
    assert all_good(rows(reader.read()))
    found = {key[1][0]: value for key, value in reader.figures.collect().numbers.items() if "expiry" in key[0]}
    own = x509.load_der_x509_certificate((tmp_path / "pki" / "own" / "cert.der").read_bytes())
    [pinned] = (tmp_path / "pki" / "trusted").iterdir()
    server = x509.load_der_x509_certificate(pinned.read_bytes())
    ends = {"cert.der": own, "server": server}
    assert found == {name: one.not_valid_after_utc.timestamp() for name, one in ends.items()}


@pytest.mark.parametrize(
    "security", [{"allow_plain_password": True}, SIGN, ENCRYPT], ids=["None", "Sign", "SignAndEncrypt"]
)
@pytest.mark.usefixtures("trusted")
def test_a_wrong_password_is_called_that_and_never_shown(
    plant: Server, connect: Connect, security: dict[str, Any]
) -> None:
    reader = connect(plant, TAGS, username="operator", password="hunter2", **security)
    assert all_bad(rows(reader.read()))
    told = messages(reader)
    assert "refuses user 'operator': wrong user name or password" in told
    assert "hunter2" not in told + repr(reader._config)
    assert plant.do("sessions") == 0


class LaterClock(SystemClock):
    later = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.later


def test_a_refused_login_is_not_tried_again_for_10_minutes(plant: Server) -> None:
    user = {"username": "operator", "password": "hunter2", "allow_plain_password": True}
    clock = LaterClock()
    reader = OpcUaReader(OpcUaConfig(plant.url, TAGS, reconnect_first=0.1, reconnect_longest=0.1, **user), clock)
    try:
        logins = []
        for clock.later in (0.0, 2.0, 590.0, 602.0, 1190.0):
            assert all_bad(rows(reader.read()))
            logins.append(plant.do("requests")["ActivateSession"])
        first = logins[0]
        assert logins == [first, first, first, first + 1, first + 1]
        told = messages(reader)
        assert "tries again after 10 minutes only; a restart of the processor tries at once" in told
    finally:
        reader.close()


def test_a_server_that_does_not_trust_us_is_told_apart_and_our_file_named(
    plant: Server, connect: Connect, tmp_path: Path
) -> None:
    reader = connect(plant, TAGS, **ENCRYPT)
    assert all_bad(rows(reader.read()))
    told = messages(reader)
    assert "does not trust this client's certificate" in told
    assert str(tmp_path / "pki" / "own" / "cert.der") in told


def test_our_certificate_is_made_once_and_as_openssl_likes_it(tmp_path: Path) -> None:
    made = own_certificate(tmp_path / "pki")
    first = made.certificate.read_bytes()
    assert stat.S_IMODE(os.stat(made.key).st_mode) == 0o600
    again = own_certificate(tmp_path / "pki")
    assert (again, again.certificate.read_bytes()) == (made, first)
    try:
        shown = subprocess.run(
            ["openssl", "x509", "-inform", "DER", "-in", made.certificate, "-noout", "-text", "-fingerprint"],
            capture_output=True, text=True, check=True, timeout=20,
        ).stdout  # fmt: skip
    except FileNotFoundError:
        pytest.skip("needs openssl")
    assert f"URI:{made.application_uri}" in shown
    assert "(2048 bit)" in shown
    assert "Digital Signature, Non Repudiation, Key Encipherment, Data Encipherment" in shown
    assert made.thumbprint in shown.replace(":", "").upper()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes one user and SignAndEncrypt only, and trusts every client."""
    server = Server(
        tmp_path_factory.mktemp("strict"),
        security=["SignAndEncrypt"], anonymous=False, acceptAnyClient=True, users={"operator": USER["password"]},
    )  # fmt: skip
    yield server
    server.close()


@pytest.mark.usefixtures("trusted")
def test_a_changed_server_certificate_is_refused_until_it_is_moved(
    plant: Server, strict: Server, connect: Connect, tmp_path: Path
) -> None:
    assert all_good(rows(connect(plant, TAGS, **ENCRYPT).read()))
    (pinned,) = (tmp_path / "pki" / "trusted").iterdir()
    pinned = pinned.replace(pinned.with_name(f"127.0.0.1_{strict.port}.der"))  # what was seen there before

    reader = connect(strict, TAGS, **ENCRYPT, **USER)
    assert all_bad(rows(reader.read()))
    told = messages(reader)
    assert "certificate of the server" in told
    assert len(set(re.findall(r"\b[0-9A-F]{40}\b", told))) == 2
    (refused,) = (tmp_path / "pki" / "rejected").iterdir()
    assert f"move {refused} over {pinned}" in told

    only_trusted = connect(strict, TAGS, **ENCRYPT, **USER, trust="trusted only")
    assert all_bad(rows(only_trusted.read()))
    assert f"move {refused} to {pinned.parent}" in messages(only_trusted)
    assert strict.do("requests").get("CreateSession", 0) == 0
    assert all_good(rows(connect(strict, TAGS, **ENCRYPT, **USER, trust="any").read()))
    refused.replace(pinned)
    for trust in ("first use", "trusted only"):
        assert all_good(rows(connect(strict, TAGS, **ENCRYPT, **USER, trust=trust).read()))


def test_what_the_server_does_not_offer_is_said_with_what_it_does(strict: Server, connect: Connect) -> None:
    for settings, hint in (
        ({}, "does not offer None; it offers Basic256Sha256 SignAndEncrypt"),
        (SIGN, "does not offer Basic256Sha256 Sign; it offers Basic256Sha256 SignAndEncrypt"),
        (ENCRYPT, "does not accept Anonymous logins with this security, only Certificate, UserName"),
    ):
        reader = connect(strict, TAGS, **settings)
        assert all_bad(rows(reader.read()))
        assert hint in messages(reader)
    assert strict.do("sessions") == 0


def test_a_pki_folder_that_cannot_be_used_is_named(plant: Server, connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    reader = connect(plant, TAGS, **ENCRYPT, pki=tmp_path / "file")
    assert all_bad(rows(reader.read()))
    assert f"PKI Directory: {tmp_path / 'file'}" in messages(reader)
    own_certificate(tmp_path / "half").key.unlink()
    reader = connect(plant, TAGS, **ENCRYPT, pki=tmp_path / "half")
    assert all_bad(rows(reader.read()))
    assert "key.pem is missing" in messages(reader)


@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"])
def test_every_current_policy(start: Callable[..., Server], connect: Connect, policy: str, mode: str) -> None:
    server = start(
        security=["Sign", "SignAndEncrypt"], policies=["Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"],
        acceptAnyClient=True, users={"operator": USER["password"]},
    )  # fmt: skip
    assert all_good(rows(connect(server, TAGS, policy=policy, mode=mode, **USER).read()))


@pytest.mark.parametrize("policy", ["Basic128Rsa15", "Basic256"])
def test_policies_that_are_no_longer_safe_are_refused(policy: str) -> None:
    with pytest.raises(MistakesError, match=f"{policy} is no longer safe; let the server offer Basic256Sha256"):
        OpcUaConfig("opc.tcp://127.0.0.1:4840", tuple(TAGS), policy=policy)
