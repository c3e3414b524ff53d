"""Exception reporting: which reads become samples, and what a store needs beside them to draw the right line.

docs/exception-reporting.md shows it in a picture. The rules are those of historians' interfaces: deadband, shortest
and longest time between two samples, the value before a change. A deadband in percent is one of the range of the
engineering unit (OPC 10000-8, 6.2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from otmirror.samples import SCHEMA
from otmirror.status import STATUS
from otmirror.taglist import Tag, array_tag

UNREACHED = frozenset(
    STATUS[name] for name in ("BadNoCommunication", "BadTimeout", "BadServerNotConnected", "BadDataLost")
)
"""What a mirror says of itself, not a device: after these it is told again what the device's value is."""
_BAD = 0x80000000
"""Status codes from here on are bad, those of a device that cannot be reached among them."""
_TS = SCHEMA.get_field_index("ts")
_LATE_KEPT = 8
"""Late samples of a tag that are remembered, so that reading one again gives no second one."""

_Sample = tuple[int, float | None, str | None, int]
"""ts, value, text, status."""
_Row = tuple[pa.Table, int]
"""A batch and which of its rows. The rows held back keep their batches alive, until `_gathered` copies them."""
_SPARE_ROWS = 50_000
"""Rows of old batches that may be kept alive beside those held back."""


class _Tag:
    """A tag: its rules, and what was emitted and held back of it. Times are microseconds."""

    __slots__ = ("at", "deadband", "held", "known", "late", "latest", "least", "limit", "newest", "row", "ruled")

    def __init__(self, limit: float, deadband: float | None = None, least: int = 0):
        self.limit = limit
        """After how long without a sample it is emitted again."""
        self.deadband, self.least = deadband, least
        self.ruled = deadband is not None or least > 0
        self.newest: _Sample | None = None
        """The newest sample emitted, by its own timestamp; None before the first one."""
        self.latest = self.at = 0
        """The latest ts emitted, and when one was emitted last."""
        self.held: _Sample | None = None
        self.row: _Row | None = None
        """The last sample held back since, and where its columns are."""
        self.late: tuple[_Sample, ...] = ()
        self.known: _Sample | None = None
        """The newest sample from before the outage that lasts."""

    def is_exception(self, new: _Sample, now: int) -> bool:
        """Whether a sample is emitted: a change of the status always is, another change not too soon."""
        newest = self.newest
        assert newest is not None
        if self.least and new[3] == newest[3] and new[0] - newest[0] < self.least and now - self.at < self.least:
            return False
        return self.is_beyond(new)

    def is_beyond(self, new: _Sample) -> bool:
        """Whether a sample says something else than the one emitted last. The deadband is for numbers only."""
        assert self.newest is not None
        _, was, text, status = self.newest
        _, value, its_text, its_status = new
        if self.deadband is None or status != its_status:
            return True
        if value is None or was is None:
            return value is not was or text != its_text
        return abs(value - was) > self.deadband

    def is_repeat(self, new: _Sample) -> bool:
        """Whether a sample was emitted or held back before, as far as that is remembered."""
        return new == self.newest or new == self.held or new in self.late

    def is_early(self, now: int) -> bool:
        """Whether what is held back changed too soon, and its shortest time has passed since."""
        return self.held is not None and now - self.at >= self.least and self.is_beyond(self.held)


class _Batch:
    """What is emitted of a batch: rows of its table, and rows of earlier ones."""

    def __init__(self, table: pa.Table):
        self.table = table
        self.rows: list[int] = []
        """Rows to emit in order; those of earlier batches count on behind the table's."""
        self.holds = False
        self._times: dict[int, int] = {}
        self._earlier: list[_Row] = []
        self._moved = False

    def add(self, row: _Row, ts: int | None = None) -> None:
        """Emit a row, with another `ts` than its own if one is given."""
        if ts is not None:
            self._times[len(self.rows)] = ts
        number = row[1]
        if row[0] is not self.table:
            number = self.table.num_rows + len(self._earlier)
            self._earlier.append(row)
        self._moved |= bool(self.rows) and number < self.rows[-1]
        self.rows.append(number)

    def result(self) -> pa.Table:
        """Return what is emitted; the very table of the batch when that is all of it, as it is."""
        table = self.table
        if len(self.rows) == table.num_rows and not (self._times or self._earlier or self._moved):
            return table
        if self._earlier:
            table = pa.concat_tables([table, _gathered(self._earlier)])
        table = table.take(pa.array(self.rows, pa.int64()))
        if self._times:
            times = table.column(_TS).to_pylist()
            for place, ts in self._times.items():
                times[place] = ts
            table = table.set_column(_TS, table.schema.field(_TS), pa.array(times, pa.int64()))
        return table


