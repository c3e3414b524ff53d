"""The metrics of a running pilot, as its monitoring store has them, against provenance, the stores and the document."""

import re
import time

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from otmirror.demo import run, stores
from otmirror.metrics.definitions import PROCESSORS
from otmirror.workspace import PROJECT

from ..pilots import await_that, kill

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1200)]

SOURCES = {"ReadOpcUaTags": "opcua:plant", "PollModbusReadOnly": "modbus:plant"}
KILLED = ("ReadOpcUaTags", "WriteIceberg")


def ask(stack, query):
    """Values that the monitoring store has now, by their labels."""
    answer = requests.get(f"{stack.monitoring.url}/api/v1/query", params={"query": query}, timeout=20)
    answer.raise_for_status()
    return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in answer.json()["data"]["result"]}


def by(stack, label, query):
    """The same, by one label's value."""
    return {dict(labels)[label]: value for labels, value in ask(stack, query).items()}


def scraped(stack):
    """What the exporter gives now, read by Prometheus' own client: family's name without _total -> family."""
    text = requests.get(f"{stack.monitoring.exporter_url}/metrics", timeout=20).text
    return {family.name: family for family in text_string_to_metric_families(text)}


SELDOM = (
    "certificate_expiry_timestamp_seconds", "last_gap_timestamp_seconds", "server_queue_left_seconds",
    "iceberg_last_conflict_timestamp_seconds",
)  # fmt: skip
"""What a pilot that is well has none of: tests/unit/metrics, tests/sinks and tests/protocol bring each about."""


def documented():
    """What docs/metrics.md says each processor, or the exporter, gives: (name, type) by whom."""
    found = {}
    for section in (PROJECT / "docs" / "metrics.md").read_text().split("\n## ")[1:]:
        who = re.findall("|".join(PROCESSORS), section.split("\n|")[0]) or ["exporter"]
        for name, kind, rest in re.findall(r"^\| `(otmirror_\w+)` \| (\w+) \|(.*)$", section, re.MULTILINE):
            given = re.search(r"Given by ([\w, ]+)\.", rest)
            for processor in given[1].split(", ") if given else who:
                found.setdefault(processor, set()).add((name, kind))
    return found


def test_all_four_are_scraped(stack):
    jobs = ("otmirror", "nifi", "victoriametrics", "monitoring")
    await_that(lambda: by(stack, "job", "up") == dict.fromkeys(jobs, 1), 30, "a job is not up")
    assert ask(stack, 'count({__name__="nifi_amount_items_queued", job="nifi"})')[()] > 5


def test_the_document_is_what_the_endpoint_exposes(stack):
    def given():
        found = {}
        for family in scraped(stack).values():
            name = family.name + "_total" * (family.type == "counter")
            for one in family.samples:
                found.setdefault(one.labels.get("processor", "exporter"), set()).add((name, family.type))
        return usual(found)

    def usual(names):
        return {who: told - {(f"otmirror_{name}", "gauge") for name in SELDOM} for who, told in names.items()}

    wanted = usual(documented())
    assert set(wanted) == {*PROCESSORS, "exporter"}
    await_that(lambda: given() == wanted, 30, f"{given()} is not {wanted}")


def test_what_is_true_now(stack):
    await_that(lambda: by(stack, "source", "otmirror_source_connected") == dict.fromkeys(SOURCES.values(), 1), 30,
               "a source is not connected")  # fmt: skip
    tags = run.declared(stack)
    assert by(stack, "source", "otmirror_source_tags") == tags
    everything = dict.fromkeys(("ToVictoriaMetrics", "WriteIceberg"), sum(tags.values()))
    await_that(lambda: by(stack, "processor", "sum by (processor) (otmirror_store_tags)") == everything, 30,
               "the sinks do not know all tags")  # fmt: skip
    assert set(by(stack, "area", "otmirror_store_tags")) == {"acme/north"}
    await_that(lambda: by(stack, "source", "otmirror_source_tags_bad") == dict.fromkeys(tags, 0), 30, "tags stay bad")
    ages = by(stack, "source", "time() - otmirror_source_last_good_timestamp_seconds")
    assert set(ages) == set(tags)
    assert all(-1 < age < 20 for age in ages.values()), ages
    assert all(value == 1 for value in ask(stack, "otmirror_processor_running").values())


