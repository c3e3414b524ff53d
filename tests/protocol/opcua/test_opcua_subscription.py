"""Subscriptions against node-opcua: what the server counted up is what arrives, whatever happens on the way."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opcua_relay import FaultyRelay
from opcua_server import Server, messages, tags

from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.items import Subscription
from otmirror.opcua.reader import OpcUaReader

BAD_DATA_LOST = 0x809D0000
OVERFLOW = 0x480
NODES = 10


class Seen:
    """Every sample a reader gave, in order."""

    def __init__(self, reader: OpcUaReader):
        self.reader = reader
        self.rows: list[dict[str, Any]] = []

    def until(self, enough: Callable[[], Any], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            table = self.reader.read()
            if table is not None:
                self.rows += table.to_pylist()
            if enough():
                return
            time.sleep(0.01)  # as NiFi does between two calls
        raise AssertionError(
            f"not within {seconds} s; {dict(self.reader.subscriptions.counts)} {messages(self.reader)}"
        )

    def values(self, tag: str) -> list[float]:
        return [row["value"] for row in self.rows if row["tag"] == tag and row["quality"] == "good"]

    def gaps(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["status"] == BAD_DATA_LOST]

    def good(self) -> bool:
        """Whether the latest sample of every tag is good."""
        latest = {row["tag"]: row["quality"] for row in sorted(self.rows, key=lambda row: row["ts"])}
        return bool(latest) and set(latest.values()) == {"good"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("subscribed"), security=["None"], written=NODES)
    yield server
    server.close()


@pytest.fixture
def counting(server: Server) -> Iterator[Server]:
    server.do("write", nodes=NODES, every=50)
    yield server
    server.do("write", every=0)
    server.do("refuseFilters", on=False)
    server.do("publishing", least=50)
    server.do("maxSubscriptions", count=100)
    server.do("killSubscriptions")


def subscribed(count: int = NODES, **more: Any) -> Any:
    return tags(*(f"Written{n}" for n in range(count)), **more)


SETTINGS: dict[str, Any] = {"mode_of_tags": "subscribe", "interval_ms": 200, "sampling_ms": 0, "queue_size": 1000,
                            "refresh": 3600.0}  # fmt: skip


def pairs(found: list[float]) -> Iterator[tuple[float, float]]:
    return itertools.pairwise(found)


def stop_counting(server: Server) -> list[int]:
    return [int(last) for last in server.do("write", every=0)]


def all_arrived(seen: Seen, last: list[int]) -> bool:
    return all(seen.values(f"Written{n}")[-1:] == [count] for n, count in enumerate(last))


def assert_each_once(seen: Seen, last: list[int], first: int | None = None) -> None:
    """Every number the server counted, from the first one seen to the last, came, in order and once."""
    for n, count in enumerate(last):
        found = seen.values(f"Written{n}")
        assert found == list(range(int(found[0]) if first is None else first, count + 1)), f"Written{n}"


def test_every_change_arrives_once_and_in_order(counting: Server, connect: Any) -> None:
    before = counting.do("requests")
    seen = Seen(connect(counting, subscribed(), **SETTINGS))
    seen.until(lambda: len(seen.rows) > 40 * NODES)
    last = stop_counting(counting)
    seen.until(lambda: all_arrived(seen, last))
    assert_each_once(seen, last)
    assert not seen.gaps()
    row = seen.rows[-1]
    assert row["type"] == "double"
    assert 0 <= row["ts_read"] - row["ts"] < 5_000_000
    requests = counting.do("requests")
    assert requests["CreateMonitoredItems"] - before.get("CreateMonitoredItems", 0) == 1
    assert requests["Read"] - before.get("Read", 0) <= 3, "values are reported, not read"


def test_polled_and_subscribed_tags_stand_side_by_side(counting: Server, connect: Any) -> None:
    wanted = (*subscribed(2, mode="subscribe"), *tags("Setpoint", mode="poll"))
    seen = Seen(connect(counting, wanted, **{**SETTINGS, "mode_of_tags": "poll"}))
    seen.until(lambda: len(seen.values("Written0")) > 20 and seen.values("Setpoint"))
    assert seen.reader.subscriptions.live == {0, 1}
    assert set(seen.values("Setpoint")) == {42}


def test_items_are_created_within_the_servers_limit_and_again_after_its_restart(
    tmp_path: Path, start: Callable[..., Server], connect: Any
) -> None:
    options = {"security": ["None"], "written": 250}
    server = start(**options)
    server.do("maxMonitoredItems", items=100)
    seen = Seen(connect(server, subscribed(250), **SETTINGS))
    seen.until(lambda: len(seen.reader.subscriptions.live) == 250)
    server.kill()
    again = start(port=server.port, **options)
    again.do("maxMonitoredItems", items=60)
    seen.until(lambda: len(seen.reader.subscriptions.live) == 250, 30)
    again.do("write", nodes=250, every=100)
    seen.until(lambda: all(seen.values(f"Written{n}")[-1:] >= [3] for n in range(250)))
    assert again.do("sessions") == 1
    assert len({row["tag"] for row in seen.gaps()}) == 250, "what changed meanwhile is not known"


def test_a_subscription_that_the_server_ends_is_created_again_and_the_gap_told(counting: Server, connect: Any) -> None:
    seen = Seen(connect(counting, subscribed(), **SETTINGS))
    seen.until(lambda: len(seen.rows) > 10 * NODES)
    assert counting.do("killSubscriptions") == 1
    seen.until(lambda: len(seen.gaps()) == NODES)
    mark = len(seen.rows)
    seen.until(lambda: len(seen.rows) > mark + 10 * NODES)
    last = stop_counting(counting)
    seen.until(lambda: all_arrived(seen, last))
    assert {row["value"] for row in seen.gaps()} == {None}
    assert seen.reader.subscriptions.counts["recreated"] == 1
    assert "is created again" in messages(seen.reader)
    for n in range(NODES):
        found = sorted(set(seen.values(f"Written{n}")))
        holes = [(a, b) for a, b in pairs(found) if b > a + 1]
        assert len(holes) <= 1, "nothing is missing but what the gap stands for"


def test_a_queue_that_overflows_is_told_at_the_tag(counting: Server, connect: Any) -> None:
    stop_counting(counting)
    seen = Seen(connect(counting, subscribed(2), **{**SETTINGS, "queue_size": 10}))
    seen.until(lambda: seen.good())
    mark = len(seen.rows)
    last = counting.do("burst", node=0, count=100)
    seen.until(lambda: seen.values("Written0")[-1:] == [last])
    rows = [row for row in seen.rows[mark:] if row["tag"] == "Written0"]
    assert [row["value"] for row in rows if row["quality"] == "good"] == list(range(int(last) - 9, int(last) + 1))
    assert rows[0]["status"] == BAD_DATA_LOST
    assert rows[0]["ts"] == rows[1]["ts"] - 1
    assert rows[1]["status"] & OVERFLOW == OVERFLOW
    assert seen.reader.subscriptions.counts["overflows"] == 1


def test_a_buffer_that_nobody_empties_is_measured(counting: Server, connect: Any) -> None:
    """Ten counters, written every 50 ms: some 200 values a second."""
    source, capacity = "opcua:buffer", 100_000
    seen = Seen(connect(counting, subscribed(NODES), **{**SETTINGS, "source": source, "buffer": capacity}))
    seen.until(lambda: seen.good() and seen.reader.subscriptions.live)
    look = seen.reader.figures.collect

    def measured(name: str) -> float:
        return look().numbers[(f"otmirror_{name}", (source,))]

    seen.reader.read()
    first, began = measured("buffer_samples"), time.monotonic()
    time.sleep(1.0)
    values = look().numbers
    held, left = (values[(f"otmirror_buffer_{name}", (source,))] for name in ("samples", "left_seconds"))
    rate = (held - first) / (time.monotonic() - began)
    assert held > first + 50
    assert left == pytest.approx((capacity - held) / rate, rel=0.3)
    assert measured("buffer_capacity_samples") == capacity
    assert time.time() - 3 < measured("source_last_good_timestamp_seconds") <= time.time()
    last = stop_counting(counting)
    seen.until(lambda: all_arrived(seen, last))
    assert measured("buffer_samples") == 0


def test_an_interval_that_the_server_stretches_is_told(counting: Server, connect: Any) -> None:
    counting.do("publishing", least=1500)
    seen = Seen(connect(counting, subscribed(1), **SETTINGS))
    seen.until(lambda: seen.good())
    assert "publishes every 1.5 s where 0.2 s was asked for" in messages(seen.reader)


def test_a_deadband_that_the_server_refuses_is_applied_here(counting: Server, connect: Any) -> None:
    counting.do("refuseFilters", on=True)
    seen = Seen(connect(counting, subscribed(1, deadband=10.0), **SETTINGS))
    seen.until(lambda: len(seen.values("Written0")) > 8)
    found = seen.values("Written0")
    assert found[::2] == [found[0] + 11 * n for n in range(len(found[::2]))], "each exceeds the deadband, at once"
    assert found[1::2] == [value - 1 for value in found[2::2]] + found[1::2][len(found[2::2]) :], "the one before it"
    assert "does not apply the deadband of 1 tag(s)" in messages(seen.reader)


def test_a_deadband_that_the_server_applies_spares_the_way(counting: Server, connect: Any) -> None:
    seen = Seen(connect(counting, subscribed(1, deadband=10.0), **SETTINGS))
    seen.until(lambda: len(seen.values("Written0")) > 3)
    found = seen.values("Written0")
    assert all(b - a > 10 for a, b in pairs(found))
    assert seen.reader.subscriptions.counts["values"] <= len(found) + 2


def test_what_a_lost_connection_held_is_fetched_from_the_subscription_it_left(counting: Server, connect: Any) -> None:
    relay = FaultyRelay(counting)
    try:
        seen = Seen(connect(relay.url, subscribed(), **SETTINGS))
        seen.until(lambda: len(seen.rows) > 10 * NODES)
        for _ in range(3):
            mark = len(seen.rows)
            relay.cut()
            seen.until(lambda mark=mark: len(seen.rows) > mark + 20 * NODES and seen.good())  # type: ignore[misc]
        last = stop_counting(counting)
        seen.until(lambda: all_arrived(seen, last))
    finally:
        relay.close()
    assert seen.reader.subscriptions.counts["transferred"] == 3
    assert_each_once(seen, last)
    assert not seen.gaps()


def test_while_nobody_asks_the_server_keeps_the_values(counting: Server, tmp_path: Path) -> None:
    """NiFi's back-pressure: no calls. The session ends, the subscription does not."""
    others = counting.do("sessions")
    config = OpcUaConfig(counting.url, subscribed(), pki=tmp_path / "pki", **SETTINGS)
    reader = OpcUaReader(config, away=0.5)
    seen = Seen(reader)
    seen.until(lambda: len(seen.rows) > 10 * NODES)
    end = time.monotonic() + 10
    while counting.do("sessions") > others and time.monotonic() < end:
        time.sleep(0.1)
    assert counting.do("sessions") == others
    left = "otmirror_server_queue_left_seconds", (config.source,)
    # Written whenever it looks: how often is the server's own affair.
    assert reader.figures.collect().numbers[left] == 0
    before = counting.do("written")[0]
    while counting.do("written")[0] < before + 40:
        time.sleep(0.1)
    mark = len(seen.rows)
    seen.until(lambda: len(seen.rows) > mark + 60 * NODES)
    last = stop_counting(counting)
    seen.until(lambda: all_arrived(seen, last))
    assert left not in reader.figures.collect().numbers
    reader.close()
    assert_each_once(seen, last)
    assert not seen.gaps()
    assert counting.do("sessions") == others


