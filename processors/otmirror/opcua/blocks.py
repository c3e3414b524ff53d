"""Columns of values to columns of samples, many tags at once.

What a number, a boolean and its times become here is what `decode.Batch.add` makes of each of them; whatever is not
good, not finite or no number goes there.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from otmirror.opcua.shapes import BOOLEAN, NEVER, Readings
from otmirror.status import GOOD
from otmirror.taglist import Tag

COLUMNS = ("tag", "ts", "value", "text", "type", "quality", "status", "unit", "ts_server", "ts_read")

_DOUBLE = 11
_TYPES = pa.array(
    ["double", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float", "double"]
)
"""Types of samples by built-in type (OPC 10000-6, 5.1.2)."""

Columns = list[pa.Array]
"""The columns of `COLUMNS`."""


class TagBlock:
    """Tags that are read together, in order, and what of their samples is always the same."""

    def __init__(self, tags: Sequence[Tag]):
        """Take the tags."""
        self.tags = tags
        self.names = pa.array([tag.tag for tag in tags], pa.string())
        self.units = pa.array([tag.unit for tag in tags], pa.string())
        self._special: tuple[Container[str], list[int]] = ((), [])
        self._scale = np.array([tag.scale for tag in tags])
        self._offset = np.array([tag.offset for tag in tags])
        self._scaled = (self._scale != 1.0) | (self._offset != 0.0)
        self._plain = not self._scaled.any()

    def taken(self, readings: Readings, ts_read: int, special: Container[str] = ()) -> Taken:
        """Apply scales and offsets to what was read of the tags.

        `special` has the names of those whose values are more than a number.
        """
        if special is not self._special[0]:
            self._special = special, [place for place, tag in enumerate(self.tags) if tag.tag in special]
        values, kinds = readings.values, readings.kinds
        if not self._plain:
            scaled = self._scaled & (kinds != BOOLEAN)
            with np.errstate(all="ignore"):
                values = np.where(scaled, values * self._scale + self._offset, values)
            kinds = np.where(scaled, _DOUBLE, kinds).astype(np.uint8)
        odd = {*readings.others, *self._special[1]}
        if readings.statuses is not None:
            odd.update(np.flatnonzero(readings.statuses).tolist())
        finite = np.isfinite(values)
        if not finite.all():
            odd.update(np.flatnonzero(~finite).tolist())
        return Taken(self, values, kinds, readings, ts_read, sorted(odd))


class Taken:
    """What was read of the tags of a block; the samples at the places in `odd` come from elsewhere."""

    def __init__(
        self, block: TagBlock, values: npt.NDArray[np.float64], kinds: npt.NDArray[np.uint8], readings: Readings,
        ts_read: int, odd: list[int],
    ):  # fmt: skip
        """Take values as they become samples, and when they were read, in microseconds."""
        self.block, self.values, self.kinds, self.odd = block, values, kinds, odd
        self.readings, self.ts_read = readings, ts_read

    def __len__(self) -> int:
        return len(self.values)


def columns(parts: Sequence[Taken]) -> Columns:
    """Return columns of as many samples as were taken, whatever stands at their odd places."""
    counts = [len(part) for part in parts]
    total = sum(counts)
    read = np.repeat([part.ts_read for part in parts], counts)
    sources, servers = (_joined([getattr(part.readings, name) for part in parts], counts)
                        for name in ("sources", "servers"))  # fmt: skip
    absent = servers == NEVER
    some = bool(absent.any())
    times = np.where(absent, read, servers) if some else servers
    missing = sources == NEVER
    times = np.where(missing, times, sources) if missing.any() else sources
    return [
        pa.concat_arrays([part.block.names for part in parts]),
        pa.array(times),
        pa.array(np.concatenate([part.values for part in parts])),
        pa.nulls(total, pa.string()),
        _types(np.concatenate([part.kinds for part in parts])),
        pa.repeat(GOOD, total),
        pa.repeat(pa.scalar(0, pa.int64()), total),
        pa.concat_arrays([part.block.units for part in parts]),
        pa.array(servers, mask=absent) if some else pa.array(servers),
        pa.array(read),
    ]


def _joined(times: Sequence[npt.NDArray[np.int64] | None], counts: Sequence[int]) -> npt.NDArray[np.int64]:
    parts = [np.full(count, NEVER) if one is None else one for one, count in zip(times, counts, strict=True)]
    return np.concatenate(parts)


def _types(kinds: npt.NDArray[np.uint8]) -> pa.Array:
    if (kinds == kinds[0]).all():
        return pa.repeat(_TYPES[int(kinds[0])], len(kinds))
    return _TYPES.take(pa.array(kinds))


class Order:
    """In which order samples in columns and samples in rows were added."""

    def __init__(self) -> None:
        self._pieces: list[npt.NDArray[np.int64]] = []
        self._taken = self._rows = 0

    def add(self, taken: Taken, rows_before: int, counts: Sequence[int]) -> None:
        """Note that what was taken was added behind so many rows, and then so many rows for each of its odd places."""
        self.rows(rows_before)
        piece = np.arange(self._taken, self._taken + len(taken))
        self._taken += len(taken)
        if taken.odd:
            repeats = np.ones(len(taken), np.int64)
            repeats[taken.odd] = counts
            replaced = np.zeros(len(taken), bool)
            replaced[taken.odd] = True
            piece, replaced = np.repeat(piece, repeats), np.repeat(replaced, repeats)
            self.rows(self._rows + sum(counts), piece, replaced)
        self._pieces.append(piece)

    def rows(self, until: int, piece: Any = None, where: Any = None) -> None:
        """Note that rows up to this number come next, or that they are in these places of a piece."""
        numbers = -1 - np.arange(self._rows, until)
        self._rows = until
        if piece is not None:
            piece[where] = numbers
        elif len(numbers):
            self._pieces.append(numbers)

    def places(self) -> pa.Array:
        """Return where each sample is among those in columns, followed by those in rows."""
        found = np.concatenate(self._pieces)
        return pa.array(np.where(found < 0, self._taken - 1 - found, found))
