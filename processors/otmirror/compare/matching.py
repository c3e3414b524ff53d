"""How far each sample of one side is from what the other side said around that time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from otmirror.compare.series import held, sloped

_WIDEST = 32
"""Samples of the other side looked at around one sample; of a denser one every so many are left out."""


@dataclass(frozen=True)
class Tolerance:
    """What counts as the same."""

    relative: float = 1e-6
    """Of the value's magnitude: a float32 keeps 6e-8, VictoriaMetrics some 12 digits."""
    absolute: float = 1e-9
    time_us: int = 1_000_000
    """Two clocks or two scans may be this far apart, microseconds."""

    def of(self, value: Any) -> Any:
        """Return the tolerance at each value."""
        return self.absolute + self.relative * np.abs(value)


def distance(ts: Any, value: Any, other_ts: Any, other: Any, within_us: int) -> Any:
    """Return how far each value is outside of what the other side said from `within_us` before to as long after.

    The other side's value held at the begin of that span counts, and so do the values between two of its samples.
    0 means inside, NaN that the other side had said nothing yet.
    """
    if not len(other_ts):
        return np.full(len(ts), np.nan)
    first = np.searchsorted(other_ts, ts - within_us, "right") - 1
    last = np.searchsorted(other_ts, ts + within_us, "right") - 1
    first = np.where((first < 0) & (last >= 0), 0, first)
    unknown = last < 0
    first, last = np.maximum(first, 0), np.maximum(last, 0)
    low = high = other[first]
    span = int((last - first).max(initial=0))
    step = max(1, span // _WIDEST)
    for number in [*range(1, span + 1, step), *([span] if span else [])]:
        value_there = other[np.minimum(first + number, last)]
        low, high = np.minimum(low, value_there), np.maximum(high, value_there)
    found = np.maximum(np.maximum(low - value, value - high), 0.0)
    return np.where(unknown, np.nan, found)


def hold_error(ts: Any, value: Any, other_ts: Any, other: Any) -> Any:
    """Return how far each value is from the other side's held value, or from its straight line where that is nearer.

    A historian with a deadband holds; one with a swinging door (PI's compression) draws lines.
    """
    step = np.abs(value - held(other_ts, other, ts))
    line = np.abs(value - sloped(other_ts, other, ts))
    return np.fmin(step, line)


def paired(ts: Any, value: Any, other_ts: Any, other: Any, within_us: int) -> tuple[Any, Any]:
    """Return the values of samples whose nearest one on the other side is within `within_us`, and those."""
    if not len(ts) or not len(other_ts):
        return np.empty(0), np.empty(0)
    after = np.minimum(np.searchsorted(other_ts, ts), len(other_ts) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(other_ts[after] - ts) < np.abs(other_ts[before] - ts), after, before)
    close = np.abs(other_ts[nearest] - ts) <= within_us
    return value[close], other[nearest[close]]
