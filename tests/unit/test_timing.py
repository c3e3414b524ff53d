"""Poll grid, backoff, notices and emission: hand-computed cases on a clock that the test moves."""

import threading
from types import SimpleNamespace

import pyarrow as pa
import pytest

from otmirror import samples
from otmirror.attendance import Attendance
from otmirror.backoff import Backoff
from otmirror.clock import SystemClock
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
    assert backoff.failed(0.0, at_least=600.0) == 600
    assert not backoff.ready(599.9)


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


def test_a_deadband_hides_small_moves_but_never_a_change_of_status():
    emission = EmissionFilter({"a": 0.5})
    rows = [
        ("a", 1, 10.0, 0),
        ("a", 2, 10.5, 0),
        ("a", 3, 10.51, 0),
        ("a", 4, None, 0x80310000),
        ("a", 5, 10.51, 0),
    ]
    assert [[ts for _, ts, _ in emitted(emission, row)] for row in rows] == [[1], [], [2, 3], [4], [5]]


def test_the_elements_of_an_array_follow_its_rules():
    emission = EmissionFilter({"a": 0.5})
    first = [(tag, 1, 10.0, 0) for tag in ("a[0]", "a[1][2]", "b[0]", "a]", "a")]
    assert [tag for tag, _, _ in emitted(emission, *first)] == ["a[0]", "a[1][2]", "b[0]", "a]", "a"]
    moved = [(tag, 2, 10.4, 0) for tag, *_ in first]
    assert [tag for tag, _, _ in emitted(emission, *moved)] == ["b[0]", "a]"]


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


def came(emission, moment, *rows):
    return [(r["tag"], r["ts"], r["value"]) for r in emission.new(read_at(moment, *rows)).to_pylist()]


def test_a_value_from_during_an_outage_keeps_its_timestamp_and_marks_the_recovery():
    """What the device noted at 150 is no less true because the mirror gave bad samples at 200 and 201."""
    emission, unreached = EmissionFilter(), 0x80310000
    came(emission, 100, ("a", 100, 1.0, 0))
    came(emission, 200, ("a", 200, None, unreached))
    came(emission, 201, ("a", 201, None, unreached))
    assert came(emission, 202, ("a", 150, 2.0, 0), ("b", 150, 7.0, 0)) == [
        ("a", 150, 2.0), ("a", 202, 2.0), ("b", 150, 7.0),
    ]  # fmt: skip
    assert came(emission, 203, ("a", 150, 2.0, 0)) == []
    assert came(emission, 204, ("a", 203, 3.0, 0)) == [("a", 203, 3.0)]


def test_a_source_that_starts_in_an_outage_emits_the_first_value_with_both_times():
    emission = EmissionFilter()
    came(emission, 20, ("a", 20, None, 0x80310000))
    assert came(emission, 30, ("a", 10, 5.0, 0)) == [("a", 10, 5.0), ("a", 30, 5.0)]


def seconds(emission, moment, *rows):
    """Like `came`, but with all times in seconds."""
    rows = [(tag, round(ts * 1e6), value, status) for tag, ts, value, status in rows]
    return [(tag, ts / 1e6, value) for tag, ts, value in came(emission, round(moment * 1e6), *rows)]


def test_a_still_tag_comes_again_every_refresh_with_the_time_it_was_read():
    emission = EmissionFilter(refresh=60.0)
    found = [seconds(emission, at, ("a", 7, 5.0, 0), ("b", at - 0.5, 1.0, 0)) for at in range(100, 221)]
    assert [ts for rows in found for tag, ts, _ in rows if tag == "a"] == [7, 160, 220]
    assert len([ts for rows in found for tag, ts, _ in rows if tag == "b"]) == 121
    assert seconds(emission, 221, ("a", 220.8, 6.0, 0)) == [("a", 220.8, 6.0)]
    assert seconds(emission, 280.9, ("a", 220.8, 6.0, 0)) == []
    assert seconds(emission, 281, ("a", 220.8, 6.0, 0)) == [("a", 281, 6.0)]


def test_a_tag_within_its_deadband_comes_again_with_its_present_value_and_own_time():
    emission = EmissionFilter({"a": 1.0}, refresh=60.0)
    found = [seconds(emission, at, ("a", at - 0.25, 5 + at / 1000, 0)) for at in range(130)]
    assert [row for rows in found for row in rows] == [
        ("a", -0.25, 5.0), ("a", 59.75, 5.06), ("a", 119.75, 5.12),
    ]  # fmt: skip
    assert seconds(emission, 130, ("a", 129.75, 6.13, 0)) == [  # 1.01 from the refreshed 5.12
        ("a", 128.75, 5.129), ("a", 129.75, 6.13),
    ]  # fmt: skip


def test_a_value_whose_time_lies_before_the_last_refresh_is_refreshed_after_it():
    """The device's clock lags by 5 s: the change of 58 is known at 63, after the refresh of 60."""
    emission = EmissionFilter(refresh=60.0)
    assert seconds(emission, 0, ("a", -5, 1.0, 0)) == [("a", -5, 1.0)]
    assert seconds(emission, 60, ("a", -5, 1.0, 0)) == [("a", 60, 1.0)]
    assert seconds(emission, 63, ("a", 58, 2.0, 0)) == [("a", 58, 2.0)]
    assert seconds(emission, 123, ("a", 58, 2.0, 0)) == [("a", 123, 2.0)]


def test_bad_samples_are_refreshed_too_and_refresh_0_is_never():
    emission, never = EmissionFilter(refresh=60.0), EmissionFilter(refresh=0)
    for status in (0x808C0000, 0x80310000):  # a broken sensor, and a gateway that lost its device
        seconds(emission, 0, ("a", -1, None, status))
        assert seconds(emission, 59, ("a", -1, None, status)) == []
        assert seconds(emission, 60, ("a", -1, None, status)) == [("a", 60, None)]
    assert seconds(never, 0, ("a", 0, 5.0, 0)) == [("a", 0, 5.0)]
    assert seconds(never, 1e6, ("a", 0, 5.0, 0)) == []


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


def test_numbers_begin_when_the_first_are_taken_and_anew_after_a_restart():
    """On a cluster every node has a reader; the one that reads second must not continue from when it was made."""
    clock = SimpleNamespace(now_us=lambda: moment)
    moment = 1_000
    numbers = Sequence(clock)
    moment = 5_000
    assert list(numbers.take(2)) == [5_000, 5_001]
    moment = 9_000
    assert list(numbers.take(1)) == [5_002]
    numbers.restart()
    assert list(numbers.take(2)) == [9_000, 9_001]


def test_who_is_not_asked_any_more_leaves_once_and_knows_when_it_is_asked_again():
    left = threading.Event()
    attendance = Attendance("test", SystemClock(), left.set, after=0.2)
    try:
        assert not left.wait(0.5)  # nobody was there yet
        with attendance.call() as back:
            assert back
            assert not left.wait(0.5)  # a call that takes its time is no absence
        with attendance.call() as back:
            assert not back
        assert left.wait(5)
        with attendance.call() as back:
            assert back
    finally:
        attendance.close()
