"""Exception reporting: cases worked out by hand, and random ones against a second, offline way to find what to send."""

import itertools
import math
import random

import pyarrow as pa
import pytest

from otmirror import emission, samples
from otmirror.emission import EmissionFilter
from otmirror.status import quality_of
from otmirror.taglist import Tag

BROKEN, UNREACHED, UNCERTAIN = 0x808C0000, 0x80310000, 0x40900000
SECOND = 1_000_000


def table(*rows, read=None):
    """Rows of (tag, ts in s, value or text, status=0), read at `read` s or with their own time."""
    rows = [(*row, 0)[:4] for row in rows]
    number = [None if isinstance(value, str) else value for _, _, value, _ in rows]
    return samples.table_from_columns(
        tag=[row[0] for row in rows], ts=[round(row[1] * SECOND) for row in rows], value=number,
        text=[value if isinstance(value, str) else None for _, _, value, _ in rows],
        status=[row[3] for row in rows], quality=[quality_of(row[3]) for row in rows],
        type=["double"] * len(rows), source=["s"] * len(rows), unit=[f"unit of {row[0]}" for row in rows],
        ts_server=[round(row[1] * SECOND) + 7 for row in rows],
        ts_read=[round((row[1] if read is None else read) * SECOND) for row in rows],
    )  # fmt: skip


def sent(found, *rows, read=None):
    """What is emitted of rows, as (ts in s, value or text, status)."""
    return [
        (row["ts"] / SECOND, row["text"] if row["value"] is None else row["value"], row["status"])
        for row in found.new(table(*rows, read=read)).to_pylist()
    ]


def of(refresh=0.0, **columns):
    """A filter for one tag `a` with these columns of a tag list."""
    return EmissionFilter(refresh=refresh, tags=[Tag("a", "-", **columns)])


def each(found, *rows):
    """The emitted times of rows that come one by one."""
    return [[ts for ts, _, _ in sent(found, ("a", *row))] for row in rows]


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
def test_a_step_after_a_still_time_stays_a_step(together):
    rows = [("a", 0, 10.0), ("a", 1, 10.4), ("a", 2, 9.6), ("a", 3, 10.2), ("a", 4, 20.0), ("a", 5, 20.1)]
    expected = [(0, 10.0, 0), (3, 10.2, 0), (4, 20.0, 0)]
    found = of(deadband=0.5)
    assert (sent(found, *rows) if together else [x for row in rows for x in sent(found, row)]) == expected


def test_the_sample_before_a_change_is_emitted_as_it_was_read():
    found = of(deadband=1.0)
    found.new(table(("a", 0, 10.0), read=0.3))
    held = table(("a", 1, 10.5), read=1.3)
    assert found.new(held).num_rows == 0
    before, change = found.new(table(("a", 2, 12.0), read=2.3)).to_pylist()
    assert before == held.to_pylist()[0]
    assert (change["ts"], change["value"], change["ts_read"]) == (2 * SECOND, 12.0, 2_300_000)


def test_reading_the_same_sample_again_gives_nothing_to_hold():
    found = of(deadband=1.0)
    assert sent(found, ("a", 0, 10.0)) == [(0, 10.0, 0)]
    for moment in range(1, 50):
        assert sent(found, ("a", 0, 10.0), read=moment) == []
    assert sent(found, ("a", 50, 20.0)) == [(50, 20.0, 0)]


def test_a_change_of_status_passes_any_rule_with_the_value_before_it():
    found = of(deadband=100.0, exc_min_ms=3_600_000)
    rows = [
        (0, 1.0),
        (1, 2.0),
        (2, 2.0, UNCERTAIN),
        (3, 2.5, UNCERTAIN),
        (4, None, BROKEN),
        (5, None, BROKEN),
        (6, 3.0),
    ]
    assert each(found, *rows) == [[0], [], [1, 2], [], [3, 4], [], [5, 6]]


def test_an_outage_brings_out_what_is_held_and_every_one_of_its_samples_passes():
    found = of(deadband=100.0, exc_min_ms=3_600_000)
    rows = [(0, 1.0), (1, 2.0), (2, None, UNREACHED), (3, None, UNREACHED)]
    assert each(found, *rows) == [[0], [], [1, 2], [3]]
    assert sent(found, ("a", 1, 2.0), read=4) == [(4, 2.0, 0)]  # known from before
    assert each(found, (5, 2.1), (6, 1000.0)) == [[], []]  # an hour has not passed


