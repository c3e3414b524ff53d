"""What a Vault gives, and what it refuses, through `otmirror.vault` and through an ordinary client."""

from __future__ import annotations

import datetime
import http.server
import re
import ssl
import threading
import time
from contextlib import closing
from dataclasses import replace

import hvac
import pytest

from otmirror.embedded.pki import Authority
from otmirror.errors import ConfigError, UnavailableError
from otmirror.pki.authority import Validity
from otmirror.pki.stores import write_private
from otmirror.vault.client import Access, Vault, connect
from otmirror.vault.setup import Setup
from otmirror.witness.relay import Relay

NOW = datetime.datetime.now(datetime.timezone.utc)
SECRET = "correct-horse-battery"


def refusal(vault, path="pilot"):
    """What is said when reading fails; never with a secret in it."""
    with pytest.raises((ConfigError, UnavailableError)) as caught:
        vault.read(path)
    message = str(caught.value)
    assert SECRET not in message
    assert "\n" not in message
    for file in (vault.access.secret_id_file, vault.access.role_id_file, vault.access.token_file):
        assert not (file and file.exists() and file.read_text() in message)
    return message


def test_the_newest_version_is_read(bao, login):
    bao.put(opcua__password="old")
    bao.put(opcua__password=SECRET, victoriametrics__password="other")
    secret = login().read("pilot")
    assert dict(secret.values) == {"opcua.password": SECRET, "victoriametrics.password": "other"}
    told = bao.root.secrets.kv.v2.read_secret_metadata("pilot", mount_point="otmirror")["data"]
    assert secret.version == told["current_version"] >= 2
    assert secret.written == told["versions"][str(secret.version)]["created_time"]
    assert SECRET not in repr(secret)


def test_a_role_reads_its_own_secret_and_nothing_else(bao, login):
    bao.put(opcua__password=SECRET)
    bao.put("edge", opcua__password=SECRET)
    vault = login("pilot")
    vault.read("pilot")
    assert "does not let this login read otmirror/data/edge; check the policy" in refusal(vault, "edge")
    client = vault._client
    kv = client.secrets.kv.v2
    for attempt in (
        lambda: kv.create_or_update_secret("pilot", {"opcua.password": "mine"}, mount_point="otmirror"),
        lambda: kv.patch("pilot", {"opcua.password": "mine"}, mount_point="otmirror"),
        lambda: kv.delete_latest_version_of_secret("pilot", mount_point="otmirror"),
        lambda: kv.read_secret_metadata("pilot", mount_point="otmirror"),
        lambda: kv.list_secrets("", mount_point="otmirror"),
        lambda: client.sys.list_policies(),
        lambda: client.sys.read_acl_policy("otmirror-read-pilot"),
        lambda: client.auth.approle.generate_secret_id("otmirror-pilot"),
        lambda: client.auth.token.create(),
        lambda: client.sys.seal(),
    ):
        with pytest.raises(hvac.exceptions.Forbidden):
            attempt()
    assert vault.read("pilot").values["opcua.password"] == SECRET


def test_who_writes_secrets_reads_none(bao):
    bao.put(opcua__password=SECRET)
    token = bao.root.auth.token.create(policies=["otmirror-write"], no_default_policy=True)["auth"]["client_token"]
    writer = connect(bao.access(token_file=bao.root_token), token).secrets.kv.v2
    writer.create_or_update_secret("pilot", {"opcua.password": "new"}, mount_point="otmirror")
    with pytest.raises(hvac.exceptions.Forbidden):
        writer.read_secret_version("pilot", mount_point="otmirror", raise_on_deleted_version=True)


