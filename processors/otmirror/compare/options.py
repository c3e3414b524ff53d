"""What a comparison is told, beside its two sides: the window, what counts as the same, what counts as a fault."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from otmirror.compare.matching import Tolerance
from otmirror.errors import ConfigError

SECOND = 1_000_000
DAY = 86_400 * SECOND


@dataclass(frozen=True)
class Window:
    """From `start` until before `end`, microseconds since 1970-01-01 UTC."""

    start: int
    end: int

    @property
    def name(self) -> str:
        """The day when it is one, such as 2026-11-24, else both ends."""
        first, last = (datetime.fromtimestamp(us / SECOND, timezone.utc) for us in (self.start, self.end))
        if self.end - self.start == DAY and self.start % DAY == 0:
            return f"{first:%Y-%m-%d}"
        return f"{first:%Y-%m-%dT%H:%M:%SZ}..{last:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Options:
    """Limits of the comparison of a tag; durations in seconds."""

    tolerance: Tolerance = field(default_factory=Tolerance)
    min_match: float = 0.999
    """Share of a tag's samples that have to be confirmed by the other side."""
    gap_s: float = 300.0
    """A hole shorter than this is no missing interval."""
    frozen_s: float = 600.0
    """A value has to stand still for this long to be called frozen."""
    late_s: float = 60.0
    """A sample that arrives later than this after its time is late."""
    late_share: float = 0.001
    deadband: float = 0.02
    """Largest deadband expected, of a value's magnitude: what a tag may be off that never changes all day."""
    disorder_share: float = 0.01
    stepped: bool = True
    """Whether the time-weighted mean holds values or draws straight lines."""


def parse_window(text: str, today: datetime) -> Window:
    """Read `2026-11-24` (a day in UTC), `yesterday`, or `2026-11-24T06:00Z..2026-11-24T18:00Z`.

    Args:
        text: What was given.
        today: The present, in UTC.

    Raises:
        ConfigError: it is none of them.
    """
    if text == "yesterday":
        text = f"{today - timedelta(days=1):%Y-%m-%d}"
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        start = _moment(f"{text}T00:00:00+00:00", text)
        return Window(start, start + DAY)
    first, dots, last = text.partition("..")
    if not dots:
        raise ConfigError(f"--window: {text!r} is no day such as 2026-11-24, no `yesterday` and no START..END")
    window = Window(_moment(first, text), _moment(last, text))
    if window.end <= window.start:
        raise ConfigError(f"--window: {text!r} ends before it begins")
    return window


def parse_moment(text: str) -> int:
    """Read an ISO 8601 time with its zone, microseconds since 1970 UTC.

    Raises:
        ConfigError: it is none.
    """
    return _moment(text, text)


def _moment(text: str, shown: str) -> int:
    try:
        found = datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text.strip()))
    except ValueError:
        raise ConfigError(f"--window: {shown!r}: {text!r} is no time such as 2026-11-24T06:00Z") from None
    if found.tzinfo is None:
        raise ConfigError(f"--window: {shown!r}: {text!r} says no zone; end it with Z for UTC")
    return round((found - datetime(1970, 1, 1, tzinfo=timezone.utc)) / timedelta(microseconds=1))
