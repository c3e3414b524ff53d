"""After an outage: every value that the server wrote meanwhile is emitted once, read live or from history."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opcua_server import Server, messages, tags
from tcp_relay import Relay

from otmirror.opcua import history
from otmirror.opcua.reader import OpcUaReader

Start = Callable[..., Server]
Connect = Callable[..., OpcUaReader]
Sample = tuple[str, int, float]
NO_COMMUNICATION = 0x80310000


@pytest.fixture
def relay() -> Iterator[Callable[[Server], Relay]]:
    made: list[Relay] = []

    def _make(server: Server) -> Relay:
        made.append(Relay(server.port))
        return made[-1]

    yield _make
    for one in made:
        one.close()


class Emitted:
    """Everything a reader gives."""

    def __init__(self, reader: OpcUaReader):
        self.reader = reader
        self.rows: list[dict[str, Any]] = []
        self.batches: list[list[dict[str, Any]]] = []

    def until(self, enough: Callable[[], object], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < end, f"not within {seconds} s: {messages(self.reader)}"
            table = self.reader.read()
            if table is None:
                time.sleep(0.005)
                continue
            self.batches.append(table.to_pylist())
            self.rows += self.batches[-1]

    def during(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, seconds + 5)

    def device(self, backfill: bool | None = None) -> Counter[Sample]:
        """The samples that are the device's: not those that say that it was away, nor repeats with the read time."""
        return Counter(
            (row["tag"], row["ts"], row["value"])
            for row in self.rows
            if row["quality"] == "good" and row["ts"] % 1000 == 0 and backfill in (None, row["backfill"])
        )


def wrote(server: Server) -> dict[str, list[tuple[int, float]]]:
    """What the server says it wrote, in microseconds."""
    return {name: [(at * 1000, value) for at, value in log] for name, log in server.do("recorded").items()}


def in_gap(server: Server, tag: str, first: int, last: int) -> set[Sample]:
    return {(tag, at, value) for at, value in wrote(server).get(tag, []) if first < at < last}


def borders(emitted: Emitted, tag: str) -> tuple[int, int]:
    """The device's last time before the samples that say that it was away, and its first afterwards."""
    rows = [row for row in emitted.rows if row["tag"] == tag and not row["backfill"]]
    away = [n for n, row in enumerate(rows) if row["status"] == NO_COMMUNICATION]
    before = max(row["ts"] for row in rows[: away[0]] if row["ts"] % 1000 == 0)
    after = min(row["ts"] for row in rows[away[-1] :] if row["quality"] == "good" and row["ts"] % 1000 == 0)
    return before, after


def test_every_value_of_an_outage_is_emitted_once_and_only_those_from_history_are_marked(
    start: Start, connect: Connect, relay: Callable[[Server], Relay]
) -> None:
    server = start(history={"nodes": 3, "plain": 1, "every": 20})
    path = relay(server)
    reader = connect(path.url, tags("Hist0", "Hist1", "Hist2", "Plain0"), backfill_rate=20, reconnect_longest=0.3)
    emitted = Emitted(reader)
    emitted.until(lambda: len(emitted.device()) > 20)
    path.cut()
    emitted.during(2.0)
    path.mend()
    told = ""

    def is_told() -> bool:
        nonlocal told
        told += messages(reader)
        return "backfilled" in told

    emitted.until(is_told)
    emitted.during(0.5)
    everything = emitted.device()
    missed = set()
    for tag in ("Hist0", "Hist1", "Hist2"):
        first, last = borders(emitted, tag)
        assert last - first > 1_900_000
        of_tag = in_gap(server, tag, first, last)
        assert len(of_tag) > 50
        assert {sample: everything[sample] for sample in of_tag} == dict.fromkeys(of_tag, 1)
        missed |= of_tag
    assert emitted.device(backfill=True) == Counter(dict.fromkeys(missed, 1))
    assert max(everything.values()) == 1
    assert {row["backfill"] for batch in emitted.batches for row in batch} == {False, True}
    assert all(len({row["backfill"] for row in batch}) == 1 for batch in emitted.batches)
    numbers = [row["seq"] for row in emitted.rows]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert f"backfilled {len(missed)} samples of 3 tags from " in told
    assert told.count("has no history of 1 of 4 tags") == 1
    asked = server.do("historyReads")
    assert {name for one in asked for name in one["nodes"]} == {"Hist0", "Hist1", "Hist2"}
    assert not any(one["modified"] or one["bounds"] for one in asked)


def test_a_connection_that_is_lost_during_the_backfill_goes_on_and_brings_nothing_twice(
    start: Start, connect: Connect, relay: Callable[[Server], Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "FIRST_VALUES", 60)
    monkeypatch.setattr(history, "MOST_VALUES", 60)
    server = start(history={"nodes": 2, "every": 10})
    path = relay(server)
    reader = connect(path.url, tags("Hist0", "Hist1"), backfill_rate=5, reconnect_longest=0.3)
    emitted = Emitted(reader)
    emitted.until(lambda: len(emitted.device()) > 4)
    path.cut()
    emitted.during(3.0)
    path.mend()
    emitted.until(lambda: len(emitted.device(backfill=True)) > 100)
    path.cut()
    emitted.during(1.0)
    path.mend()
    emitted.until(lambda: not len(reader._backfill.gaps) and not path.cut_after(10**9))
    emitted.during(0.5)
    everything = emitted.device()
    assert max(everything.values()) == 1
    for tag in ("Hist0", "Hist1"):
        first, last = borders(emitted, tag)
        live = sorted(row["ts"] for row in emitted.rows if row["tag"] == tag and not row["backfill"])
        inside = in_gap(server, tag, first, last)
        assert len(inside) > 200
        # All that was missed in either outage; in between, polls went on at their own pace.
        between = [ts for ts in live if first < ts < last and ts % 1000 == 0]
        missing = {sample for sample in inside if sample not in everything}
        assert between
        assert all(between[0] < ts < between[-1] for _, ts, _ in missing)


def test_a_server_without_history_is_told_of_once_and_never_asked_for_it(
    start: Start, connect: Connect, relay: Callable[[Server], Relay]
) -> None:
    server = start(history={"plain": 2, "every": 20})
    path = relay(server)
    reader = connect(path.url, tags("Plain0", "Plain1"), backfill_rate=50, reconnect_longest=0.3)
    emitted = Emitted(reader)
    told = ""
    for _ in range(3):
        count = len(emitted.rows)
        emitted.until(lambda count=count: len(emitted.rows) > count + 10)  # type: ignore[misc]
        path.cut()
        emitted.during(0.6)
        path.mend()
        emitted.until(lambda: emitted.rows[-1]["quality"] == "good" and not len(reader._backfill.gaps))
        told += messages(reader)
    assert told.count("has no history of 2 of 2 tags") == 1
    assert "Plain0" in told
    assert server.do("historyReads") == []
    assert not emitted.device(backfill=True)


def test_without_backfill_nothing_is_asked(start: Start, connect: Connect, relay: Callable[[Server], Relay]) -> None:
    server = start(history={"nodes": 1, "every": 20})
    path = relay(server)
    reader = connect(path.url, tags("Hist0"), backfill=False, reconnect_longest=0.3)
    emitted = Emitted(reader)
    emitted.until(lambda: len(emitted.device()) > 3)
    path.cut()
    emitted.during(0.6)
    path.mend()
    count = len(emitted.device())
    emitted.until(lambda: len(emitted.device()) > count + 5)
    assert server.do("historyReads") == []
    assert not len(reader._backfill.gaps)