def test_a_pause_of_this_process_is_no_silence_of_the_server(
    counting: Server, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Subscription, "patience", 2.0)
    seen = Seen(connect(counting, subscribed(), **SETTINGS))
    seen.until(lambda: len(seen.rows) > 10 * NODES)
    mark = len(seen.rows)
    seen.reader._loop.soon(lambda: time.sleep(3.0))  # all that is received is received on this loop
    seen.until(lambda: len(seen.rows) > mark + 70 * NODES)
    last = stop_counting(counting)
    seen.until(lambda: all_arrived(seen, last))
    assert seen.reader.subscriptions.counts["recreated"] == 0
    assert not seen.gaps()
    assert_each_once(seen, last)


def test_a_full_buffer_pauses_the_server_and_nothing_is_lost(counting: Server, connect: Any) -> None:
    seen = Seen(connect(counting, subscribed(), **{**SETTINGS, "buffer": 1000}))
    seen.until(lambda: seen.good())
    reader = seen.reader
    end = time.monotonic() + 15
    while not reader._reports._inbox.full and time.monotonic() < end:
        time.sleep(0.05)
    published = counting.do("requests")["Publish"]
    time.sleep(1.0)
    assert counting.do("requests")["Publish"] == published, "nothing more is asked for"
    assert reader._reports.waiting < 1000 + 3 * 20 * NODES
    last = stop_counting(counting)
    seen.until(lambda: all_arrived(seen, last))
    assert_each_once(seen, last)


