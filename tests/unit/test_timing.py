"""Poll grid, backoff, notices and emission: hand-computed cases on a clock that the test moves."""

import pyarrow as pa
import pytest

from otmirror import samples
from otmirror.backoff import Backoff
from otmirror.emission import EmissionFilter
from otmirror.notices import Notice, Notices
from otmirror.schedule import PollGrid
from otmirror.sequence import Sequence


def test_slots_stay_on_the_grid_whatever_a_cycle_takes():
    grid = PollGrid([1000, 250], start=10.0)
    assert grid.due(10.0) == [250, 1000]
    assert grid.due(10.1) == []
    assert grid.wait(10.1) == pytest.approx(0.15)
    assert grid.due(10.45) == [250]
    assert grid.wait(10.45) == pytest.approx(0.05)
    assert grid.overruns == 0


def test_missed_slots_are_counted_and_not_caught_up():
    grid = PollGrid([100], start=0.0)
    assert grid.due(0.0) == [100]
    assert grid.due(0.55) == [100]
    assert grid.overruns == 4
    assert grid.due(0.56) == []
    assert grid.wait(0.56) == pytest.approx(0.04)


def test_backoff_doubles_between_its_bounds():
    backoff = Backoff(1.0, 30.0, jitter=lambda: 1.0)
    assert [backoff.failed(0.0) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert not backoff.ready(29.9)
    assert backoff.ready(30.0)
    backoff.succeeded()
    assert backoff.ready(0.0)
    assert Backoff(1.0, 30.0, jitter=lambda: 0.0).failed(0.0) == 0.5


def test_a_notice_is_said_once_until_it_changes_or_time_passes():
    now = [0.0]
    notices = Notices(lambda: now[0], repeat_after=60)
    for _ in range(3):
        notices.say("warn", "link", "refused")
    notices.say("warn", "link", "timed out")
    assert [n.message for n in notices.take()] == ["refused", "timed out"]
    now[0] = 61.0
    notices.say("warn", "link", "timed out")
    notices.clear("link", "back again")
    notices.clear("link", "never said")
    assert notices.take() == [Notice("warn", "timed out"), Notice("info", "back again")]
    assert notices.take() == []


def batch(*rows):
    tag, ts, value, status = (list(column) for column in zip(*rows, strict=True))
    return samples.table_from_columns(
        tag=tag, ts=ts, value=value, status=status, type=["double"] * len(tag),
        quality=["good" if s == 0 else "bad" for s in status], source=["s"] * len(tag),
    )  # fmt: skip


def emitted(emission, *rows):
    return [(r["tag"], r["ts"], r["value"]) for r in emission.new(batch(*rows)).to_pylist()]


def test_reading_the_same_sample_again_is_no_new_sample():
    emission = EmissionFilter()
    assert emitted(emission, ("a", 1, 5.0, 0), ("b", 1, 5.0, 0)) == [("a", 1, 5.0), ("b", 1, 5.0)]
    assert emitted(emission, ("a", 1, 5.0, 0), ("b", 2, 5.0, 0)) == [("b", 2, 5.0)]
    assert emitted(emission, ("a", 1, None, 0x80310000)) == [("a", 1, None)]
    assert emission.repeats == 1


def test_a_deadband_hides_small_moves_but_never_a_change_of_status():
    emission = EmissionFilter({"a": 0.5})
    rows = [
        ("a", 1, 10.0, 0),
        ("a", 2, 10.5, 0),
        ("a", 3, 10.51, 0),
        ("a", 4, None, 0x80310000),
        ("a", 5, 10.51, 0),
    ]
    assert [ts for row in rows for _, ts, _ in emitted(emission, row)] == [1, 3, 4, 5]
    assert emission.within_deadband == 1


def read_at(moment, *rows):
    return batch(*rows).set_column(
        samples.SCHEMA.get_field_index("ts_read"), "ts_read", pa.array([moment] * len(rows), pa.int64())
    )


def test_a_still_tag_is_seen_to_recover_after_an_outage():
    """Its own timestamp lies before the outage's bad samples: it comes back with the time it was read, once."""
    emission, unreached = EmissionFilter(), 0x80310000
    emission.new(read_at(11, ("a", 10, 5.0, 0)))
    emission.new(read_at(20, ("a", 20, None, unreached)))
    emission.new(read_at(21, ("a", 21, None, unreached)))
    assert [(r["ts"], r["value"]) for r in emission.new(read_at(30, ("a", 10, 5.0, 0))).to_pylist()] == [(30, 5.0)]
    assert emission.new(read_at(31, ("a", 10, 5.0, 0))).num_rows == 0
    assert [r["ts"] for r in emission.new(read_at(41, ("a", 40, 5.0, 0))).to_pylist()] == [40]


def test_a_tag_that_moved_on_during_an_outage_keeps_its_own_timestamp():
    emission = EmissionFilter({"a": 100.0})
    emission.new(read_at(20, ("a", 20, None, 0x80310000)))
    assert [r["ts"] for r in emission.new(read_at(30, ("a", 28, 5.0, 0))).to_pylist()] == [28]


def test_sequence_numbers_never_come_twice_even_after_a_restart():
    class Clock:
        def __init__(self, us):
            self.us = us

        def now_us(self):
            return self.us

        def monotonic(self):
            return 0.0

    first = Sequence(Clock(1_000_000))
    assert list(first.take(3)) + list(first.take(1)) == [1_000_000, 1_000_001, 1_000_002, 1_000_003]
    assert Sequence(Clock(2_000_000)).take(1)[0] == 2_000_000
