"""One tag's samples on one side, and the arithmetic of held values.

All times are integers, microseconds since 1970-01-01 UTC, ascending; values are doubles, NaN where a sample has none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

BAD, UNCERTAIN, GOOD = 0, 1, 2
UNKNOWN = -1
"""The source says nothing about quality."""
FROM_SERIES = -2
"""The quality is that of the last quality-only row at or before the sample (VictoriaMetrics keeps them apart)."""
NO_TIME = np.iinfo(np.int64).min
"""The source does not say when the sample arrived."""
SECOND = 1_000_000


@dataclass(frozen=True)
class Series:
    """One tag on one side, ordered by time, one sample a time; arrays of one length, one entry a sample."""

    ts: Any
    """int64, microseconds."""
    value: Any
    """float64; NaN: no value."""
    quality: Any
    """int8: 0 bad, 1 uncertain, 2 good, -1 unknown."""
    read: Any
    """int64, microseconds: when it arrived; NO_TIME where that is unknown."""
    duplicates: int = 0
    """Rows that had the time of another one."""
    disorder: int = 0
    """Rows that came after one with a later time."""
    repeats: tuple[Any, Any, Any, Any] | None = None
    """The rows left out because of their time, columns as above."""

    @property
    def usable(self) -> Any:
        """Where there is a finite value that is not bad."""
        return np.isfinite(self.value) & (self.quality != BAD)

    def values(self) -> tuple[Any, Any]:
        """Return times and values of the usable samples."""
        fine = self.usable
        return self.ts[fine], self.value[fine]

    def moved(self, us: int) -> Series:
        """Return the series with `us` added to its times."""
        repeats = self.repeats and (self.repeats[0] + us, *self.repeats[1:])
        return replace(self, ts=self.ts + us, repeats=repeats)

    def rows(self) -> tuple[Any, Any, Any, Any]:
        """Return times, values, qualities and arrivals of all rows, those that repeat a time last."""
        own = (self.ts, self.value, self.quality, self.read)
        if self.repeats is None:
            return own
        return tuple(np.concatenate(two) for two in zip(own, self.repeats, strict=True))  # type: ignore[return-value]


def clean(ts: Any, value: Any, quality: Any, read: Any) -> Series:
    """Order rows as they arrived into a series: quality joined, one row a time, repeats and disorder counted."""
    separate = bool((quality == FROM_SERIES).any())
    disorder = 0 if separate else _disorder(ts, read)
    if len(ts) > 1 and (np.diff(ts) < 0).any():
        order = np.argsort(ts, kind="stable")
        ts, value, quality, read = ts[order], value[order], quality[order], read[order]
    if separate or _has_quality_only(value, quality):
        ts, value, quality, read = _joined(ts, value, quality, read)
    first = np.ones(len(ts), bool)
    if len(ts) > 1:
        first[1:] = ts[1:] != ts[:-1]
    if first.all():
        return Series(ts, value, quality, read, 0, disorder)
    # A sample and the bad one that repeats its time: the one with a value says more.
    rank = np.lexsort((np.isnan(value), ts))
    kept = [column[rank][first] for column in (ts, value, quality, read)]
    more = [column[rank][~first] for column in (ts, value, quality, read)]
    repeats = (more[0], more[1], more[2], more[3])
    return Series(kept[0], kept[1], kept[2], kept[3], len(more[0]), disorder, repeats)


def _disorder(ts: Any, read: Any) -> int:
    if len(ts) < 2:
        return 0
    if (read != NO_TIME).all():
        ts = ts[np.lexsort((ts, read))]
    steps = np.diff(ts)
    backward, forward = int((steps < 0).sum()), int((steps > 0).sum())
    # An export with the newest row first is in order, too.
    return min(backward, forward)


def _has_quality_only(value: Any, quality: Any) -> bool:
    return bool((quality == FROM_SERIES).any() and np.isnan(value).any())


def _joined(ts: Any, value: Any, quality: Any, read: Any) -> tuple[Any, Any, Any, Any]:
    """Give each value the quality that held at its time; a quality row stays where it is bad and has no value."""
    carries = quality != FROM_SERIES
    marks, states = ts[carries], quality[carries]
    samples = ~carries
    at = np.searchsorted(marks, ts[samples], "right") - 1
    told = np.where(at >= 0, states[np.maximum(at, 0)], GOOD) if len(marks) else np.full(samples.sum(), GOOD)
    alone = ~np.isin(marks, ts[samples])
    kept = np.flatnonzero(carries)[alone & (states == BAD)]
    rows = np.concatenate([np.flatnonzero(samples), kept])
    joined = np.concatenate([told.astype(np.int8), quality[kept]])
    order = np.argsort(ts[rows], kind="stable")
    rows, joined = rows[order], joined[order]
    return ts[rows], value[rows], joined, read[rows]


def held(ts: Any, value: Any, at: Any) -> Any:
    """Return the value that holds at each time: that of the last sample at or before it, NaN before the first."""
    if not len(ts):
        return np.full(len(at), np.nan)
    place = np.searchsorted(ts, at, "right") - 1
    return np.where(place >= 0, value[np.maximum(place, 0)], np.nan)


def sloped(ts: Any, value: Any, at: Any) -> Any:
    """Return the straight line between the samples at each time of `at`, NaN outside of them."""
    if not len(ts):
        return np.full(len(at), np.nan)
    return np.interp(at.astype(np.float64), ts.astype(np.float64), value, left=np.nan, right=np.nan)


def gapped(ts: Any, value: Any, bad: Any) -> tuple[Any, Any]:
    """Return the samples with a NaN at each time of `bad`: a held value ends where a bad sample says so."""
    if not len(bad):
        return ts, value
    order = np.argsort(np.concatenate([ts, bad]), kind="stable")
    return np.concatenate([ts, bad])[order], np.concatenate([value, np.full(len(bad), np.nan)])[order]


def time_weighted_mean(ts: Any, value: Any, start: int, end: int, stepped: bool = True) -> tuple[float, float]:
    """Return the time-weighted mean over [start, end) and the seconds of it that have a value.

    The aggregate TimeAverage of OPC 10000-13, 5.4.3.6: the area under the values by the time they cover. Stepped
    (3.1.6): a value holds until the next sample. Sloped (3.1.5): straight lines between samples, the last value holds
    to the end. A NaN covers no time. Before the first sample nothing is known.

    Args:
        ts: Times, microseconds, ascending.
        value: Values, NaN for none.
        start: Begin of the interval, microseconds.
        end: End of the interval, microseconds.
        stepped: Stepped or sloped.
    """
    if not len(ts) or end <= start:
        return float("nan"), 0.0
    opening = held(ts, value, np.array([start])) if stepped else sloped(ts, value, np.array([start]))
    closing = held(ts, value, np.array([end])) if stepped else sloped(ts, value, np.array([end]))
    inside = (ts > start) & (ts < end)
    if np.isnan(closing[0]):
        closing = value[inside][-1:] if inside.any() else opening
    moments = np.concatenate([[start], ts[inside], [end]])
    levels = np.concatenate([opening, value[inside], closing])
    seconds = np.diff(moments) / SECOND
    height = levels[:-1] if stepped else (levels[:-1] + levels[1:]) / 2
    known = np.isfinite(height)
    covered = float(seconds[known].sum())
    if not covered:
        return float("nan"), 0.0
    # About the middle: the sum of large equal values would lose digits.
    middle = float(np.median(height[known]))
    return middle + float(((height[known] - middle) * seconds[known]).sum()) / covered, covered
