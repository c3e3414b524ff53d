"""Rows of a side on disk, by a hash of their tag: every tag's rows are in one piece, in the order they came."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROWS = pa.schema([
    pa.field("tag", pa.string()),
    pa.field("ts", pa.int64()),
    pa.field("value", pa.float64()),
    pa.field("quality", pa.int8()),
    pa.field("read", pa.int64()),
])  # fmt: skip
"""What a source gives: times in microseconds; see `series` for quality, no value and an unknown `read`."""

_CODED = pa.schema([pa.field("tag", pa.int32()), *list(ROWS)[1:]])
_WRITE_ROWS = 32_768
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


class Spill:
    """One side's rows in `pieces` files of a folder; memory is what is not written yet, about 1 MB a piece."""

    def __init__(self, folder: Path, pieces: int):
        """Take an existing folder of its own."""
        self.folder, self.pieces = folder, pieces
        self.names: dict[str, int] = {}
        self.rows = 0
        self._piece_of = np.empty(0, np.int32)
        self._waiting: list[list[pa.RecordBatch]] = [[] for _ in range(pieces)]
        self._count = [0] * pieces
        self._writers: dict[int, pa.ipc.RecordBatchFileWriter] = {}

    def take(self, batches: Iterable[pa.RecordBatch], say: Callable[[int], None]) -> None:
        """Write all rows of a source; `say` is told how many there were so far."""
        for batch in batches:
            if batch.num_rows:
                self._add(batch)
                self.rows += batch.num_rows
                say(self.rows)
        for piece in range(self.pieces):
            self._write(piece)
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _add(self, batch: pa.RecordBatch) -> None:
        tag = batch.column(0)
        coded = tag if pa.types.is_dictionary(tag.type) else tag.dictionary_encode()
        code = self._codes(coded.dictionary.to_pylist())[coded.indices.to_numpy(zero_copy_only=False)]
        rows = pa.RecordBatch.from_arrays([pa.array(code), *batch.columns[1:]], schema=_CODED)
        where = self._piece_of[code]
        edges = np.flatnonzero(np.diff(where)) + 1
        if len(edges) < self.pieces:
            # Runs of one tag, as sorted files and exports have them, are slices: nothing is copied.
            for first, last in zip([0, *edges.tolist()], [*edges.tolist(), len(where)], strict=True):
                self._keep(int(where[first]), rows.slice(first, last - first))
            return
        order = np.argsort(where, kind="stable")
        rows = rows.take(pa.array(order))
        bounds = np.searchsorted(where[order], np.arange(self.pieces + 1)).tolist()
        for piece in range(self.pieces):
            if bounds[piece + 1] > bounds[piece]:
                self._keep(piece, rows.slice(bounds[piece], bounds[piece + 1] - bounds[piece]))

    def _codes(self, names: list[str]) -> Any:
        for name in names:
            if name not in self.names:
                self.names[name] = len(self.names)
        if len(self.names) > len(self._piece_of):
            fresh = [zlib.crc32(name.encode()) % self.pieces for name in list(self.names)[len(self._piece_of) :]]
            self._piece_of = np.concatenate([self._piece_of, np.array(fresh, np.int32)])
        return np.array([self.names[name] for name in names], np.int32)

    def _keep(self, piece: int, rows: pa.RecordBatch) -> None:
        self._waiting[piece].append(rows)
        self._count[piece] += rows.num_rows
        if self._count[piece] >= _WRITE_ROWS:
            self._write(piece)

    def _write(self, piece: int) -> None:
        if not self._waiting[piece]:
            return
        if piece not in self._writers:
            self._writers[piece] = pa.ipc.new_file(str(self._path(piece)), _CODED, options=_OPTIONS)
        rows = pa.Table.from_batches(self._waiting[piece]).combine_chunks()
        for batch in rows.to_batches():
            self._writers[piece].write_batch(batch)
        self._waiting[piece], self._count[piece] = [], 0

    def tags(self, piece: int) -> Iterator[tuple[str, Any, Any, Any, Any]]:
        """Yield each tag of a piece with its times, values, qualities and arrivals, in the order they came.

        The file is removed before the first tag is yielded.
        """
        path = self._path(piece)
        if not path.exists():
            return
        with pa.OSFile(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        path.unlink()
        code, ts, value, quality, read = (column.to_numpy() for column in table.columns)
        del table
        steps = np.diff(code)
        if (steps < 0).any():
            order = np.argsort(code, kind="stable")
            code, ts, value, quality, read = (column[order] for column in (code, ts, value, quality, read))
            steps = np.diff(code)
        edges = [0, *(np.flatnonzero(steps) + 1).tolist(), len(code)]
        names = list(self.names)
        for first, last in pairwise(edges):
            part = slice(first, last)
            yield names[code[first]], ts[part], value[part], quality[part], read[part]

    def _path(self, piece: int) -> Path:
        return self.folder / f"{piece}.arrow"
