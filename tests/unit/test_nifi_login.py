"""The login at a NiFi with TLS, against a small HTTPS server with a certificate of the stack's own authority."""

from __future__ import annotations

import datetime
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from otmirror.errors import ConfigError
from otmirror.flow.api import Login, Rest
from otmirror.pki.authority import Validity
from otmirror.pki.development import Wanted, make
from otmirror.workspace import PROJECT


class Nifi(BaseHTTPRequestHandler):
    tokens = 0
    valid = ""

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.path != "/nifi-api/access/token" or form != {"username": ["admin"], "password": ["a&b=ü"]}:
            return self._answer(400, "The supplied username and password are not valid.")
        Nifi.tokens += 1
        Nifi.valid = f"token-{Nifi.tokens}"
        return self._answer(201, Nifi.valid)

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {Nifi.valid}":
            return self._answer(401, "Unauthorized")
        return self._answer(200, json.dumps({"about": {"version": "2.9.0"}}))

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("make-secrets needs openssl")
    folder = tmp_path_factory.mktemp("login") / "secrets"
    subprocess.run([PROJECT / "compose/make-secrets", folder], check=True, timeout=60)
    return folder


@pytest.fixture
def url(secrets: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nifi)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(secrets / "otmirror-hub.pem", secrets / "otmirror-hub.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Nifi.tokens, Nifi.valid = 0, ""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}/nifi-api"
    server.shutdown()
    server.server_close()


def environment(secrets: Path, tmp_path: Path, password: str) -> dict[str, str]:
    (tmp_path / "password").write_text(password + "\n", encoding="utf-8")
    return {
        "OTMIRROR_NIFI_USER": "admin",
        "OTMIRROR_NIFI_PASSWORD_FILE": str(tmp_path / "password"),
        "OTMIRROR_NIFI_CA": str(secrets / "ca.pem"),
    }


def test_one_token_serves_until_nifi_forgets_it(
    url: str, secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(secrets, tmp_path, "a&b=ü").items():
        monkeypatch.setenv(name, value)
    # Neither may take the place of what was asked for.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(secrets / "health.pem"))
    rest = Rest(url, 10)
    assert [rest.get("/flow/about")["about"]["version"] for _ in range(2)] == ["2.9.0", "2.9.0"]
    assert Nifi.tokens == 1
    Nifi.valid = "restarted"
    assert rest.get("/flow/about")["about"]["version"] == "2.9.0"
    assert Nifi.tokens == 2


def test_a_wrong_password_is_one_line_without_it(url: str, secrets: Path, tmp_path: Path) -> None:
    login = Login.from_environment(environment(secrets, tmp_path, "wrong"))
    with pytest.raises(ConfigError, match="does not let 'admin' in") as told:
        Rest(url, 10, login).get("/flow/about")
    assert "wrong" not in str(told.value).replace("wrong user or password", "")
    assert "wrong" not in repr(login)


def test_a_certificate_of_another_authority_is_refused_before_the_password_leaves(
    url: str, secrets: Path, tmp_path: Path
) -> None:
    given = environment(secrets, tmp_path, "a&b=ü")
    given["OTMIRROR_NIFI_CA"] = str(secrets / "telegraf.pem")
    with pytest.raises(ConfigError, match="certificate is not trusted"):
        Rest(url, 10, Login.from_environment(given)).get("/flow/about")
    assert Nifi.tokens == 0


def test_no_password_goes_over_plain_http(secrets: Path, tmp_path: Path) -> None:
    login = Login.from_environment(environment(secrets, tmp_path, "a&b=ü"))
    with pytest.raises(ConfigError, match="only sent over https"):
        Rest("http://127.0.0.1:8443/nifi-api", login=login)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"OTMIRROR_NIFI_USER": "admin"}, "PASSWORD_FILE is not"),
        ({"OTMIRROR_NIFI_USER": "admin", "OTMIRROR_NIFI_PASSWORD_FILE": "/nowhere"}, "/nowhere: No such file"),
        ({"OTMIRROR_NIFI_CA": "/nowhere.pem"}, "no file /nowhere.pem"),
        ({"OTMIRROR_NIFI_CERTIFICATE": "/a.pem"}, "one is set without the other"),
        ({"OTMIRROR_NIFI_KEY": "/a.key"}, "one is set without the other"),
        ({"OTMIRROR_NIFI_CERTIFICATE": "/a.pem", "OTMIRROR_NIFI_KEY": "/a.key"}, "/a.pem: No such file"),
        ({"OTMIRROR_NIFI_USER": "a", "OTMIRROR_NIFI_CERTIFICATE": "/a.pem"}, "only one can log in"),
    ],
)
def test_an_incomplete_login_is_said(given: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Login.from_environment(given)


def by_certificate(folder: Path, name: str, authority: Path | None = None) -> Login:
    return Login.from_environment(
        {
            "OTMIRROR_NIFI_CA": str(authority or folder / "ca.pem"),
            "OTMIRROR_NIFI_CERTIFICATE": str(folder / f"{name}.pem"),
            "OTMIRROR_NIFI_KEY": str(folder / f"{name}.key"),
        }
    )


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def strict(request: pytest.FixtureRequest, pki: Path) -> Iterator[str]:
    """A server that wants a client certificate of `pki`, and tells the common name it saw."""

    class Strict(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen = self.connection.getpeercert()["subject"][0][0][1]
            body = json.dumps({"identity": seen, "authorization": self.headers.get("Authorization")}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Strict)
    server.handle_error = lambda *_: None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = request.param
    context.load_cert_chain(pki / "nifi.pem", pki / "nifi.key")
    # In the thread of the connection, so that one that is refused does not end the server.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}/nifi-api"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    make(folder, Wanted(("nifi",), ("admin",), kind="ec"))
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=3)
    make(folder, Wanted((), ("late",), validity=Validity.lasting(2, before), kind="ec"))
    return folder


def test_a_client_certificate_is_the_login(strict: str, pki: Path) -> None:
    told = Rest(strict, 10, by_certificate(pki, "admin")).get("/flow/current-user")
    assert told == {"identity": "admin", "authorization": None}


def test_an_expired_client_certificate_is_one_line(strict: str, pki: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not accept the certificate .*late\.pem"):
        Rest(strict, 10, by_certificate(pki, "late")).get("/flow/current-user")


def test_a_client_certificate_of_another_authority_is_one_line(strict: str, pki: Path, tmp_path: Path) -> None:
    make(tmp_path, Wanted((), ("admin",), kind="ec"))
    with pytest.raises(ConfigError, match="does not accept the certificate"):
        Rest(strict, 10, by_certificate(tmp_path, "admin", pki / "ca.pem")).get("/flow/current-user")


def test_no_client_certificate_is_one_line(strict: str, pki: Path) -> None:
    with pytest.raises(ConfigError, match="wants a client certificate"):
        Rest(strict, 10, Login(authority=str(pki / "ca.pem"))).get("/flow/current-user")


def test_a_key_that_does_not_serve_is_said_and_not_asked_for(pki: Path, tmp_path: Path) -> None:
    shutil.copy(pki / "admin.pem", tmp_path / "one.pem")
    key = load_pem_private_key((pki / "admin.key").read_bytes(), None)
    lock = BestAvailableEncryption(b"a password")
    (tmp_path / "one.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    with pytest.raises(ConfigError, match=r"one\.key: the key has a password"):
        by_certificate(tmp_path, "one", pki / "ca.pem")
    shutil.copy(pki / "late.key", tmp_path / "one.key")
    with pytest.raises(ConfigError, match="they are not PEM, or no pair"):
        by_certificate(tmp_path, "one", pki / "ca.pem")
    with pytest.raises(ConfigError, match="only sent over https"):
        Rest("http://127.0.0.1:8443/nifi-api", login=by_certificate(pki, "admin"))


def test_a_port_without_tls_is_told_as_that(pki: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nifi)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        with pytest.raises(ConfigError, match="does not speak TLS on that port"):
            Rest(f"https://localhost:{server.server_port}/nifi-api", 10, by_certificate(pki, "admin")).get(
                "/flow/about"
            )
    finally:
        server.shutdown()
        server.server_close()
