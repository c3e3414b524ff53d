"""Certificates of servers and of users against a real server: what is accepted, what is refused and how it is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import DAY, NOW, Entity, authority, crl, put, rsa_key, server, user
from cryptography.hazmat.primitives import serialization
from opcua_server import Server, all_bad, all_good, messages, rows, tags

from otmirror.cli.opcua import KEY_PASSWORD
from otmirror.errors import MistakesError
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.reader import OpcUaReader
from otmirror.opcua.security import own_certificate

Connect = Callable[..., OpcUaReader]
Start = Callable[..., Server]
ENCRYPT: dict[str, Any] = {"policy": "Basic256Sha256", "mode": "SignAndEncrypt"}
OPEN: dict[str, Any] = {"security": ["SignAndEncrypt"], "acceptAnyClient": True}
TAGS = tags("Type.Double", "Type.Int64")
ROOT = authority("plant root", 0)
MIDDLE = authority("plant issuing", 1, ROOT)
OPERATOR = user()


def refused(reader: OpcUaReader) -> str:
    assert all_bad(rows(reader.read()))
    return messages(reader)


def accepted(reader: OpcUaReader) -> str:
    good = all_good(rows(reader.read()))
    told = messages(reader)
    assert good, told
    return told


# -- the server's certificate


def test_a_chain_that_the_server_sends_up_to_a_trusted_authority(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    plc = start(**OPEN, **server(issuer=MIDDLE).files(tmp_path, "server", MIDDLE))
    pki = put(tmp_path / "pki", trusted__other=authority("other", 5).der)
    told = refused(connect(plc, TAGS, **ENCRYPT, trust="trusted only"))
    assert "is not trusted, and the certificate of its authority 'CN=plant root' is missing" in told
    assert f"or put the certificate of the authority 'CN=plant root' into {pki / 'trusted'}" in told
    assert plc.do("requests").get("CreateSession", 0) == 0
    put(pki, trusted__root=ROOT.pem)
    for trust in ("trusted only", "first use"):
        assert "warn" not in accepted(connect(plc, TAGS, **ENCRYPT, trust=trust))
    assert {file.name for file in (pki / "trusted").iterdir()} == {"root", "other"}


def test_intermediates_from_the_folder_and_revocation_in_operation(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    leaf = server(issuer=MIDDLE)
    plc = start(**OPEN, **leaf.files(tmp_path, "server"))
    pki = put(tmp_path / "pki", trusted__root=ROOT.pem)
    told = refused(connect(plc, TAGS, **ENCRYPT, trust="trusted only"))
    assert "the certificate of its authority 'CN=plant issuing' is missing" in told
    put(pki, issuers__middle=MIDDLE.der, crl__root=crl(ROOT), crl__middle=crl(MIDDLE))
    accepted(connect(plc, TAGS, **ENCRYPT, trust="trusted only"))
    put(pki, crl__middle=crl(MIDDLE, leaf))
    told = refused(connect(plc, TAGS, **ENCRYPT, trust="trusted only"))
    assert f"{leaf.thumbprint}, was revoked on 2026-02-03 by 'CN=plant issuing'" in told


def test_an_expired_server_certificate(start: Start, connect: Connect, tmp_path: Path) -> None:
    until = NOW - 3 * DAY
    plc = start(**OPEN, **server(until=until).files(tmp_path, "server"))
    for trust in ("first use", "trusted only"):
        told = refused(connect(plc, TAGS, **ENCRYPT, trust=trust))
        assert f"expired on {until:%Y-%m-%d}: have it replaced on the server" in told
    assert plc.do("requests").get("CreateSession", 0) == 0
    assert list((tmp_path / "pki" / "trusted").iterdir()) == []
    told = accepted(connect(plc, TAGS, **ENCRYPT, trust="any"))
    assert f"warn: opcua:127.0.0.1:{plc.port}: the certificate of the server" in told
    assert f"expired on {until:%Y-%m-%d}; it is accepted because Server Certificate Trust is 'any'" in told


def test_a_certificate_that_changed_after_a_restart(start: Start, connect: Connect, tmp_path: Path) -> None:
    first, second = server("first"), server("second", key=7)
    plc = start(**OPEN, **first.files(tmp_path, "first"))
    reader = connect(plc, TAGS, **ENCRYPT)
    accepted(reader)
    plc.kill()
    start(port=plc.port, pki=plc.pki, **OPEN, **second.files(tmp_path, "second"))
    told = ""
    while "changed" not in told:  # the first cycles find the connection gone
        told = refused(reader)
    assert f"its thumbprint was {first.thumbprint} and is now {second.thumbprint}" in told
    pinned = tmp_path / "pki" / "trusted" / f"127.0.0.1_{plc.port}.der"
    kept = tmp_path / "pki" / "rejected" / f"{second.thumbprint}.der"
    assert f"move {kept} over {pinned}" in told
    kept.replace(pinned)
    accepted(connect(plc, TAGS, **ENCRYPT))


def test_what_does_not_fit_and_what_expires_soon_is_said_at_each_connect(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    until = NOW + 12 * DAY
    leaf = server(hosts=("plc-7",), uri="urn:test.example:before", until=until)
    plc = start(**OPEN, **leaf.files(tmp_path, "server"))
    for _ in range(2):
        told = accepted(connect(plc, TAGS, **ENCRYPT))
        assert "is made out for plc-7, not for the host '127.0.0.1' of Endpoint URL" in told
        assert "application URI urn:test.example:before, but the server calls itself urn:test.example:server" in told
        assert f"thumbprint {leaf.thumbprint}, expires on {until:%Y-%m-%d}" in told


# -- the user's certificate


@pytest.fixture
def login(tmp_path: Path) -> dict[str, Any]:
    """A user certificate's settings; its key is encrypted."""
    return credentials(tmp_path, OPERATOR, "Hunter2-key")


