"""Exception reporting: which reads become samples, and what a store needs beside them to draw the right line.

docs/exception-reporting.md shows it in a picture. The rules are those of historians' interfaces: deadband, shortest
and longest time between two samples, the value before a change. A deadband in percent is one of the range of the
engineering unit (OPC 10000-8, 6.2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from otmirror.samples import SCHEMA
from otmirror.status import STATUS
from otmirror.taglist import Tag

_UNREACHED = frozenset(
    STATUS[name] for name in ("BadNoCommunication", "BadTimeout", "BadServerNotConnected", "BadDataLost")
)
"""What a mirror says of itself, not a device: after these it is told again what the device's value is."""
_BAD = 0x80000000
"""Status codes from here on are bad, those of a device that cannot be reached among them."""
_TS = SCHEMA.get_field_index("ts")
_LATE_KEPT = 8
"""Late samples of a tag that are remembered, so that reading one again gives no second one."""

# Plain tuples: a filter handles tens of thousands of them a second.
_Sample = tuple[int, float | None, str | None, int]
"""ts, value, text, status."""
_State = tuple[_Sample, int, int]
"""The newest sample emitted of a tag by its own timestamp, the latest ts emitted, and when one was emitted last."""
_Row = int | tuple[Any, ...]
"""A row of the batch at hand by its number, or all columns of a row of an earlier one."""


@dataclass
class _Rule:
    """How a tag is thinned out: within `deadband` of the last emitted value, and within `least` microseconds."""

    deadband: float | None = None
    least: int = 0

    def is_beyond(self, known: _Sample, sample: _Sample) -> bool:
        """Whether a sample says something else than the one emitted last. The deadband is for numbers only."""
        if self.deadband is None or sample[3] != known[3]:
            return True
        if sample[1] is None or known[1] is None:
            return sample[1:3] != known[1:3]
        return abs(sample[1] - known[1]) > self.deadband

    def is_exception(self, state: _State, sample: _Sample, now: int) -> bool:
        """Whether a sample is emitted: a change of the status always is, another change not too soon."""
        known, _, at = state
        if sample[3] == known[3] and sample[0] - known[0] < self.least and now - at < self.least:
            return False
        return self.is_beyond(known, sample)


class _Batch:
    """What is emitted of a batch: rows of its table, and rows of earlier ones."""

    def __init__(self, table: pa.Table):
        self.table = table
        self.rows: list[int] = []
        """Rows to emit in order; those of earlier batches count on behind the table's."""
        self.held: dict[str, int] = {}
        self._times: dict[int, int] = {}
        self._earlier: list[tuple[Any, ...]] = []
        self._moved = False

    def add(self, row: _Row, ts: int | None = None) -> None:
        """Emit a row, with another `ts` than its own if one is given."""
        if ts is not None:
            self._times[len(self.rows)] = ts
        if isinstance(row, tuple):
            self.rows.append(self.table.num_rows + len(self._earlier))
            self._earlier.append(row)
        else:
            self._moved |= bool(self.rows) and row < self.rows[-1]
            self.rows.append(row)

    def result(self) -> pa.Table:
        """Return what is emitted; the very table of the batch when that is all of it, as it is."""
        table = self.table
        if len(self.rows) == table.num_rows and not (self._times or self._earlier or self._moved):
            return table
        if self._earlier:
            columns = zip(*self._earlier, strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, table.schema, strict=True)]
            table = pa.concat_tables([table, pa.Table.from_arrays(arrays, schema=table.schema)])
        table = table.take(pa.array(self.rows, pa.int64()))
        if self._times:
            times = table.column(_TS).to_pylist()
            for place, ts in self._times.items():
                times[place] = ts
            table = table.set_column(_TS, table.schema.field(_TS), pa.array(times, pa.int64()))
        return table

    def full(self) -> dict[str, tuple[Any, ...]]:
        """Return all columns of the rows that are held beyond this batch, by tag."""
        if not self.held:
            return {}
        table = self.table.take(pa.array(list(self.held.values()), pa.int64()))
        return dict(zip(self.held, zip(*(c.to_pylist() for c in table.columns), strict=True), strict=True))