def test_setting_up_twice_with_its_own_policy_alone(bao, tmp_path):
    """The first set-up needs more only for its own policy; from then on `otmirror-setup` is enough."""
    token = bao.root.auth.token.create(policies=["otmirror-setup"], no_default_policy=True)["auth"]["client_token"]
    write_private(tmp_path / "token", token)
    setup = Setup(bao.access(token_file=tmp_path / "token"))
    assert {"AppRole otmirror-pilot", "policy otmirror-read-pilot"} <= set(setup.apply())
    role, secret = setup.hand_out("hub", tmp_path / "login")
    assert (role.stat().st_mode & 0o777, secret.stat().st_mode & 0o777) == (0o600, 0o600)
    bao.put("hub", victoriametrics__password=SECRET)
    vault = Vault(bao.access(role_id_file=role, secret_id_file=secret))
    assert vault.read("hub").values == {"victoriametrics.password": SECRET}
    with pytest.raises(hvac.exceptions.Forbidden):
        setup._client.secrets.kv.v2.read_secret_version("hub", mount_point="otmirror", raise_on_deleted_version=True)


def test_a_wrong_secret_id(bao, login):
    bao.put(opcua__password=SECRET)
    vault = login()
    good = vault.access.secret_id_file.read_text()
    write_private(vault.access.secret_id_file, "7c5e7d1e-2f4b-4f0e-9f4e-000000000000")
    assert "refuses the AppRole login" in (message := refusal(vault))
    assert f"put a new secret id into {vault.access.secret_id_file}" in message
    write_private(vault.access.secret_id_file, good)
    assert vault.read("pilot").values == {"opcua.password": SECRET}


def test_a_revoked_token_is_told_and_replaced(bao, login):
    bao.put(opcua__password=SECRET)
    vault = login()
    vault.read("pilot")
    bao.root.auth.token.revoke(vault._client.token)
    assert vault.read("pilot").values == {"opcua.password": SECRET}
    assert vault.notices == [f"Vault at {bao.server.url}: the token was revoked or has expired; logging in again"]


def test_a_revoked_token_of_a_file(bao, tmp_path):
    """As when Vault Agent keeps the file: what it puts there next is used."""
    bao.put(opcua__password=SECRET)

    def fresh():
        return bao.root.auth.token.create(policies=["otmirror-read-pilot"], ttl="1h")["auth"]["client_token"]

    file = tmp_path / "token"
    write_private(file, first := fresh())
    vault = Vault(bao.access(token_file=file))
    vault.read("pilot")
    bao.root.auth.token.revoke(first)
    assert f"does not know the token in {file}: it was revoked or has expired" in refusal(vault)
    write_private(file, fresh())
    assert vault.read("pilot").values == {"opcua.password": SECRET}


def test_a_token_is_renewed_before_it_ends_and_given_back(bao, login):
    bao.put(opcua__password=SECRET)
    now = [0.0]
    vault = login(clock=lambda: now[0])
    vault.read("pilot")
    token = vault._client.token
    issued = bao.root.auth.token.lookup(token)["data"]
    assert issued["renewable"]
    assert "last_renewal" not in issued
    now[0] += issued["creation_ttl"] * 0.6
    vault.read("pilot")
    assert vault._client.token == token
    assert bao.root.auth.token.lookup(token)["data"]["last_renewal"]
    vault.close()
    with pytest.raises(hvac.exceptions.VaultError):
        bao.root.auth.token.lookup(token)


def test_a_secret_that_is_not_there_or_deleted(bao, login):
    bao.root.secrets.kv.v2.delete_metadata_and_all_versions("edge", mount_point="otmirror")
    assert "has no secret otmirror/edge" in refusal(login("edge"), "edge")
    bao.put("edge", opcua__password=SECRET)
    login("edge").read("edge")
    bao.root.secrets.kv.v2.delete_latest_version_of_secret("edge", mount_point="otmirror")
    assert "newest version is deleted" in refusal(login("edge"), "edge")


def test_values_are_texts(bao, login):
    bao.root.secrets.kv.v2.create_or_update_secret(
        "pilot", {"opcua.password": 4711, "victoriametrics.password": ""}, mount_point="otmirror"
    )
    assert "opcua.password, victoriametrics.password has to be a text" in refusal(login())


def test_sealed_killed_and_back(bao, login):
    bao.put(opcua__password=SECRET)
    vault = login()
    vault.read("pilot")
    bao.root.sys.seal()
    assert "is sealed" in refusal(vault)
    bao.server.unseal(bao.keys)
    vault.read("pilot")
    bao.server.kill()
    refusal(vault)  # on the connection that was kept open
    assert "connection refused" in refusal(vault)
    bao.server.start()
    assert "is sealed" in refusal(vault)
    bao.server.unseal(bao.keys)
    assert vault.read("pilot").values == {"opcua.password": SECRET}


def test_without_our_certificate_or_with_a_foreign_one(bao, tmp_path):
    login = bao.approle()
    without = Vault(bao.access(certificate=None, key=None, **login))
    assert re.search("want a client certificate.*; check --vault-cert", refusal(without).replace("wants", "want"))
    other = Authority(tmp_path / "other").issue("otmirror-edge")
    foreign = Vault(bao.access(certificate=other.certificate, key=other.key, **login))
    assert "; check --vault-cert" in refusal(foreign)
    ended = bao.authority.issue("ended", Validity.lasting(1, NOW - datetime.timedelta(days=2)))
    expired = Vault(bao.access(certificate=ended.certificate, key=ended.key, **login))
    assert "; check --vault-cert" in refusal(expired)


def test_a_server_that_is_not_who_it_should_be_is_told_no_secret_id(bao, tmp_path):
    other = Authority(tmp_path / "other")
    vault = Vault(bao.access(authority=other.certificate, **bao.approle()))
    assert "TLS: unable to get local issuer certificate; check --vault-ca" in refusal(vault)
    with closing(Relay(("127.0.0.1", bao.server.port), listen=("127.0.0.2", 0))) as relay:
        elsewhere = Vault(replace(bao.access(**bao.approle()), url=f"https://127.0.0.2:{relay.port}"))
        assert "TLS: IP address mismatch" in refusal(elsewhere)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>Log in</html>"), (200, b"{}"), (200, b"[1]"), (204, b""), (418, b"no"), (500, b"{}"), (200, b"{")],
)
def test_somebody_else_on_that_port(bao, status, body):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(bao.tls.certificate, bao.tls.key)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"https://127.0.0.1:{server.server_port}"
        told = refusal(Vault(replace(bao.access(**bao.approle()), url=url)))
        assert url in told
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "http://127.0.0.1:8200"}, "no https:// address"),
        ({"url": "127.0.0.1:8200"}, "no https:// address"),
        ({}, "either --role-id-file and --secret-id-file, or --token-file"),
        ({"role_id_file": "x"}, "go together"),
        ({"token_file": "x", "role_id_file": "x", "secret_id_file": "x"}, "either"),
        ({"token_file": "x", "certificate": "x"}, "go together"),
        ({"token_file": "x", "authority": "missing.pem"}, "--vault-ca: there is no file"),
    ],
)
def test_mistakes(tmp_path, settings, told):
    files = {key: tmp_path / value for key, value in settings.items() if key != "url"}
    with pytest.raises(ConfigError, match=told.replace("(", r"\(")):
        Access(settings.get("url", "https://127.0.0.1:8200"), **files)


@pytest.mark.parametrize(("text", "told"), [(None, "No such file"), ("\n", "is empty")])
def test_files_of_the_login(bao, tmp_path, text, told):
    if text is not None:
        (tmp_path / "token").write_text(text)
    assert told in refusal(Vault(bao.access(token_file=tmp_path / "token")))


def test_what_was_asked_is_in_the_audit_log_and_no_secret_is(bao, login):
    bao.put(opcua__password=SECRET)
    login().read("pilot")
    end = time.monotonic() + 10
    while '"otmirror/data/pilot"' not in (log := (bao.server.folder / "audit.jsonl").read_text()):
        assert time.monotonic() < end
    assert SECRET not in log
