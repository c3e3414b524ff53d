"""Hop by hop: whom the server refuses, and which server our client refuses, with a message that names a property.

NiFi's own port: tests/nifi/test_https.py. Brokers: tests/bus. The Vault: tests/vault.
"""

from __future__ import annotations

import datetime
import http.server
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography.hazmat.primitives.serialization import Encoding

from harness import Runner
from otmirror.embedded import victoriametrics as vm
from otmirror.embedded.brokers import Tls
from otmirror.embedded.stunnel import Stunnel
from otmirror.embedded.victoriametrics import Guard, VictoriaMetrics
from otmirror.errors import UnavailableError
from otmirror.loopthread import LoopThread
from otmirror.opcua.security import own_certificate
from otmirror.pki import stores
from otmirror.pki.authority import Authority as AnyAuthority
from otmirror.pki.authority import Request, Validity
from otmirror.pki.stores import write_private
from otmirror.plant import Plant, PlantConfig
from s3 import BUCKET, REGION, S3

pytestmark = pytest.mark.heavy
URI = "urn:otmirror:test:client"
WITHIN = 60.0
PASSWORD = "correct-horse-battery"
LINE = b'{"tag":"acme/x","ts":1700000000000000,"value":1.5,"type":"double","quality":"good","status":0,"source":"t"}\n'
PAST = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=3)
BAD_CLIENTS = ("none", "expired", "foreign")
BAD_SERVERS = {
    "expired": "certificate has expired",
    "foreign": "unable to get local issuer certificate",
    "elsewhere": "IP address mismatch",
}


@pytest.fixture(scope="module")
def secured(pki: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Tls], VictoriaMetrics]:
    """Start a VictoriaMetrics over HTTPS with a login."""
    folder = tmp_path_factory.mktemp("vm")
    write_private(folder / "password", PASSWORD)
    try:
        binary = vm.install()
    except UnavailableError as error:
        pytest.skip(str(error))
    started: list[VictoriaMetrics] = []

    def start(tls: Tls) -> VictoriaMetrics:
        guard = Guard(tls, "mirror", folder / "password")
        # Its health is asked with the same authority: for a certificate nobody takes that cannot work.
        server = VictoriaMetrics(folder / f"vm{len(started)}", binary=binary, guard=guard)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    """A VictoriaMetrics behind a door: it speaks no TLS itself."""
    try:
        server = VictoriaMetrics(tmp_path_factory.mktemp("plain"), binary=vm.install())
    except UnavailableError as error:
        pytest.skip(str(error))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def door(pki: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, Tls], str]]:
    """Put a door before `host:port` that asks for client certificates; its address."""
    started: list[Stunnel] = []

    def start(target: str, tls: Tls) -> str:
        made = Stunnel(tmp_path_factory.mktemp("stunnel"), tls, target)
        try:
            made.start()
        except UnavailableError as error:
            if "was not found" in str(error):
                pytest.skip(str(error))
            raise
        started.append(made)
        return made.url

    yield start
    for made in started:
        made.stop()


def sink(name: str, **properties: Any) -> Runner:
    return Runner(name, **{key: None if value is None else str(value) for key, value in properties.items()})


def hot(url: str, **properties: Any) -> Runner:
    return sink("ToVictoriaMetrics", victoriametrics_url=url, retention="36500 days", **properties)


def outcome(runner: Runner) -> tuple[str, str]:
    """Relationship and reason of one batch; a mistake in the properties would be no refusal."""
    assert runner.validate() == []
    result = runner.transform(LINE)
    runner.stop()
    reason = str(result.getAttributes().get("otmirror.error", ""))
    assert PASSWORD not in reason
    assert "\n" not in reason
    return result.getRelationship(), reason


def client_files(pki: Any, kind: str) -> dict[str, str | None]:
    certificate, key = pki.pair(kind)
    return {"client_certificate_file": certificate, "client_key_file": key}


# VictoriaMetrics.


def test_victoriametrics_over_https_with_its_password_and_without(pki: Any, secured: Any) -> None:
    server = secured(pki.good)
    ca = {"ca_certificate_file": pki.authority.certificate}
    assert outcome(hot(server.url, username="mirror", password=PASSWORD, **ca)) == ("success", "")
    for login in ({}, {"username": "mirror", "password": "wrong"}, {"username": "other", "password": PASSWORD}):
        relationship, reason = outcome(hot(server.url, **login, **ca))
        assert relationship == "retry"
        assert "answered 401: check Username and Password" in reason
    asking = requests.Session()
    asking.trust_env, asking.verify = False, str(pki.authority.certificate)
    assert asking.get(f"{server.url}/api/v1/export", params={"match[]": "ot_value"}, timeout=10).status_code == 401
    asking.auth = ("mirror", PASSWORD)
    asking.get(f"{server.url}/internal/force_flush", timeout=10)
    told = asking.get(f"{server.url}/api/v1/export", params={"match[]": "ot_value"}, timeout=10)
    assert json.loads(told.text)["values"] == [1.5]
    plain = hot(server.url.replace("https", "http"), username="mirror", password=PASSWORD)
    assert outcome(plain)[0] == "retry"


