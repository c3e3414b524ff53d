"""Bad input through the four processor files: one clear message each, no secret in it, and nothing good is lost.

Here: properties, tag lists, and devices; test_bad_input_stores.py has the stores and bad lines.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from bad_input import (
    ICEBERG,
    MODBUS,
    MODBUS_LIST,
    OPCUA,
    OPCUA_LIST,
    OPEN,
    SECRET,
    USER,
    VM,
    Site,
    Speak,
    Spoken,
    by_tag,
    cycles,
    free_port,
    login_files,
    recovered,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from otmirror.plant import Plant
from otmirror.status import STATUS

GOOD = ("good", 0)


# -- properties and tag lists: told on the canvas, before anything connects


class Mistake(NamedTuple):
    """A processor, the properties that differ from good ones, and what the one message has to hold."""

    processor: str
    properties: dict[str, str | None]
    expected: tuple[str, ...]


FILES = {
    "empty.csv": b"",
    "header.csv": b"tag,address\n",
    "latin.csv": b"tag,address\na/P,ns=2;s=P\nDruck\xfc,ns=2;s=T\n",
    "twice.csv": b"tag,address,type\na/P,{0},{1}\na/T,{0},{1}\na/P,{0},{1}\n",
    **login_files(),
}


def login(certificate: str | None, key: str | None, password: str | None = None) -> dict[str, str | None]:
    """Properties of a log-in by certificate; the names are those of files."""
    return {
        "username": None, "password": None, "user_key_password": password,
        "user_certificate_file": certificate and "{folder}/" + certificate, "user_key_file": key and "{folder}/" + key,
    }  # fmt: skip


def file(name: str) -> dict[str, str | None]:
    return {"tag_list": None, "tag_list_file": "{folder}/" + name}


def mistakes() -> Iterator[Mistake]:
    for source, good in ((OPCUA, OPCUA_LIST), (MODBUS, MODBUS_LIST)):
        yield Mistake(source, file("empty.csv"), ("empty.csv line 1", "the list is empty", "needs a header row"))
        yield Mistake(source, file("header.csv"), ("header.csv line 1", "declares no tag", "add one row a tag"))
        yield Mistake(source, file("nowhere.csv"), ("nowhere.csv cannot be read: No such file",))
        yield Mistake(source, file("latin.csv"), ("latin.csv line 3", "not UTF-8", "save the file as CSV UTF-8"))
        yield Mistake(source, file("twice.csv"), ("twice.csv line 4, column tag", "'a/P'", "declared in line 2"))
        yield Mistake(source, file("twice.csv") | {"tag_list": good}, ("set exactly one", "Tag List File", "Tag List"))
        yield Mistake(source, {"tag_list": None}, ("set exactly one", "Tag List File", "Tag List"))
        yield Mistake(source, {"poll_interval": "soon"}, ("Poll Interval", "'soon'", "such as '500 ms'"))
        yield Mistake(source, {"poll_interval": "0 sec"}, ("Poll Interval", "not between"))
    for node in ("ns=2;x=P", "Well1.P", "ns=x;s=P", "i=-1", "nsu=;s=P", "g=12"):
        where = ("Tag List line 4, column address", node)
        yield Mistake(OPCUA, {"tag_list": f"{OPCUA_LIST}a/X,{node}\n"}, where)
    for address in ("1:holding", "1:memory:3", "300:holding:1", "1:holding:65535", "1:90001", "other/1:holding:0"):
        where = ("Tag List line 4, column address",)
        yield Mistake(MODBUS, {"tag_list": f"{MODBUS_LIST}a/X,{address},float\n"}, where)
    for url in ("http://plc:4840", "plc:4840", "opc.tcp://:4840", "opc.tcp://plc:70000", "opc.tcp://plc:a"):
        yield Mistake(OPCUA, {"endpoint_url": url}, ("Endpoint URL",))
    yield Mistake(OPCUA, {"endpoint_url": f"opc.tcp://u:{SECRET}@plc"}, ("Endpoint URL", "properties Username"))
    for url in ("plc:4840", "opc.tcp://plc:a", "http://plc"):
        backups = {"backup_endpoint_urls": f"opc.tcp://plc-2, {url}"}
        yield Mistake(OPCUA, backups, ("Backup Endpoint URLs, number 2",))
    backups = {"backup_endpoint_urls": f"opc.tcp://u:{SECRET}@plc"}
    yield Mistake(OPCUA, backups, ("Backup Endpoint URLs, number 1", "properties Username"))
    backups = {"endpoint_url": "opc.tcp://plc", "backup_endpoint_urls": "opc.tcp://plc:4840"}
    yield Mistake(OPCUA, backups, ("Backup Endpoint URLs", "opc.tcp://plc:4840 is named twice", "remove it"))
    yield Mistake(OPCUA, {"server_profile": "S7-400"}, ("Server Profile", "'S7-400'", "S7-1200, S7-1500, Kepware"))
    yield Mistake(OPCUA, {"redundancy": "hot"}, ("Redundancy", "'hot'", "cold, warm"))
    yield Mistake(OPCUA, {"max_requests_per_second": "99999"}, ("Max Requests Per Second", "99999", "10000"))
    yield Mistake(OPCUA, {"max_requests_per_second": "often"}, ("Max Requests Per Second", "'often'"))
    yield Mistake(OPCUA, {"security_policy": "None"}, ("Password", "choose Basic256Sha256", "Without Encryption"))
    yield Mistake(OPCUA, {"username": None}, ("Password: is set, but Username is not",))
    yield from login_mistakes()
    for devices in ("plc:70000", "plc:a", "plc 7", "http://plc:502"):
        yield Mistake(MODBUS, {"devices": devices}, ("Devices", devices, "host:port"))
    for url in ("vm:8428", "ftp://vm:8428", "http://", "http://vm:70000", "http://[::1"):
        yield Mistake(VM, {"victoriametrics_url": url}, ("VictoriaMetrics URL", url))
    yield Mistake(VM, {"victoriametrics_url": f"http://u:{SECRET}@vm"}, ("VictoriaMetrics URL", "properties Username"))
    yield Mistake(VM, {"victoriametrics_url": f"htp://vm/?token={SECRET}"}, ("VictoriaMetrics URL", "http://host"))
    yield Mistake(VM, {"request_timeout": "soon"}, ("Request Timeout", "'soon'", "such as '500 ms'"))
    yield Mistake(VM, {"username": None}, ("Username and Password: set both or none",))
    yield Mistake(VM, {"max_request_size": "big"}, ("Max Request Size", "'big'", "such as '4 MB'"))
    yield Mistake(ICEBERG, {"snapshot_retention": "soon"}, ("Snapshot Retention", "'soon'", "such as '500 ms'"))
    yield Mistake(ICEBERG, {"warehouse": "some/folder"}, ("Warehouse", "absolute path"))
    yield Mistake(ICEBERG, {"warehouse": None}, ("Warehouse", "absolute path"))
    yield Mistake(ICEBERG, {"s3_access_key": None}, ("S3 Access Key and S3 Secret Key: set both",))
    sql = {"catalog_type": "sql", "catalog_credential": f"{USER}:{SECRET}"}
    for uri in (f"postgresql+psycopg2://u:{SECRET}@db/x", f"postgresql+psycopg2://db/x?password={SECRET}"):
        yield Mistake(ICEBERG, sql | {"catalog_uri": uri}, ("Catalog URI: holds a password", "Catalog Credential"))
    yield Mistake(ICEBERG, sql | {"catalog_uri": "db/x"}, ("Catalog URI", "postgresql+psycopg2://host/db"))
    yield Mistake(ICEBERG, {"catalog_type": "rest", "catalog_uri": "db"}, ("Catalog URI", "https://host:8181"))


def login_mistakes() -> Iterator[Mistake]:
    for policy in ("Basic256", "Basic128Rsa15"):
        yield Mistake(OPCUA, {"security_policy": policy}, (policy, "no longer safe", "Allow Deprecated Security"))
    for certificate, key, password, expected in (
        ("user.pem", None, None, ("User Certificate File: is set, but User Key File is not",)),
        (None, "user.key", None, ("User Key File: is set, but User Certificate File is not",)),
        (None, None, SECRET, ("User Key Password: is set, but User Key File is not",)),
        ("none.pem", "user.key", None, ("User Certificate File", "none.pem cannot be read: No such file")),
        ("user.pem", "none.key", None, ("User Key File", "none.key cannot be read: No such file")),
        ("latin.csv", "user.key", None, ("User Certificate File", "latin.csv is no X.509 certificate (PEM or DER)")),
        ("user.key", "user.key", None, ("User Certificate File", "user.key is no X.509 certificate")),
        ("user.pem", "user.pem", None, ("User Key File", "user.pem is no private key (PEM or DER)")),
        ("old.pem", "user.key", None, ("User Certificate File", "old.pem expired on ", "replace it")),
        ("user.pem", "other.key", None, ("User Key File", "other.key does not belong to the certificate", "user.pem")),
        ("user.pem", "curve.key", None, ("User Key File", "curve.key is no RSA key")),
        ("user.pem", "secret.key", None, ("User Key File", "secret.key is encrypted: set User Key Password")),
        ("user.pem", "secret.key", f"{SECRET}!", ("User Key Password: does not open", "secret.key")),
        ("user.pem", "user.key", SECRET, ("User Key Password", "user.key is not encrypted", "remove the password")),
    ):
        yield Mistake(OPCUA, login(certificate, key, password), expected)
    both = login("user.pem", "user.key") | {"username": USER, "password": SECRET}
    yield Mistake(OPCUA, both, ("Username and User Certificate File: both are set", "a session has one user: remove"))


def shown(mistake: Mistake) -> str:
    changed = ", ".join(f"{key}={value}" for key, value in mistake.properties.items())
    return f"{mistake.processor}: {changed}".replace("\n", "|").replace(SECRET, "***")


@pytest.mark.parametrize("mistake", list(mistakes()), ids=shown)
def test_a_mistake_is_told_once_on_the_canvas_and_never_raises(mistake: Mistake, speak: Speak, tmp_path: Path) -> None:
    address = (b"1:holding:0", b"float") if mistake.processor == MODBUS else (b"ns=2;s=P", b"")
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content.replace(b"{0}", address[0]).replace(b"{1}", address[1]))
    processor = speak(mistake.processor, **mistake.properties)
    [message] = processor.validate()
    assert [part for part in mistake.expected if part not in message] == [], message
    # NiFi runs no invalid processor, but a tag list may change before a process that died is made again.
    for _ in range(3):
        result = processor.call()
        if mistake.processor in (VM, ICEBERG):
            assert (result.relationship, result.contents) == ("retry", None), "the FlowFile has to stay as it is"
            assert result.attributes["otmirror.error"] in message
        else:
            assert result is None
    assert processor.runner.java.yields == 3
    [line] = processor.told()
    assert line in message


def test_every_mistake_of_security_is_told_at_once(speak: Speak) -> None:
    wrong = login("none.pem", "none.key") | {"security_policy": "Basic256", "session_timeout": "0 sec"}
    told = "\n".join(sorted(speak(OPCUA, **wrong).validate()))
    for part in ("Policy: Basic256", "none.pem cannot be read", "none.key cannot be read", "Session Timeout: 0 s"):
        assert part in told


def test_a_tag_list_that_comes_back_is_read_without_a_restart(plant: Plant, speak: Speak, tmp_path: Path) -> None:
    assert plant.modbus_address
    host, port = plant.modbus_address
    source = speak(MODBUS, devices=f"{host}:{port}", **file("late.csv"))
    assert [source.create() for _ in range(3)] == [[], [], []]
    (tmp_path / "late.csv").write_text(MODBUS_LIST)
    assert set(by_tag(source.read(cycles(1, "a/P", "a/row")))["a/row"]) == {GOOD}
    [message] = source.told()
    assert message == f"{tmp_path}/late.csv cannot be read: No such file or directory"


# -- sources and their devices


def poll(speak: Speak, plant: Plant, extra: str = "", **properties: str | None) -> Spoken:
    """A ReadOpcUaTags on a plant without security, with further rows in its tag list."""
    url, tags = plant.opcua_url, OPCUA_LIST + extra
    return speak(OPCUA, **{"endpoint_url": url, "tag_list": tags, **OPEN, **properties})


UNKNOWN = ("bad", STATUS["BadNodeIdUnknown"])
AWAY = ("bad", STATUS["BadNoCommunication"])


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("nsu=urn:no:such;s=P", ("namespace URI 'urn:no:such' is not in the server's NamespaceArray", "urn:otmirror")),
        ("nsu=urn:otmirror:plant;s=Nothing", ("1 of 3 tags cannot be read: a/X (nsu=", "BadNodeIdUnknown")),
        ("ns=77;i=5", ("1 of 3 tags cannot be read: a/X (ns=77;i=5)", "BadNodeIdUnknown")),
    ],
)
def test_a_tag_the_server_does_not_know(plant: Plant, speak: Speak, node: str, expected: tuple[str, ...]) -> None:
    source = poll(speak, plant, f"a/X,{node}\n", emit_repeats="true")
    found = by_tag(source.read(cycles(4, "a/P", "a/T", "a/X")))
    assert set(found["a/P"]) | set(found["a/T"]) == {GOOD}
    assert set(found["a/X"]) == {UNKNOWN}
    assert len({len(samples) for samples in found.values()}) == 1, "a sample of each tag a cycle"
    [message] = source.told()
    assert [part for part in (*expected, "a/X") if part not in message] == [], message


def test_nothing_listens_at_the_opc_ua_port(site: Site, speak: Speak) -> None:
    port = free_port()
    source = speak(OPCUA, endpoint_url=f"opc.tcp://127.0.0.1:{port}/otmirror/plant", **OPEN)
    found = by_tag(source.read(cycles(4, "a/P", "a/T")))
    assert set(found["a/P"]) | set(found["a/T"]) == {AWAY}
    [message] = source.told()
    assert f"nothing listens at 127.0.0.1:{port} (connection refused): check that the server runs" in message
    site.start(opcua_port=port)
    source.read(recovered)
    assert source.told() == [message]


def test_nothing_listens_at_the_modbus_port(plant: Plant, site: Site, speak: Speak) -> None:
    assert plant.modbus_address
    port, (host, good) = free_port(), plant.modbus_address
    tags = "tag,address,type\na/row,good/1:holding:16,uint32\nb/row,off/1:holding:16,uint32\n"
    source = speak(MODBUS, devices=f"good={host}:{good}, off=127.0.0.1:{port}", tag_list=tags)
    found = by_tag(source.read(cycles(4, "a/row", "b/row")))
    assert (set(found["a/row"]), set(found["b/row"])) == ({GOOD}, {AWAY})
    [message] = source.told()
    assert f"device off (127.0.0.1:{port}) cannot be reached (Connection refused)" in message
    assert "check Devices" in message
    site.start(modbus_port=port)
    source.read(recovered)
    assert source.told() == [message]


def test_a_wrong_password(secured: tuple[Plant, Path], speak: Speak) -> None:
    source = speak(OPCUA, endpoint_url=secured[0].opcua_url)
    found = by_tag(source.read(cycles(4, "a/P", "a/T")))
    assert set(found["a/P"]) | set(found["a/T"]) == {AWAY}
    [message] = source.told()
    assert f"refuses user '{USER}': wrong user name or password (BadUserAccessDenied" in message
    right = speak(OPCUA, endpoint_url=secured[0].opcua_url, password="another")
    assert set(by_tag(right.read(cycles(1, "a/P", "a/T")))["a/P"]) == {GOOD}
    assert right.told() == []


def thumbprint(certificate: Path) -> str:
    """The SHA-1 thumbprint, computed by another library than the processor's."""
    return x509.load_der_x509_certificate(certificate.read_bytes()).fingerprint(hashes.SHA1()).hex().upper()


