"""The audit on hand-made stores: each seeded fault is counted as what it is."""

import pyarrow as pa
import pytest

from otmirror import samples
from otmirror.demo.audit import audit
from otmirror.demo.freshness import cold_ages, percentile

START = 1_700_000_000_000_000
"""The reader's start time and first number."""


def cold(*rows):
    """Rows of (tag, microseconds after the start, value, seq after the start)."""
    return samples.table_from_columns(
        tag=[row[0] for row in rows],
        ts=[START + row[1] for row in rows],
        value=[row[2] for row in rows],
        quality=["bad" if row[2] is None else "good" for row in rows],
        type=["double"] * len(rows),
        source=["plc"] * len(rows),
        seq=[START + row[3] for row in rows],
        ts_read=[START + row[1] for row in rows],
    )


def hot(*rows):
    return pa.table(
        {
            "tag": pa.array([row[0] for row in rows], pa.string()),
            "source": pa.array(["plc"] * len(rows), pa.string()),
            "ts_ms": pa.array([START // 1000 + row[1] for row in rows], pa.int64()),
            "value": pa.array([row[2] for row in rows], pa.float64()),
        }
    )


COLD = [("a", 0, 1.0, 0), ("b", 0, None, 1), ("a", 1_000_900, 2.5, 2), ("b", 1_000_900, 7.0, 3)]
HOT = [("a", 0, 1.0), ("a", 1000, 2.5), ("b", 1000, 7.0)]


def test_complete_stores_are_complete():
    result = audit(cold(*COLD), hot(*HOT), emitted={"plc": 4})
    source = result.sources[0]
    assert result.complete
    assert (source.tags, source.stored, source.bad, source.numeric, source.hot_found) == (2, 4, 1, 3, 3)
    assert (result.lost, result.duplicated, source.restarts) == (0, 0, 0)


@pytest.mark.parametrize(
    ("cold_rows", "hot_rows", "emitted", "lost", "duplicated"),
    [
        (COLD, HOT[:-1], 4, 1, 0),
        (COLD[:2] + COLD[3:], [HOT[0], HOT[2]], 4, 1, 0),
        (COLD[:-1], HOT[:-1], 4, 1, 0),
        ([*COLD, COLD[0]], HOT, 4, 0, 1),
        (COLD, [*HOT, HOT[0]], 4, 0, 1),
    ],
    ids=["missing hot", "missing cold, inside", "missing cold, last", "twice cold", "twice hot"],
)
def test_each_fault_is_counted(cold_rows, hot_rows, emitted, lost, duplicated):
    result = audit(cold(*cold_rows), hot(*hot_rows), emitted={"plc": emitted})
    assert (result.lost, result.duplicated) == (lost, duplicated)
    assert not result.complete


def test_a_value_that_differs_or_that_only_one_store_has():
    assert audit(cold(*COLD), hot(*HOT[:-1], ("b", 1000, 7.1))).hot_different == 1
    assert audit(cold(*COLD), hot(*HOT[:-1], ("b", 1000, 7.0000000001))).hot_different == 1
    assert audit(cold(*COLD), hot(*HOT[:-1], ("b", 1000, 7.00000000001))).hot_different == 0
    assert audit(cold(*COLD), hot(*HOT, ("c", 1000, 7.1))).hot_unknown == 1


def test_a_restart_is_told_from_a_loss():
    later = [("a", 42_000_000, 3.0, 41_500_000), ("b", 42_000_000, 3.0, 41_500_001)]
    result = audit(cold(*COLD, *later), hot(*HOT, ("a", 42_000, 3.0), ("b", 42_000, 3.0)))
    assert (result.sources[0].restarts, result.sources[0].missing) == (1, 0)
    assert result.sources[0].longest_gap_s == pytest.approx(40.9991)
    assert result.complete


def test_a_source_that_stored_nothing_is_not_forgotten():
    result = audit(None, hot(), emitted={"plc": 3})
    assert result.lost == 3
    assert not result.complete
    assert not audit(None, hot()).complete


@pytest.mark.parametrize(
    ("cold_rows", "hot_rows", "told"),
    [
        (COLD, HOT, {"declared": {"plc": 2, "rtu": 2}}),
        (COLD, HOT, {"declared": {"plc": 3}}),
        (COLD, HOT, {"emitted": {"plc": 3}}),
        (COLD, HOT, {"emitted": {}}),
        ([COLD[1]], [], {}),
    ],
    ids=["a source is silent", "a tag was never seen", "more stored than left", "no provenance", "all bad"],
)
def test_it_does_not_say_that_everything_arrived(cold_rows, hot_rows, told):
    assert not audit(cold(*cold_rows), hot(*hot_rows), **told).complete
    assert audit(cold(*COLD), hot(*HOT), emitted={"plc": 4}, declared={"plc": 2}).complete


def test_ages_and_percentiles():
    rows = pa.table({"ts": [1_000_000, 2_000_000, 3_000_000], "batch": ["x", "x", "y"]})
    assert cold_ages(rows, {"x": 3000}) == [2.0, 1.0]
    assert percentile([3.0, 1.0, 2.0, 4.0], 0.5) == 3.0
    assert percentile([1.0] * 99 + [9.0], 0.99) == 9.0
    assert percentile([], 0.5) is None
