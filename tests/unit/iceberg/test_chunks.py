"""Reading a day in pieces, and the rules of what is old."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pyarrow as pa
import pytest

from otmirror.clock import SystemClock
from otmirror.errors import MistakesError
from otmirror.iceberg import days
from otmirror.iceberg.catalog import open_catalog
from otmirror.iceberg.chunks import chunks
from otmirror.iceberg.config import Config
from otmirror.iceberg.ledger import outdated
from otmirror.iceberg.maintenance import Maintenance, Options
from otmirror.iceberg.schema import SAMPLES, SAMPLES_ARROW
from otmirror.iceberg.writer import TableWriter

T0 = 1_700_006_400_000_000  # 2023-11-15T00:00:00Z


@pytest.fixture
def crowded(tmp_path):
    """A day of 900 rows, two thirds of them of one tag, in six files."""
    rng = random.Random(5)
    rows = [("hot" if n % 3 else f"t{rng.randrange(20):02}", T0 + rng.randrange(86_400_000_000)) for n in range(900)]
    table = TableWriter(open_catalog(Config(warehouse=str(tmp_path))), "ot.samples", SAMPLES)
    for first in range(0, 900, 150):
        part = rows[first : first + 150]
        fixed = {"type": "double", "quality": "good", "source": "s", "status": 0, "batch": f"{first}"}
        listed = [{"tag": tag, "ts": at, "value": float(first), **fixed} for tag, at in part]
        table.append(pa.Table.from_pylist(listed, schema=SAMPLES_ARROW), f"{first}")
    return open_catalog(Config(warehouse=str(tmp_path))).load_table("ot.samples"), sorted(rows)


def pairs(table):
    return list(zip(table["tag"].to_pylist(), table["ts"].cast(pa.int64()).to_pylist(), strict=True))


def test_pieces_follow_each_other_and_are_small(crowded):
    table, rows = crowded
    (day,) = days.all_days(table)
    found = list(chunks(table, day.tasks, ("tag", "ts"), 60))
    assert max(chunk.num_rows for chunk in found) <= 120
    assert len(found) >= 900 // 120
    assert [pair for chunk in found for pair in sorted(pairs(chunk))] == rows
    assert found[0].column_names == SAMPLES_ARROW.names


def test_a_day_that_fits_comes_as_one_piece_with_the_columns_wanted(crowded):
    table, rows = crowded
    (day,) = days.all_days(table)
    (whole,) = chunks(table, day.tasks, ("tag", "ts"), 900, ("tag", "ts", "source"))
    assert sorted(whole.column_names) == ["source", "tag", "ts"]
    assert sorted(pairs(whole)) == rows


def test_a_day_rewritten_in_pieces_is_sorted_and_complete(crowded):
    table, rows = crowded
    report = Maintenance(table, SAMPLES, Options(chunk_rows=60), SystemClock()).run()
    assert (report.before.files, report.after.files) == (6, 1)
    assert pairs(table.refresh().scan().to_arrow()) == sorted(set(rows))
    (day,) = days.all_days(table)
    assert day.rewritten
    assert not day.scattered


def metadata(*ages, head, tags=()):
    """Snapshots by the hours since each was made, the oldest first."""
    snapshots = [
        SimpleNamespace(snapshot_id=n, sequence_number=n, timestamp_ms=-age * 3_600_000) for n, age in enumerate(ages)
    ]
    refs = {str(n): SimpleNamespace(snapshot_id=n) for n in (head, *tags)}
    return SimpleNamespace(snapshots=snapshots, refs=refs)


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        (metadata(50, 40, 30, 5, 1, head=4), [0, 1]),
        (metadata(50, 49, head=1), [0]),
        (metadata(50, 1, head=1), []),  # was the current one until an hour ago
        (metadata(50, 40, 30, 5, head=3, tags=(1,)), [0]),
        (metadata(50, head=0), []),
        (metadata(head=0), []),
    ],
)
def test_a_snapshot_is_outdated_a_day_after_it_was_replaced(given, gone):
    assert outdated(given, -24 * 3_600_000_000) == gone


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"retention": 60.0}, "kept for less than 1 hour"),
        ({"orphan_age": 3599.0}, "removed at an age of less than 1 hour"),
        ({"orphan_age": 0.0}, "removed at an age of less than 1 hour"),
        ({"chunk_rows": 0}, "chunk rows: at least 1"),
    ],
)
def test_dangerous_options_are_refused(given, told):
    with pytest.raises(MistakesError, match=told):
        Options(**given)
