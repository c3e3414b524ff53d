"""HistoryRead against a real server: continuation points, limits, nodes that fail, and what is given back."""

from __future__ import annotations

import asyncio
import struct
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from opcua_server import Server, tags

from otmirror.clock import SystemClock
from otmirror.notices import Notices
from otmirror.opcua import history
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.gaps import Gaps
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.history import Backfill
from otmirror.opcua.outbox import Row
from otmirror.opcua.plan import ReadPlan

NAMES = tuple(f"Still{n}" for n in range(6))
T0 = 1_790_000_000_000  # milliseconds
SECOND = 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("archive"), history={"still": 8, "every": 1000, "maxNodes": 4})
    for place, name in enumerate(NAMES):
        values = [[T0 + n * SECOND + place, n + place / 8] for n in range(5001)]
        for first in range(0, len(values), 1000):
            one.do("record", name=name, values=values[first : first + 1000])
    yield one
    one.close()


class Session:
    """A connection, a backfill of it, and what that hands over."""

    def __init__(self, server: Server, timeout: float = 5.0, **settings: Any):
        config = OpcUaConfig(server.url, tags(*NAMES, "Gone"), request_timeout=timeout)
        self.plan, self.client = ReadPlan(config), GuardedClient(config)
        self.notices = Notices(SystemClock().monotonic)
        self.gaps = Gaps([0] * len(config.tags), SystemClock().monotonic)
        listed = [tag.tag for tag in config.tags]
        options = {"rate": 1000.0, **settings}
        self.backfill = Backfill(
            "test", listed, self.plan.nodes.__getitem__, self.gaps, self.notices, SystemClock(), **options
        )
        self.rows: list[Row] = []
        self.batches: list[int] = []
        self.empty = asyncio.Event()

    async def __aenter__(self) -> Session:
        await self.client.connect()
        self.plan.resolve(self.client.namespaces)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def take(self, rows: list[Row]) -> None:
        self.rows += rows
        self.batches.append(len(rows))

    async def fill(self, seconds: float = 60) -> None:
        """Run until no gap is left."""
        task = asyncio.create_task(self.backfill.run(self.client, self.take))
        try:
            end = time.monotonic() + seconds
            while len(self.gaps):
                assert time.monotonic() < end, self.told()
                await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def told(self) -> str:
        return "\n".join(notice.message for notice in self.notices.take())

    def got(self) -> Counter[tuple[int, int, float]]:
        return Counter((position, reading[3] // 1000, reading[0]) for position, reading in self.rows)


def us(n: float) -> int:
    return round((T0 + n * SECOND) * 1000)


def between(place: int, first: int, last: int) -> Counter[tuple[int, int, float]]:
    """What the server was told to write, by number, both ends included."""
    return Counter((place, T0 + n * SECOND + place, n + place / 8) for n in range(first, last + 1))


def asked(server: Server, since: int = 0) -> list[dict[str, Any]]:
    return list(server.do("historyReads")[since:])


def test_a_huge_gap_comes_in_pages_within_the_servers_limits(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "FIRST_VALUES", 120)
    monkeypatch.setattr(history, "MOST_VALUES", 400)
    before = len(asked(server))

    async def run() -> None:
        async with Session(server) as session:
            for place in range(6):
                session.backfill.gap(place, us(0) + place * 1000, us(4999) + place * 1000)
            await session.fill()
            expected: Counter[tuple[int, int, float]] = Counter()
            for place in range(6):
                expected += between(place, 1, 4998)
            assert session.got() == expected
            assert max(session.batches) <= 400
            for place in range(6):
                times = [reading[3] for position, reading in session.rows if position == place]
                assert times == sorted(times)
            assert f"backfilled {6 * 4998} samples of 6 tags from 2026-09-21 " in session.told()

    asyncio.run(run())
    requests = asked(server, before)
    assert max(len(one["nodes"]) for one in requests) == 4  # MaxNodesPerHistoryReadData
    assert sum(bool(one["points"]) for one in requests) > 50
    assert {one["points"] for one in requests if one["points"]} <= {1, 2, 3, 4}


def test_a_node_that_fails_hurts_no_other(server: Server) -> None:
    faults = {"Still1": 0x80720000, "Still2": 0x809B0000, "Still3": 0x803A0000}  # unsupported, no data, not readable
    for name, status in faults.items():
        server.do("historyFault", name=name, status=status)

    async def run() -> None:
        async with Session(server) as session:
            for place in range(7):  # the last is no node of the server's
                session.backfill.gap(place, us(0) + place * 1000, us(20) + place * 1000)
            await session.fill()
            assert session.got() == between(0, 1, 19) + between(4, 1, 19) + between(5, 1, 19)
            told = session.told()
            assert "the server has no history of 3 of 7 tags" in told
            assert "Still1, Still3, Gone" in told

    try:
        asyncio.run(run())
    finally:
        for name in faults:
            server.do("historyFault", name=name, status=0)


def test_a_fault_that_may_pass_is_tried_again_and_then_left(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_LATER", 0.05)
    server.do("historyFault", name="Still1", status=0x809E0000)  # BadDataUnavailable

    async def run() -> None:
        async with Session(server) as session:
            for place in range(2):
                session.backfill.gap(place, us(0) + place * 1000, us(20) + place * 1000)
            await session.fill()
            assert session.got() == between(0, 1, 19)
            told = session.told()
            assert "the history of 1 tags could not be read in 3 attempts: Still1 from 2026-09-21 " in told
            assert "(BadDataUnavailable (0x809E0000))" in told

    before = len(asked(server))
    try:
        asyncio.run(run())
    finally:
        server.do("historyFault", name="Still1", status=0)
    assert sum("Still1" in one["nodes"] for one in asked(server, before)) == 3


def test_a_tag_whose_history_takes_too_long_costs_neither_the_others_nor_the_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_LATER", 0.05)
    server.do("historyDelay", name="Still1", ms=1500)

    async def run() -> None:
        async with Session(server, timeout=0.5) as session:
            for place in range(4):
                session.backfill.gap(place, us(0) + place * 1000, us(20) + place * 1000)
            await session.fill()
            assert session.got() == between(0, 1, 19) + between(2, 1, 19) + between(3, 1, 19)
            assert session.client.alive
            told = session.told()
            assert "of 1 tags could not be read in 3 attempts: Still1 from" in told
            assert "BadRequestTimeout" in told

    try:
        asyncio.run(run())
    finally:
        server.do("historyDelay", name="Still1", ms=0)


def test_an_aborted_backfill_gives_its_continuation_points_back_and_goes_on_later(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "FIRST_VALUES", 20)
    monkeypatch.setattr(history, "MOST_VALUES", 20)
    before = len(asked(server))

    async def run() -> None:
        async with Session(server) as session:
            for place in range(2):
                session.backfill.gap(place, us(0) + place * 1000, us(60) + place * 1000)
            held, blocked = asyncio.Event(), asyncio.Event()

            async def take(rows: list[Row]) -> None:
                if session.batches:  # the queue is full
                    held.set()
                    await blocked.wait()
                await session.take(rows)

            task = asyncio.create_task(session.backfill.run(session.client, take))
            await asyncio.wait_for(held.wait(), 20)
            assert len(session.rows) == 18  # the server cuts microseconds, and so gives the known ones before too
            task.cancel()
            await asyncio.wait([task], timeout=5)
            assert asked(server, before)[-1]["release"] is True
            assert asked(server, before)[-1]["points"] == 2
            assert session.client.alive
            await session.fill()
            assert session.got() == between(0, 1, 59) + between(1, 1, 59)

    asyncio.run(run())
    again = [one for one in asked(server, before) if not one["points"]]
    assert [one["start"] for one in again] == [T0, T0 + 9 * SECOND]  # from where it was


def test_requests_keep_their_distance(server: Server) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    async def run() -> None:
        async with Session(server, rate=2.0, sleep=sleep) as session:
            for place in range(6):
                session.backfill.gap(place, us(0) + place * 1000, us(3) + place * 1000)
            await session.fill()
            assert sum(session.got().values()) == 12

    before = len(asked(server))
    asyncio.run(run())
    # The first does not wait, and is a Read: who has a history.
    assert len(slept) == len(asked(server, before))
    assert slept[-1] == pytest.approx(0.5 * len(slept), abs=0.4)


def test_what_is_older_than_the_limit_is_left_and_told(server: Server) -> None:
    async def run() -> None:
        async with Session(server, limit=30.0) as session:
            session.backfill.gap(0, us(0), us(100))
            session.backfill.gap(1, us(90) + 1000, us(100) + 1000)
            await session.fill()
            # By the device's own clock, as seconds before the end of the outage.
            first = min(at for position, at, _ in session.got() if position == 0)
            assert T0 + 70 * SECOND <= first <= T0 + 73 * SECOND
            assert session.got()[1, T0 + 91 * SECOND + 1, 91.125] == 1
            assert "what 1 tags did more than 30 s before the end of an outage is not read" in session.told()

    asyncio.run(run())


def test_an_answer_that_is_damaged_in_one_node_is_taken_apart_all_the_same() -> None:
    from asyncua import ua
    from asyncua.common.utils import Buffer
    from asyncua.ua.ua_binary import struct_to_binary

    from otmirror.opcua.faults import CODES, UndecodableError
    from otmirror.opcua.historyread import answer

    values = [ua.DataValue(ua.Variant(1.5, ua.VariantType.Double)), ua.DataValue(ua.Variant("x"))]
    good = ua.HistoryReadResult(HistoryData=ua.HistoryData(values), ContinuationPoint=b"on")
    none = ua.HistoryReadResult(StatusCode=ua.StatusCode(CODES.BadNoData))
    message = struct_to_binary(ua.HistoryReadResponse(Results=[good, none, good]))
    pages = answer(Buffer(message), 3)
    assert [(page.status, [value[0] for value in page.values], page.point) for page in pages] == [
        (0, [1.5, "x"], b"on"), (CODES.BadNoData, [], None), (0, [1.5, "x"], b"on")
    ]  # fmt: skip
    place = message.index(struct.pack("<d", 1.5)) - 6  # how many values the first node has
    pages = answer(Buffer(message[:place] + struct.pack("<i", 2**30) + message[place + 4 :]), 3)
    assert pages[0].status == CODES.BadDecodingError
    assert [value[0] for value in pages[2].values] == [1.5, "x"]
    for count in (2, 4):
        with pytest.raises(UndecodableError):
            answer(Buffer(message), count)
    header = len(struct_to_binary(ua.HistoryReadResponse())) - 8
    for length in range(header, len(message) - 4):
        with pytest.raises(UndecodableError):
            answer(Buffer(message[:length]), 3)