def test_texts_are_sent_when_they_change():
    found = of(deadband=5.0)
    rows = [(0, "run"), (1, "run"), (2, "stop"), (3, "NaN"), (4, 1.0), (5, 1.5), (6, "9007199254740993")]
    assert each(found, *rows) == [[0], [], [1, 2], [3], [4], [], [5, 6]]


def test_a_deadband_of_0_keeps_changes_only():
    assert each(of(deadband=0.0), (0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0000001)) == [[0], [], [], [2, 3]]


def test_changes_within_the_shortest_time_wait():
    found = of(exc_min_ms=1000)
    rows = [(0, 1.0), (0.4, 2.0), (0.8, 3.0), (1.2, 4.0), (1.6, 5.0), (2.2, 6.0), (3.3, 7.0)]
    assert each(found, *rows) == [[0], [], [], [0.8, 1.2], [], [1.6, 2.2], [3.3]]


def test_a_change_that_came_too_soon_is_emitted_when_it_is_read_again():
    found = of(deadband=0.5, exc_min_ms=1000)
    assert sent(found, ("a", 0, 1.0)) == [(0, 1.0, 0)]
    assert sent(found, ("a", 0.4, 9.0)) == []
    assert found.quiet(900_000) == []
    assert found.quiet(1_000_000) == ["a"]
    assert sent(found, ("a", 0.4, 9.0), read=0.9) == []
    assert sent(found, ("a", 0.4, 9.0), read=1.4) == [(0.4, 9.0, 0)]
    assert found.quiet(10_000_000) == []
    assert sent(found, ("a", 0.4, 9.0), read=3) == []


def test_what_moved_and_came_back_within_the_shortest_time_is_not_asked_for():
    found = of(deadband=0.5, exc_min_ms=1000)
    assert each(found, (0, 1.0), (0.4, 9.0), (0.6, 1.1)) == [[0], [], []]
    assert found.quiet(60_000_000) == []


def test_the_longest_time_is_the_tag_s_own():
    tags = [Tag("a", "-", exc_max_ms=2000), Tag("b", "-", exc_max_ms=0), Tag("c", "-")]
    found = EmissionFilter(refresh=10.0, tags=tags)
    times = {name: [] for name in "abc"}
    for moment in range(25):
        for row in found.new(table(*[(name, 0, 1.0) for name in "abc"], read=moment)).to_pylist():
            times[row["tag"]].append(row["ts"] / SECOND)
    assert times == {"a": [*range(0, 25, 2)], "b": [0], "c": [0, 10, 20]}


def test_a_held_value_comes_out_after_the_longest_time_with_its_own_timestamp():
    found = of(deadband=5.0, exc_max_ms=10_000)
    assert each(found, (0, 1.0), (4, 2.0)) == [[0], []]
    assert sent(found, ("a", 4, 2.0), read=9) == []
    assert sent(found, ("a", 4, 2.0), read=10) == [(4, 2.0, 0)]
    assert sent(found, ("a", 4, 2.0), read=20) == [(20, 2.0, 0)]  # by now it is known
    assert each(found, (21, 6.5)) == [[]]  # 4.5 from the value refreshed
    assert each(found, (22, 7.5)) == [[21, 22]]


def test_a_deadband_in_percent_waits_for_the_range():
    found = of(deadband_percent=2.0)
    assert found.without_range == ["a"]
    assert each(found, (0, 1.0), (1, 1.01), (2, 1.02)) == [[0], [1], [2]]
    assert not found.set_range("a", 5.0, 5.0)
    assert each(found, (3, 1.03)) == [[3]]
    assert not found.set_range("a", 0.0, math.inf)
    assert found.set_range("a", -100.0, 100.0)  # 2 % of 200
    assert each(found, (4, 5.03), (5, 5.04)) == [[], [4, 5]]
    assert found.set_range("a", 0.0, 16.0)  # another one after a reconnect
    assert each(found, (6, 5.35), (7, 5.37)) == [[], [6, 7]]
    assert not found.set_range("b", 0.0, 1.0)


def test_what_is_held_comes_out_when_the_range_is_gone():
    found = of(deadband_percent=10.0)
    found.set_range("a", 0.0, 100.0)
    assert each(found, (0, 1.0), (1, 2.0)) == [[0], []]
    assert not found.set_range("a", 1.0, 0.0)
    assert each(found, (2, 2.5), (3, 2.6)) == [[1, 2], [3]]


