"""Columns of values to columns of samples, many tags at once.

What a number, a boolean and its times become here is what `decode.Batch.add` makes of each of them; whatever is not
good, not finite or no number goes there.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from otmirror.opcua.columns import BOOLEAN, NEVER, Readings
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
        self._tags = tags
        self._places: Sequence[int] | None = None
        self.names = pa.array([tag.tag for tag in tags], pa.string())
        self.units = pa.array([tag.unit for tag in tags], pa.string())
        self._scale = np.array([tag.scale for tag in tags])
        self._offset = np.array([tag.offset for tag in tags])
        self._plain = bool(((self._scale == 1.0) & (self._offset == 0.0)).all())
        self._special: tuple[Container[str], npt.NDArray[np.bool_]] = ((), np.zeros(len(tags), bool))

    def tag(self, place: int) -> Tag:
        """Return the tag at a place."""
        return self._tags[place if self._places is None else self._places[place]]

    def chosen(self, places: Sequence[int]) -> TagBlock:
        """Return a block of the tags at these places, in this order, each as often as it is named."""
        found, wanted = copy.copy(self), np.array(places, np.int64)
        found._places = places
        found.names, found.units = (column.take(pa.array(wanted)) for column in (self.names, self.units))
        found._scale, found._offset = self._scale[wanted], self._offset[wanted]
        found._special = self._special[0], self._special[1][wanted]
        return found

    def mark(self, special: Container[str]) -> None:
        """Take the names of those tags whose values are more than a number."""
        if special is not self._special[0]:
            count = len(self.names)
            self._special = special, np.array([self.tag(place).tag in special for place in range(count)], bool)

    def taken(self, readings: Readings, ts_read: int) -> Taken:
        """Apply scales and offsets to what was read of the tags."""
        values, kinds = readings.values, readings.kinds
        if not self._plain:
            scaled = ((self._scale != 1.0) | (self._offset != 0.0)) & (kinds != BOOLEAN)
            with np.errstate(all="ignore"):
                values = np.where(scaled, values * self._scale + self._offset, values)
            kinds = np.where(scaled, _DOUBLE, kinds).astype(np.uint8)
        odd = self._special[1] | ~np.isfinite(values)
        if readings.statuses is not None:
            odd |= readings.statuses != 0
        places = np.flatnonzero(odd).tolist() if odd.any() else []
        if readings.others:
            places = sorted({*readings.others, *places})
        return Taken(self, values, kinds, readings, ts_read, places)


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
