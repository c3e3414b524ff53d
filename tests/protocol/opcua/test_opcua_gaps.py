"""Which gaps are noted, which are asked for together, and what is too old or too much."""

from __future__ import annotations

import asyncio
import threading

import pytest

from otmirror.opcua.gaps import MOST_A_TAG, Gaps
from otmirror.opcua.outbox import Outbox, Row
from otmirror.opcua.readings import Reading

S = 1_000_000


class Now:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def reading(source: int | None, server: int | None = None) -> Reading:
    return 1.5, 11, 0, source, server


def spans(gaps: Gaps) -> list[tuple[int, int, int]]:
    return [(gap.position, gap.start, gap.end) for gap in gaps.every()]


def test_a_tag_that_was_not_read_missed_what_lies_between_the_last_time_and_the_next() -> None:
    gaps = Gaps([2 * S, 2 * S, 2 * S], Now())
    for position in (0, 1):
        assert not gaps.see(position, reading(100 * S))
    gaps.miss(0)
    gaps.miss(0)
    gaps.miss(2)  # never read before: nobody knows from when on
    assert gaps.see(0, reading(110 * S))
    assert not gaps.see(1, reading(110 * S))  # was not missed, its value is only old
    assert not gaps.see(2, reading(110 * S))
    assert spans(gaps) == [(0, 100 * S, 110 * S)]
    assert not gaps.see(0, reading(120 * S))


@pytest.mark.parametrize(
    ("after", "noted"),
    [
        ([reading(100 * S)], []),  # the value did not change meanwhile
        ([reading(102 * S)], []),  # two poll intervals
        ([reading(102 * S + 1)], [(0, 100 * S, 102 * S + 1)]),
        ([reading(90 * S)], []),  # the device's clock was set back
        ([reading(None), reading(None, 130 * S)], [(0, 100 * S, 130 * S)]),  # no time, then the server's only
    ],
)
def test_where_a_gap_ends(after: list[Reading], noted: list[tuple[int, int, int]]) -> None:
    gaps = Gaps([2 * S], Now())
    gaps.see(0, reading(100 * S))
    gaps.miss(0)
    for one in after:
        gaps.see(0, one)
    assert spans(gaps) == noted


def test_after_the_clock_went_back_nothing_known_is_asked_for() -> None:
    gaps = Gaps([S], Now())
    for ts in (100 * S, 50 * S):
        gaps.see(0, reading(ts))
    gaps.miss_all()
    assert gaps.see(0, reading(120 * S))
    assert spans(gaps) == [(0, 100 * S, 120 * S)]


def test_gaps_of_one_outage_go_together_and_a_tag_that_was_still_for_long_does_not_widen_them() -> None:
    gaps = Gaps([0] * 6, Now())
    hour = 3600 * S
    gaps.add(0, 0, 10 * hour)  # still since long before
    for position in range(1, 5):
        gaps.add(position, 9 * hour + position * S, 10 * hour + position)
    gaps.add(1, 11 * hour, 12 * hour)
    assert [gap.position for gap in gaps.group(10, lambda _: True)] == [0]
    gaps.remove(gaps.group(10, lambda _: True))
    assert [gap.position for gap in gaps.group(10, lambda _: True)] == [1, 2, 3, 4]
    assert [gap.position for gap in gaps.group(2, lambda _: True)] == [1, 2]
    assert [gap.position for gap in gaps.group(10, lambda position: position != 2)] == [1, 3, 4]


def test_a_gap_that_was_put_off_waits_and_the_others_go_on() -> None:
    now = Now()
    gaps = Gaps([0, 0], now)
    gaps.add(0, 0, S)
    gaps.add(1, 0, S)
    gaps.every()[0].not_before = 5.0
    assert [gap.position for gap in gaps.group(10, lambda _: True)] == [1]
    assert gaps.wait() == 5.0
    now.seconds = 5.0
    assert [gap.position for gap in gaps.group(10, lambda _: True)] == [0, 1]
    assert gaps.wait() is None


def test_the_limit_counts_from_the_end_of_the_outage_by_the_devices_clock_and_goes_on_with_time() -> None:
    now = Now()
    gaps = Gaps([0, 0], now)
    gaps.add(0, 0, 100 * S)
    gaps.add(1, 95 * S, 100 * S)
    assert gaps.shorten(30.0) == (set(), {0})
    assert spans(gaps) == [(0, 70 * S, 100 * S), (1, 95 * S, 100 * S)]
    now.seconds = 28.0
    assert gaps.shorten(30.0) == (set(), {0, 1})
    assert spans(gaps) == [(0, 98 * S, 100 * S), (1, 98 * S, 100 * S)]
    now.seconds = 30.0
    assert gaps.shorten(30.0) == ({0, 1}, set())
    assert not len(gaps)


def test_a_connection_that_comes_and_goes_fills_no_memory() -> None:
    gaps = Gaps([0], Now())
    for n in range(MOST_A_TAG + 5):
        gaps.add(0, 10 * n * S, (10 * n + 5) * S)
    assert len(gaps) == MOST_A_TAG
    assert gaps.overflown == 5
    assert spans(gaps)[0][1] == 50 * S  # the oldest are forgotten


def test_one_batch_waits_at_a_time_and_none_is_lost_between_two_threads() -> None:
    box, taken, count = Outbox(), [], 300
    done = threading.Event()

    def take() -> None:
        while not (done.is_set() and len(taken) == count):
            rows = box.take()
            if rows:
                taken.append(rows[0][0])

    async def put() -> None:
        for n in range(count):
            await box.put([(n, reading(n))])
        done.set()

    thread = threading.Thread(target=take)
    thread.start()
    asyncio.run(asyncio.wait_for(put(), 20))
    thread.join(20)
    assert taken == list(range(count))


def test_a_put_that_is_cancelled_leaves_nothing() -> None:
    async def run() -> list[Row] | None:
        box = Outbox()
        await box.put([(0, reading(0))])
        waiting = asyncio.create_task(box.put([(1, reading(1))]))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert box.take() == [(0, reading(0))]
        return box.take()

    assert asyncio.run(run()) is None
