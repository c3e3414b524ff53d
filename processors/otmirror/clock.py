"""Time, passed in so that nothing has to sleep or be patched in a test."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the library asks of a clock."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back, from an arbitrary start."""


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()
