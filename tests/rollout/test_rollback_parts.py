"""What a rollback knows without a NiFi that answers: its flow file, devices, connections, records."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.errors import ConfigError, UnavailableError
from otmirror.rollout import canvas, sessions, target
from otmirror.rollout.canvas import DISABLED, RUNNING, STOPPED, Part
from otmirror.rollout.record import Record, Records


def processor(number: int, kind: str, state: str, **properties: str | None):
    return {"identifier": f"version-{number}", "instanceIdentifier": f"id-{number}", "name": f"P{number}",
            "type": kind, "scheduledState": state, "properties": properties}  # fmt: skip


OPCUA = {"Endpoint URL": "#{opcua.endpoint}", "Password": "#{secret}"}
FLOW = {
    "encodingVersion": {"majorVersion": 2},
    "parameterContexts": [{"name": "site", "parameters": [
        {"name": "opcua.endpoint", "value": "opc.tcp://plc7:4841", "sensitive": False},
        {"name": "secret", "value": "enc{abc}", "sensitive": True},
    ]}],
    "rootGroup": {
        "identifier": "root", "instanceIdentifier": "root-id", "name": "NiFi Flow", "processors": [],
        "processGroups": [{
            "identifier": "g", "instanceIdentifier": "g-id", "name": "edge", "parameterContextName": "site",
            "processors": [
                processor(1, "ReadOpcUaTags", "RUNNING", **OPCUA),
                processor(2, "PollModbusReadOnly", "ENABLED", Devices="rtu=10.1.2.3:1502, x=10.1.2.4"),
                processor(3, "org.apache.nifi.processors.mqtt.PublishMQTT", "RUNNING"),
                processor(4, "WriteIceberg", "RUNNING"),
            ],
            "processGroups": [],
        }],
    },
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    canvas.flow_file(tmp_path).write_bytes(gzip.compress(json.dumps(FLOW).encode()))
    return tmp_path


def states(home: Path) -> dict[str, str]:
    return {part.name: part.state for part in canvas.stored(home).parts}


def test_the_flow_file_tells_sources_publishers_and_devices(home: Path) -> None:
    found = canvas.stored(home)
    assert found.root == "root-id"
    assert [(part.id, part.kind, part.state) for part in found.parts] == [
        ("id-1", "ReadOpcUaTags", RUNNING), ("id-2", "PollModbusReadOnly", STOPPED), ("id-3", "PublishMQTT", RUNNING),
        ("id-4", "WriteIceberg", RUNNING),
    ]  # fmt: skip
    assert [part.name for part in found.parts if part.reads] == ["P1", "P2"]
    assert [part.name for part in found.parts if part.publishes] == ["P3"]
    assert set(sessions.devices(part for part in found.parts if part.reads)) == {
        "plc7:4841", "10.1.2.3:1502", "10.1.2.4:502",
    }  # fmt: skip
    assert "enc{abc}" not in str(found)


def test_a_flow_file_is_made_quiet_and_nothing_else_in_it_changes(home: Path) -> None:
    file = canvas.flow_file(home)
    before = file.read_bytes()
    canvas.hold(home, {"id-1"}, {"id-3"})
    assert states(home) == {"P1": STOPPED, "P2": STOPPED, "P3": DISABLED, "P4": RUNNING}
    assert (home / "conf" / "flow.before-rollback.json.gz").read_bytes() == before
    changed = json.loads(gzip.decompress(file.read_bytes()))
    inner = changed["rootGroup"]["processGroups"][0]["processors"]
    inner[0]["scheduledState"] = inner[2]["scheduledState"] = "RUNNING"
    assert changed == FLOW
    # Again: the file as it was first stays kept.
    canvas.hold(home, {"id-1"}, {"id-3"})
    assert (home / "conf" / "flow.before-rollback.json.gz").read_bytes() == before


# The names without gzip's time stamp: those who collect in different seconds have to find the same tests.
@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", *(gzip.compress(text, mtime=0) for text in (b"{", b"{}", b"[]"))],
    ids=["empty", "no gzip", "cut off", "without a flow", "a list"],
)
def test_a_damaged_flow_file_is_one_message(home: Path, content: bytes) -> None:
    canvas.flow_file(home).write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        canvas.stored(home)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_an_open_connection_is_found_with_its_process_and_a_closed_one_is_not(family, host: str) -> None:
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with server:
        port = server.getsockname()[1]
        named = {"Devices": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
        devices = sessions.devices([Part("1", "p", "PollModbusReadOnly", RUNNING, named)])
        assert len(devices) == 1
        assert sessions.open_sessions([os.getpid()], devices) == []
        with socket.create_connection((host, port)) as client:
            (found,) = sessions.open_sessions([os.getpid()], devices)
            assert (found.pid, found.state) == (os.getpid(), "established")
            other = {"x": (host, client.getsockname()[1])}
            assert sessions.open_sessions([os.getpid()], other) == []
            assert sessions.open_sessions([1], devices) == []
        assert sessions.open_sessions([os.getpid()], devices) == []


def test_the_process_that_listens_on_a_port_and_its_children_are_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        child = subprocess.Popen(["sleep", "30"])
        try:
            found = sessions.nifi_processes(port)
            assert {os.getpid(), child.pid} <= set(found)
            assert os.getppid() not in found
            sessions.end([child.pid], 5.0)
            assert child.wait(5) == -signal.SIGTERM
        finally:
            child.kill()
    assert sessions.nifi_processes(port) == []


def test_backups_of_an_opc_ua_server_are_devices_too() -> None:
    part = Part("1", "p", "ReadOpcUaTags", RUNNING, {
        "Endpoint URL": "opc.tcp://a/x", "Backup Endpoint URLs": "opc.tcp://b:4841, opc.tcp://[fd00::1]:4842/y",
    })  # fmt: skip
    assert list(sessions.devices([part]).values()) == [("a", 4840), ("b", 4841), ("fd00::1", 4842)]


def test_a_record_keeps_the_state_that_was_first(tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    record = Record("root-id", "http://127.0.0.1:1/nifi-api", "2026-11-26T01:00:00+00:00")
    record.note([Part("1", "p", "ReadOpcUaTags", RUNNING)])
    record.note([Part("1", "p", "ReadOpcUaTags", STOPPED), Part("2", "q", "PublishKafka", STOPPED)])
    assert [(one.id, one.before) for one in record.touched] == [("1", RUNNING), ("2", STOPPED)]
    records.keep(record)
    assert records.open("root-id") == record
    assert records.open("another") is None
    assert records.close(record).name == "root-id-20261126T010000.json"
    assert records.open("root-id") is None
    for text in ("", "{}", "[]", '{"touched": [{"id": 1}]}'):
        records.file("root-id").write_text(text)
        with pytest.raises(ConfigError, match="is damaged"):
            records.open("root-id")
    with pytest.raises(UnavailableError, match="cannot be written"):
        Records(Path("/proc/nowhere")).keep(record)


def test_without_arguments_the_one_nifi_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("OTMIRROR_WORK", str(tmp_path / "work"))
    with pytest.raises(ConfigError, match="no embedded NiFi runs here"):
        target.find(None, None)
    pilot = tmp_path / "work" / "run" / "nifi"
    (pilot / "conf").mkdir(parents=True)
    canvas.flow_file(pilot).write_bytes(canvas.flow_file(home).read_bytes())
    assert target.find(None, None).home == pilot
    with pytest.raises(ConfigError, match="no NiFi was ever started there"):
        target.find(None, tmp_path / "absent")
    with pytest.raises(ConfigError, match="give one of them"):
        target.find("http://127.0.0.1:1/nifi-api", home)


def test_a_nifi_that_is_not_up_is_made_quiet_for_its_next_start(home: Path, tmp_path: Path) -> None:
    line = ["rollback", "--home", str(home), "--records", str(tmp_path / "records")]
    done = CliRunner().invoke(app, [*line, "--yes"])
    assert done.exit_code == 0, done.output
    assert states(home) == {"P1": STOPPED, "P2": STOPPED, "P3": DISABLED, "P4": RUNNING}
    kept = json.loads((tmp_path / "records" / "root-id.json").read_text())
    assert [(one["name"], one["before"]) for one in kept["touched"]] == [("P1", RUNNING), ("P3", RUNNING)]
    assert f"otmirror nifi start --home {home}, then otmirror rollback --undo" in done.stdout
    # The undo needs NiFi: it says so and changes nothing.
    undo = CliRunner().invoke(app, [*line, "--undo", "--yes"])
    assert "cannot be reached" in str(undo.exception)
    assert states(home)["P1"] == STOPPED


def test_a_nifi_on_another_machine_that_is_away_is_told_what_to_do() -> None:
    done = CliRunner().invoke(app, ["rollback", "--url", "http://127.0.0.1:9/nifi-api", "--yes"])
    assert isinstance(done.exception, UnavailableError)
    assert "stop it there" in str(done.exception)
