"""After an outage: every value that the server wrote meanwhile is emitted once, read live or from history."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opcua_server import Server, messages, tags
from pyiceberg.catalog import load_catalog
from tcp_relay import Relay

from otmirror import samples
from otmirror.clock import SystemClock
from otmirror.iceberg.config import Config
from otmirror.iceberg.sink import IcebergSink
from otmirror.opcua import history
from otmirror.opcua.reader import OpcUaReader

Connect = Callable[..., OpcUaReader]
Sample = tuple[str, int, float]
AWAY = 0x80310000  # BadNoCommunication


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(
        tmp_path_factory.mktemp("historian"),
        history={"ticking": 3, "plain": 2, "claiming": 2, "every": 20, "exact": True},
    )
    yield one
    one.close()


@pytest.fixture
def path(server: Server) -> Iterator[Relay]:
    relay = Relay(server.port)
    yield relay
    relay.close()


class Emitted:
    """Everything a reader gives."""

    def __init__(self, reader: OpcUaReader):
        self.reader = reader
        self.batches: list[list[dict[str, Any]]] = []
        self.written: list[bytes] = []
        self.told = ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.batches for row in batch]

    def until(self, enough: Callable[[], object], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < end, f"not within {seconds} s: {self.told}"
            table = self.reader.read()
            self.told += messages(self.reader) + "\n"
            if table is None:
                time.sleep(0.005)
            else:
                self.batches.append(table.to_pylist())
                self.written.append(samples.encode(table))

    def during(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, seconds + 10)

    def device(self, backfill: bool | None = None) -> Counter[Sample]:
        """The samples with a time of the device; those with the time they were read say a known value again."""
        return Counter(
            (row["tag"], row["ts"], row["value"])
            for row in self.rows
            if row["quality"] == "good" and row["ts"] != row["ts_read"] and backfill in (None, row["backfill"])
        )

    def outages(self, tag: str) -> list[tuple[int, int]]:
        """The device's last time before, and its first after, each row of samples that say that it is away."""
        found, before, away = [], 0, False
        for row in self.rows:
            if row["tag"] != tag or row["backfill"]:
                continue
            if row["status"] == AWAY:
                away = True
            elif row["ts"] != row["ts_read"]:
                if away:
                    found.append((before, row["ts"]))
                before, away = row["ts"], False
        return found


def missed(server: Server, emitted: Emitted, tag: str) -> list[set[Sample]]:
    """What the server says it wrote in each outage."""
    log = server.do("recorded")[tag]
    return [
        {(tag, at * 1000, value) for at, value in log if first < at * 1000 < last}
        for first, last in emitted.outages(tag)
    ]


def asked(server: Server, since: int = 0) -> list[dict[str, Any]]:
    return list(server.do("historyReads")[since:])


def test_every_value_of_an_outage_is_emitted_once_and_only_those_from_history_are_marked(
    server: Server, path: Relay, connect: Connect
) -> None:
    before = len(asked(server))
    names = ("Hist0", "Hist1", "Hist2", "Plain0")
    emitted = Emitted(connect(path.url, tags(*names), backfill_rate=20, reconnect_longest=0.3))
    emitted.until(lambda: len(emitted.device()) > 20)
    path.cut()
    emitted.during(2.0)
    path.mend()
    emitted.until(lambda: "backfilled" in emitted.told)
    emitted.during(0.5)
    everything, expected = emitted.device(), set()
    for tag in names[:3]:
        (of_tag,) = missed(server, emitted, tag)
        assert len(of_tag) > 20
        assert {sample: everything[sample] for sample in of_tag} == dict.fromkeys(of_tag, 1)
        expected |= of_tag
    assert emitted.device(backfill=True) == Counter(dict.fromkeys(expected, 1))
    assert max(everything.values()) == 1
    assert all(len({row["backfill"] for row in batch}) == 1 for batch in emitted.batches)
    numbers = [row["seq"] for row in emitted.rows]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert f"backfilled {len(expected)} samples of 3 tags from " in emitted.told
    requests = asked(server, before)
    assert {name for one in requests for name in one["nodes"]} == set(names[:3])
    assert not any(one["modified"] or one["bounds"] for one in requests)


