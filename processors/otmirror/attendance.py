"""Whether anybody still asks: NiFi may move a source to another node, or die, without a word to its Python process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from otmirror.clock import Clock

AWAY_S = 10.0
"""Seconds without a call after which a source lets go of its devices; NiFi calls several times a second."""


class Attendance:
    """Calls `leave` once nobody has asked for a while, from a thread of its own, and tells of the return."""

    def __init__(self, name: str, clock: Clock, leave: Callable[[], object], after: float = AWAY_S):
        """Take what to do when nobody asked for `after` seconds; `name` shows up in thread dumps."""
        self._clock, self._leave, self._after = clock, leave, after
        self._last = clock.monotonic()
        self._here = self._busy = self._asked = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"attendance {name}", daemon=True)
        self._thread.start()

    @property
    def away(self) -> bool:
        """Whether nobody has asked for `after` seconds."""
        return not self._busy and self._clock.monotonic() - self._last >= self._after

    @property
    def here(self) -> bool:
        """Whether somebody asks: there was a call, and not too long ago."""
        return self._here and not self.away

    @property
    def gone(self) -> float | None:
        """Seconds since somebody last asked, while nobody is here; None otherwise, and before the first call."""
        return self._clock.monotonic() - self._last if self._asked and self.away else None

    @contextmanager
    def call(self) -> Iterator[bool]:
        """Hold a call while it lasts; gives whether it is the first one at all or since somebody was last here."""
        back = self.away or not self._here
        self._busy = self._here = self._asked = True
        try:
            yield back
        finally:
            self._last, self._busy = self._clock.monotonic(), False

    def close(self) -> None:
        """End the watch. May be called more than once."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(self._after / 4):
            if self._here and self.away:
                self._here = False
                self._leave()