def test_a_reader_that_is_closed_leaves_nothing_on_the_server(counting: Server, connect: Any) -> None:
    before = counting.do("subscriptions"), counting.do("sessions")
    seen = Seen(connect(counting, subscribed(), **SETTINGS))
    seen.until(lambda: seen.good())
    assert len(counting.do("subscriptions")) == len(before[0]) + 1
    seen.reader.close()
    assert (counting.do("subscriptions"), counting.do("sessions")) == before


def test_a_server_that_grants_no_subscription_is_polled(counting: Server, connect: Any) -> None:
    counting.do("maxSubscriptions", count=0)
    seen = Seen(connect(counting, subscribed(2), **SETTINGS))
    seen.until(lambda: len(seen.values("Written1")) > 5)
    assert not seen.reader.subscriptions.live
    assert "tags are polled meanwhile" in messages(seen.reader)


def test_a_tag_that_does_not_exist_is_polled_and_hides_no_other(counting: Server, connect: Any) -> None:
    seen = Seen(connect(counting, (*subscribed(2), *tags("IsNotThere")), **SETTINGS))
    seen.until(lambda: len(seen.values("Written1")) > 10)
    statuses = {row["status"] for row in seen.rows if row["tag"] == "IsNotThere"}
    assert statuses == {0x80340000}  # BadNodeIdUnknown
    assert "IsNotThere BadNodeIdUnknown" in messages(seen.reader)


