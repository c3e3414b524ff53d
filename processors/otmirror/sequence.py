"""Sequence numbers of a source's samples."""

from __future__ import annotations

from otmirror.clock import Clock


class Sequence:
    """Numbers samples, one up a sample, starting at the time of the reader's first sample in microseconds.

    So a number never comes twice, even when the reader's process was killed, and a jump tells what it means: to a
    number later than the read time of the sample before, the reader started again; anything else, samples are
    missing. (True while a source gives less than a million samples a second and its clock is not set back.)
    The first sample and not the reader begins it, as on a cluster every node has a reader and one of them reads.
    """

    def __init__(self, clock: Clock):
        """Take the clock; numbers start when the first are taken."""
        self._clock = clock
        self._next: int | None = None

    def restart(self) -> None:
        """Start anew with the next numbers: another reader may have given numbers meanwhile."""
        self._next = None

    def take(self, count: int) -> range:
        """Return the next `count` numbers."""
        first = self._clock.now_us() if self._next is None else self._next
        numbers = range(first, first + count)
        self._next = numbers.stop
        return numbers