def test_a_range_in_the_tag_list_is_enough():
    found = of(deadband_percent=2.0, low=0.0, high=16.0)
    assert found.without_range == []
    assert each(found, (0, 1.0), (1, 1.31), (2, 1.33)) == [[0], [], [1, 2]]


def test_late_samples_are_never_swallowed_and_move_no_deadband():
    found = of(deadband=1.0)
    assert each(found, (10, 5.0), (4, 5.1), (5, 50.0)) == [[10], [4], [5]]
    for again in ((4, 5.1), (5, 50.0), (10, 5.0)):
        assert each(found, again) == [[]]
    assert each(found, (11, 5.9), (12, 6.1)) == [[], [11, 12]]  # by 5.0, not by 50.0


def test_late_samples_of_a_tag_without_rules():
    found = EmissionFilter(refresh=60.0)
    assert each(found, (10, 5.0), (4, 5.0), (10, 5.0), (4, 5.0), (11, 5.0)) == [[10], [4], [], [], [11]]


def test_a_sample_that_comes_after_a_newer_one_was_held():
    found = of(deadband=1.0)
    assert each(found, (0, 5.0), (8, 5.5)) == [[0], []]
    assert sent(found, ("a", 6, 9.0)) == [(6, 9.0, 0), (8, 5.5, 0)]
    assert each(found, (9, 6.4), (10, 6.6)) == [[], [9, 10]]  # by 5.5


def test_a_sample_with_the_timestamp_of_another_corrects_it():
    found = of(deadband=1.0)
    assert each(found, (0, 5.0), (0, 9.0), (0, 9.0)) == [[0], [0], []]
    assert each(found, (1, 9.5), (1, 12.0), (2, 30.0)) == [[], [1], [2]]  # the held 9.5 was never sent


def test_a_batch_that_is_new_throughout_is_passed_on_as_it_is():
    found = EmissionFilter(refresh=60.0)
    batch = table(*[(f"t{n}", 1, float(n)) for n in range(100)])
    assert found.new(batch) is batch
    assert found.new(batch).num_rows == 0


