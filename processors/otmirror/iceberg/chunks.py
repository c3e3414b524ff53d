"""A day's rows, in pieces that fit into memory and follow each other in the order of the table's first sort column."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan, _read_all_delete_files, schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table

from otmirror.errors import UnavailableError

CHUNK_ROWS = 250_000
"""Rows held at a time; rewriting samples takes some 450 MB with this, 650 MB with 500,000 and 1 GB with a million."""
_SPILL = pa.ipc.IpcWriteOptions(compression="lz4")


def chunks(
    table: Table, tasks: Sequence[FileScanTask], order: Sequence[str], limit: int, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Read data files in chunks of about `limit` rows.

    All rows of one value of `order[0]` are in one chunk, or, where those alone are more than twice the limit, in
    several that follow each other by `order[1]`. What does not fit into one chunk is written to a temporary folder.

    Args:
        table: The table as its metadata says now; the files are read with its present schema.
        tasks: Data files with their delete files.
        order: The columns the chunks follow.
        limit: Rows of a chunk.
        columns: The columns wanted, those of `order` among them; all when None.
    """
    reader = Reader(table, tasks)
    if sum(task.file.record_count for task in tasks) <= limit:
        whole = pa.Table.from_batches(list(reader.batches(columns)), reader.arrow(columns))
        if whole.num_rows:
            yield whole
        return
    values, piece_of = _cuts(reader, order[0], limit)
    with tempfile.TemporaryDirectory(prefix="otmirror-day-") as folder:
        spill = _Spill(Path(folder), reader.arrow(columns), int(piece_of[-1]) + 1)
        for batch in reader.batches(columns):
            spill.add(batch, piece_of[pc.index_in(_plain(batch.column(order[0])), value_set=values).to_numpy()])
        yield from spill.chunks(order, limit)


@dataclass
class Reader:
    """Streams files batch by batch; pyiceberg's own way holds a whole file, and reads several at once."""

    table: Table
    tasks: Sequence[FileScanTask]

    def arrow(self, columns: Sequence[str] | None) -> pa.Schema:
        """Return the schema of the batches."""
        return schema_to_pyarrow(self._schema(columns), include_field_ids=False)

    def batches(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all files, those columns only.

        Raises:
            UnavailableError: a file cannot be read.
        """
        metadata, target = self.table.metadata, self.arrow(columns)
        scan = ArrowScan(metadata, self.table.io, self._schema(columns), AlwaysTrue())
        deletes = _read_all_delete_files(self.table.io, self.tasks)
        for task in self.tasks:
            try:
                for batch in scan._record_batches_from_scan_tasks_and_deletes([task], deletes):
                    if batch.num_rows:
                        yield batch.select(target.names).cast(target)
            except (OSError, pa.ArrowException) as error:
                # Arrow does not say which file it is.
                reason = " ".join(str(error).split())
                raise UnavailableError(f"data file {task.file.file_path} cannot be read: {reason}") from None

    def _schema(self, columns: Sequence[str] | None) -> Schema:
        schema = self.table.metadata.schema()
        return schema if columns is None else schema.select(*columns)


def _cuts(reader: Reader, column: str, limit: int) -> tuple[pa.Array, np.ndarray]:
    """Return the values of a column in order, and the number of the piece that each belongs to."""
    counts: Counter[Any] = Counter()
    for batch in reader.batches([column]):
        found = pc.value_counts(_plain(batch.column(column)))
        counts.update(dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)))
    pieces, piece, held = [], 0, 0
    for value in sorted(counts):
        if held and held + counts[value] > limit:
            piece, held = piece + 1, 0
        pieces.append(piece)
        held += counts[value]
    return pa.array(sorted(counts)), np.array(pieces)


def _plain(column: pa.Array) -> pa.Array:
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column.cast(pa.string())


@dataclass
class _Spill:
    """Rows on disk, one file a piece."""

    folder: Path
    schema: pa.Schema
    count: int
    rows: list[int] = field(default_factory=list)
    _writers: dict[int, pa.ipc.RecordBatchStreamWriter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = [0] * self.count

    def add(self, batch: pa.RecordBatch, piece_of: np.ndarray) -> None:
        for piece in np.unique(piece_of).tolist():
            part = batch.filter(pa.array(piece_of == piece))
            if piece not in self._writers:
                self._writers[piece] = pa.ipc.new_stream(str(self._path(piece)), self.schema, options=_SPILL)
            self._writers[piece].write_batch(part)
            self.rows[piece] += part.num_rows

    def chunks(self, order: Sequence[str], limit: int) -> Iterator[pa.Table]:
        for writer in self._writers.values():
            writer.close()
        for piece in sorted(self._writers):
            if self.rows[piece] > 2 * limit and len(order) > 1:
                yield from self._slices(piece, order[1], -(-self.rows[piece] // limit))
            else:
                yield pa.Table.from_batches(list(self._batches(piece)), self.schema)
            self._path(piece).unlink()

    def _slices(self, piece: int, column: str, count: int) -> Iterator[pa.Table]:
        """Cut one value's rows into equal spans of a second, numeric or time, column."""
        ends = [pc.min_max(batch.column(column).cast(pa.int64())) for batch in self._batches(piece)]
        low, high = min(end["min"].as_py() for end in ends), max(end["max"].as_py() for end in ends) + 1
        for number in range(count):
            start = low + (high - low) * number // count
            end = low + (high - low) * (number + 1) // count
            found = []
            for batch in self._batches(piece):
                at = batch.column(column).cast(pa.int64())
                found.append(batch.filter(pc.and_(pc.greater_equal(at, start), pc.less(at, end))))
            part = pa.Table.from_batches(found, self.schema)
            if part.num_rows:
                yield part

    def _batches(self, piece: int) -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(self._path(piece))) as source, pa.ipc.open_stream(source) as stream:
            yield from stream

    def _path(self, piece: int) -> Path:
        return self.folder / f"{piece}.arrow"
