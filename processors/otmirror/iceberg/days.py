"""The days of a table: which files each has, and which of them need work."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone

from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.transforms import DayTransform

from otmirror.iceberg.schema import Layout
from otmirror.iceberg.writer import MismatchError

SMALL = 32 * 2**20
"""A data file below this many bytes is small."""
_EPOCH = date(1970, 1, 1)
_OURS = re.compile(r"once-([0-9a-f]{32})-\d{5}\.parquet")


def file_name(run: str, number: int) -> str:
    """Return the name of the data file that one rewrite of a day (`run`, 32 hex digits) gives its `number`th file."""
    return f"once-{run}-{number:05d}.parquet"


@dataclass(frozen=True)
class Day:
    """One day partition as one snapshot has it; `number` is days since 1970-01-01."""

    number: int
    tasks: tuple[FileScanTask, ...]

    @property
    def name(self) -> str:
        """The day, such as 2026-11-24."""
        return (_EPOCH + timedelta(days=self.number)).isoformat()

    @property
    def rows(self) -> int:
        """Rows in the files, those that delete files take away included."""
        return sum(task.file.record_count for task in self.tasks)

    @property
    def bytes(self) -> int:
        """Bytes of the data files."""
        return sum(task.file.file_size_in_bytes for task in self.tasks)

    @property
    def small(self) -> int:
        """How many of the files are small."""
        return sum(task.file.file_size_in_bytes < SMALL for task in self.tasks)

    @property
    def has_deletes(self) -> bool:
        """Whether rows were taken away by delete files; this project writes none."""
        return any(task.delete_files for task in self.tasks)

    @property
    def rewritten(self) -> bool:
        """Whether all files came from one rewrite, so that there are no duplicates and nothing to merge."""
        names = [_OURS.fullmatch(task.file.file_path.rpartition("/")[2]) for task in self.tasks]
        return all(names) and len({name[1] for name in names if name}) == 1

    @property
    def scattered(self) -> bool:
        """Whether there are several small files."""
        return not self.rewritten and self.small > 1


def check(metadata: TableMetadata, name: str, layout: Layout) -> None:
    """Make sure that a table is partitioned as `layout` says.

    Raises:
        MismatchError: it is not; equal rows may then lie in different partitions.
    """
    spec, schema = metadata.spec(), metadata.schema()
    fields = [(schema.find_column_name(field.source_id), field.transform) for field in spec.fields]
    if len(fields) != 1 or fields[0][0] != layout.day_of or not isinstance(fields[0][1], DayTransform):
        raise MismatchError(f"table {name} is not partitioned by day of {layout.day_of}; it was left as it is")


def all_days(table: Table) -> list[Day]:
    """Return the days of the table's current snapshot, the earliest first.

    Files of an earlier partition spec are left out.
    """
    return _grouped(table, list(table.scan().plan_files()))


def one_day(table: Table, layout: Layout, number: int) -> Day:
    """Return one day of the table's current snapshot, without any file when it is gone."""
    start = datetime.combine(_EPOCH, time(), timezone.utc) + timedelta(days=number)
    chosen = f"{layout.day_of} >= '{start.isoformat()}'"
    with contextlib.suppress(OverflowError):  # the last day of the year 9999
        chosen += f" and {layout.day_of} < '{(start + timedelta(days=1)).isoformat()}'"
    days = _grouped(table, list(table.scan(row_filter=chosen).plan_files()))
    return next((day for day in days if day.number == number), Day(number, ()))


def _grouped(table: Table, tasks: list[FileScanTask]) -> list[Day]:
    spec = table.metadata.default_spec_id
    days: dict[int, list[FileScanTask]] = defaultdict(list)
    for task in tasks:
        if task.file.spec_id == spec:
            days[_number(task.file.partition[0])].append(task)
    return [Day(number, tuple(days[number])) for number in sorted(days)]


def _number(value: int | date) -> int:
    return (value - _EPOCH).days if isinstance(value, date) else int(value)
