"""Sequence numbers of a source's samples."""

from __future__ import annotations

from otmirror.clock import Clock


class Sequence:
    """Numbers samples, one up a sample, starting at the reader's start time in microseconds.

    So a number never comes twice, even when the reader's process was killed, and a jump tells what it means: to a
    number later than the read time of the sample before, the reader started again; anything else, samples are
    missing. (True while a source gives less than a million samples a second and its clock is not set back.)
    """

    def __init__(self, clock: Clock):
        """Start at the clock's present time."""
        self._next = clock.now_us()

    def take(self, count: int) -> range:
        """Return the next `count` numbers."""
        numbers = range(self._next, self._next + count)
        self._next += count
        return numbers
