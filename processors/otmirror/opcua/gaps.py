"""Which tag missed which time: noted while polling, worked off by the backfill."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from otmirror.opcua.readings import Reading

MOST_A_TAG = 16
"""Gaps kept of one tag; a connection that comes and goes all day must not fill the memory."""
NEVER = 2**63
"""A shortest gap that no gap reaches."""
_NEAR_US = 60_000_000
"""Gaps that begin and end so near each other, or within a quarter of their length, are asked for together."""


@dataclass(eq=False)
class Gap:
    """What a tag missed: device times after `start` and before `end`, in microseconds; `start` moves on.

    `since` is when the gap was noted, and `not_before` when it is asked for again, in seconds of a monotonic clock.
    """

    position: int
    start: int
    end: int
    since: float
    attempts: int = 0
    not_before: float = float("-inf")
    idle: int = 0
    """Answers in a row that promise more and hold nothing."""


class Gaps:
    """The gaps of a source's tags. Noted from one thread, worked off from another."""

    def __init__(self, shortest_us: Sequence[int], monotonic: Callable[[], float]):
        """Take the length, by device time, up to which a gap does not count, for each tag, and a clock in seconds."""
        self._shortest, self._monotonic = shortest_us, monotonic
        self._last = [0] * len(shortest_us)
        self._missed: set[int] = set()
        self._open: dict[int, list[Gap]] = {}
        self._lock = threading.Lock()
        self.overflown = 0
        """Gaps that were forgotten because a tag had too many."""

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def miss(self, position: int) -> None:
        """Note that a tag could not be read now."""
        self._missed.add(position)

    def miss_all(self) -> None:
        """Note that no tag is read from now on."""
        self._missed.update(range(len(self._last)))

    def see(self, position: int, reading: Reading) -> bool:
        """Note what was read of a tag; returns whether that showed a gap.

        A reading without a time of the device or server says nothing of when the gap ends: the next one may.
        """
        ts = reading[3] if reading[3] is not None else reading[4]
        if ts is None:
            return False
        last, found = self._last[position], False
        if position in self._missed:
            self._missed.discard(position)
            found = last > 0 and self.add(position, last, ts)
        if ts > last:
            self._last[position] = ts
        return found

    def add(self, position: int, start_us: int, end_us: int) -> bool:
        """Note that a tag missed what lies between two device times, both of samples that are known."""
        if end_us - start_us <= self._shortest[position]:
            return False
        with self._lock:
            of_tag = self._open.setdefault(position, [])
            if len(of_tag) >= MOST_A_TAG:
                del of_tag[0]
                self.overflown += 1
            of_tag.append(Gap(position, start_us, end_us, self._monotonic()))
        return True

    def remove(self, gaps: Iterable[Gap]) -> None:
        """Forget gaps."""
        with self._lock:
            for gap in gaps:
                of_tag = self._open.get(gap.position, [])
                if gap in of_tag:
                    of_tag.remove(gap)
                if not of_tag:
                    self._open.pop(gap.position, None)

    def remove_tags(self, positions: Iterable[int]) -> None:
        """Forget all gaps of tags."""
        with self._lock:
            for position in positions:
                self._open.pop(position, None)

    def every(self) -> list[Gap]:
        """Return all gaps, those of a tag in the order they were noted."""
        with self._lock:
            return [gap for of_tag in self._open.values() for gap in of_tag]

    def shorten(self, limit: float) -> tuple[set[int], set[int]]:
        """Forget what is more than `limit` seconds before its gap's end or now, whatever the device's clock says.

        Returns the tags with a gap that is gone, and those with one that is shorter now.
        """
        gone: set[Gap] = set()
        shorter: set[int] = set()
        now = self._monotonic()
        for gap in self.every():
            earliest = gap.end + int((now - gap.since - limit) * 1e6)
            if gap.end <= earliest + 1:
                gone.add(gap)
            elif gap.start < earliest:
                gap.start = earliest
                shorter.add(gap.position)
        if gone:
            self.remove(gone)
        return {gap.position for gap in gone}, shorter

    def group(self, most: int, usable: Callable[[int], object]) -> list[Gap]:
        """Return the oldest gap that may be asked for, and others that fit into one request with it; one a tag.

        What was asked for in vain comes back in ever smaller company, so that the tag at fault stands alone in the end.
        """
        now = self._monotonic()
        ready = sorted((g for g in self.every() if g.not_before <= now and usable(g.position)), key=lambda g: g.start)
        if not ready:
            return []
        first = ready[0]
        most = max(1, most // 10**first.attempts)
        near = max(_NEAR_US, (first.end - first.start) // 4)
        found: dict[int, Gap] = {}
        for gap in ready:
            if len(found) == most or gap.start - first.start > near:
                break
            if abs(gap.end - first.end) <= near and gap.attempts == first.attempts:
                found.setdefault(gap.position, gap)
        return list(found.values())

    def wait(self) -> float | None:
        """Return the seconds until a gap that was put off may be asked for again; None: none was."""
        now = self._monotonic()
        later = [gap.not_before - now for gap in self.every() if gap.not_before > now]
        return min(later) if later else None
