"""Which reads become samples: repeats do not, small moves do not, and a still tag does now and then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from otmirror.samples import SCHEMA
from otmirror.status import STATUS

_UNREACHED = frozenset(STATUS[name] for name in ("BadNoCommunication", "BadTimeout", "BadServerNotConnected"))
_TS = SCHEMA.get_field_index("ts")


class _Sample(NamedTuple):
    ts: int
    value: float | None
    text: str | None
    status: int


class _Emitted(NamedTuple):
    """What was emitted of a tag: the last sample, the last one of its device, the latest ts, when it was read."""

    sample: _Sample
    device: _Sample | None
    latest: int
    at: int


class EmissionFilter:
    """Drops what says nothing new, tag by tag.

    A sample is the same by tag, timestamp and source: reading a tag again before its device has a newer sample
    gives the same timestamp, value and status, and that is no new sample. With a deadband, a value within it of
    the last emitted value is not emitted either, unless its status changed.

    A tag that is still (or within its deadband) is emitted again after a while, so that the stores can tell it from
    one that is dead, and a sample lost on the way is made good: with its own timestamp when that is newer than what
    was emitted, else with the time it was read.

    While a device cannot be reached, its tags get bad samples of the present time. What is read first afterwards
    may have a timestamp before these, where nobody would see the recovery: it is emitted with the time it was read
    too, and with that time only when it is the sample known from before the outage.
    """

    def __init__(self, deadbands: Mapping[str, float] | None = None, refresh: float = 0.0):
        """Take the deadband of each tag that has one, in its unit, and the seconds to `refresh` after (0: never)."""
        self._deadbands = dict(deadbands or {})
        self._refresh_us = round(refresh * 1e6)
        self._tags: dict[str, _Emitted] = {}

    def new(self, table: pa.Table) -> pa.Table:
        """Return the samples of a batch to emit, in order. Time goes by `ts_read`."""
        columns = (table.column(name).to_pylist() for name in ("tag", "ts", "value", "text", "status", "ts_read"))
        rows: list[int] = []
        times: list[int] = []
        for row, (tag, *sample, read) in enumerate(zip(*columns, strict=True)):
            for ts in self._emit(tag, _Sample(*sample), read):
                rows.append(row)
                times.append(ts)
        return table.take(pa.array(rows, pa.int64())).set_column(_TS, SCHEMA.field(_TS), pa.array(times, pa.int64()))

    def _emit(self, tag: str, sample: _Sample, read: int | None) -> list[int]:
        """Return the timestamps to emit a sample with, and remember it if there are any."""
        now = sample.ts if read is None else read
        last = self._tags.get(tag)
        times = [sample.ts] if last is None else self._times(tag, sample, last, now)
        if times:
            known = last.device if last else None
            device = known if sample.status in _UNREACHED else sample
            self._tags[tag] = _Emitted(sample, device, max(times if last is None else [*times, last.latest]), now)
        return times

    def _times(self, tag: str, sample: _Sample, last: _Emitted, now: int) -> list[int]:
        if sample.status in _UNREACHED:
            still = sample == last.sample
        elif last.sample.status in _UNREACHED:
            if sample == last.device:
                return [now]
            return [sample.ts] if sample.ts > last.latest else sorted({sample.ts, now})
        else:
            still = sample == last.device or self._is_within_deadband(tag, sample, last.device)
        if not still:
            return [sample.ts]
        if not self._refresh_us or now - last.at < self._refresh_us:
            return []
        return [sample.ts if sample.ts > last.latest else now]

    def _is_within_deadband(self, tag: str, sample: _Sample, known: _Sample | None) -> bool:
        deadband = self._deadbands.get(tag)
        if deadband is None or known is None or known.value is None or sample.value is None:
            return False
        return known.status == sample.status and abs(sample.value - known.value) <= deadband
