"""`otmirror pki check`: files, folders and a real TLS server, before, near and after the end."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.errors import ConfigError
from otmirror.pki.authority import Validity
from otmirror.pki.development import Wanted, make
from otmirror.pki.expiry import check

RUN = CliRunner()
DAY = datetime.timedelta(days=1)
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate from 1 January to 2 March 2026, 60 days, and an authority that holds for years."""
    made = tmp_path_factory.mktemp("pki")
    make(made, Wanted(("nifi",), (), validity=Validity.lasting(60, START), kind="ec"))
    return made


@pytest.mark.parametrize(
    ("now", "problem", "warning", "days"),
    [
        (START + 29 * DAY, None, None, 31),
        (START + 30 * DAY, None, "expires on 2026-03-02: replace it", 30),
        (START + 60 * DAY, None, "expires on 2026-03-02: replace it", 0),
        (START + 61 * DAY, "expired on 2026-03-02", None, -1),
        (START - DAY, "is not valid before 2026-01-01", None, 61),
    ],
)
def test_the_end_is_told_30_days_ahead(folder: Path, now, problem, warning, days) -> None:
    [found] = check(str(folder / "nifi.pem"), now)
    assert (found.problem, found.warning, found.days) == (problem, warning, days)


def test_a_folder_is_told_once_each_soonest_first(folder: Path) -> None:
    found = check(str(folder), START + 10 * DAY)
    assert [Path(one.where).name for one in found] == ["nifi.pem", "ca.pem"]


@pytest.mark.parametrize("form", ["der", "p12", "chain"])
def test_every_format_is_read(folder: Path, tmp_path: Path, form: str) -> None:
    content = (folder / "nifi.pem").read_bytes()
    file = tmp_path / ("nifi.p12" if form == "p12" else "nifi.crt")
    if form == "p12":
        shutil.copy(folder / "nifi.p12", file)
        shutil.copy(folder / "nifi.password", tmp_path)
    elif form == "der":
        file.write_bytes(x509.load_pem_x509_certificate(content).public_bytes(Encoding.DER))
    else:
        file.write_bytes((folder / "nifi.key").read_bytes() + content + (folder / "ca.pem").read_bytes())
    found = check(str(file), START + 40 * DAY)
    assert found[0].days == 20
    assert len(found) == (1 if form == "der" else 2)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.pem", b"", "holds no readable certificate"),
        ("a.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no readable certificate"),
        ("a.pem", b"-----BEGIN PRIVATE KEY-----\n", "holds no certificate"),
        ("a.p12", b"\x30\x00", "needs its password in a.password"),
    ],
)
def test_an_unreadable_file_fails_the_command(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    done = RUN.invoke(app, ["pki", "check", str(tmp_path / name)])
    assert done.exit_code == 1
    assert told in done.output


def test_a_keystore_with_another_password_is_told(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "nifi.p12", tmp_path)
    (tmp_path / "nifi.password").write_text("something else")
    [found] = check(str(tmp_path / "nifi.p12"), START)
    assert found.problem == "cannot be opened with the password in nifi.password"


def test_a_typing_mistake_is_not_a_clean_bill(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file, no folder and no host:port"):
        check(str(tmp_path / "nothing"), START)
    with pytest.raises(ConfigError, match="has no certificates"):
        check(str(tmp_path), START)
    done = RUN.invoke(app, ["pki", "check", "nothing", str(tmp_path)])
    assert done.exit_code == 1
    assert done.output.splitlines()[0] == "PROBLEM  nothing: is no file, no folder and no host:port"
    assert done.output.splitlines()[1].startswith(f"PROBLEM  {tmp_path}: has no certificates")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """The port of a TLS 1.3 server that asks for a client certificate, with a certificate that expired yesterday."""
    now = datetime.datetime.now(datetime.timezone.utc)
    make(tmp_path, Wanted(("kafka",), (), validity=Validity.lasting(9, now - 10 * DAY), kind="ec"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.verify_mode, context.minimum_version = ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(tmp_path / "kafka.pem", tmp_path / "kafka.key")
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            plain, _ = listening.accept()
            plain.settimeout(10)
            context.wrap_socket(plain, server_side=True).close()
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    listening.close()
    thread.join(10)


def test_a_servers_expired_certificate_fails_the_command(server: int) -> None:
    done = RUN.invoke(app, ["pki", "check", f"127.0.0.1:{server}"])
    assert done.exit_code == 1
    assert f"127.0.0.1:{server}  CN=kafka" in done.output
    assert "expired on" in done.output


def test_a_server_that_is_not_there_fails_the_command() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    done = RUN.invoke(app, ["pki", "check", f"127.0.0.1:{port}"])
    assert done.exit_code == 1
    assert f"127.0.0.1:{port}: cannot be reached" in done.output


def test_certificates_that_hold_pass_the_command(tmp_path: Path) -> None:
    make(tmp_path, Wanted(("nifi",), (), validity=Validity.lasting(20), kind="ec"))
    done = RUN.invoke(app, ["pki", "check", str(tmp_path)])
    assert done.exit_code == 0
    assert "WARNING" in done.output
    assert RUN.invoke(app, ["pki", "check", str(tmp_path), "--days", "10"]).output.count("ok") == 2