def test_victoriametrics_behind_a_door_for_certificates(pki: Any, plain: Any, door: Any) -> None:
    url = door(f"127.0.0.1:{plain.port}", pki.good)
    ca = {"ca_certificate_file": pki.authority.certificate}
    assert outcome(hot(url, **ca, **client_files(pki, "good"))) == ("success", "")
    for kind in BAD_CLIENTS:
        relationship, reason = outcome(hot(url, **ca, **client_files(pki, kind)))
        assert relationship == "retry", kind
        assert re.search("TLS: .*certificate.*; check Client Certificate File", reason), (kind, reason)


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_a_victoriametrics_that_is_not_who_it_should_be_gets_no_sample(
    pki: Any, plain: Any, door: Any, kind: str
) -> None:
    url = door(f"127.0.0.1:{plain.port}", replace(getattr(pki, kind), authority=pki.authority.certificate))
    login = {"username": "mirror", "password": PASSWORD}
    runner = hot(url, ca_certificate_file=pki.authority.certificate, **login, **client_files(pki, "good"))
    relationship, reason = outcome(runner)
    assert relationship == "retry"
    assert f"TLS: {BAD_SERVERS[kind]}" in reason
    assert reason.endswith("; check CA Certificate File")


# The Iceberg catalog and storage.


@contextmanager
def catalog() -> Iterator[http.server.ThreadingHTTPServer]:
    """Answers every request of a REST catalog with 503, so that being heard can be told from being refused."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"error": {"message": "heard you", "type": "Unavailable", "code": 503}}).encode()
            self.send_response(503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def cold(**properties: Any) -> Runner:
    return sink("WriteIceberg", **properties)


def test_a_rest_catalog_behind_a_door_for_certificates(pki: Any, door: Any) -> None:
    ca = {"catalog_type": "rest", "ca_certificate_file": pki.authority.certificate}
    with catalog() as server:
        url = door(f"127.0.0.1:{server.server_port}", pki.good)
        assert "heard you" in outcome(cold(catalog_uri=url, **ca, **client_files(pki, "good")))[1]
        for kind in BAD_CLIENTS:
            relationship, reason = outcome(cold(catalog_uri=url, **ca, **client_files(pki, kind)))
            assert relationship == "retry", kind
            assert re.search("TLS: .*certificate.*; check Client Certificate File", reason), (kind, reason)


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_a_rest_catalog_that_is_not_who_it_should_be(pki: Any, door: Any, kind: str) -> None:
    with catalog() as server:
        target = f"127.0.0.1:{server.server_port}"
        url = door(target, replace(getattr(pki, kind), authority=pki.authority.certificate))
        ca = {"catalog_type": "rest", "ca_certificate_file": pki.authority.certificate}
        reason = outcome(cold(catalog_uri=url, **ca, **client_files(pki, "good")))[1]
    assert f"TLS: {BAD_SERVERS[kind]}" in reason
    assert reason.endswith("; check CA Certificate File")


@pytest.fixture(scope="module")
def storage(pki: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    server = S3(tmp_path_factory.mktemp("s3"), pki.good)
    server.start()
    yield server
    server.stop()


def lake(storage: S3, folder: Path, **properties: Any) -> Runner:
    settings = {
        "catalog_type": "sql", "catalog_uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"s3://{BUCKET}/wh",
        "s3_endpoint": storage.url, "s3_region": REGION, "s3_access_key": storage.access,
        "s3_secret_key": storage.secret,
    }  # fmt: skip
    return cold(**{**settings, **properties})


def test_the_storage_over_https_by_its_keys_and_our_authority(pki: Any, storage: S3, tmp_path: Path) -> None:
    ca = {"ca_certificate_file": pki.authority.certificate}
    assert outcome(lake(storage, tmp_path, **ca))[0] == "success"
    assert b"acme/x" in b"".join(storage.objects(".parquet"))
    relationship, reason = outcome(lake(storage, tmp_path, s3_secret_key="wrong", **ca))
    assert (relationship, "ACCESS_DENIED" in reason) == ("retry", True), reason
    for authority in (None, pki.foreign.authority):
        relationship, reason = outcome(lake(storage, tmp_path, ca_certificate_file=authority))
        assert relationship == "retry"
        assert "TLS: unable to get local issuer certificate" in reason
        assert "; check CA Certificate File and S3 Endpoint" in reason


# OPC UA.


class Refusing:
    """A plant in this process that lets in one certificate, encrypted, with user and password."""

    def __init__(self, folder: Path, client: Path):
        self.trusted = folder / "trusted"
        self.trusted.mkdir()
        (self.trusted / f"client{client.suffix}").write_bytes(client.read_bytes())
        self.loop = LoopThread("plant")
        self.plant = Plant(
            PlantConfig(
                opcua_port=0, modbus_port=None, wells=1, security=folder / "security", trusted=self.trusted,
                user="mirror", password=PASSWORD,
            )
        )  # fmt: skip
        self.loop.run(self.plant.start(), 60)

    def close(self) -> None:
        self.loop.run(self.plant.stop(), 10)
        self.loop.close()


def source(url: str, folder: Path, **properties: Any) -> Runner:
    settings = {
        "endpoint_url": url, "tag_list": "tag,address\nacme/x,nsu=urn:otmirror:plant;s=Well1.P-TPT\n",
        "security_policy": "Basic256Sha256", "security_mode": "SignAndEncrypt", "pki_directory": folder,
        "username": "mirror", "password": PASSWORD, "poll_interval": "100 ms", "reconnect_delay": "100 ms",
    }  # fmt: skip
    return sink("ReadOpcUaTags", **{**settings, **properties})


def read(runner: Runner, done: Callable[[set[str], str], bool]) -> None:
    """Let a source read until what it gave (qualities) and said is as expected."""
    assert runner.validate() == []
    qualities: set[str] = set()
    end = time.monotonic() + WITHIN
    while not done(qualities, said := " ".join(message for _, message in runner.log.lines)):
        assert time.monotonic() < end, (qualities, said)
        if (result := runner.create()) is not None:
            qualities |= {json.loads(line)["quality"] for line in bytes(result.getContents()).splitlines()}
    runner.stop()
    assert PASSWORD not in said


def refused(*words: str) -> Callable[[set[str], str], bool]:
    """Nothing good was read, and what was said has these words."""

    def done(qualities: set[str], said: str) -> bool:
        assert "good" not in qualities
        return "bad" in qualities and any(word in said.lower() for word in words)

    return done


def test_an_opcua_server_lets_in_who_is_on_its_list(tmp_path: Path) -> None:
    own, stranger = tmp_path / "pki", tmp_path / "stranger"
    with closing(Refusing(tmp_path, own_certificate(own).certificate)) as server:
        url = server.plant.opcua_url
        read(source(url, own), lambda qualities, _: "good" in qualities)
        read(source(url, stranger), refused("certificate"))
        read(source(url, own, password="wrong"), refused("password"))
        plaintext = {"security_policy": "None", "allow_password_without_encryption": "true"}
        read(source(url, own, **plaintext), refused("none"))


async def session_of(url: str, server: Path, certificate: Path, key: Path) -> None:
    """Open and end a session as any other client would."""
    client = Client(url, timeout=10)
    client.application_uri = URI
    client.set_user("mirror")
    client.set_password(PASSWORD)
    mode = ua.MessageSecurityMode.SignAndEncrypt
    await client.set_security(SecurityPolicyBasic256Sha256, certificate, key, server_certificate=server, mode=mode)
    async with client:
        pass


def test_an_opcua_server_refuses_an_expired_certificate_of_its_own_authority(tmp_path: Path) -> None:
    """Any client's; ours does not even try."""
    own = AnyAuthority.create("ours")
    stores.write_pair(own, tmp_path / "authority.pem", tmp_path / "authority.key")
    files = {}
    for name, validity in (("good", Validity.lasting(1)), ("expired", Validity.lasting(1, PAST))):
        (tmp_path / name / "own").mkdir(parents=True)
        files[name] = tmp_path / name / "own" / "cert.pem", tmp_path / name / "own" / "key.pem"
        issued = AnyAuthority(own).issue(Request(name, uris=[URI], server=False, validity=validity))
        stores.write_pair(issued, *files[name])
        (tmp_path / name / "own" / "cert.der").write_bytes(issued.certificate.public_bytes(Encoding.DER))
    with closing(Refusing(tmp_path, tmp_path / "authority.pem")) as server:
        plant = tmp_path / "security" / "plant-cert.der"
        url = str(server.plant.opcua_url)
        server.loop.run(session_of(url, plant, *files["good"]), WITHIN)
        with pytest.raises(ua.UaStatusCodeError) as refusal:
            server.loop.run(session_of(url, plant, *files["expired"]), WITHIN)
        assert refusal.value.code == ua.StatusCodes.BadCertificateTimeInvalid
        read(
            source(url, tmp_path / "expired"), lambda qualities, said: "good" not in qualities and "expired on" in said
        )
