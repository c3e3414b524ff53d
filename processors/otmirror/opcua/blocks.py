"""Columns of values to columns of samples, many tags at once.

What a number, a boolean and its times become here is what `decode.Batch.add` makes of each of them; whatever is not
good, not finite or no number goes there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def __init__(self, tags: Sequence[Tag], special: Mapping[str, object] | None = None):
        """Take the tags, and which of them, by name, have values that are more than a number."""
        self.tags = tags
        self.names = pa.array([tag.tag for tag in tags], pa.string())
        self.units = pa.array([tag.unit for tag in tags], pa.string())
        self.special = [place for place, tag in enumerate(tags) if special and tag.tag in special]
        self._scale = np.array([tag.scale for tag in tags])
        self._offset = np.array([tag.offset for tag in tags])
        self._scaled = (self._scale != 1.0) | (self._offset != 0.0)
        self._plain = not self._scaled.any()

    def __len__(self) -> int:
        return len(self.tags)

    def columns(self, readings: Readings, ts_read: int) -> tuple[Columns, list[int]]:
        """Return columns of as many samples as there are tags, and the places of those that are not right in them."""
        values, kinds = readings.values, readings.kinds
        if not self._plain:
            scaled = self._scaled & (kinds != BOOLEAN)
            with np.errstate(all="ignore"):
                values = np.where(scaled, values * self._scale + self._offset, values)
            kinds = np.where(scaled, _DOUBLE, kinds).astype(np.uint8)
        count = len(values)
        times, servers = _times(readings, ts_read)
        found = [
            self.names, pa.array(times), pa.array(values), pa.nulls(count, pa.string()), _types(kinds),
            pa.repeat(GOOD, count), pa.repeat(pa.scalar(0, pa.int64()), count), self.units, servers,
            pa.repeat(pa.scalar(ts_read, pa.int64()), count),
        ]  # fmt: skip
        return found, self._odd(readings, values)

    def _odd(self, readings: Readings, values: npt.NDArray[np.float64]) -> list[int]:
        odd = {*readings.others, *self.special}
        if readings.statuses is not None:
            odd.update(np.flatnonzero(readings.statuses).tolist())
        finite = np.isfinite(values)
        if not finite.all():
            odd.update(np.flatnonzero(~finite).tolist())
        return sorted(odd)


def _types(kinds: npt.NDArray[np.uint8]) -> pa.Array:
    if (kinds == kinds[0]).all():
        return pa.repeat(_TYPES[int(kinds[0])], len(kinds))
    return _TYPES.take(pa.array(kinds))


def _times(readings: Readings, ts_read: int) -> tuple[Any, pa.Array]:
    """Return a sample's time, which is the source's, else the server's, else that of reading, and the server's."""
    count, sources, servers = len(readings), readings.sources, readings.servers
    if servers is None:
        found, column = np.full(count, ts_read), pa.nulls(count, pa.int64())
    else:
        absent = servers == NEVER
        column = pa.array(servers, mask=absent if absent.any() else None)
        found = np.where(absent, ts_read, servers)
    if sources is not None:
        found = np.where(sources == NEVER, found, sources)
    return found, column


def in_order(columns: Columns, odd: Sequence[int], rows: Columns, counts: Sequence[int]) -> Columns:
    """Put other samples in the place of those at `odd`, `counts` for each, and the others stay in their order."""
    total = len(columns[0])
    repeats = np.ones(total, np.int64)
    repeats[list(odd)] = counts
    order = np.repeat(np.arange(total), repeats)
    replaced = np.zeros(total, bool)
    replaced[list(odd)] = True
    order[replaced[order]] = total + np.arange(sum(counts))
    places = pa.array(order)
    return [pa.concat_arrays([one, other]).take(places) for one, other in zip(columns, rows, strict=True)]
