"""A day's rows once each, in new files, and the commit that puts them in the place of the old ones."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io import OutputFile
from pyiceberg.io.fileformat import FileFormatFactory, FileFormatModel, FileFormatWriter
from pyiceberg.io.pyarrow import _determine_partitions, _to_requested_schema
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionKey
from pyiceberg.schema import sanitize_column_names
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.table.update.validate import _validate_no_new_deletes_for_data_files

from otmirror import __version__
from otmirror.errors import UnavailableError
from otmirror.iceberg.chunks import CHUNK_ROWS, chunks
from otmirror.iceberg.days import Day, file_name
from otmirror.iceberg.schema import Layout

KEY = "otmirror.maintenance"
"""The property of a snapshot's summary that names the day that was rewritten; such a snapshot is no batch."""
FILE_ROWS = 16_000_000
"""A data file ends with the chunk that makes it this long."""
GROUP_ROWS = 262_144
LONGEST = 1800.0
"""Seconds a rewrite may take: well below the age at which files that nothing refers to may be removed."""


class _ReplaceFiles(_OverwriteFiles):
    """Puts new files in the place of given ones, whatever is appended meanwhile.

    pyiceberg's own check fails on any append since. Appended rows are in files of their own, which this commit does
    not touch: what it deletes are the files that were read, by name. That each of them is still there is checked
    against the very snapshot the commit is based on; here, that nobody has deleted rows in them.
    """

    def _validate_concurrency(self) -> None:
        window = self._commit_window
        if window is None or window.head is None or window.is_empty():
            return
        table = self._transaction._table
        _validate_no_new_deletes_for_data_files(table, window.head, None, self._deleted_data_files, window.base)


def once(table: pa.Table, layout: Layout) -> pa.Table:
    """Return the rows in the layout's order, of equal ones (columns `layout.same`) the first read only.

    The rows are ordered by all columns in the end, so that the result does not depend on the order they came in.
    """
    first = [*layout.sorted_by, *(name for name in layout.same if name not in layout.sorted_by)]
    # The view (views.py) decides by the same order.
    rest = dict.fromkeys([*layout.earliest, *layout.arrow.names, *table.column_names])
    names = first + [name for name in rest if name in table.column_names and name not in first]
    table = table.combine_chunks()
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in names])
    if layout.same and table.num_rows > 1:
        keys = table.select(layout.same).take(order)
        fresh = pa.array(np.zeros(table.num_rows - 1, bool))
        for name in layout.same:
            column = keys.column(name).combine_chunks()
            fresh = pc.or_(fresh, pc.not_equal(column.slice(1), column.slice(0, table.num_rows - 1)))
        order = order.filter(pa.concat_arrays([pa.array([True]), fresh]))
    return table.take(order)


def duplicates(table: Table, day: Day, layout: Layout, limit: int = CHUNK_ROWS) -> int:
    """Count the rows of a day that repeat another one's columns `layout.same`."""
    if not layout.same or day.rewritten:
        return 0
    found = 0
    for chunk in chunks(table, day.tasks, layout.sorted_by, limit, layout.same):
        found += chunk.num_rows - chunk.group_by(list(layout.same)).aggregate([]).num_rows
    return found


