"""Back to the incumbent and forward again on a running pilot: nothing is deleted, lost or duplicated."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.demo import run, stores
from otmirror.demo.audit import audit
from otmirror.demo.stack import Stack
from otmirror.kpi.provision import measure
from otmirror.rollout import rollback

from .pilots import await_that, connected_to, folder, pilot, stored

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]

SOURCES = {"Read OPC UA", "Poll Modbus"}


@pytest.fixture(scope="module")
def platform():
    fast = {"iceberg.commit.interval": "3 sec"}
    with pilot(
        folder("rollback"), ["--tags", "16"], start=False, begin=Stack.start_platform, parameters=fast
    ) as started:
        yield started


@pytest.fixture(scope="module")
def provisioned(platform):
    """How long the tag lists took into the hot store."""
    return measure(platform)


@pytest.fixture(scope="module")
def stack(platform, provisioned):
    await_that(lambda: stored(platform) > 0, 120, "nothing was mirrored")
    return platform


@pytest.fixture(scope="module")
def records(stack):
    return stack.folder / "records"


def command(stack, records, *more):
    line = ["rollback", "--home", str(stack.nifi.home), "--records", str(records), *more]
    return CliRunner().invoke(app, line)


def states(stack):
    return {component.name: component.state for component in stack.api.components(stack.group)}


def ports(stack):
    told = stack.plant_status()
    return [int(told["opcua"].split("//")[1].split("/")[0].rpartition(":")[2]), int(told["modbus"].rpartition(":")[2])]


def readers(stack):
    """The processes of NiFi that hold a connection to a device."""
    return [pid for port in ports(stack) for pid in connected_to(stack.nifi.processes(), port)]


def record_of(records):
    (file,) = [file for file in records.glob("*.json") if len(file.stem) == len("159fa2e0-01a2-1000-ed62-002ab0afc599")]
    return json.loads(file.read_text())


def reckon(stack):
    """What left the sources by NiFi's provenance, against what both stores hold."""
    stack.stop_sources()
    stack.drain(300)
    rejects = stack.lakehouse.rejects()
    hot = stores.victoriametrics(stack.victoriametrics.url)
    return audit(stack.lakehouse.samples(), hot, rejects.num_rows if rejects is not None else 0, run.emitted(stack))


def test_time_to_provision_is_measured_from_the_tag_list_to_the_hot_store(provisioned, stack):
    print(f"provision: {provisioned}")
    assert provisioned["tags"] == len(set(stack.lakehouse.samples().column("tag").to_pylist()))
    times = [provisioned[name] for name in ("imported_s", "started_s", "first_sample_s", "all_tags_s")]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 120


def test_without_consent_nothing_is_touched(stack, records):
    told = command(stack, records)
    assert told.exit_code == 2
    assert "stop the sources: Poll Modbus, Read OPC UA" in told.stdout or "stop the sources: Read OPC UA" in told.stdout
    assert "Nothing is deleted" in told.stdout
    assert command(stack, records, "--dry-run").exit_code == 0
    assert set(states(stack).values()) == {"RUNNING"}
    assert not records.exists()


