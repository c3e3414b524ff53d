"""How long to wait before the next attempt: doubling, with jitter, between two bounds."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """A retry gate on a monotonic clock. Times are seconds."""

    def __init__(self, first: float = 1.0, longest: float = 30.0, jitter: Callable[[], float] = random.random):
        """`jitter` returns a number in [0, 1); each delay is between half of and its full nominal length."""
        self._first, self._longest, self._jitter = first, longest, jitter
        self.failures = 0
        self._not_before = float("-inf")

    def ready(self, now: float) -> bool:
        """Return whether the next attempt may start."""
        return now >= self._not_before

    def failed(self, now: float, at_least: float = 0.0) -> float:
        """Note a failure and return the delay until the next attempt, which is `at_least` so long."""
        nominal = min(self._longest, self._first * 2.0 ** min(self.failures, 30))
        self.failures += 1
        delay = max(at_least, nominal * (0.5 + self._jitter() / 2))
        self._not_before = now + delay
        return delay

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0
        self._not_before = float("-inf")