def test_a_server_certificate_that_is_not_trusted(secured: tuple[Plant, Path], speak: Speak, tmp_path: Path) -> None:
    source = speak(
        OPCUA, endpoint_url=secured[0].opcua_url, password="another", server_certificate_trust="trusted only"
    )
    found = by_tag(source.read(cycles(4, "a/P", "a/T")))
    assert set(found["a/P"]) | set(found["a/T"]) == {AWAY}
    [message] = source.told()
    kept = tmp_path / "pki" / "rejected" / f"{thumbprint(secured[1] / 'plant-cert.der')}.der"
    assert kept.stem in message
    assert f"is not trusted; if it is the right one, move {kept} to {tmp_path / 'pki' / 'trusted'}" in message
    shutil.move(kept, tmp_path / "pki" / "trusted")
    source.read(recovered)
    assert source.told() == [message]


def test_a_server_certificate_that_changed(site: Site, speak: Speak, tmp_path: Path) -> None:
    port, old, new = free_port(), tmp_path / "old", tmp_path / "new"
    anonymous = {"endpoint_url": f"opc.tcp://127.0.0.1:{port}/otmirror/plant", "username": None, "password": None}
    before = site.start(opcua_port=port, security=old)
    first = speak(OPCUA, **anonymous)
    first.read(recovered)
    first.stop()
    assert first.told() == []
    site.end(before)
    site.start(opcua_port=port, security=new)
    second = speak(OPCUA, **anonymous)
    found = by_tag(second.read(cycles(4, "a/P", "a/T")))
    assert set(found["a/P"]) | set(found["a/T"]) == {AWAY}
    [message] = second.told()
    was, now = thumbprint(old / "plant-cert.der"), thumbprint(new / "plant-cert.der")
    kept, pinned = (tmp_path / "pki" / place for place in (f"rejected/{now}.der", f"trusted/127.0.0.1_{port}.der"))
    assert f"127.0.0.1:{port} changed: its thumbprint was {was} and is now {now}" in message
    assert f"move {kept} over {pinned}" in message
    shutil.move(kept, pinned)
    second.read(recovered)
    assert second.told() == [message]


