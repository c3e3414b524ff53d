"""How often a device is asked, on a clock that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.pace import Pace
from otmirror.opcua.plan import ReadPlan
from otmirror.taglist import Tag


class Time:
    """A clock that moves only while somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def passing(rate: float, count: int, pauses: dict[int, float] | None = None) -> list[float]:
    """Seconds after the start at which requests pass that come one after the other, with pauses before some."""
    time = Time()
    pace = Pace(rate, time.monotonic, time.sleep)
    found = []

    async def requests() -> None:
        for number in range(count):
            time.now += (pauses or {}).get(number, 0.0)
            await pace.turn()
            found.append(time.now - 100.0)

    asyncio.run(requests())
    return found


def test_a_cycle_is_spread_after_a_quarter_of_a_seconds_worth() -> None:
    # 20 a second: 5 at once, then one each 0.05 s.
    assert passing(20, 9) == pytest.approx([0, 0, 0, 0, 0, 0.05, 0.10, 0.15, 0.20])


def test_a_slow_rate_has_no_burst() -> None:
    assert passing(2, 4) == pytest.approx([0, 0.5, 1.0, 1.5])


def test_a_pause_buys_no_more_than_one_burst() -> None:
    assert passing(4, 4, {2: 60.0}) == pytest.approx([0, 0.25, 60.25, 60.5])


@pytest.mark.parametrize("rate", [1, 3, 20, 100, 1000])
def test_no_second_has_more_than_the_rate_and_a_burst(rate: int) -> None:
    found = passing(rate, 5 * rate + 10)
    for start in found:
        assert sum(start <= at < start + 1 for at in found) <= rate * 1.25 + 1
    assert len(found) / (found[-1] or 1) < rate * 1.5 + 10


def test_no_limit_lets_everything_pass() -> None:
    assert passing(0, 100) == [0] * 100


def test_requests_at_once_pass_in_their_order_and_waiting_is_counted() -> None:
    time, order = Time(), list[int]()
    pace = Pace(2, time.monotonic, time.sleep)

    async def one(number: int) -> None:
        await pace.turn()
        order.append(number)

    async def all_at_once() -> None:
        await asyncio.gather(*(one(number) for number in range(4)))

    asyncio.run(all_at_once())
    assert order == [0, 1, 2, 3]
    assert pace.waited == pytest.approx(0.5 + 0.5 + 0.5)  # each wait moves this clock on


def test_a_rate_that_changes_counts_from_the_next_request() -> None:
    time = Time()
    pace = Pace(0, time.monotonic, time.sleep)

    async def requests() -> None:
        for _ in range(10):
            await pace.turn()
        pace.rate = 1
        for _ in range(3):
            await pace.turn()

    asyncio.run(requests())
    assert time.now == pytest.approx(102.0)


def test_what_polling_takes_is_known_before() -> None:
    fast = [Tag(f"f{n}", "i=1", interval_ms=500) for n in range(101)]
    slow = [Tag(f"s{n}", "i=1", interval_ms=10_000) for n in range(250)]
    reported = [Tag(f"r{n}", "i=1", interval_ms=500, mode="subscribe") for n in range(1000)]
    plan = ReadPlan(OpcUaConfig("opc.tcp://a", (*fast, *slow, *reported)))
    assert plan.rate(100) == pytest.approx(2 / 0.5 + 3 / 10)
    assert plan.rate(1000) == pytest.approx(1 / 0.5 + 1 / 10)
