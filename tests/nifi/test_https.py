"""NiFi over HTTPS without a login provider: who gets in by certificate, and who does not."""

from __future__ import annotations

import datetime
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cryptography import x509
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.embedded.install import Installation
from otmirror.embedded.loopback import session
from otmirror.embedded.processes import wait_until
from otmirror.embedded.server import EmbeddedNifi
from otmirror.errors import ConfigError, UnavailableError
from otmirror.flow.api import Login, Rest
from otmirror.pki.authority import Validity
from otmirror.pki.development import Wanted, make
from otmirror.workspace import PROJECT

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    make(folder, Wanted(("nifi",), ("admin", "otmirror-edge"), kind="ec"))
    return folder


@pytest.fixture(scope="module")
def told(installation: Installation, pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The home of a NiFi that was started by the command, and what the command said."""
    home = tmp_path_factory.mktemp("https")
    try:
        line = ["nifi", "start", "--https", "--pki", str(pki), "--home", str(home), "--port", "0"]
        done = CliRunner().invoke(app, line)
        assert done.exit_code == 0, done.output
        yield home, done.stdout
    finally:
        EmbeddedNifi(home, installation=installation).stop()


@pytest.fixture(scope="module")
def nifi(told: tuple[Path, str]) -> EmbeddedNifi:
    return EmbeddedNifi(told[0])


def login(folder: Path, name: str, authority: Path | None = None) -> Login:
    files = {"OTMIRROR_NIFI_CERTIFICATE": f"{name}.pem", "OTMIRROR_NIFI_KEY": f"{name}.key"}
    environ = {variable: str(folder / file) for variable, file in files.items()}
    return Login.from_environment({**environ, "OTMIRROR_NIFI_CA": str(authority or folder / "ca.pem")})


def test_the_administrators_certificate_does_everything(nifi: EmbeddedNifi, pki: Path) -> None:
    rest = Rest(nifi.url, login=login(pki, "admin"))
    assert rest.get("/flow/current-user")["identity"] == "CN=admin"
    new = {"revision": {"version": 0}, "component": {"name": "made", "position": {"x": 0, "y": 0}}}
    made = rest.post("/process-groups/root/process-groups", new)
    assert rest.get("/process-groups/root/process-groups")["processGroups"][0]["component"]["name"] == "made"
    rest.delete(f"/process-groups/{made['id']}", version=made["revision"]["version"])
    assert nifi.status().version == rest.get("/flow/about")["about"]["version"]


def test_the_flow_commands_get_in_with_what_the_start_printed(told: tuple[Path, str], tmp_path: Path) -> None:
    exported = dict(re.findall(r"^export (\w+)=(.+)$", told[1], re.MULTILINE))
    assert len(exported) == 4
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT / "processors"), **exported}
    argv = [sys.executable, "-m", "otmirror", "flow", "status", "no such flow"]
    done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    # It got in, and was told what is there.
    assert "there is no flow 'no such flow' in this NiFi (there are: none)" in done.stderr
    assert done.returncode == 1


def test_nothing_answers_in_plaintext(nifi: EmbeddedNifi) -> None:
    url = f"http://127.0.0.1:{nifi.port}/nifi-api"
    with session(url) as plain, pytest.raises(requests.ConnectionError):
        plain.get(f"{url}/flow/about", timeout=10)
    # Nor on another port: NiFi's Java listens on this one and on its management address.
    listening = _listening(nifi.processes())
    assert nifi.port in listening
    for port in listening - {nifi.port}:
        with socket.create_connection(("127.0.0.1", port), 5) as other:
            other.sendall(b"GET /nifi-api/flow/about HTTP/1.1\r\nHost: localhost\r\n\r\n")
            other.settimeout(5)
            try:
                answer = other.recv(500)
            except (TimeoutError, ConnectionResetError):
                continue
            assert b'"about"' not in answer


def test_without_a_certificate_there_is_no_handshake(nifi: EmbeddedNifi, pki: Path) -> None:
    nobody = Login.from_environment({"OTMIRROR_NIFI_CA": str(pki / "ca.pem")})
    with pytest.raises(ConfigError, match="wants a client certificate"):
        Rest(nifi.url, login=nobody).get("/flow/about")


def test_a_client_that_does_not_know_the_authority_refuses_nifi(nifi: EmbeddedNifi, pki: Path, tmp_path) -> None:
    make(tmp_path, Wanted((), ("admin",), kind="ec"))
    with pytest.raises(ConfigError, match="its certificate is not trusted"):
        Rest(nifi.url, login=login(pki, "admin", tmp_path / "ca.pem")).get("/flow/about")


def test_the_same_name_from_another_authority_is_refused(nifi: EmbeddedNifi, pki: Path, tmp_path) -> None:
    make(tmp_path, Wanted((), ("admin",), kind="ec"))
    with pytest.raises((ConfigError, UnavailableError)) as told:
        Rest(nifi.url, login=login(tmp_path, "admin", pki / "ca.pem")).get("/flow/about")
    assert "does not accept the certificate" in str(told.value)


def test_an_expired_certificate_is_refused(nifi: EmbeddedNifi, pki: Path) -> None:
    two_days_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=2)
    make(pki, Wanted((), ("late",), validity=Validity.lasting(1, two_days_ago), kind="ec"))
    with pytest.raises(ConfigError, match="does not accept the certificate"):
        Rest(nifi.url, login=login(pki, "late")).get("/flow/about")


def test_a_certificate_without_a_role_may_not_even_look(nifi: EmbeddedNifi, pki: Path) -> None:
    with pytest.raises(ConfigError, match="403"):
        Rest(nifi.url, login=login(pki, "otmirror-edge")).get("/flow/about")


def test_a_renewed_certificate_is_taken_without_a_restart(nifi: EmbeddedNifi, pki: Path) -> None:
    [made] = make(pki, Wanted(("nifi",), (), renew=["nifi"], kind="ec"))
    assert wait_until(lambda: _shown(nifi.port, pki) == made.certificate.serial_number, 60, 1.0)


def _shown(port: int, pki: Path) -> int:
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    context.load_cert_chain(pki / "admin.pem", pki / "admin.key")
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"").serial_number


def _listening(pids: list[int]) -> set[int]:
    """The TCP ports that processes listen on, from /proc: proc(5)."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets.add(str(link.readlink()))
            except OSError:
                continue
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports
