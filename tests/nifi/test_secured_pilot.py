"""The pilot, secrets from a Vault and every hop encrypted: it works, nothing is heard, nothing is left behind."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otmirror.demo import stores
from otmirror.embedded import openbao
from otmirror.embedded.processes import environment
from otmirror.errors import UnavailableError
from otmirror.pki.stores import write_private

from .pilots import folder
from .secured import USER, Secured, canary, soon

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]
GZIP = b"\x1f\x8b\x08"
SIGNS = {
    "flow.json.gz unpacked": USER.encode(),
    "repositories/provenance": b"otmirror.batch",
    "repositories/flowfile": b"otmirror.batch",
    "nifi-app.log": b"ToVictoriaMetrics",
    "audit.jsonl": b"otmirror/data/pilot",
    "commands.log": b"secrets",
    "sync.log": b"looking at otmirror/pilot",
    "arguments of": b"--secret-id-file",
    "environment of": b"OTMIRROR_NIFI_CA",
    "/parameter-contexts": b"opcua.password",
    "bulletin-board": b"secrets of pilot",
    "/flow/history": b"otmirror pilot",
    "the flow's export": b"opcua.password",
    "otmirror flow export": b"opcua.password",
    "attributes in provenance": b"otmirror.batch",
    "of the storage": b"PAR1",
}
"""Where a secret is looked for, and what is found there by the same search."""
SECRETS = ("opcua.password", "victoriametrics.password", "iceberg.s3.secret.key")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Started, its flow imported; no secret is in NiFi yet."""
    try:
        openbao.install()
    except UnavailableError as error:
        pytest.skip(str(error))
    made = Secured(folder("secured"), tmp_path_factory.mktemp("seeds"))
    with pytest.MonkeyPatch.context() as surroundings, made:
        for name, value in made.environment().items():
            surroundings.setenv(name, value)
        try:
            made.start()
        except UnavailableError as error:
            if "Maven" in str(error) or "Java" in str(error) or "was not found" in str(error):
                pytest.skip(str(error))
            raise
        yield made