def test_sources_stop_queues_drain_sessions_close_and_the_undo_starts_exactly_that(stack, records):
    # What was stopped by hand before is none of the rollback's, nor of its undo's.
    api = stack.api
    api.stop_processor(stack.group, "Poll Modbus")
    before = stored(stack)
    began = time.monotonic()
    told = command(stack, records, "--yes")
    took = time.monotonic() - began
    print(f"rollback: {took:.1f} s")
    assert told.exit_code == 0, told.output
    assert took < 120
    assert states(stack) == {name: "STOPPED" if name in SOURCES else "RUNNING" for name in states(stack)}
    assert readers(stack) == []
    assert sum(queue.count for queue in api.queues(stack.group)) == 0
    kept = record_of(records)
    assert [one["name"] for one in kept["touched"]] == ["Read OPC UA"]
    assert (kept["waiting"], kept["sessions"], kept["verified"], kept["problems"]) == ({}, [], True, [])
    rows = stack.lakehouse.samples()
    assert rows.num_rows >= before
    newest = max(rows.column("ts").to_pylist()) / 1e6
    last = {name: run.datetime.datetime.fromisoformat(text).timestamp() for name, text in kept["last"].items()}
    assert last["Write Iceberg"] == pytest.approx(newest, abs=0.001)
    assert last["To VictoriaMetrics"] == pytest.approx(newest, abs=0.001)
    # Again: nothing more to stop, and what was stopped first stays known.
    assert command(stack, records, "--yes").exit_code == 0
    assert [one["name"] for one in record_of(records)["touched"]] == ["Read OPC UA"]
    undone = command(stack, records, "--undo", "--yes")
    assert undone.exit_code == 0, undone.output
    assert states(stack) == {name: "STOPPED" if name == "Poll Modbus" else "RUNNING" for name in states(stack)}
    await_that(lambda: stored(stack) > rows.num_rows, 60, "reading did not resume")
    nothing = command(stack, records, "--undo", "--yes")
    assert "nothing to undo" in str(nothing.exception)
    api.schedule(api.processor_by_name(stack.group, "Poll Modbus").id, "RUNNING")


def test_a_reader_that_hangs_is_interrupted_and_its_connection_closed(stack, records, monkeypatch):
    monkeypatch.setattr(rollback, "STOP_SECONDS", 5.0)
    monkeypatch.setattr("otmirror.rollout.target.PATIENCE", 3.0)
    await_that(lambda: len(readers(stack)) == 2, 60, "the devices are not read")
    hanging = connected_to(stack.nifi.processes(), ports(stack)[0])
    assert len(hanging) == 1
    os.kill(hanging[0], signal.SIGSTOP)
    try:
        told = command(stack, records, "--yes")
    finally:
        if hanging[0] in stack.nifi.processes():
            os.kill(hanging[0], signal.SIGCONT)
    assert told.exit_code == 0, told.output
    assert readers(stack) == []
    assert not record_of(records)["nifi_ended"]
    assert {states(stack)[name] for name in SOURCES} == {"STOPPED"}
    undone = command(stack, records, "--undo", "--yes")
    assert undone.exit_code == 0, undone.output
    await_that(lambda: len(readers(stack)) == 2, 90, "the devices are not read again")


def test_a_nifi_that_does_not_answer_is_ended_and_stays_quiet_until_the_undo(stack, records, monkeypatch):
    monkeypatch.setattr("otmirror.rollout.target.PATIENCE", 3.0)
    monkeypatch.setattr(rollback, "ANSWER_SECONDS", 5.0)
    await_that(lambda: len(readers(stack)) == 2, 60, "the devices are not read")
    # The store away: something waits in a queue when it happens.
    stack.victoriametrics.stop()
    await_that(lambda: stack.api.status(stack.group).queued > 3, 60, "nothing queued")
    os.kill(stack.nifi.pid, signal.SIGSTOP)
    told = command(stack, records, "--yes")
    assert "NiFi does not answer" in told.stdout
    assert told.exit_code == 0, told.output
    assert stack.nifi.processes() == []
    kept = record_of(records)
    assert kept["nifi_ended"]
    assert {one["name"] for one in kept["touched"]} == SOURCES
    assert kept["last"]["To VictoriaMetrics"].startswith("not known")
    stack.victoriametrics.start()
    stack.nifi.start()
    stack.api.await_ready(stack.group)
    assert states(stack) == {name: "STOPPED" if name in SOURCES else "RUNNING" for name in states(stack)}
    assert readers(stack) == []
    undone = command(stack, records, "--undo", "--yes")
    assert undone.exit_code == 0, undone.output
    assert set(states(stack).values()) == {"RUNNING"}
    there = stored(stack)
    await_that(lambda: stored(stack) > there, 90, "reading did not resume")
    result = reckon(stack)
    assert result.complete, result
    assert (result.lost, result.duplicated) == (0, 0)
    assert {source.missing for source in result.sources} == {0}