def worker(url: str, memory: Path, out: Path) -> subprocess.Popen[bytes]:
    here = Path(__file__)
    argv = [sys.executable, str(here.with_name("subscriber.py")), url, str(NODES), str(memory), str(out)]
    folders = [str(folder) for folder in (here.parents[3] / "processors", here.parents[2], here.parent)]
    return subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)})


def lines(out: Path) -> list[dict[str, Any]]:
    written = out.read_bytes().splitlines(True) if out.exists() else []
    return [json.loads(line) for line in written if line.endswith(b"\n")]


def test_what_a_killed_process_took_along_is_sent_again(counting: Server, tmp_path: Path) -> None:
    """A batch is committed once its line is written; the process is killed while it has one that is not."""
    committed: list[dict[str, Any]] = []
    for round_number in range(3):
        out = tmp_path / f"out-{round_number}"
        process = worker(counting.url, tmp_path / "memory", out)
        try:
            end = time.monotonic() + 30
            while sum(line["count"] for line in lines(out)) < 15 * NODES and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        committed += [row for line in lines(out) for row in line["rows"]]
    last = stop_counting(counting)
    out = tmp_path / "last"
    process = worker(counting.url, tmp_path / "memory", out)
    try:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            rows = [row for line in lines(out) for row in line["rows"]]
            if {row[0]: row[1] for row in rows} == {f"Written{n}": float(count) for n, count in enumerate(last)}:
                break
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    committed += rows
    for n, count in enumerate(last):
        found = {value for tag, value, status in committed if tag == f"Written{n}" and status == 0}
        assert found == set(range(int(min(found)), count + 1)), f"Written{n}"
    assert not [row for row in committed if row[2] == BAD_DATA_LOST]
