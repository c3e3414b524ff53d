"""The short drill on a running pilot: three faults, noticed by the alerts, named by the doctor, looked up, healed."""

import json
import subprocess
import sys
import time

import pytest

from otmirror.drill import report
from otmirror.drill.faults import faults
from otmirror.drill.run import START, Drill
from otmirror.drill.stack import DrillStack
from otmirror.errors import UnavailableError

from .pilots import await_that, folder, queued

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def stack():
    made = DrillStack(folder("drill"))
    with made:
        try:
            made.start()
            made.start_monitoring()
        except UnavailableError as error:
            if any(word in str(error) for word in ("Maven", "Java", "was not found", "Go ")):
                pytest.skip(str(error))
            raise
        made.run()
        yield made


@pytest.fixture(scope="module")
def drill(stack):
    it = Drill(stack, patient=False)
    assert it.healthy(START), f"no fresh data after {START:.0f} s"
    return it


def doctor(stack, *options):
    """What the command says, its exit status, and how long it took."""
    began = time.monotonic()
    argv = [sys.executable, "-m", "otmirror", "doctor", "--json", "--home", str(stack.nifi.home), *options]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout), done.returncode, time.monotonic() - began


def wrong(told):
    """What is found but for the machine's own disk, which may be nearly full."""
    return [one["code"] for one in told["causes"] if one["code"] not in ("disk-filling", "hot-disk-low")]


def test_a_pilot_that_is_well(stack, drill):
    revision = stack.api.rest.get(f"/process-groups/{stack.group}")["revision"]
    verdicts = []

    def well():
        told, _, _ = doctor(stack)
        verdicts.append(told["verdict"])
        return wrong(told) == []

    await_that(well, 60, f"the doctor finds fault: {verdicts}")
    told, status, _ = doctor(stack, "--exporter", stack.monitoring.exporter_url)
    assert wrong(told) == []
    assert status == (1 if told["causes"] else 0)
    assert told["flows"] == ["pilot"]
    assert told["seconds"] < 13
    looked = " ".join(told["looked"])
    for part in (
        "Read OPC UA",
        "Poll Modbus",
        "To VictoriaMetrics",
        "Write Iceberg",
        "NiFi's disks",
        "Python",
        "monit",
    ):
        assert part in looked
    assert stack.api.rest.get(f"/process-groups/{stack.group}")["revision"] == revision


def test_a_sink_that_stands_is_the_cause_and_its_queue_is_shown(stack, drill):
    stack.api.stop_processor(stack.group, "Write Iceberg")
    try:
        await_that(lambda: queued(stack, "merged") > 2, 60, "its queue does not grow")
        told, status, _ = doctor(stack, "--flow", "pilot")
    finally:
        stack.run()
    assert status == 1
    first = told["causes"][0]
    assert (first["code"], first["subject"]) == ("processor-stopped", "Write Iceberg")
    assert first["runbook"] == "docs/runbooks/queue-filling.md"


@pytest.mark.parametrize("fault", [one for one in faults() if one.short], ids=lambda one: one.name)
def test_a_fault_is_noticed_named_looked_up_and_healed(drill, fault):
    (outcome,) = drill.work_off([fault])[-1:]
    assert outcome.problem == ""
    assert outcome.named, outcome.verdict
    assert outcome.detect_s is not None
    assert outcome.detect_s < report.GOAL_S
    assert outcome.runbook.endswith(".md")
    assert [line for line in outcome.lines if line.problem] == []
    assert outcome.lines
    assert outcome.recover_s is not None


def test_a_nifi_that_was_killed_is_the_cause_and_the_rest_is_looked_at_all_the_same(stack, drill):
    stack.nifi.kill()
    told, status, _ = doctor(stack)
    assert status == 1
    assert told["causes"][0]["code"] == "nifi-down"
    assert told["causes"][0]["since"]
    # From NiFi's own flow file, as NiFi says nothing any more.
    assert told["flows"] == ["pilot"]
    assert {"store of To VictoriaMetrics", "store of Write Iceberg"} <= set(told["looked"])