class EmissionFilter:
    """Drops what says nothing new, tag by tag.

    A sample is the same by tag, timestamp and source: reading a tag again before its device has a newer sample
    gives the same timestamp, value and status, and that is no new sample. With a deadband, a value within it of
    the last emitted value is not emitted either, unless its status changed; with a shortest time between samples, a
    change is not while that has not passed, by its own timestamp or by the time of reading.

    The last sample held back in this way is emitted, as it was read, right before the next one that is: a step after
    a still hour stays a step and does not become a ramp. One that changed too soon is emitted when it is read again
    after the shortest time. What is held back when a source stops is lost: at most a sample a tag.

    A tag that is still (or within its deadband) is emitted again after a while, so that the stores can tell it from
    one that is dead, and a sample lost on the way is made good: with its own timestamp when that is newer than what
    was emitted, else with the time it was read.

    A sample older than the newest one emitted is emitted whatever its value, and the deadband goes on from the newest.
    One with the same timestamp and other content is a correction by the device and goes by the rules of a new one.

    While a device cannot be reached, its tags get bad samples of the present time. What is read first afterwards
    may have a timestamp before these, where nobody would see the recovery: it is emitted with the time it was read
    too, and with that time only when it is the sample known from before the outage.
    """

    def __init__(self, deadbands: Mapping[str, float] | None = None, refresh: float = 0.0, tags: Iterable[Tag] = ()):
        """Take absolute deadbands by tag, the seconds to `refresh` after (0: never), and tags with rules of their own.

        Of a tag its `deadband` or `deadband_percent` (with `low` and `high`, or `set_range`), `exc_min_ms` and
        `exc_max_ms` count; the latter takes the place of `refresh`.
        """
        self._refresh_us = round(refresh * 1e6) or math.inf
        self._rules = {tag: _Rule(deadband) for tag, deadband in (deadbands or {}).items()}
        self._limits: dict[str, float] = {}
        self._percents: dict[str, float] = {}
        self._wanting: dict[str, None] = {}
        self._states: dict[str, _State] = {}
        self._held: dict[str, tuple[_Sample, _Row]] = {}
        self._early: set[str] = set()
        self._late: dict[str, tuple[_Sample, ...]] = {}
        self._before_outage: dict[str, _Sample] = {}
        for tag in tags:
            self._declare(tag)

    @property
    def without_range(self) -> list[str]:
        """The tags with a deadband in percent for which the tag list has no range: `set_range` may give it."""
        return list(self._wanting)

    def set_range(self, tag: str, low: float, high: float) -> bool:
        """Take the range of a tag (in the unit of its samples) for its deadband in percent.

        Until there is one, and with one that is none (the ends equal, exchanged or not finite), everything is emitted.
        A range in the tag list takes precedence. Returns whether a deadband follows from it.
        """
        if tag in self._wanting:
            self._apply_range(tag, low, high)
        rule = self._rules.get(tag)
        return rule is not None and rule.deadband is not None

    def new(self, table: pa.Table) -> pa.Table:
        """Return the samples of a batch to emit, in order. Time goes by `ts_read`, without it by `ts`."""
        tags, read, *sample = (table.column(n).to_pylist() for n in ("tag", "ts_read", "ts", "value", "text", "status"))
        batch, states, rules, limits, refresh = _Batch(table), self._states, self._rules, self._limits, self._refresh_us
        keep = batch.rows.append
        for row, (tag, now, new) in enumerate(zip(tags, read, zip(*sample, strict=True), strict=True)):
            last = states.get(tag)
            ts = new[0]
            if now is None:
                now = ts
            if last is not None and ts > last[1] and new[3] < _BAD and last[0][3] < _BAD and tag not in rules:
                states[tag] = (new, ts, now)
                keep(row)
            elif last is None or new != last[0] or now - last[2] >= limits.get(tag, refresh):
                self._emit(batch, row, tag, last, new, now)
        for tag, full in batch.full().items():
            self._held[tag] = (self._held[tag][0], full)
        return batch.result()

    def newest(self, tag: str) -> int | None:
        """Return the timestamp of the newest sample known of a tag, emitted or held back; None before the first."""
        if tag in self._held:
            return self._held[tag][0][0]
        state = self._states.get(tag)
        return None if state is None else state[0][0]

    def quiet(self, now_us: int) -> list[str]:
        """Return the tags to read again at `now_us`, for sources whose devices speak only of changes.

        These are the tags not emitted for their refresh time, and those that changed within their shortest time which
        has passed since. Tags of which nothing was emitted yet are not among them.
        """
        refresh, limits = self._refresh_us, self._limits
        if limits:
            found = [tag for tag, (_, _, at) in self._states.items() if now_us - at >= limits.get(tag, refresh)]
        else:
            found = [tag for tag, (_, _, at) in self._states.items() if now_us - at >= refresh]
        if self._early:
            known = set(found)
            found += [t for t in self._early - known if now_us - self._states[t][2] >= self._rules[t].least]
        return found

    def _declare(self, tag: Tag) -> None:
        least = 1000 * (tag.exc_min_ms or 0)
        if tag.exc_max_ms is not None:
            self._limits[tag.tag] = 1000 * tag.exc_max_ms or math.inf
        if tag.deadband is not None or least:
            self._rules[tag.tag] = _Rule(tag.deadband, least)
        if tag.deadband_percent is not None:
            self._percents[tag.tag] = tag.deadband_percent
            if tag.low is None or tag.high is None:
                self._wanting[tag.tag] = None
            else:
                self._apply_range(tag.tag, tag.low, tag.high)

    def _apply_range(self, tag: str, low: float, high: float) -> None:
        span = high - low
        deadband = self._percents[tag] / 100 * span if 0 < span < math.inf else None
        if deadband is not None or tag in self._rules:
            self._rules.setdefault(tag, _Rule()).deadband = deadband

    def _emit(self, batch: _Batch, row: int, tag: str, last: _State | None, new: _Sample, now: int) -> None:
        """Judge a sample of which it is not plain that it is emitted."""
        if last is None:
            self._put(batch, row, tag, new, now)
        elif new[3] in _UNREACHED:
            self._unreached(batch, row, tag, last, new, now)
        elif last[0][3] in _UNREACHED:
            self._recovered(batch, row, tag, last, new, now)
        elif self._is_repeat(tag, last, new):
            self._again(batch, row, tag, last, new, now)
        elif new[0] < last[0][0]:
            self._late[tag] = (new, *self._late.get(tag, ()))[:_LATE_KEPT]
            self._states[tag] = (last[0], last[1], now)
            batch.add(row)
        else:
            rule = self._rules.get(tag)
            if rule is None or rule.is_exception(last, new, now):
                self._changed(batch, row, tag, new, now)
            else:
                self._hold(batch, row, tag, rule, last, new)
                self._refresh(batch, row, tag, last, new, now)

    def _put(self, batch: _Batch, row: _Row, tag: str, new: _Sample, now: int, ts: int | None = None) -> None:
        """Emit a sample, which is the newest of its tag from now on."""
        batch.add(row, ts)
        last = self._states.get(tag)
        emitted = new[0] if ts is None else ts
        self._states[tag] = (new, emitted if last is None or emitted > last[1] else last[1], now)

    def _is_repeat(self, tag: str, last: _State, new: _Sample) -> bool:
        held = self._held.get(tag)
        return new == last[0] or (held is not None and new == held[0]) or new in self._late.get(tag, ())

    def _unreached(self, batch: _Batch, row: int, tag: str, last: _State, new: _Sample, now: int) -> None:
        if new == last[0]:
            self._refresh(batch, row, tag, last, new, now)
            return
        held = self._let_go(batch, tag)
        if held is not None:
            self._put(batch, held[1], tag, held[0], now)
        if last[0][3] not in _UNREACHED:
            self._before_outage[tag] = last[0] if held is None else held[0]
        self._put(batch, row, tag, new, now)

    def _recovered(self, batch: _Batch, row: int, tag: str, last: _State, new: _Sample, now: int) -> None:
        known = new == self._before_outage.pop(tag, None) or new in self._late.get(tag, ())
        if not known:
            self._put(batch, row, tag, new, now)
        if known or (new[0] <= last[1] and new[0] != now):
            self._put(batch, row, tag, new, now, now)

    def _again(self, batch: _Batch, row: int, tag: str, last: _State, new: _Sample, now: int) -> None:
        """Judge a sample that was read before: one that had changed too soon may be emitted now."""
        held = self._held.get(tag)
        if held is not None and new == held[0] and self._rules[tag].is_exception(last, new, now):
            self._let_go(batch, tag)
            self._put(batch, held[1], tag, new, now)
        else:
            self._refresh(batch, row, tag, last, new, now)

    def _changed(self, batch: _Batch, row: int, tag: str, new: _Sample, now: int) -> None:
        """Emit a sample, with the one held back before it in the order of their timestamps."""
        held = self._let_go(batch, tag)
        if held is not None and held[0][0] < new[0]:
            self._put(batch, held[1], tag, held[0], now)
        self._put(batch, row, tag, new, now)
        if held is not None and held[0][0] > new[0]:
            self._put(batch, held[1], tag, held[0], now)

    def _hold(self, batch: _Batch, row: int, tag: str, rule: _Rule, last: _State, new: _Sample) -> None:
        held = self._held.get(tag)
        if new[0] <= last[0][0] or (held is not None and new[0] < held[0][0]):
            return
        self._held[tag] = (new, row)
        batch.held[tag] = row
        if rule.least and rule.is_beyond(last[0], new):
            self._early.add(tag)
        else:
            self._early.discard(tag)

    def _let_go(self, batch: _Batch, tag: str) -> tuple[_Sample, _Row] | None:
        """Return the sample that is held of a tag, and hold it no longer."""
        batch.held.pop(tag, None)
        self._early.discard(tag)
        return self._held.pop(tag, None)

    def _refresh(self, batch: _Batch, row: _Row, tag: str, last: _State, new: _Sample, now: int) -> None:
        """Emit what is known of a tag that was not emitted for a while; a late sample does not become its newest."""
        if now - last[2] < self._limits.get(tag, self._refresh_us):
            return
        held = self._let_go(batch, tag)
        if held is not None and held[0][0] > new[0]:
            new, row = held
        newest = new if new[0] >= last[0][0] else last[0]
        self._put(batch, row, tag, newest, now, None if new[0] > last[1] else now)