def test_a_dead_process_shows_and_its_counts_go_on(stack):
    counters = "{__name__=~'otmirror_.+(_total|_count|_sum|_bucket)', processor=~'ReadOpcUaTags|WriteIceberg'}"
    before = ask(stack, counters)
    processes = stack.nifi.python_processes()
    for name in KILLED:
        kill(processes[name])
    died = time.time()
    what = "otmirror_process_start_time_seconds"
    await_that(lambda: all(by(stack, "processor", what)[name] > died for name in KILLED), 120,
               "a killed process did not come back")  # fmt: skip
    await_that(lambda: all(value > died + 5 for value in by(stack, "processor", "otmirror_heartbeat_timestamp_seconds")
                           .values()), 30, "a heartbeat did not return")  # fmt: skip
    after = ask(stack, counters)
    assert len(before) > 50
    assert [labels for labels, value in before.items() if after.get(labels, -1) < value] == []
    read = "sum by (processor) (otmirror_samples_read_total)"
    total = by(stack, "processor", read)["ReadOpcUaTags"]
    await_that(lambda: by(stack, "processor", read)["ReadOpcUaTags"] > total, 30, "nothing was counted afterwards")
    assert sum(ask(stack, "sum(resets(otmirror_samples_read_total[10m]))").values()) == 0


def test_a_stopped_processor_says_so_and_its_heartbeat_ends(stack):
    stack.stop_sources()
    stack.drain(300)
    running = "otmirror_processor_running"
    await_that(lambda: [by(stack, "processor", running)[name] for name in SOURCES] == [0, 0], 30, "they run on")
    assert [by(stack, "processor", running)[name] for name in ("ToVictoriaMetrics", "WriteIceberg")] == [1, 1]
    ended = by(stack, "processor", "otmirror_heartbeat_timestamp_seconds")
    idle = "ToVictoriaMetrics"
    await_that(lambda: by(stack, "processor", "otmirror_heartbeat_timestamp_seconds")[idle] > ended[idle] + 5, 30,
               "an idle sink looks dead")  # fmt: skip
    for name in SOURCES:
        assert by(stack, "processor", "otmirror_heartbeat_timestamp_seconds")[name] == ended[name]
    assert not ask(stack, "otmirror_source_connected")


def test_what_left_the_sources_and_what_the_stores_hold_is_what_was_counted(stack):
    """From one end of the sources to the next; what a killed process had not written is not in it."""
    totals = "sum by (source) (otmirror_samples_read_total)"
    sinks = "sum by (processor) (otmirror_samples_stored_total)"

    def settled():
        ended, beat = time.time(), "min(otmirror_heartbeat_timestamp_seconds{processor!~'ReadOpcUaTags|PollModbus.+'})"
        await_that(lambda: ask(stack, beat)[()] > ended, 30, "the sinks' files were not scraped")
        return by(stack, "source", totals), by(stack, "processor", sinks), run.emitted(stack), held(stack)

    counted, counted_in, left, kept = settled()
    stack.run()
    time.sleep(8)
    stack.stop_sources()
    stack.drain(300)
    counted_now, counted_in_now, left_now, kept_now = settled()
    for source in SOURCES.values():
        assert left_now[source] - left[source] > 100
        assert counted_now[source] - counted[source] == left_now[source] - left[source]
    assert set(counted_in_now) == set(kept)
    for sink, rows in kept_now.items():
        assert rows - kept[sink] > 100
        assert counted_in_now[sink] - counted_in[sink] == rows - kept[sink]


def held(stack):
    """What the stores hold; a bad sample has no value in VictoriaMetrics, so those are counted in Iceberg."""
    rows = stack.lakehouse.samples()
    values = stores.victoriametrics(stack.victoriametrics.url).num_rows
    return {
        "WriteIceberg": rows.num_rows,
        "ToVictoriaMetrics": values + rows.column("quality").to_pylist().count("bad"),
    }
