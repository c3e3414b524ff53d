"""Which samples are new: repeats are not emitted again, and a declared deadband is applied."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa


class EmissionFilter:
    """Drops what says nothing new, tag by tag, and counts it.

    A sample is the same by tag, timestamp and source: reading a tag again before its device has a newer sample
    gives the same timestamp, value and status, and that is no new sample. With a deadband, a value within it of
    the last emitted value is not emitted either, unless its status changed.
    """

    def __init__(self, deadbands: Mapping[str, float] | None = None):
        """Take the absolute deadband of each tag that has one, in the tag's engineering unit."""
        self._deadbands = dict(deadbands or {})
        self._last: dict[str, tuple[int, float | None, str | None, int]] = {}
        self.repeats = 0
        self.within_deadband = 0

    def new(self, table: pa.Table) -> pa.Table:
        """Return the rows of a batch that are new, in order."""
        columns = [table.column(name).to_pylist() for name in ("tag", "ts", "value", "text", "status")]
        keep = [self._is_new(*row) for row in zip(*columns, strict=True)]
        return table if all(keep) else table.filter(pa.array(keep, pa.bool_()))

    def _is_new(self, tag: str, ts: int, value: float | None, text: str | None, status: int) -> bool:
        last = self._last.get(tag)
        sample = (ts, value, text, status)
        if last == sample:
            self.repeats += 1
            return False
        if last is not None and last[3] == status and self._within_deadband(tag, value, last[1]):
            self.within_deadband += 1
            return False
        self._last[tag] = sample
        return True

    def _within_deadband(self, tag: str, value: float | None, before: float | None) -> bool:
        deadband = self._deadbands.get(tag)
        return deadband is not None and value is not None and before is not None and abs(value - before) <= deadband
