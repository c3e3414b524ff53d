"""The PKI folder: whose certificate is accepted, by OpenSSL's judgement where it has one, and what is said if not."""

from __future__ import annotations

import datetime
import shutil
import subprocess
from pathlib import Path
from typing import Any

import certificates as made
import pytest
from certificates import DAY, NOW, SERVER_URI, Entity, authority, crl, put, server
from cryptography.hazmat.primitives import serialization

from otmirror.errors import ConfigError
from otmirror.opcua import chain, security
from otmirror.opcua.trust import ServerTrust, Shown, Warnings

ROOT, OTHER = authority("plant root", 0), authority("plant root", 5)
MIDDLE = authority("plant issuing", 1, ROOT)
LOW = authority("plant line 3", 2, MIDDLE)
LEAF = server(issuer=MIDDLE)
SELF = server("self")


def shown(*sent: Entity, host: str = "127.0.0.1", uri: str = SERVER_URI) -> Shown:
    return Shown.of(b"".join(one.der for one in sent), host, 4840, uri)


def check(folder: Path, *sent: Entity, rule: str = "trusted only", now: datetime.datetime = NOW) -> Warnings:
    return ServerTrust(folder, rule).check(shown(*sent), now)


def refusal(folder: Path, *sent: Entity, rule: str = "trusted only", now: datetime.datetime = NOW) -> str:
    with pytest.raises(ConfigError) as error:
        check(folder, *sent, rule=rule, now=now)
    return str(error.value)


# -- chains: the same judgement as OpenSSL's

