"""Which row a client gets: the one of the present second, or the next one at each read."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from otmirror.clock import Clock
from otmirror.plant.rows import Recording

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """A row and its timestamp as served, microseconds since 1970-01-01 UTC; row None is past the last one."""

    row: int | None
    ts: int


class Feed(Protocol):
    """Hands out one well's rows to one server's readers."""

    def next(self, reader: Hashable) -> Moment:
        """Return what `reader` (a tag, a register block) gets for this read."""

    def now(self, reader: Hashable) -> Moment:
        """Return what `reader` would see without counting as a read."""

    def served(self) -> int | None:
        """How many rows have been served, None when nobody has read yet."""

    def finished(self) -> bool:
        """Whether the last row has been served and no other will follow."""


class ClockFeed:
    """Rows at a fixed rate: row = floor(seconds since the start * speed), over and over unless `loop` is off.

    Once past the end the timestamp stays one second after the last row's, so that every further read is
    recognisably the same sample.
    """

    def __init__(self, well: Recording, clock: Clock, speed: float, loop: bool, recorded: bool):
        """Start at row 0, now. `recorded` serves the rows' own times instead of when they became current."""
        self._well, self._clock, self._speed = well, clock, speed
        self._loop, self._recorded = loop, recorded
        self._start_us, self._start = clock.now_us(), clock.monotonic()

    def next(self, reader: Hashable) -> Moment:
        """Return the present row."""
        count, length = self._count(), len(self._well)
        if count < length or self._loop:
            return Moment(count % length, self._ts(count))
        return Moment(None, self._ts(length - 1) + SECOND_US)

    now = next

    def served(self) -> int:
        """Return how many rows have become current."""
        count = self._count() + 1
        return count if self._loop else min(count, len(self._well))

    def finished(self) -> bool:
        """Return whether the time of the last row is over."""
        return not self._loop and self._count() >= len(self._well)

    def _count(self) -> int:
        return int((self._clock.monotonic() - self._start) * self._speed)

    def _ts(self, count: int) -> int:
        if self._recorded:
            return self._well.time_us(count % len(self._well))
        return self._start_us + int(count * SECOND_US / self._speed)


class ReadFeed:
    """Rows in lock-step with their readers: the n-th read of a reader gives row n; after the last row, nothing.

    So a replay loses and repeats nothing however fast or slow it is read. Live times are those at which the first
    of a well's readers reached the row.
    """

    def __init__(self, well: Recording, clock: Clock, recorded: bool):
        """Start before row 0. `recorded` serves the rows' own times."""
        self._well, self._clock, self._recorded = well, clock, recorded
        self._reads: dict[Hashable, int] = {}
        self._times: list[int] = []

    def next(self, reader: Hashable) -> Moment:
        """Return the reader's next row."""
        reads = self._reads.get(reader, 0)
        self._reads[reader] = min(reads + 1, len(self._well) + 1)
        return self._moment(reads)

    def now(self, reader: Hashable) -> Moment:
        """Return the row of the reader's last read, row 0 before the first."""
        return self._moment(max(self._reads.get(reader, 0) - 1, 0))

    def served(self) -> int | None:
        """Return how many rows every reader seen so far has got."""
        return min(min(self._reads.values()), len(self._well)) if self._reads else None

    def finished(self) -> bool:
        """Return whether every reader seen so far has got the last row."""
        return self.served() == len(self._well)

    def _moment(self, row: int) -> Moment:
        if row < len(self._well):
            return Moment(row, self._ts(row))
        return Moment(None, self._ts(len(self._well) - 1) + SECOND_US)

    def _ts(self, row: int) -> int:
        if self._recorded:
            return self._well.time_us(row)
        if row == len(self._times):
            # Two reads in one microsecond are two samples all the same.
            earliest = self._times[-1] + 1 if self._times else 0
            self._times.append(max(self._clock.now_us(), earliest))
        return self._times[row]
