"""The development PKI, judged by OpenSSL (through Python's ssl and the openssl program) and by Java's keytool."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.errors import ConfigError
from otmirror.pki import development
from otmirror.pki.authority import Validity
from otmirror.pki.development import Wanted, make

RUN = CliRunner()
SMALL = Wanted(("nifi", "plant"), ("admin",), ["127.0.0.1"], {"nifi": ["nifi.plant.example"]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pki")
    make(made, SMALL)
    return made


def openssl(*arguments: str | Path) -> str:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program")
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> str:
    """Return the common name the server saw of the client; raises what the client's side of the handshake raises."""
    seen: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)

        def serve() -> None:
            plain, _ = listening.accept()
            plain.settimeout(10)
            try:
                with server.wrap_socket(plain, server_side=True) as secured:
                    certificate = secured.getpeercert() or {}
                    seen.extend(value for rdn in certificate.get("subject", ()) for _, value in rdn)
                    secured.sendall(b"!")
            except OSError:
                plain.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            with (
                socket.create_connection(listening.getsockname(), 10) as plain,
                client.wrap_socket(plain, server_hostname=host) as secured,
            ):
                assert secured.recv(1) == b"!"
        finally:
            thread.join(10)
    return seen[0]


def contexts(folder: Path, server: str, client: str, trusted: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    serving.verify_mode = ssl.CERT_REQUIRED
    serving.load_cert_chain(folder / f"{server}.pem", folder / f"{server}.key")
    asking = ssl.create_default_context(cafile=str(trusted))
    asking.load_cert_chain(folder / f"{client}.pem", folder / f"{client}.key")
    return serving, asking


@pytest.mark.parametrize("host", ["nifi", "localhost", "127.0.0.1", "nifi.plant.example"])
def test_server_and_client_know_each_other(folder: Path, host: str) -> None:
    assert handshake(*contexts(folder, "nifi", "admin", folder / "ca.pem"), host) == "admin"


def test_a_server_is_not_believed_to_be_another(folder: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(*contexts(folder, "plant", "admin", folder / "ca.pem"), "nifi.plant.example")


def test_an_authority_of_the_same_name_is_another_one(folder: Path, tmp_path: Path) -> None:
    make(tmp_path, Wanted((), ("admin",), kind="ec"))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*contexts(folder, "nifi", "admin", tmp_path / "ca.pem"), "nifi")


def test_a_client_is_no_server(folder: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(*contexts(folder, "admin", "admin", folder / "ca.pem"), "admin")


def test_expired_certificates_are_refused(tmp_path: Path) -> None:
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=10)
    make(tmp_path, Wanted(("nifi",), ("admin",), validity=Validity.lasting(9, before), kind="ec"))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(*contexts(tmp_path, "nifi", "admin", tmp_path / "ca.pem"), "nifi")


def test_openssl_accepts_what_an_opc_ua_server_needs(folder: Path) -> None:
    told = openssl("x509", "-in", folder / "plant.pem", "-noout", "-text")
    # OPC 10000-6, 6.2.2; the URI is that of `otmirror plant`.
    for part in (
        "Digital Signature, Non Repudiation, Key Encipherment, Data Encipherment",
        "URI:urn:otmirror:plant:server",
        "sha256WithRSAEncryption",
        "CA:FALSE",
    ):
        assert part in told
    told = openssl("verify", "-x509_strict", "-CAfile", folder / "ca.pem", folder / "plant.pem")
    assert told.endswith(": OK\n")


def test_java_reads_the_stores(folder: Path) -> None:
    keytool = shutil.which("keytool")
    if keytool is None:
        pytest.skip("needs Java's keytool")
    for store, entry in (("nifi", "PrivateKeyEntry"), ("truststore", "trustedCertEntry")):
        argv = [keytool, "-list", "-keystore", folder / f"{store}.p12", "-storepass:file", folder / f"{store}.password"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert entry in done.stdout, done.stdout + done.stderr


def test_keys_stores_and_passwords_are_their_owners_alone(folder: Path) -> None:
    private = [file for file in folder.iterdir() if file.suffix in (".key", ".p12", ".password")]
    assert len(private) == 4 + 4 + 4
    assert {file.stat().st_mode & 0o777 for file in private} == {0o600}
    assert len({file.read_text() for file in private if file.suffix == ".password"}) == 4


def test_what_exists_is_kept(tmp_path: Path) -> None:
    make(tmp_path, Wanted(("nifi",), ("admin",), kind="ec"))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    (tmp_path / "admin.p12").unlink()
    made = make(tmp_path, Wanted(("nifi", "kafka"), ("admin",), renew=["nifi"], kind="ec"))
    assert [(one.name, one.new) for one in made] == [("nifi", True), ("kafka", True), ("admin", False)]
    changed = {name for name, content in before.items() if (tmp_path / name).read_bytes() != content}
    # A store is salted anew; its password is kept.
    assert changed == {"nifi.pem", "nifi.key", "nifi.p12", "admin.p12"}


def test_a_kept_certificate_that_does_not_fit_is_told(tmp_path: Path) -> None:
    make(tmp_path, Wanted(("nifi",), (), kind="ec"))
    other = tmp_path / "other"
    make(other, Wanted(("kafka",), (), kind="ec"))
    for ending in ("pem", "key"):
        shutil.copy(other / f"kafka.{ending}", tmp_path)
    made = make(tmp_path, Wanted(("nifi", "kafka"), (), ["10.0.0.1"], kind="ec"))
    assert [one.doubt for one in made] == ["does not name 10.0.0.1", "was issued by another authority"]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Wanted(("../nifi",), ()), "cannot be a certificate's name"),
        (Wanted(("ca",), ()), "cannot be a certificate's name"),
        (Wanted(("nifi",), ("nifi",)), "is a server and a client"),
        (Wanted(("nifi",), (), ["not a host"]), "'not a host' is neither a host name nor an IP address"),
        (Wanted(("nifi",), (), hosts_of={"nify": ["a"]}), "there is no certificate 'nify'"),
        (Wanted(("nifi",), (), renew=["kafka"]), "there is no certificate 'kafka'"),
    ],
)
def test_a_mistake_is_one_clear_message(tmp_path: Path, wanted: Wanted, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make(tmp_path, wanted)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "ca.key").unlink(), "without its key"),
        (lambda folder: (folder / "ca.pem").write_text(""), "is no PEM file"),
        (lambda folder: shutil.copy(folder / "nifi.key", folder / "ca.key"), "is not the key of"),
        (lambda folder: (folder / "nifi.key").unlink(), "nifi.key: No such file"),
    ],
)
def test_a_damaged_folder_is_told_and_not_mended_by_guessing(tmp_path, spoil, told) -> None:
    make(tmp_path, Wanted(("nifi",), (), kind="ec"))
    spoil(tmp_path)
    with pytest.raises(ConfigError, match=told):
        make(tmp_path, Wanted(("nifi",), (), kind="ec"))


def test_the_command_makes_every_services_certificate(tmp_path: Path) -> None:
    told = RUN.invoke(app, ["pki", "make", str(tmp_path), "--host", "s3=10.1.2.3", "--client", "alice", "--days", "20"])
    assert told.exit_code == 0, told.output
    names = {*development.SERVERS, *development.CLIENTS, "alice"}
    assert {file.stem for file in tmp_path.glob("*.p12")} == names | {"truststore"}
    assert "IP Address:10.1.2.3" in openssl("x509", "-in", tmp_path / "s3.pem", "-noout", "-ext", "subjectAltName")
    kept = RUN.invoke(app, ["pki", "make", str(tmp_path), "--host", "kafka=broker"])
    assert kept.exit_code == 1
    assert "kafka: was kept, but does not name broker: --renew kafka" in kept.output
    assert RUN.invoke(app, ["pki", "make", str(tmp_path), "--host", "kafka=broker", "--renew", "kafka"]).exit_code == 0