CASES: dict[str, dict[str, Any]] = {
    "issued by a trusted root": {"leaf": server(issuer=ROOT), "trusted": [ROOT]},
    "intermediate sent": {"leaf": LEAF, "trusted": [ROOT], "sent": [MIDDLE]},
    "intermediate in issuers": {"leaf": LEAF, "trusted": [ROOT], "issuers": [MIDDLE]},
    "intermediate missing": {"leaf": LEAF, "trusted": [ROOT]},
    "trusted intermediate": {"leaf": LEAF, "trusted": [MIDDLE]},
    "root only in issuers": {"leaf": LEAF, "trusted": [OTHER], "issuers": [MIDDLE, ROOT]},
    "root only sent": {"leaf": LEAF, "trusted": [OTHER], "sent": [MIDDLE, ROOT]},
    "two intermediates": {"leaf": server(issuer=LOW), "trusted": [ROOT], "sent": [LOW], "issuers": [MIDDLE]},
    "another root of the same name": {"leaf": server(issuer=ROOT), "trusted": [OTHER]},
    "self-signed of another name": {"leaf": SELF, "trusted": [ROOT]},
    "expired intermediate": {
        "leaf": server(issuer=(old := authority("old", 3, ROOT, until=NOW - DAY))), "trusted": [ROOT], "sent": [old],
    },
    "intermediate from tomorrow": {
        "leaf": server(issuer=(new := authority("new", 3, ROOT, begin=NOW + DAY))), "trusted": [ROOT], "sent": [new],
    },
    "expired root": {
        "leaf": server(issuer=(gone := authority("gone", 4, until=NOW - DAY))), "trusted": [gone],
    },
    "renewed intermediate beside the expired one": {
        "leaf": server(issuer=(was := authority("again", 3, ROOT, until=NOW - DAY))), "trusted": [ROOT],
        "sent": [was], "issuers": [authority("again", 3, ROOT)],
    },
    "issuer is no authority": {
        "leaf": server(issuer=(fake := authority("fake", 3, ROOT, ca=False))), "trusted": [ROOT], "sent": [fake],
    },
    "too many below": {
        "leaf": server(issuer=(low := authority("low", 7, top := authority("top", 4, length=0)))),
        "trusted": [top], "sent": [low],
    },
    "as many below as allowed": {
        "leaf": server(issuer=(low1 := authority("low", 7, top1 := authority("top", 4, length=1)))),
        "trusted": [top1], "sent": [low1],
    },
    "revoked": {"leaf": (bad := server(issuer=ROOT)), "trusted": [ROOT], "crls": [crl(ROOT, bad)]},
    "another one revoked": {"leaf": server(issuer=ROOT), "trusted": [ROOT], "crls": [crl(ROOT, bad)]},
    "intermediate revoked": {
        "leaf": LEAF, "trusted": [ROOT], "sent": [MIDDLE], "crls": [crl(ROOT, MIDDLE), crl(MIDDLE)],
    },
    "revoked by an intermediate": {
        "leaf": LEAF, "trusted": [ROOT], "sent": [MIDDLE], "crls": [crl(ROOT), crl(MIDDLE, LEAF)],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_chain_is_judged_as_by_openssl(name: str, tmp_path: Path) -> None:
    case = {"sent": [], "issuers": [], "crls": []} | CASES[name]
    leaf, pki = case["leaf"], tmp_path / "pki"
    for folder in ("trusted", "issuers"):
        for n, one in enumerate(case[folder]):
            put(pki, **{f"{folder}__{n}": one.pem if n % 2 else one.der})
    for n, content in enumerate(case["crls"]):
        put(pki, **{f"crl__{n}": content})
    try:
        check(pki, leaf, *case["sent"])
        ours = True
    except ConfigError:
        ours = False
    assert ours is openssl_accepts(tmp_path, leaf, case)


def openssl_accepts(folder: Path, leaf: Entity, case: dict[str, Any]) -> bool:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    lists = [
        subprocess.run(
            ["openssl", "crl", "-inform", "DER"], input=content, capture_output=True, check=True, timeout=20
        ).stdout
        for content in case["crls"]
    ]
    put(folder, leaf=leaf.pem, trusted=b"".join(one.pem for one in case["trusted"]))
    put(folder, others=b"".join(one.pem for one in case["sent"] + case["issuers"]), crls=b"".join(lists))
    command = ["openssl", "verify", "-partial_chain", "-no-CApath", "-CAfile", folder / "trusted"]
    if case["sent"] + case["issuers"]:
        command += ["-untrusted", folder / "others"]
    if lists:
        command += ["-crl_check_all", "-CRLfile", folder / "crls"]
    done = subprocess.run([*command, folder / "leaf"], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0 or "verification failed" in done.stderr, done.stderr
    return done.returncode == 0


# -- what OpenSSL has no rule for


def test_a_server_that_calls_itself_an_authority_is_trusted_for_itself_alone(tmp_path: Path) -> None:
    grand = server("grand", key=3, ca=True)
    pki = put(tmp_path, trusted__grand=grand.der)
    assert check(pki, grand) == []
    assert "is not trusted" in refusal(pki, server(issuer=grand))


def test_both_pem_and_der_and_several_in_a_file_and_text_around_them(tmp_path: Path) -> None:
    pki = put(tmp_path, trusted__both=b"Our servers:\n" + OTHER.pem + b"and\n" + SELF.pem)
    assert check(pki, SELF) == []


def test_the_first_one_is_kept_and_another_one_refused_unless_an_authority_stands_for_it(tmp_path: Path) -> None:
    first, second = server("first"), server("second", issuer=ROOT, key=7)
    assert check(tmp_path, first, rule="first use") == []
    pinned = tmp_path / "trusted" / "127.0.0.1_4840.der"
    assert pinned.read_bytes() == first.der
    text = refusal(tmp_path, second, rule="first use")
    kept = tmp_path / "rejected" / f"{second.thumbprint}.der"
    assert f"changed: its thumbprint was {first.thumbprint} and is now {second.thumbprint}" in text
    assert f"move {kept} over {pinned}" in text
    assert f"put the certificate of the authority 'CN=plant root' into {tmp_path / 'trusted'}" in text
    assert kept.read_bytes() == second.der
    put(tmp_path, trusted__root=ROOT.pem)
    assert check(tmp_path, second, rule="first use") == []
    assert check(tmp_path, first, rule="first use") == []


def test_what_an_authority_issued_is_not_pinned(tmp_path: Path) -> None:
    check(put(tmp_path, trusted__root=ROOT.der), server(issuer=ROOT), rule="first use")
    assert [file.name for file in (tmp_path / "trusted").iterdir()] == ["root"]


def test_an_untrusted_one_is_kept_and_what_to_do_is_said(tmp_path: Path) -> None:
    text = refusal(tmp_path, SELF)
    kept = tmp_path / "rejected" / f"{SELF.thumbprint}.der"
    assert text == (
        f"the certificate of the server at 127.0.0.1:4840, thumbprint {SELF.thumbprint}, is not trusted; "
        f"if it is the right one, move {kept} to {tmp_path / 'trusted'}"
    )
    assert "the certificate of its authority 'CN=plant issuing' is missing" in refusal(tmp_path, LEAF)
    assert "the certificate of its authority 'CN=plant root' is missing" in refusal(tmp_path, LEAF, MIDDLE)
    text = refusal(tmp_path, LEAF, MIDDLE, ROOT)
    assert "nor is its authority 'CN=plant root'" in text
    assert f"or put the certificate of the authority 'CN=plant root' into {tmp_path / 'trusted'}" in text


def test_an_authority_that_expired_or_was_revoked_is_named(tmp_path: Path) -> None:
    pki = put(tmp_path, trusted__root=ROOT.der)
    until = datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc)
    late = authority("late", 3, ROOT, begin=until - 40 * DAY, until=until)
    assert "as its authority 'CN=late' expired on 2026-01-31" in refusal(pki, server(issuer=late), late)
    put(pki, crl__root=crl(ROOT, MIDDLE))
    assert "as its authority 'CN=plant issuing' was revoked on 2026-02-03" in refusal(pki, LEAF, MIDDLE)


@pytest.mark.parametrize("rule", ["first use", "trusted only"])
def test_dates_are_checked_even_of_a_trusted_one_and_named(rule: str, tmp_path: Path) -> None:
    until = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc)
    begin = until - 40 * DAY
    old = server("old", begin=begin, until=until)
    pki = put(tmp_path, trusted__old=old.der)
    assert check(pki, old, rule=rule, now=until - DAY) == []
    text = refusal(pki, old, rule=rule, now=until + DAY)
    assert f"thumbprint {old.thumbprint}, expired on 2026-01-31: have it replaced on the server" in text
    text = refusal(pki, old, rule=rule, now=begin - DAY)
    assert "is not valid before 2025-12-22: check the clocks of the server and of this machine" in text


def test_any_accepts_everything_with_a_warning_of_the_date(tmp_path: Path) -> None:
    until = datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc)
    old = server("old", begin=until - 40 * DAY, until=until)
    assert check(tmp_path / "pki", old, rule="any", now=until - DAY) == []
    [(key, text)] = check(tmp_path / "pki", old, rule="any", now=until + DAY)
    assert key == "certificate date"
    assert "expired on 2026-01-31; it is accepted because Server Certificate Trust is 'any'" in text
    assert not (tmp_path / "pki").exists()