@dataclass
class Rewrite:
    """New files with the rows of one day, not in the table yet."""

    table: Table
    day: Day
    layout: Layout
    files: list[DataFile] = field(default_factory=list)
    rows_in: int = 0
    rows_out: int = 0
    _started: float = field(default_factory=time.monotonic)

    def write(self, limit: int, check: Callable[[], None]) -> None:
        """Read the day, and write each row once; `check` is called between chunks and may raise.

        Raises:
            UnavailableError: it takes too long, or a file did not give the rows it should have.
            Exception: whatever pyiceberg or the storage raise.
        """
        output = _Output(self.table, self.day, self.files)
        with output:
            for chunk in chunks(self.table, self.day.tasks, self.layout.sorted_by, limit):
                check()
                if time.monotonic() - self._started > LONGEST:
                    raise UnavailableError(f"day {self.day.name}: rewriting takes more than {LONGEST:g} s")
                self.rows_in += chunk.num_rows
                output.add(once(chunk, self.layout))
        self.rows_out = sum(file.record_count for file in self.files)
        if not self.day.has_deletes and self.rows_in != self.day.rows:
            raise UnavailableError(
                f"day {self.day.name}: {self.rows_in} rows were read, there should be {self.day.rows}"
            )

    def commit(self) -> None:
        """Put the new files in the place of those that were read, in one snapshot.

        Raises:
            CommitFailedException: others kept changing the table; it did not land.
            ValidationException: what was read is no more in the table; it did not land.
            Exception: whatever the catalog or the storage raise; it may have landed.
        """
        told = {
            KEY: self.day.name,
            "otmirror.duplicates": str(self.rows_in - self.rows_out),
            "otmirror.version": __version__,
        }
        with self.table.transaction() as transaction:
            update = _ReplaceFiles(Operation.OVERWRITE, transaction, self.table.io, snapshot_properties=told)
            for task in self.day.tasks:
                update.delete_data_file(task.file)
            for file in self.files:
                update.append_data_file(file)
            update.commit()

    def discard(self) -> None:
        """Delete the new files; only when it is certain that the commit did not land."""
        for file in self.files:
            with contextlib.suppress(Exception):
                self.table.io.delete(file.file_path)


class _Output:
    """Writes sorted chunks of one day into as few files as can be."""

    def __init__(self, table: Table, day: Day, files: list[DataFile]):
        self._table, self._day, self._files = table, day, files
        self._schema = table.metadata.schema()
        self._written_as = sanitize_column_names(self._schema)
        self._run = uuid.uuid4().hex
        self._writer: FileFormatWriter | None = None
        self._rows = 0
        self._key: PartitionKey | None = None
        self._file: OutputFile | None = None

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        elif self._writer is not None and self._file is not None:
            with contextlib.suppress(Exception):
                self._writer.close()
            with contextlib.suppress(Exception):
                self._table.io.delete(self._file.location)

    def add(self, chunk: pa.Table) -> None:
        writer = self._writer or self._start(chunk)
        for start in range(0, chunk.num_rows, GROUP_ROWS):
            batches = [
                _to_requested_schema(
                    self._written_as, self._schema, batch, include_field_ids=True, format_model=_parquet()
                )
                for batch in chunk.slice(start, GROUP_ROWS).to_batches()
            ]
            writer.write(pa.Table.from_batches(batches).combine_chunks())
        self._rows += chunk.num_rows
        if self._rows >= FILE_ROWS:
            self._finish()

    def _start(self, chunk: pa.Table) -> FileFormatWriter:
        metadata = self._table.metadata
        (partition,) = _determine_partitions(metadata.spec(), self._schema, chunk.slice(0, 1))
        self._key = partition.partition_key
        place = self._table.location_provider().new_data_location(file_name(self._run, len(self._files)), self._key)
        self._file = self._table.io.new_output(place)
        self._writer = _parquet().create_writer(self._file, self._written_as, metadata.properties)
        return self._writer

    def _finish(self) -> None:
        """Close the file; its statistics show whether all rows are of the day."""
        if self._writer is None or self._file is None or self._key is None:
            return
        statistics, metadata = self._writer.close(), self._table.metadata
        partition = statistics.partition(metadata.spec(), self._schema)
        if partition != self._key.partition or partition != self._day.tasks[0].file.partition:
            raise UnavailableError(f"day {self._day.name}: {self._file.location} holds rows of another day")
        self._files.append(
            DataFile.from_args(
                content=DataFileContent.DATA,
                file_path=self._file.location,
                file_format=FileFormat.PARQUET,
                partition=partition,
                file_size_in_bytes=len(self._file),
                sort_order_id=None,
                spec_id=metadata.default_spec_id,
                equality_ids=None,
                key_metadata=None,
                **statistics.to_serialized_dict(),
            )
        )
        self._writer, self._rows = None, 0


def _parquet() -> FileFormatModel:
    return FileFormatFactory.get(FileFormat.PARQUET)
