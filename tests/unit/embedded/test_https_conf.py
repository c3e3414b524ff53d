"""The configuration of a NiFi over HTTPS, and the identity provider's description while the provider is away."""

from __future__ import annotations

import gzip
import json
import ssl
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from otmirror.embedded.conf import render
from otmirror.embedded.https import Https
from otmirror.embedded.install import Installation
from otmirror.embedded.oidc import Oidc
from otmirror.embedded.properties import parse
from otmirror.errors import ConfigError, UnavailableError
from otmirror.pki.development import Wanted, make


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    make(folder, Wanted(("nifi", "keycloak"), ("admin",), kind="ec"))
    return folder


def test_there_is_https_and_nothing_else(pki: Path, tmp_path: Path) -> None:
    parts = Installation(tmp_path / "lib", tmp_path / "python")
    file = render(tmp_path / "home", parts, 18643, None, https=Https.from_folder(pki, hosts=("localhost", "nifi.lab")))
    lines = [line for line in file.read_text().splitlines() if line and line[0] != "#"]
    keys = [line.partition("=")[0] for line in lines]
    assert len(keys) == len(set(keys))
    values = parse(file.read_text())
    assert not [key for key in values if key.startswith("nifi.web.http.")]
    assert (values["nifi.web.https.host"], values["nifi.web.https.port"]) == ("127.0.0.1", "18643")
    assert values["nifi.web.proxy.host"] == "localhost:18643,nifi.lab:18643"
    assert values["nifi.security.allow.anonymous.authentication"] == "false"
    assert values["nifi.security.keystorePasswd"] == (pki / "nifi.password").read_text().strip()
    assert not [key for key in values if "oidc" in key]
    # The passwords are in it.
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    authorizers = ElementTree.parse(file.parent / "authorizers.xml")
    named = {one.get("name"): one.text for one in authorizers.iter("property")}
    assert named["Initial Admin Identity"] == named["Initial User Identity 1"] == "CN=admin"


def test_a_forgotten_option_does_not_open_the_doors(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    # NiFi makes it when it runs over HTTPS.
    (tmp_path / "conf" / "users.xml").write_text("<tenants/>")
    with pytest.raises(ConfigError, match="start it with --https"):
        render(tmp_path, Installation(tmp_path / "lib", tmp_path / "python"), 18643, None)


def test_an_empty_flow_is_made_once(pki: Path, tmp_path: Path) -> None:
    https, conf = Https.from_folder(pki), tmp_path
    https.render(conf, 1)
    flow = json.loads(gzip.decompress((conf / "flow.json.gz").read_bytes()))
    assert flow["rootGroup"]["instanceIdentifier"]
    https.render(conf, 1)
    assert json.loads(gzip.decompress((conf / "flow.json.gz").read_bytes())) == flow


def test_what_a_folder_lacks_is_said_at_once(pki: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes((pki / "ca.pem").read_bytes())
    with pytest.raises(ConfigError, match=r"nifi\.p12, .*truststore\.p12, .*admin\.key \(otmirror pki make "):
        Https.from_folder(tmp_path)


def test_no_secret_is_in_what_is_printed(pki: Path) -> None:
    https = Https.from_folder(pki, Oidc("https://x/.well-known/openid-configuration", "nifi", "s3cret"))
    for secret in ("s3cret", (pki / "nifi.password").read_text().strip()):
        assert secret not in repr(https)


class Provider(BaseHTTPRequestHandler):
    """Answers with `told` as its description."""

    told: object = None
    status = 200

    def do_GET(self) -> None:
        body = json.dumps(self.told).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def provider(pki: Path) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "keycloak.pem", pki / "keycloak.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    issuer = f"https://localhost:{server.server_port}/realms/otmirror"
    Provider.told, Provider.status = {"issuer": issuer, "authorization_endpoint": f"{issuer}/auth"}, 200
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def oidc(provider: ThreadingHTTPServer) -> Oidc:
    where = f"https://localhost:{provider.server_port}/realms/otmirror/.well-known/openid-configuration"
    return Oidc(where, "nifi", "back\\slash")


def test_the_description_is_kept_and_holds_while_the_provider_is_away(provider, pki: Path, tmp_path: Path) -> None:
    one = oidc(provider)
    first = parse(one.render(tmp_path, pki / "ca.pem"))
    kept = tmp_path / "openid-configuration.json"
    assert first["nifi.security.user.oidc.discovery.url"] == kept.as_uri()
    # In a .properties file a backslash is written twice.
    assert first["nifi.security.user.oidc.client.secret"] == "back\\\\slash"
    before = kept.read_text()
    Provider.status = 503
    assert parse(one.render(tmp_path, pki / "ca.pem")) == first
    provider.shutdown()
    provider.server_close()
    assert parse(one.render(tmp_path, pki / "ca.pem")) == first
    assert kept.read_text() == before


def test_a_provider_that_never_answered_is_an_error(provider, pki: Path, tmp_path: Path) -> None:
    Provider.status = 503
    with pytest.raises(UnavailableError, match="answered 503"):
        oidc(provider).render(tmp_path, pki / "ca.pem")


@pytest.mark.parametrize("told", [{}, [], None, "x", {"issuer": "https://evil.example/realms/otmirror"}])
def test_what_is_no_provider_is_an_error_and_nothing_is_kept(provider, pki: Path, tmp_path: Path, told) -> None:
    Provider.told = told
    with pytest.raises(ConfigError, match="is not the description of an OpenID Connect provider"):
        oidc(provider).render(tmp_path, pki / "ca.pem")
    assert not (tmp_path / "openid-configuration.json").exists()


def test_a_provider_of_another_authority_is_not_believed(provider, tmp_path: Path) -> None:
    make(tmp_path, Wanted((), (), kind="ec"))
    with pytest.raises(ConfigError, match="its certificate is not trusted by"):
        oidc(provider).render(tmp_path, tmp_path / "ca.pem")


def test_a_provider_is_not_asked_in_plaintext(pki: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only asked over https"):
        Oidc("http://localhost/x", "nifi", "x").render(tmp_path, pki / "ca.pem")


def test_a_provider_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    file = tmp_path / "oidc"
    file.write_text("# ours\ndiscovery = https://x/y\nclient_id=nifi\nclient_secret_file = secret\nuser_claim=sub\n")
    assert Oidc.from_file(file) == Oidc("https://x/y", "nifi", "s3cret", user_claim="sub")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "client_id, discovery, client_secret_file: missing"),
        ("discovery=a\nclient_id=b\nclient_secret=in the file", "client_secret_file: missing"),
        ("discovery=a\nclient_id=b\nclient_secret_file=secret\ngroup_claim=x", "group_claim: missing or unknown"),
        ("discovery=a\nclient_id=b\nclient_secret_file=nowhere", "nowhere: No such file"),
    ],
)
def test_a_mistake_in_the_file_is_said(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "oidc").write_text(text)
    with pytest.raises(ConfigError, match=told):
        Oidc.from_file(tmp_path / "oidc")


def test_the_administrators_name_is_written_as_java_does(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 1779 as X500Principal.getName has it: the last name of the certificate first, a blank after each comma."""
    parts = [(NameOID.COUNTRY_NAME, "NO"), (NameOID.ORGANIZATION_NAME, "Plant"), (NameOID.COMMON_NAME, "ola")]
    subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])

    class Issued:
        class certificate:  # noqa: N801
            pass

    Issued.certificate.subject = subject
    monkeypatch.setattr("otmirror.pki.stores.read_pair", lambda *_: Issued)
    assert Https.from_folder(pki).admin == "CN=ola, O=Plant, C=NO"
