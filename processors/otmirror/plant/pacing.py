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


class Metronome:
    """Counts rows at a fixed rate from `start` on; one for all wells and servers, so that they stay in step."""

    def __init__(self, clock: Clock, speed: float):
        """Take the rate in rows a second."""
        self._clock, self._speed = clock, speed
        self.start()

    def start(self) -> None:
        """Make this the moment of row 0."""
        self._start_us, self._start = self._clock.now_us(), self._clock.monotonic()

    def count(self) -> int:
        """Return the present row: floor(seconds since the start * speed)."""
        return int((self._clock.monotonic() - self._start) * self._speed)

    def wait(self) -> float:
        """Return how many seconds there are until the next row."""
        return max(0.0, self._start + (self.count() + 1) / self._speed - self._clock.monotonic())

    def ts(self, count: int) -> int:
        """Return when row `count` became current, microseconds since 1970-01-01 UTC."""
        return self._start_us + int(count * SECOND_US / self._speed)


class ClockFeed:
    """Rows at the metronome's rate, over and over unless `loop` is off.

    Past the end the timestamp stays one second after the last row's, so that every further read is recognisably
    the same sample. With the rows' own times each round repeats the times of the one before.
    """

    def __init__(self, well: Recording, metronome: Metronome, loop: bool, recorded: bool):
        """Serve `well`; `recorded` with the rows' own times instead of when they became current."""
        self._well, self._metronome, self._loop, self._recorded = well, metronome, loop, recorded

    def next(self, reader: Hashable) -> Moment:
        """Return the present row."""
        count, length = self._metronome.count(), len(self._well)
        if count < length or self._loop:
            return Moment(count % length, self._ts(count))
        return Moment(None, self._ts(length - 1) + SECOND_US)

    now = next

    def served(self) -> int:
        """Return how many rows have become current."""
        count = self._metronome.count() + 1
        return count if self._loop else min(count, len(self._well))

    def finished(self) -> bool:
        """Return whether the time of the last row is over."""
        return not self._loop and self._metronome.count() >= len(self._well)

    def _ts(self, count: int) -> int:
        if self._recorded:
            return self._well.time_us(count % len(self._well))
        return self._metronome.ts(count)


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