@pytest.mark.parametrize("rule", ["first use", "trusted only"])
def test_a_revoked_one_is_refused_even_when_it_is_trusted_itself(rule: str, tmp_path: Path) -> None:
    leaf = server(issuer=ROOT)
    pki = put(tmp_path, trusted__leaf=leaf.der, issuers__root=ROOT.der)
    assert check(pki, leaf, rule=rule) == []
    put(pki, crl__root=crl(ROOT, leaf))
    text = refusal(pki, leaf, rule=rule)
    assert f"{leaf.thumbprint}, was revoked on 2026-02-03 by 'CN=plant root': have it replaced" in text
    shutil.rmtree(pki / "crl")
    put(pki, crl__pem=made.x509.load_der_x509_crl(crl(ROOT, leaf)).public_bytes(serialization.Encoding.PEM))
    assert "was revoked on 2026-02-03" in refusal(pki, leaf, rule=rule)


def test_a_forged_list_revokes_nothing_and_an_old_one_still_does(tmp_path: Path) -> None:
    leaf, other = server(issuer=ROOT), server("other", issuer=ROOT)
    pki = put(tmp_path, trusted__root=ROOT.der, crl__forged=crl(ROOT, leaf, signer=OTHER))
    assert check(pki, leaf) == []
    put(pki, crl__old=crl(ROOT, other, until=NOW - 3 * DAY))
    [(_, text)] = check(pki, leaf)
    assert (
        f"revocation list {pki / 'crl' / 'old'} of 'CN=plant root' is out of date since {NOW - 3 * DAY:%Y-%m-%d}"
        in text
    )
    assert "was revoked" in refusal(pki, other)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    pki = put(tmp_path, trusted__root=ROOT.der, trusted__note=b"Ask Bob.", **{"trusted__.hidden": b"?"})
    [(_, text)] = check(pki, server(issuer=ROOT))
    assert f"{pki / 'trusted' / 'note'} is no certificate" in text
    put(pki, crl__note=b"Ask Bob.")
    assert f"{pki / 'crl' / 'note'} is no revocation list (PEM or DER): replace or remove it" in refusal(pki, SELF)