def test_samples_of_several_tags_in_one_batch_keep_their_order():
    found = EmissionFilter({"a": 1.0}, 0.0)
    batch = table(("a", 0, 0.0), ("b", 0, 0.0), ("a", 1, 0.5), ("b", 1, 1.0), ("a", 2, 9.0), ("c", 2, 0.0))
    rows = [(row["tag"], row["ts"] // SECOND) for row in found.new(batch).to_pylist()]
    assert sorted(rows) == sorted((row["tag"], row["ts"] // SECOND) for row in batch.to_pylist())
    assert rows.index(("a", 1)) + 1 == rows.index(("a", 2))


def test_quiet_tells_what_was_not_emitted_for_its_refresh_time():
    found = EmissionFilter(refresh=60.0, tags=[Tag("slow", "-", exc_max_ms=0), Tag("fast", "-", exc_max_ms=5000)])
    assert found.quiet(10**15) == []
    found.new(table(("slow", 0, 1.0), ("fast", 0, 1.0), ("other", 0, 1.0)))
    assert found.quiet(4_999_999) == []
    assert found.quiet(5_000_000) == ["fast"]
    assert sorted(found.quiet(60_000_000)) == ["fast", "other"]
    found.new(table(("fast", 0, 1.0), ("other", 0, 1.0), read=60))  # read again, as the same
    assert found.quiet(60_000_000) == []


def test_newest_is_the_last_sample_known():
    found = of(deadband=1.0)
    assert found.known("a") is None
    each(found, (3, 1.0))
    assert found.known("a")[0] == 3 * SECOND
    each(found, (5, 1.1), (2, 1.0))
    assert found.known("a")[0] == 5 * SECOND


def test_what_is_held_does_not_keep_all_batches_in_memory():
    found = EmissionFilter({"a": 1.0, "b": 1.0}, 0.0)
    found.new(table(("a", 0, 0.0), ("b", 0, 0.0)))
    found.new(table(("b", 1, 0.5)))
    before = pa.total_allocated_bytes()
    rows = 10_000
    for n in range(30):
        times = range(n * rows + 1, (n + 1) * rows + 1)
        found.new(table(*[("a", ts, 0.25) for ts in times]))
    assert pa.total_allocated_bytes() - before < 5 * table(*[("a", ts, 0.25) for ts in range(rows)]).nbytes
    assert 30 * rows > emission._SPARE_ROWS  # or there was nothing to see
    last = found.new(table(("a", 30 * rows + 1, 7.0), ("b", 30 * rows + 1, 7.0))).to_pylist()
    assert [(row["tag"], row["ts"] // SECOND, row["value"], row["unit"]) for row in last] == [
        ("a", 30 * rows, 0.25, "unit of a"), ("a", 30 * rows + 1, 7.0, "unit of a"),
        ("b", 1, 0.5, "unit of b"), ("b", 30 * rows + 1, 7.0, "unit of b"),
    ]  # fmt: skip


def offline(rows, deadband, least):
    """What to send of rows (s, value, status) in order, by looking at all of them: (s, value, status)."""
    chosen, newest = [0], 0
    for n in range(1, len(rows)):
        (ts, value, status), (was_ts, was, was_status) = rows[n], rows[newest]
        moved = deadband is None or abs(value - was) > deadband
        if status != was_status or (moved and ts - was_ts >= least):
            chosen += [n] if chosen[-1] == n - 1 or (deadband is None and not least) else [n - 1, n]
            newest = n
    return [rows[n] for n in chosen]


@pytest.mark.parametrize("seed", range(40))
def test_random_samples_in_batches_of_any_size(seed):
    rng = random.Random(seed)
    deadband, least = rng.choice([None, 0.0, 0.5, 3.0]), rng.choice([0, 0, 2, 7])
    columns = {"deadband": deadband, "exc_min_ms": 1000 * least}
    walks, times = {}, {}
    for name in "abc":
        value, moment, status = 0.0, 0, 0
        walk = walks[name] = []
        for _ in range(200):
            moment += rng.randint(1, 3)
            value += rng.choice([0.0, 0.25, -0.25, 1.0, -1.0, 8.0])
            status = rng.choice([status] * 30 + [0, UNCERTAIN])
            walk.append((moment, value, status))
            times[name, moment] = walk[-1]
    found = EmissionFilter(refresh=0.0, tags=[Tag(name, "-", **columns) for name in "abc"])
    pending = sorted((row[0], name, row) for name, walk in walks.items() for row in walk)
    given = {name: [] for name in "abc"}
    while pending:
        size = rng.randint(1, 40)
        some, pending = pending[:size], pending[size:]
        rows = [(name, *row) for _, name, row in some]
        repeats = [rng.choice(rows) for _ in range(rng.randint(0, 3))] if rng.random() < 0.3 else []
        moment = rows[-1][1]
        for row in found.new(table(*rows)).to_pylist():
            given[row["tag"]].append((row["ts"] // SECOND, row["value"], row["status"]))
        latest = {name: row for name, *row in rows}
        same = [(name, *row) for name, row in latest.items()] if repeats and not least else []
        if same:
            assert found.new(table(*same, read=moment)).num_rows == 0
    for name, walk in walks.items():
        assert given[name] == offline(walk, deadband, least)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_made_up_and_nothing_comes_twice(seed):
    """Late, repeated and bad samples, outages and refreshes, in any order."""
    rng = random.Random(1000 + seed)
    found = of(refresh=rng.choice([0.0, 30.0]), deadband=rng.choice([None, 1.0]), exc_min_ms=rng.choice([None, 4000]))
    known, given, newest = set(), [], 0
    history = []
    for moment in itertools.count(1):
        if moment == 300:
            break
        kind = rng.random()
        if kind < 0.5 or not history:
            newest = moment - rng.random() / 2
            row = (newest, rng.choice([1.0, 1.5, 2.0, 7.0, "on"]), rng.choice([0] * 9 + [UNCERTAIN]))
        elif kind < 0.75:
            row = history[-1]
        elif kind < 0.9:
            row = (round(rng.uniform(0, moment), 6), 3.0, 0)
        else:
            row = (moment, None, rng.choice([BROKEN, UNREACHED]))
        row = (round(row[0] * SECOND) / SECOND, *row[1:])
        history.append(row)
        known.add(row)
        for ts, value, status in sent(found, ("a", *row), read=moment):
            assert (ts, value, status) in known or ts == moment, "a time of its own is the time of reading"
            assert any((value, status) == old[1:] for old in known)
            given.append((ts, value, status))
    assert len(given) == len(set(given))
    statuses = [status for _, _, status in history]
    assert set(statuses) == {status for _, _, status in given}
