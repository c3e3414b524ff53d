"""The two tables: samples and rejects, as Iceberg schemas and as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import BooleanType, DoubleType, LongType, NestedField, StringType, TimestamptzType

from otmirror import samples

_MOMENT = pa.timestamp("us", tz="UTC")
_TYPES = {
    pa.string(): StringType(),
    pa.float64(): DoubleType(),
    pa.int64(): LongType(),
    pa.bool_(): BooleanType(),
    _MOMENT: TimestamptzType(),
}
TIMES = ("ts", "ts_server", "ts_read")
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 to 9999: beyond, neither partitions nor most readers can name the day."""

_LATER = ("backfill",)
"""Columns that the first tables had not: empty in their rows, and so never required."""

SAMPLES_ARROW = pa.schema(
    [
        *(
            pa.field(f.name, _MOMENT if f.name in TIMES else f.type, f.nullable or f.name in _LATER)
            for f in samples.SCHEMA
        ),
        pa.field("batch", pa.string(), nullable=False),
    ]
)
REJECTS_ARROW = pa.schema(
    [
        pa.field("ts_rejected", _MOMENT, nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("line", pa.string(), nullable=False),
        pa.field("number", pa.int64()),
        pa.field("batch", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
    ]
)

PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    # Every commit writes a new metadata file; the last ones are enough to read while others write.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    # One manifest a commit would make every later commit and scan slower.
    "commit.manifest-merge.enabled": "true",
    "commit.retry.num-retries": "10",
    # pyiceberg doubles its waits up to a minute: against a writer that never rests that is minutes for one batch.
    "commit.retry.max-wait-ms": "5000",
}


@dataclass(frozen=True)
class Layout:
    """How a table is made; partitioned by the day of one column."""

    arrow: pa.Schema
    day_of: str
    sorted_by: tuple[str, ...]
    same: tuple[str, ...] = ()
    """Rows with the same values in these columns are one row, stored again; none: every row counts."""
    earliest: tuple[str, ...] = ()
    """Of such rows the first in the order of these columns (nulls last) is kept."""

    @property
    def schema(self) -> Schema:
        """The Iceberg schema, field ids from 1 in the order of the columns."""
        return Schema(
            *(
                NestedField(number, f.name, _TYPES[f.type], required=not f.nullable)
                for number, f in enumerate(self.arrow, 1)
            )
        )

    @property
    def partition(self) -> PartitionSpec:
        """The partition spec: day of `day_of`."""
        source = self.schema.find_field(self.day_of).field_id
        return PartitionSpec(PartitionField(source, 1000, DayTransform(), f"{self.day_of}_day"))

    @property
    def order(self) -> SortOrder:
        """The sort order the files are written in."""
        schema = self.schema
        return SortOrder(*(SortField(schema.find_field(name).field_id, IdentityTransform()) for name in self.sorted_by))


SAMPLES = Layout(SAMPLES_ARROW, "ts", ("tag", "ts"), ("tag", "ts", "source"), ("ts_read", "seq", "batch"))
REJECTS = Layout(REJECTS_ARROW, "ts_rejected", ("ts_rejected",))


def sample_rows(table: pa.Table, batch: str) -> tuple[pa.Table, list[samples.Reject]]:
    """Return a batch as rows of the samples table, sorted by tag and time, and what no table can hold."""
    fine = None
    for name in TIMES:
        column = table.column(name)
        inside = pc.and_(pc.greater_equal(column, FIRST_US), pc.less_equal(column, LAST_US))
        inside = pc.fill_null(inside, True)
        fine = inside if fine is None else pc.and_(fine, inside)
    odd = table.filter(pc.invert(fine))
    rejects = [
        samples.Reject("a time is outside the years 1 to 9999", line.decode())
        for line in samples.encode(odd).splitlines()
    ]
    table = table.filter(fine).sort_by([("tag", "ascending"), ("ts", "ascending")])
    table = table.append_column("batch", pa.repeat(batch, table.num_rows))
    return table.cast(SAMPLES_ARROW), rejects


def reject_rows(rejects: Iterable[samples.Reject], batch: str, origin: str, now_us: int) -> pa.Table:
    """Return rejects as rows of the rejects table."""
    rejects = list(rejects)
    count = len(rejects)
    columns = [
        pa.repeat(now_us, count).cast(_MOMENT),
        pa.array([reject.reason for reject in rejects], pa.string()),
        pa.array([reject.line for reject in rejects], pa.string()),
        pa.array([reject.number for reject in rejects], pa.int64()),
        pa.repeat(batch, count),
        pa.repeat(origin, count),
    ]
    return pa.Table.from_arrays(columns, schema=REJECTS_ARROW)


def misfits(layout: Layout, existing: Schema) -> tuple[list[NestedField], list[str]]:
    """Compare an existing table with `layout`: columns to add, and reasons why it cannot take our rows."""
    there = {column.name: column for column in existing.fields}
    wanted = {column.name: column for column in layout.schema.fields}
    missing = [column for name, column in wanted.items() if name not in there]
    problems = [
        f"column {name} is {there[name].field_type}, needed is {column.field_type}"
        for name, column in wanted.items()
        if name in there and there[name].field_type != column.field_type
    ]
    problems += [
        f"column {name} may be empty in samples, but the table requires it"
        for name, column in wanted.items()
        if name in there and there[name].required and not column.required
    ]
    problems += [
        f"column {name} ({column.field_type}) is required, but samples have none"
        for name, column in there.items()
        if name not in wanted and column.required
    ]
    return missing, problems