def _gathered(rows: Sequence[_Row]) -> pa.Table:
    """Return rows of several batches as one table, in order."""
    places: dict[int, list[int]] = {}
    for place, (table, _) in enumerate(rows):
        places.setdefault(id(table), []).append(place)
    parts = [rows[some[0]][0].take(pa.array([rows[p][1] for p in some])) for some in places.values()]
    order = pa.array([place for some in places.values() for place in some])
    return pa.concat_tables(parts).take(pc.sort_indices(order))


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
        self._tags = {tag: _Tag(self._refresh_us, deadband) for tag, deadband in (deadbands or {}).items()}
        self._percents: dict[str, float] = {}
        self._wanting: list[str] = []
        self._hurried: list[tuple[str, _Tag]] = []
        self._alive = 0
        for tag in tags:
            self._declare(tag)

    @property
    def without_range(self) -> list[str]:
        """The tags with a deadband in percent for which the tag list has no range: `set_range` may give it."""
        return list(self._wanting)

    def set_range(self, tag: str, low: float, high: float) -> bool:
        """Take the range of a tag (in the unit of its samples) for its deadband in percent.

        Until there is one, and with one that is none (the ends equal, exchanged or not finite), everything is emitted.
        Asked for are the tags in `without_range`; others are left as they are. Returns whether there is a deadband now.
        """
        percent, known = self._percents.get(tag), self._tags.get(tag)
        if known is None:
            return False
        if percent is not None:
            span = high - low
            known.deadband = percent / 100 * span if 0 < span < math.inf else None
            # What was held back under a range that is known no longer still has to come out first.
            known.ruled = known.deadband is not None or known.least > 0 or known.held is not None
        return known.deadband is not None

    def new(self, table: pa.Table) -> pa.Table:
        """Return the samples of a batch to emit, in order. Time goes by `ts_read`, without it by `ts`."""
        names, read, *sample = (
            table.column(n).to_pylist() for n in ("tag", "ts_read", "ts", "value", "text", "status")
        )
        batch, tags = _Batch(table), self._tags
        keep, judge = batch.rows.append, self._judge
        for row, (name, now, new) in enumerate(zip(names, read, zip(*sample, strict=True), strict=True)):
            tag = tags.get(name)
            if tag is None:
                tag = tags[name] = self._undeclared(name)
            newest = tag.newest
            if now is None:
                now = new[0]
            if newest is None or new[3] >= _BAD or newest[3] >= _BAD:
                judge(batch, row, tag, new, now)
            elif new == newest:
                if now - tag.at >= tag.limit:
                    judge(batch, row, tag, new, now)
            elif tag.ruled:
                self._ruled(batch, row, tag, new, now)
            elif new[0] > tag.latest:
                tag.newest, tag.latest, tag.at = new, new[0], now
                keep(row)
            else:
                judge(batch, row, tag, new, now)
        if batch.holds:
            self._tidy(table)
        return batch.result()

    def known(self, tag: str) -> _Sample | None:
        """Return the newest sample known of a tag, emitted or held back, its ts first; None before the first one."""
        known = self._tags.get(tag)
        return None if known is None else known.held or known.newest

    def quiet(self, now_us: int) -> list[str]:
        """Return the tags to read again at `now_us`, for sources whose devices speak only of changes.

        These are the tags not emitted for their refresh time, and those that changed within their shortest time which
        has passed since. Tags of which nothing was emitted yet are not among them.
        """
        found = [name for name, tag in self._tags.items() if now_us - tag.at >= tag.limit and tag.newest is not None]
        if self._hurried:
            known = set(found)
            found += [name for name, tag in self._hurried if tag.is_early(now_us) and name not in known]
        return found

    def _undeclared(self, name: str) -> _Tag:
        """Return the rules of a tag that is not in the tag list: those of its array for an element of one."""
        array = self._tags.get(array_tag(name))
        if array is None:
            return _Tag(self._refresh_us)
        made = _Tag(array.limit, array.deadband, array.least)
        if made.least:
            self._hurried.append((name, made))
        return made

    def _declare(self, tag: Tag) -> None:
        limit = self._refresh_us if tag.exc_max_ms is None else 1000 * tag.exc_max_ms or math.inf
        made = self._tags[tag.tag] = _Tag(limit, tag.deadband, 1000 * (tag.exc_min_ms or 0))
        if made.least:
            self._hurried.append((tag.tag, made))
        if tag.deadband_percent is not None:
            self._percents[tag.tag] = tag.deadband_percent
            if tag.low is None or tag.high is None:
                self._wanting.append(tag.tag)
            else:
                self.set_range(tag.tag, tag.low, tag.high)

    def _ruled(self, batch: _Batch, row: int, tag: _Tag, new: _Sample, now: int) -> None:
        """Judge a sample of a tag with a rule; neither it nor the one before is bad."""
        held = tag.held or tag.newest
        if held is None or new[0] <= held[0]:
            self._judge(batch, row, tag, new, now)
        elif tag.is_exception(new, now) if tag.least else tag.is_beyond(new):
            self._changed(batch, row, tag, new, now)
        else:
            tag.held, tag.row = new, (batch.table, row)
            batch.holds = True
            if now - tag.at >= tag.limit:
                self._refresh(batch, row, tag, new, now)

    def _judge(self, batch: _Batch, row: int, tag: _Tag, new: _Sample, now: int) -> None:
        """Judge any sample."""
        newest = tag.newest
        if newest is None:
            self._put(batch, (batch.table, row), tag, new, now)
        elif new[3] in UNREACHED:
            self._unreached(batch, row, tag, new, now)
        elif newest[3] in UNREACHED:
            self._recovered(batch, row, tag, new, now)
        elif tag.is_repeat(new):
            self._again(batch, row, tag, new, now)
        elif new[0] < newest[0]:
            tag.late = (new, *tag.late)[:_LATE_KEPT]
            tag.at = now
            batch.add((batch.table, row))
        elif not tag.ruled or tag.is_exception(new, now):
            self._changed(batch, row, tag, new, now)
        elif new[0] > (tag.held or newest)[0]:
            self._ruled(batch, row, tag, new, now)
        else:
            self._refresh(batch, row, tag, new, now)

    def _put(self, batch: _Batch, row: _Row, tag: _Tag, new: _Sample, now: int, ts: int | None = None) -> None:
        """Emit a sample, which is the newest of its tag from now on."""
        batch.add(row, ts)
        emitted = new[0] if ts is None else ts
        tag.latest = emitted if tag.newest is None else max(emitted, tag.latest)
        tag.newest, tag.at = new, now

    def _unreached(self, batch: _Batch, row: int, tag: _Tag, new: _Sample, now: int) -> None:
        if new == tag.newest:
            self._refresh(batch, row, tag, new, now)
            return
        self._let_go(batch, tag, now)
        if tag.newest is not None and tag.newest[3] not in UNREACHED:
            tag.known = tag.newest
        self._put(batch, (batch.table, row), tag, new, now)

    def _recovered(self, batch: _Batch, row: int, tag: _Tag, new: _Sample, now: int) -> None:
        is_known, late = new == tag.known or new in tag.late, new[0] <= tag.latest
        tag.known = None
        if not is_known:
            self._put(batch, (batch.table, row), tag, new, now)
        if is_known or (late and new[0] != now):
            self._put(batch, (batch.table, row), tag, new, now, now)

    def _again(self, batch: _Batch, row: int, tag: _Tag, new: _Sample, now: int) -> None:
        """Judge a sample that was read before: one that had changed too soon may be emitted now."""
        if new == tag.held and tag.is_exception(new, now):
            self._let_go(batch, tag, now)
        else:
            self._refresh(batch, row, tag, new, now)

    def _changed(self, batch: _Batch, row: int, tag: _Tag, new: _Sample, now: int) -> None:
        """Emit a sample, with the one held back before it in the order of their timestamps."""
        held = tag.held
        if held is not None and held[0] < new[0]:
            self._let_go(batch, tag, now)
        self._put(batch, (batch.table, row), tag, new, now)
        if held is not None and held[0] > new[0]:
            tag.late = (new, *tag.late)[:_LATE_KEPT]
            self._let_go(batch, tag, now)
        tag.held = tag.row = None

    def _let_go(self, batch: _Batch, tag: _Tag, now: int, ts: int | None = None) -> None:
        """Emit what is held back of a tag, if there is something."""
        if tag.held is not None and tag.row is not None:
            self._put(batch, tag.row, tag, tag.held, now, ts)
            tag.held = tag.row = None

    def _refresh(self, batch: _Batch, row: int, tag: _Tag, new: _Sample, now: int) -> None:
        """Emit what is known of a tag that was not emitted for a while; a late sample does not become its newest."""
        if now - tag.at < tag.limit or tag.newest is None:
            return
        if tag.held is not None and tag.held[0] >= new[0]:
            self._let_go(batch, tag, now, None if tag.held[0] > tag.latest else now)
        else:
            newest = new if new[0] >= tag.newest[0] else tag.newest
            self._put(batch, (batch.table, row), tag, newest, now, None if new[0] > tag.latest else now)

    def _tidy(self, table: pa.Table) -> None:
        """Let go of old batches when rows that are held keep too many others alive."""
        self._alive += table.num_rows
        if self._alive > 4 * len(self._tags) + _SPARE_ROWS:
            held = [(tag, tag.row) for tag in self._tags.values() if tag.row is not None]
            kept = _gathered([row for _, row in held]) if held else None
            for place, (tag, _) in enumerate(held):
                tag.row = (kept, place)
            self._alive = len(held)