def command(stack: Secured, *arguments: str) -> str:
    """What a command says; its output is one more place for a secret to be found in."""
    done = subprocess.run(
        [sys.executable, "-m", "otmirror", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    with (stack.folder / "commands.log").open("a") as log:
        log.write(f"{arguments}\n{done.stdout}\n{done.stderr}\n")
    return done.stdout + done.stderr


def once(stack: Secured) -> str:
    return command(stack, *stack.sync_arguments()[3:])


def bulletins(stack: Secured) -> list[tuple[str, str]]:
    """Level and message of every bulletin NiFi shows, those that are of no component included."""
    told = stack.api.rest.get("/flow/bulletin-board", limit=1000)["bulletinBoard"]["bulletins"]
    return [(b["bulletin"]["level"], b["bulletin"]["message"]) for b in told if b.get("bulletin")]


def told(stack: Secured, level: str, *words: str) -> bool:
    return any(level == had and all(word in message for word in words) for had, message in bulletins(stack))


def hot(stack: Secured) -> int:
    """Samples in VictoriaMetrics, by its own count."""
    return sum(1 for _ in _exported(stack))


def _exported(stack: Secured) -> Iterator[tuple[str, int, float]]:
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(stack.tls.authority)
        session.auth = (USER, (stack.seeds / "victoriametrics.password").read_text())
        session.get(f"{stack.victoriametrics.url}/internal/force_flush", timeout=30)
        for series in stores.export(stack.victoriametrics.url, "ot_value", session=session):
            yield from (
                (series.metric["tag"], ts, value)
                for ts, value in zip(series.timestamps, series.values, strict=True)
                if value is not None
            )


def test_without_its_secrets_the_flow_says_what_is_missing(stack: Secured) -> None:
    errors = " ".join(e for c in stack.api.status(stack.group).invalid for e in c.errors)
    assert "Username and Password: set both or none" in errors
    parameters = stack.api.parameters(stack.group)
    assert [parameters[name] for name in SECRETS] == [None, None, None]


def test_the_secrets_come_from_the_vault_and_work(stack: Secured) -> None:
    assert once(stack).startswith("version 1: set iceberg.s3.access.key, iceberg.s3.secret.key, opcua.password")
    assert once(stack) == "version 1: nothing to do\n"
    stack.run()
    assert soon(lambda: {row["source"] for row in stack.rows()} == {"opcua:plant", "modbus:plant"}), bulletins(stack)
    assert soon(lambda: hot(stack) > 50)
    good = [row for row in stack.rows() if row["quality"] == "good"]
    assert {row["source"] for row in good} == {"opcua:plant", "modbus:plant"}


def test_no_value_is_heard_on_any_hop_that_can_be_encrypted(stack: Secured) -> None:
    """By the bytes on the wire; Modbus, which cannot, shows that what is looked for would be found."""
    heard = {name: bytes(tap.heard) for name, tap in stack.taps.items()}
    rows = [row for row in stack.rows() if row["value"] is not None and abs(row["value"]) > 1e-3]
    of = {source: [row for row in rows if row["source"] == source] for source in ("opcua:plant", "modbus:plant")}
    assert min(map(len, of.values())) >= 16
    assert min(len(heard[name]) for name in ("opcua", "victoriametrics", "s3")) > 10_000
    # Counters and states are served as whole numbers of other widths.
    floats = [row["value"] for row in of["modbus:plant"] if row["value"] % 1]
    assert len(floats) >= 16
    assert [value for value in floats if struct.pack(">f", value) not in heard["modbus"]] == []
    for row in of["opcua:plant"]:
        assert struct.pack("<d", row["value"]) not in heard["opcua"]
    for name in ("victoriametrics", "s3"):
        assert not [row for row in rows if struct.pack("<d", row["value"]) in heard[name]]
        assert not [row for row in rows if repr(row["value"]).encode() in heard[name]]
    names = {row["tag"].rpartition("/")[2].encode() for row in rows}
    for name in ("opcua", "victoriametrics", "s3"):
        assert [tag for tag in names if tag in heard[name]] == []
        for secret in stack.canaries.values():
            assert secret.encode() not in heard[name]


def test_a_rotation_while_it_runs(stack: Secured) -> None:
    """New password, new storage key, the old ones refused: samples go on, by the rows after."""
    stack.start_sync()
    stack.seed("victoriametrics.password", canary("victoriametrics.password"))
    stack.s3.rotate()
    stack.seed_s3()
    stack.put()
    assert soon(lambda: told(stack, "INFO", "secrets of pilot: version 2 is set")), stack.sync.log.read_text()
    before, cold = hot(stack), len(stack.rows())
    assert soon(lambda: hot(stack) > before + 50), bulletins(stack)
    assert soon(lambda: len(stack.rows()) > cold + 50), bulletins(stack)


def test_wrong_passwords_are_told_and_the_right_ones_taken_again(stack: Secured) -> None:
    right = {name: (stack.seeds / name).read_text() for name in SECRETS}
    server = stack.seeds / "victoriametrics.password"
    for name in SECRETS:
        stack.seed(name, canary(f"wrong-{name}"))
    # What the server itself takes stays the right one.
    stack.put()
    write_private(server, right["victoriametrics.password"])
    assert soon(lambda: told(stack, "WARNING", "answered 401", "check Username and Password")), bulletins(stack)
    assert soon(lambda: any("Warehouse s3://lake" in message for _, message in bulletins(stack))), bulletins(stack)
    assert soon(lambda: any(("refuses" in m and "OPC UA" in m) or "password" in m.lower() for _, m in bulletins(stack)))
    for name, value in right.items():
        write_private(stack.seeds / name, value)
    stack.put()
    before, cold = hot(stack), len(stack.rows())
    assert soon(lambda: hot(stack) > before + 50), bulletins(stack)
    assert soon(lambda: len(stack.rows()) > cold + 50), bulletins(stack)


def test_a_revoked_login_is_a_bulletin_and_a_new_one_recovers(stack: Secured) -> None:
    approle, tokens = stack.root.auth.approle, stack.root.auth.token
    for accessor in approle.list_secret_id_accessors("otmirror-pilot")["data"]["keys"]:
        approle.destroy_secret_id_accessor("otmirror-pilot", accessor)
    ours = [
        a for a in tokens.list_accessors()["data"]["keys"] if "approle" in tokens.lookup_accessor(a)["data"]["path"]
    ]
    assert ours
    for accessor in ours:
        tokens.revoke_accessor(accessor)
    assert soon(lambda: told(stack, "WARNING", "the token was revoked or has expired")), stack.sync.log.read_text()
    assert soon(lambda: told(stack, "ERROR", "refuses the AppRole login", "put a new secret id into")), bulletins(stack)
    before = hot(stack)
    assert soon(lambda: hot(stack) > before), "the flow goes on with what it has"
    stack.log_in()
    assert soon(lambda: told(stack, "INFO", "Vault answers again")), stack.sync.log.read_text()
    stack.seed("victoriametrics.password", canary("victoriametrics.password"))
    stack.put()
    changed = "secrets of pilot: version 5 is set (victoriametrics.password)"
    assert soon(lambda: told(stack, "INFO", changed)), stack.sync.log.read_text()


def test_a_sealed_and_a_killed_vault(stack: Secured) -> None:
    stack.root.sys.seal()
    assert soon(lambda: told(stack, "ERROR", "is sealed")), stack.sync.log.read_text()
    stack.vault.kill()
    assert soon(lambda: told(stack, "ERROR", "connection refused")), stack.sync.log.read_text()
    stack.vault.start()
    stack.vault.unseal(stack.keys)
    answers = "Vault answers again"
    assert soon(lambda: stack.sync.log.read_text().count(answers) == 2), stack.sync.log.read_text()


def test_a_killed_sync_starts_where_it_was(stack: Secured) -> None:
    stack.sync.kill()
    assert once(stack) == "version 5: nothing to do\n"


def _forms(stack: Secured) -> dict[str, bytes]:
    """Each secret as it is, and as basic authentication sends it."""
    forms = {}
    for name, value in stack.canaries.items():
        forms[name] = value.encode()
        forms[f"{name}, base64"] = base64.b64encode(value.encode())
        forms[f"{name}, basic"] = base64.b64encode(f"{USER}:{value}".encode())
    return forms


def _members(content: bytes) -> Iterator[bytes]:
    """What is packed with gzip anywhere in a file."""
    at = content.find(GZIP)
    while at >= 0:
        with contextlib.suppress(zlib.error):
            yield zlib.decompressobj(31).decompress(memoryview(content)[at:])
        at = content.find(GZIP, at + 1)


def _places(stack: Secured) -> Iterator[tuple[str, bytes]]:
    """All a run leaves behind and shows, by where it is."""
    for path in stack.folder.rglob("*"):
        # Programs are there as they were installed.
        if path.is_file() and not path.is_symlink() and path.suffix not in (".jar", ".nar", ".so"):
            content = path.read_bytes()
            yield str(path), content
            # NiFi keeps its flow and its provenance so, the latter in blocks.
            yield from ((f"{path} unpacked", part) for part in _members(content))
    servers = {
        pid for one in (stack.plant, stack.sync, stack.s3._server, stack.vault._server) for pid in one.processes()
    }
    for pid in servers | set(stack.nifi.processes()) | {stack.victoriametrics.pid or 0}:
        if Path(f"/proc/{pid}/cmdline").exists():
            yield f"arguments of {pid}", Path(f"/proc/{pid}/cmdline").read_bytes()
            yield f"environment of {pid}", json.dumps(environment(pid)).encode()
    for path in _rest(stack):
        yield path, json.dumps(stack.api.rest.get(path)).encode()
    yield "the flow's export", json.dumps(stack.api.export_flow(stack.group)).encode()
    events: list[Any] = []
    for source in stack.sources():
        events += stack.api.created(stack.group, source.name, 1000)
    assert events
    yield "attributes in provenance", repr(events).encode()
    for number, content in enumerate(stack.s3.objects("")):
        yield f"object {number} of the storage", content


def _rest(stack: Secured) -> Iterator[str]:
    yield "/flow/parameter-contexts"
    yield "/flow/bulletin-board?limit=1000"
    yield f"/flow/process-groups/{stack.group}"
    yield f"/process-groups/{stack.group}/download"
    yield "/flow/history?offset=0&count=1000"
    for component in stack.api.components(stack.group):
        yield f"/processors/{component.id}"


def test_no_secret_is_left_anywhere(stack: Secured, tmp_path: Path) -> None:
    stack.start_sync()
    exported = tmp_path / "pilot.json"
    command(stack, "flow", "export", "pilot", "--url", stack.nifi.url, "-o", str(exported))
    command(stack, "flow", "status", "pilot", "--url", stack.nifi.url)
    assert len(stack.canaries) >= 10
    places = itertools.chain(_places(stack), [("otmirror flow export", exported.read_bytes())])
    forms, signs = _forms(stack), {**SIGNS}
    found = []
    for where, content in places:
        for sign, words in SIGNS.items():
            if sign in where and words in content:
                signs.pop(sign, None)
        found += [(name, where) for name, form in forms.items() if form in content]
    assert found == []
    # The search sees what is there: in each kind of place something else is found that has to be there.
    assert signs == {}