def credentials(folder: Path, who: Entity, password: str | None) -> dict[str, Any]:
    put(folder, user_cert=who.pem, user_key=who.encrypted_key(password))
    return {
        "user_certificate": folder / "user_cert", "user_key": folder / "user_key", "user_key_password": password,
    }  # fmt: skip


@pytest.fixture(scope="module")
def badge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without anonymous access, with a trust list of users' certificates of its own."""
    folder = tmp_path_factory.mktemp("badge")
    options: dict[str, Any] = {"anonymous": False, "acceptAnyClient": True, "users": {"operator": "x"}}
    policies = ["Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
    modes = ["None", "Sign", "SignAndEncrypt"]
    plc = Server(folder, userPki=str(folder / "users"), security=modes, policies=policies, **options)
    yield plc
    plc.close()


def test_a_user_certificate_is_refused_with_its_file_until_the_server_trusts_it(
    badge: Server, connect: Connect, tmp_path: Path
) -> None:
    who = user("stranger", key=6)
    login = credentials(tmp_path, who, None)
    reader = connect(badge, TAGS, **ENCRYPT, **login)
    told = refused(reader)
    assert f"refuses the user certificate {login['user_certificate']} (thumbprint {who.thumbprint})" in told
    assert "let the server trust it as a user's" in told
    assert "it tries again by itself" in told
    assert badge.do("sessions") == 0
    badge.do("trustUser", file=str(put(tmp_path, user_der=who.der) / "user_der"))
    while not all_good(rows(reader.read())):
        pass
    assert badge.do("sessions") == 1


@pytest.mark.parametrize(
    "security",
    [
        {"policy": policy, "mode": mode}
        for policy in ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
        for mode in ("Sign", "SignAndEncrypt")
    ]
    + [{}],
    ids=str,
)
def test_a_user_logs_in_by_certificate(
    badge: Server, connect: Connect, login: dict[str, Any], tmp_path: Path, security: dict[str, Any]
) -> None:
    badge.do("trustUser", file=str(put(tmp_path, user_der=OPERATOR.der) / "user_der"))
    told = accepted(connect(badge, TAGS, **security, **login))
    assert "Hunter2" not in told


def test_no_certificate_of_the_user_goes_to_a_server_that_takes_none(
    start: Start, connect: Connect, login: dict[str, Any]
) -> None:
    plc = start(security=["None"])
    told = refused(connect(plc, TAGS, **login))
    assert "does not accept Certificate logins with this security, only Anonymous" in told
    assert "remove User Certificate File and User Key File" in told
    assert plc.do("requests").get("CreateSession", 0) == 0


def test_anonymous_where_only_users_are_taken(badge: Server, connect: Connect) -> None:
    told = refused(connect(badge, TAGS, **ENCRYPT))
    assert "does not accept Anonymous logins with this security, only Certificate, UserName" in told
    assert "set Username and Password or set User Certificate File and User Key File" in told


def test_a_user_certificate_that_expires_soon_is_said(badge: Server, connect: Connect, tmp_path: Path) -> None:
    who = user("brief", until=NOW + 5 * DAY)
    login = credentials(tmp_path, who, None)
    badge.do("trustUser", file=str(put(tmp_path, user_der=who.der) / "user_der"))
    told = accepted(connect(badge, TAGS, **ENCRYPT, **login))
    expected = f"the user certificate {login['user_certificate']}, thumbprint {who.thumbprint}, expires on"
    assert f"{expected} {NOW + 5 * DAY:%Y-%m-%d}: replace it and its key" in told


def test_keys_in_every_form(tmp_path: Path) -> None:
    who, pem, der = user(), serialization.Encoding.PEM, serialization.Encoding.DER
    traditional = who.key.private_bytes(
        pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.BestAvailableEncryption(b"hunter2")
    )
    put(tmp_path, pem=who.pem, der=who.der, traditional=traditional)
    put(tmp_path, pem_plain=who.encrypted_key(None), der_plain=who.encrypted_key(None, der))
    put(tmp_path, pem_secret=who.encrypted_key("hunter2"), der_secret=who.encrypted_key("hunter2", der))
    for certificate in ("pem", "der"):
        for key in ("pem_plain", "der_plain", "pem_secret", "der_secret", "traditional"):
            password = None if key.endswith("plain") else "hunter2"
            config = OpcUaConfig(
                "opc.tcp://plc", TAGS, user_certificate=tmp_path / certificate, user_key=tmp_path / key,
                user_key_password=password,
            )  # fmt: skip
            assert "hunter2" not in repr(config)


def test_every_mistake_of_a_user_certificate_at_once(tmp_path: Path) -> None:
    put(tmp_path, old=user(until=NOW - DAY).pem, key=rsa_key_pem(5))
    with pytest.raises(MistakesError) as error:
        OpcUaConfig(
            "opc.tcp://plc", TAGS, policy="Basic256", username="operator", password="x",
            user_certificate=tmp_path / "old", user_key=tmp_path / "key", user_key_password="hunter2",
        )  # fmt: skip
    told = error.value.problems
    assert [text.partition(":")[0] for text in told] == [
        "Security Policy", "Username and User Certificate File", "User Certificate File", "User Key Password",
    ]  # fmt: skip
    assert "hunter2" not in str(error.value)


def rsa_key_pem(number: int) -> bytes:
    return Entity(user().certificate, rsa_key(number)).key_pem


# -- own certificate


def test_an_own_certificate_that_expires_soon_is_said(plant: Server, connect: Connect, tmp_path: Path) -> None:
    own = server("otmirror", uri="urn:test.example:otmirror", hosts=("127.0.0.1",), until=NOW + 29 * DAY)
    pki = put(tmp_path / "pki", **{"own__cert.der": own.der, "own__key.pem": own.key_pem})
    plant.do("trust", file=str(own_certificate(pki).certificate))
    told = accepted(connect(plant, TAGS, **ENCRYPT))
    expected = f"this client's certificate {pki / 'own' / 'cert.der'}, thumbprint {own.thumbprint}, expires on"
    assert f"{expected} {NOW + 29 * DAY:%Y-%m-%d}: replace it and key.pem" in told


# -- the command


def test_the_command_takes_the_same_options(badge: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from otmirror.cli.app import app

    credentials(tmp_path, OPERATOR, "Hunter2-key")
    badge.do("trustUser", file=str(put(tmp_path, user_der=OPERATOR.der) / "user_der"))
    monkeypatch.setenv(KEY_PASSWORD, "Hunter2-key")
    put(tmp_path, list=b"tag,address\na,nsu=http://test.example/plant;s=Type.Double\n")
    options = ["--policy", "Basic256Sha256", "--pki", str(tmp_path / "pki")]
    login = ["--user-cert", str(tmp_path / "user_cert"), "--user-key", str(tmp_path / "user_key")]
    run = CliRunner().invoke
    done = run(app, ["opcua", "check", str(tmp_path / "list"), badge.url, "--json", *options, *login])
    assert done.exit_code == 0, done.output
    assert '"quality": "good"' in done.output
    done = run(app, ["opcua", "browse", badge.url, "--include", "*Type.Double", *options, *login])
    assert "Type.Double" in done.output
    done = run(app, ["opcua", "check", str(tmp_path / "list"), badge.url, "--policy", "Basic256", *login[:2]])
    assert done.exit_code != 0
    told = str(done.exception) + done.output
    assert "set Allow Deprecated Security to true" in told
    assert "User Certificate File: is set, but User Key File is not" in told
