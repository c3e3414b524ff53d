"""When to read what: poll groups on a fixed grid, so that a cycle's duration never shifts the next one."""

from __future__ import annotations

from collections.abc import Iterable


class PollGrid:
    """Poll groups, one an interval; group k of interval i is due at start + n * i.

    A slot that passed while a read was still running is skipped and counted in `overruns`: samples are never
    read twice as fast to catch up.
    """

    def __init__(self, intervals_ms: Iterable[int], start: float):
        """Take intervals in milliseconds, `start` in seconds of a monotonic clock."""
        self._next = dict.fromkeys(sorted(set(intervals_ms)), start)
        self.overruns = 0

    def due(self, now: float) -> list[int]:
        """Return the intervals (ms) due at `now` and move each to its next slot."""
        ready = [interval for interval, when in self._next.items() if when <= now]
        for interval in ready:
            step = interval / 1000.0
            missed = int((now - self._next[interval]) / step)
            self.overruns += missed
            self._next[interval] += (missed + 1) * step
        return ready

    def wait(self, now: float) -> float:
        """Return the seconds from `now` to the next slot (0 when one is due)."""
        return max(0.0, min(self._next.values()) - now)