@pytest.mark.parametrize(
    ("host", "names", "fits"),
    [
        ("127.0.0.1", ("127.0.0.1",), True), ("PLC-7.local", ("plc-7.LOCAL", "x"), True), ("plc-7.", ("plc-7",), True),
        ("::1", ("0:0:0:0:0:0:0:1",), True), ("127.0.0.1", ("plc-7",), False), ("plc-7", ("plc-70",), False),
        ("plc-7", (), False),
    ],
)  # fmt: skip
def test_a_certificate_for_another_host_is_accepted_with_a_warning(
    host: str, names: tuple[str, ...], fits: bool, tmp_path: Path
) -> None:
    leaf = server(hosts=names)
    warnings = ServerTrust(tmp_path, "first use").check(shown(leaf, host=host), NOW)
    assert [key for key, _ in warnings] == ([] if fits else ["certificate host"])
    if not fits:
        expected = f"is made out for {', '.join(names) or 'no host'}, not for the host {host!r} of Endpoint URL"
        assert expected in warnings[0][1]


def test_a_certificate_for_another_application_is_accepted_with_a_warning(tmp_path: Path) -> None:
    [(key, text)] = ServerTrust(tmp_path, "any").check(shown(SELF, uri="urn:renamed"), NOW)
    assert key == "certificate uri"
    assert f"made out for the application URI {SERVER_URI}, but the server calls itself urn:renamed" in text
    assert check(tmp_path, server(uri=None), rule="any")[0][0] == "certificate uri"


@pytest.mark.parametrize("sent", [b"", b"\x30\x03\x02\x01", b"\x30\x82\xff\xff" + bytes(10), SELF.der[:-1]])
def test_what_is_no_certificate_is_said_to_be_none(sent: bytes) -> None:
    with pytest.raises(ConfigError, match="certificate"):
        Shown.of(sent, "plc", 4840, "")


def test_a_chain_is_taken_apart_and_no_longer_than_ten() -> None:
    assert chain.split(LEAF.der + MIDDLE.der + b"rest") == [LEAF.der, MIDDLE.der]
    assert len(chain.split(LEAF.der * 50)) == 10


# -- soon to expire


@pytest.mark.parametrize(
    ("days", "expected"),
    [(31, None), (30, "expires on 2026-07-01"), (1, "expires on 2026-06-02"), (-1, "expired on 2026-05-31")],
)
def test_what_expires_within_30_days_is_warned_of(days: int, expected: str | None) -> None:
    now = datetime.datetime(2026, 6, 1, 8, tzinfo=datetime.timezone.utc)
    one = security.InUse("server", "the certificate of the server at plc:4840", "AB12", now + days * DAY, "replace it")
    later = security.InUse("own", "ours", "CD34", now + 300 * DAY, "-")
    text = f"the certificate of the server at plc:4840, thumbprint AB12, {expected}: replace it"
    assert security.expiring([one, later], now) == ([] if expected is None else [("expiry server", text)])


def test_reminders_come_once_a_day(tmp_path: Path) -> None:
    from asyncua import ua

    from otmirror.opcua.config import OpcUaConfig
    from otmirror.opcua.identity import Identity
    from otmirror.taglist import Tag

    now = NOW
    config = OpcUaConfig(
        "opc.tcp://127.0.0.1:4840", (Tag("a", "i=1"),), policy="Basic256Sha256", pki=tmp_path, trust="first use"
    )
    identity = Identity(config, lambda: now)
    leaf = server(until=NOW + 20 * DAY)
    endpoint = ua.EndpointDescription(ServerCertificate=leaf.der)
    endpoint.Server.ApplicationUri = SERVER_URI
    assert identity.accept(endpoint) == leaf.der
    [(key, text)] = identity.warnings
    assert key == "expiry server"
    assert f"thumbprint {leaf.thumbprint}, expires on {NOW + 20 * DAY:%Y-%m-%d}: have it replaced on the server" in text
    assert str(tmp_path / "trusted" / "127.0.0.1_4840.der") in text
    told = []
    for hours in range(0, 73, 1):
        now = NOW + datetime.timedelta(hours=hours)
        if identity.reminders():
            told.append(hours)
    assert told == [24, 48, 72]