def test_a_connection_that_is_lost_during_the_backfill_goes_on_and_brings_nothing_twice(
    server: Server, path: Relay, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "FIRST_VALUES", 40)
    monkeypatch.setattr(history, "MOST_VALUES", 40)
    before = len(asked(server))
    reader = connect(path.url, tags("Hist0", "Hist1"), backfill_rate=4, reconnect_longest=0.3)
    emitted = Emitted(reader)
    emitted.until(lambda: len(emitted.device()) > 4)
    path.cut()
    emitted.during(3.0)
    path.mend()
    emitted.until(lambda: len(emitted.device(backfill=True)) > 80)
    path.cut()
    emitted.during(1.0)
    path.mend()
    emitted.until(lambda: len(emitted.outages("Hist0")) == 2 and not len(reader._past.backfill.gaps))
    emitted.during(0.5)
    everything, expected = emitted.device(), set()
    for tag in ("Hist0", "Hist1"):
        first, second = missed(server, emitted, tag)
        assert len(first) > 80
        assert len(second) > 10
        expected |= first | second
    assert emitted.device(backfill=True) == Counter(dict.fromkeys(expected, 1))
    assert max(everything.values()) == 1
    requests = asked(server, before)
    assert max(Counter(int(one["at"] // 1000) for one in requests).values()) <= 5
    assert any(one["points"] for one in requests)


@pytest.mark.parametrize("kind", ["Plain", "Claim"])
def test_tags_without_history_are_told_of_once_and_asked_at_most_once_an_outage(
    server: Server, path: Relay, connect: Connect, kind: str
) -> None:
    before = len(asked(server))
    reader = connect(path.url, tags(f"{kind}0", f"{kind}1"), backfill_rate=50, reconnect_longest=0.3)
    emitted = Emitted(reader)
    for number in range(3):
        path.mend()
        count = len(emitted.device())
        emitted.until(lambda count=count: len(emitted.device()) > count + 10 and not len(reader._past.backfill.gaps))
        assert len(emitted.outages(f"{kind}1")) == number
        path.cut()
        emitted.during(0.8)
    assert emitted.told.count("has no history of 2 of 2 tags, or not for this user, so what they did during") == 1
    assert f"{kind}0, {kind}1" in emitted.told
    requests = asked(server, before)
    assert not requests if kind == "Plain" else 1 <= len(requests) <= 2 * 3
    assert not emitted.device(backfill=True)


def test_without_backfill_nothing_is_asked(server: Server, path: Relay, connect: Connect) -> None:
    before = len(asked(server))
    emitted = Emitted(connect(path.url, tags("Hist0"), backfill=False, reconnect_longest=0.3))
    emitted.until(lambda: len(emitted.device()) > 3)
    path.cut()
    emitted.during(0.8)
    path.mend()
    emitted.until(lambda: len(emitted.outages("Hist0")) == 1)
    emitted.during(0.5)
    assert not asked(server, before)


def test_what_was_missed_while_nobody_asked_is_read_too(server: Server, path: Relay, connect: Connect) -> None:
    """A full queue after the processor stops the calls, and the session ends."""
    reader = connect(path.url, tags("Hist0"), backfill_rate=50)
    reader._attendance._after = 0.3
    emitted = Emitted(reader)
    emitted.until(lambda: len(emitted.device()) > 3)
    last = max(ts for _, ts, _ in emitted.device())
    end = time.monotonic() + 20
    while reader._client is not None and time.monotonic() < end:
        time.sleep(0.05)
    assert reader._client is None
    emitted.until(lambda: "backfilled" in emitted.told)
    emitted.during(0.3)
    first = min(row["ts"] for row in emitted.rows if not row["backfill"] and row["ts"] > last)
    expected = {("Hist0", at * 1000, v) for at, v in server.do("recorded")["Hist0"] if last < at * 1000 < first}
    assert emitted.device(backfill=True) == Counter(dict.fromkeys(expected, 1))
    assert len(expected) > 5


def test_in_the_lakehouse_each_sample_of_an_outage_is_there_once_also_when_batches_come_twice(
    server: Server, path: Relay, connect: Connect, tmp_path: Path
) -> None:
    emitted = Emitted(connect(path.url, tags("Hist0", "Hist1"), backfill_rate=50, reconnect_longest=0.3))
    emitted.until(lambda: len(emitted.device()) > 5)
    path.cut()
    emitted.during(1.0)
    path.mend()
    emitted.until(lambda: "backfilled" in emitted.told and len(emitted.device(backfill=True)) > 0)
    emitted.during(0.3)
    from_history = [
        content for rows, content in zip(emitted.batches, emitted.written, strict=True) if rows[0]["backfill"]
    ]
    assert from_history
    sinks = [IcebergSink(Config(warehouse=str(tmp_path / "lake")), SystemClock()) for _ in range(2)]
    for content in [*emitted.written, *from_history]:
        assert sinks[0].write(content, {}).relationship == "success"
    again = [sinks[1].write(content, {}).attributes for content in from_history]
    assert {told["otmirror.iceberg.duplicate"] for told in again} == {"true"}
    lake = tmp_path / "lake"
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{lake}/catalog.db", warehouse=f"file://{lake}")
    stored = catalog.load_table("ot.samples").scan().to_arrow().to_pylist()
    assert len(stored) == len(emitted.rows)
    # By what the server says it wrote.
    expected = {sample for tag in ("Hist0", "Hist1") for sample in missed(server, emitted, tag)[0]}
    found = Counter((r["tag"], round(r["ts"].timestamp() * 1000) * 1000, r["value"]) for r in stored if r["backfill"])
    assert found == Counter(dict.fromkeys(expected, 1))


@pytest.mark.parametrize("kept", [1000, 30], ids=["the server kept all", "the server kept the last"])
def test_a_subscribed_tag_gets_from_history_only_what_the_server_did_not_keep(
    server: Server, path: Relay, connect: Connect, kept: int
) -> None:
    reader = connect(
        path.url, tags("Hist0", "Hist1"), backfill_rate=50, reconnect_longest=0.3, mode_of_tags="subscribe",
        interval_ms=200, sampling_ms=0, queue_size=kept, refresh=1.0,
    )  # fmt: skip
    emitted = Emitted(reader)
    emitted.until(lambda: len(emitted.device()) > 40)
    first = min(ts for _, ts, _ in emitted.device())
    path.cut()
    emitted.during(3.0)
    path.mend()
    back = time.time_ns() // 1000 + 2_000_000
    emitted.until(lambda: max(ts for _, ts, _ in emitted.device(backfill=False)) > back)
    emitted.during(1.0)
    last = max(ts for _, ts, _ in emitted.device(backfill=False)) - 1_000_000
    everything = emitted.device()
    assert max(everything.values()) == 1
    for tag in ("Hist0", "Hist1"):
        log = server.do("recorded")[tag]
        expected = {(tag, at * 1000, value) for at, value in log if first < at * 1000 < last}
        assert len(expected) > 150
        assert expected <= set(everything)
    from_history = len(emitted.device(backfill=True))
    assert from_history == 0 if kept == 1000 else from_history > 100
