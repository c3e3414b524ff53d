"""What breaks in a plant breaks here, in a running NiFi: a store away, NiFi killed, a Python process killed.

`make chaos ROUNDS=20` repeats the kills at random moments; without it each is done once.
"""

import os
import random
import time

import pytest

from otmirror.demo import run, stores
from otmirror.demo.audit import audit
from otmirror.demo.freshness import export

from .pilots import await_that, connected_to, folder, kill, pilot, queued, stored

pytestmark = [pytest.mark.heavy, pytest.mark.chaos, pytest.mark.timeout(3600)]

ROUNDS = int(os.environ.get("OTMIRROR_CHAOS_ROUNDS", "1"))
OUTAGE = float(os.environ.get("OTMIRROR_OUTAGE_SECONDS", "60"))


@pytest.fixture(scope="module")
def stack():
    with pilot(folder("outages"), ["--tags", "16"], parameters={"iceberg.commit.interval": "3 sec"}) as started:
        await_that(lambda: stored(started) > 0, 120, "nothing was mirrored")
        yield started


def reckon(stack, with_provenance=True):
    """Stop the sources, drain, audit both stores, start again."""
    stack.stop_sources()
    stack.drain(360)
    rejects = stack.lakehouse.rejects()
    result = audit(
        stack.lakehouse.samples(),
        stores.victoriametrics(stack.victoriametrics.url),
        rejects.num_rows if rejects is not None else 0,
        run.emitted(stack) if with_provenance else None,
    )
    stack.run()
    return result


def newest(stack, tag):
    """The newest timestamp (ms) of a tag in VictoriaMetrics."""
    return max((max(s.timestamps) for s in export(stack.victoriametrics.url, f'ot_value{{tag="{tag}"}}')), default=0)


def test_victoriametrics_away_for_a_minute_and_nothing_is_lost(stack):
    before = stored(stack)
    stack.victoriametrics.stop()
    away_since = time.time()
    lengths = []
    while time.time() < away_since + OUTAGE:
        lengths.append(queued(stack, "to VictoriaMetrics"))
        time.sleep(1)
    during = stored(stack)
    stack.victoriametrics.start()
    assert lengths[-1] > lengths[len(lengths) // 2] > lengths[0], "the queue did not grow"
    assert during - before > 0.8 * 38 * (OUTAGE - 10), "reads or the other store stopped meanwhile"
    result = reckon(stack)
    assert result.complete, result
    assert [source.restarts for source in result.sources] == [0, 0]
    covered = {
        second
        for series in export(stack.victoriametrics.url, "ot_value")
        for second in (ts // 1000 for ts in series.timestamps)
    }
    assert set(range(int(away_since) + 1, int(away_since + OUTAGE) - 1)) <= covered


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_nifi_killed_in_mid_run_and_every_flowfile_is_stored_once(stack, round_):
    """What existed is stored once; what was not read meanwhile is a gap that the audit reports, not a loss."""
    restarts = {source.source: source.restarts for source in reckon(stack).sources}
    time.sleep(3 + random.random() * 4)
    stack.nifi.kill()
    died = time.time()
    time.sleep(2)
    stack.nifi.start()
    await_that(lambda: stack.api.status(stack.group).running, 120, "the flow did not go on by itself")
    there = stored(stack)
    await_that(lambda: stored(stack) > there, 120, "nothing was mirrored after the restart")
    result = reckon(stack)
    assert result.complete, result
    for source in result.sources:
        # Once when this test's first reckoning started the sources again, and once for the kill.
        assert source.restarts == restarts[source.source] + 2
        assert source.missing == 0
        assert source.longest_gap_s > 2
    assert time.time() - died < 300


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_readers_process_killed_and_reading_resumes_with_one_session(stack, round_):
    time.sleep(random.random() * 3)
    for address in (stack.plant_status()["opcua"].split("//")[1].split("/")[0], stack.plant_status()["modbus"]):
        port = int(address.rpartition(":")[2])
        await_that(
            lambda port=port: len(connected_to(stack.nifi.processes(), port)) == 1, 60, "no process reads the device"
        )
        (reader,) = connected_to(stack.nifi.processes(), port)
        kill(reader)
        await_that(
            lambda port=port, old=reader: connected_to(stack.nifi.processes(), port) not in ([], [old]),
            90,
            "no new process connected to the device",
        )
        assert len(connected_to(stack.nifi.processes(), port)) == 1
    before = stored(stack)
    await_that(lambda: stored(stack) > before + 100, 60, "reading did not resume")
    result = reckon(stack)
    assert result.complete, result


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_sinks_process_killed_and_every_flowfile_is_stored_once(stack, round_):
    time.sleep(random.random() * 3)
    api = stack.api
    sinks = [pid for pid in stack.nifi.processes() if pid != stack.nifi.pid]
    port = stack.victoriametrics.port
    sinks = connected_to(sinks, port) or sinks[-1:]
    kill(sinks[0])
    result = reckon(stack)
    assert result.complete, result
    assert api.status(stack.group).running