@pytest.mark.parametrize("timeout", ["300 ms", "50 ms"], ids=["longer than the interval", "shorter"])
def test_a_modbus_unit_that_does_not_answer(plant: Plant, speak: Speak, timeout: str) -> None:
    assert plant.modbus_address
    host, good = plant.modbus_address
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        devices = f"good={host}:{good}, quiet=127.0.0.1:{port}"
        tags = "tag,address,type\na/row,good/1:holding:16,uint32\nb/row,quiet/7:holding:16,uint32\n"
        source = speak(MODBUS, devices=devices, tag_list=tags, request_timeout=timeout)
        found = by_tag(source.read(cycles(12, "a/row", "b/row")))
    assert set(found["a/row"]) == {GOOD}
    assert set(found["b/row"]) == {("bad", STATUS["BadTimeout"])}
    [message] = source.told()
    assert f"device quiet (127.0.0.1:{port}): unit 7 does not answer within" in message
    assert "check its number in the tag list, or raise Request Timeout" in message


def test_an_illegal_address_among_good_ones(plant: Plant, speak: Speak) -> None:
    assert plant.modbus_address
    host, port = plant.modbus_address
    # Nothing is at 31, right behind the setpoint: one request would read both.
    extra = "a/set,1:holding:30,uint16\na/bad,1:holding:31,uint16\na/T,1:holding:2,float\n"
    source = speak(MODBUS, devices=f"{host}:{port}", tag_list=MODBUS_LIST + extra)
    found = by_tag(source.read(cycles(4, "a/P", "a/row", "a/T", "a/set", "a/bad")))
    assert {quality for tag in ("a/P", "a/row", "a/T", "a/set") for quality in found[tag]} == {GOOD}
    assert set(found["a/bad"]) == {UNKNOWN}
    assert len({len(samples) for samples in found.values()}) == 1, "a sample of each tag a cycle"
    [message] = source.told()
    assert f"device {host}:{port}: unit 1 calls the address of 1 tag(s) illegal: a/bad; correct" in message
