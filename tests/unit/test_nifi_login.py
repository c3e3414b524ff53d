"""The login at a NiFi with TLS, against a small HTTPS server with a certificate of the stack's own authority."""

from __future__ import annotations

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

from otmirror.errors import ConfigError
from otmirror.flow.api import Login, Rest
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
    ],
)
def test_an_incomplete_login_is_said(given: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Login.from_environment(given)
