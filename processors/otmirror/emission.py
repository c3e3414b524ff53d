"""Which samples are new: repeats are not emitted again, and a declared deadband is applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from otmirror.samples import SCHEMA
from otmirror.status import STATUS

_UNREACHED = frozenset(STATUS[name] for name in ("BadNoCommunication", "BadTimeout", "BadServerNotConnected"))


class _Sample(NamedTuple):
    ts: int
    value: float | None
    text: str | None
    status: int


class EmissionFilter:
    """Drops what says nothing new, tag by tag, and counts it.

    A sample is the same by tag, timestamp and source: reading a tag again before its device has a newer sample
    gives the same timestamp, value and status, and that is no new sample. With a deadband, a value within it of
    the last emitted value is not emitted either, unless its status changed.

    While a device cannot be reached, its tags get bad samples of the present time. A tag that then still has its
    old timestamp is emitted once with the time it was read: at that time it is known to be good again, and its own
    timestamp lies before the bad samples, where nobody would see the recovery.
    """

    def __init__(self, deadbands: Mapping[str, float] | None = None):
        """Take the absolute deadband of each tag that has one, in the tag's engineering unit."""
        self._deadbands = dict(deadbands or {})
        self._last: dict[str, _Sample] = {}
        self._device: dict[str, _Sample] = {}
        self.repeats = 0
        self.within_deadband = 0

    def new(self, table: pa.Table) -> pa.Table:
        """Return the rows of a batch that are new, in order."""
        names = ("tag", "ts", "value", "text", "status", "ts_read")
        rows = list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
        times = [self._judge(tag, _Sample(*sample), read) for tag, *sample, read in rows]
        if any(time is not None and time != row[1] for time, row in zip(times, rows, strict=True)):
            column = pa.array([row[1] if time is None else time for time, row in zip(times, rows, strict=True)])
            table = table.set_column(SCHEMA.get_field_index("ts"), SCHEMA.field("ts"), column)
        return table if None not in times else table.filter(pa.array([time is not None for time in times], pa.bool_()))

    def _judge(self, tag: str, sample: _Sample, read: int | None) -> int | None:
        """Return the timestamp to emit a sample with, or None when it is not new."""
        last = self._last.get(tag)
        if sample.status in _UNREACHED:
            self._last[tag] = sample
            return None if self._is_repeat(last, sample) else sample.ts
        if last is not None and last.status in _UNREACHED:
            self._last[tag] = self._device[tag] = sample
            return read if read is not None and sample.ts <= last.ts else sample.ts
        known = self._device.get(tag)
        if self._is_repeat(known, sample) or self._is_within_deadband(tag, known, sample):
            return None
        self._last[tag] = self._device[tag] = sample
        return sample.ts

    def _is_repeat(self, known: _Sample | None, sample: _Sample) -> bool:
        self.repeats += known == sample
        return known == sample

    def _is_within_deadband(self, tag: str, known: _Sample | None, sample: _Sample) -> bool:
        deadband = self._deadbands.get(tag)
        if deadband is None or known is None or known.value is None or sample.value is None:
            return False
        within = known.status == sample.status and abs(sample.value - known.value) <= deadband
        self.within_deadband += within
        return within
