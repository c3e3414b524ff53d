"""Single faults of one tag: each function looks for one, on series whose clocks are put right already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from otmirror.compare.matching import distance, hold_error
from otmirror.compare.options import SECOND, Options, Window
from otmirror.compare.series import held

_DEADBAND_STEPS = 0.12
"""Share of the steps that have to be as large as a band, where a deadband made them."""


@dataclass(frozen=True)
class Stretch:
    """A part of the window, microseconds, and how many samples the other side has in it."""

    start: int
    end: int
    samples: int


@dataclass(frozen=True)
class Line:
    """right = gain * left + offset."""

    gain: float
    offset: float


def missing(ts: Any, value: Any, other_ts: Any, other: Any, window: Window, options: Options) -> list[Stretch]:
    """Find where this side has no samples and the other one's value moves further than a deadband would let it.

    A deadband holds back only what differs by less than its band, and so most of its steps elsewhere are as large. A
    hole in which the other side moves further than nearly all steps of this side is no deadband.
    """
    if len(ts) < 3 or len(other_ts) < 3:
        return []
    edges = np.concatenate([[window.start], ts, [window.end]])
    gaps = np.diff(edges)
    usual = float(np.quantile(np.diff(ts), 0.95))
    found = []
    for place in np.flatnonzero(gaps > max(options.gap_s * SECOND, 4 * usual)):
        start, end = int(edges[place]), int(edges[place + 1])
        inside = (other_ts > start + options.tolerance.time_us) & (other_ts < end - options.tolerance.time_us)
        count = int(inside.sum())
        whole = len(ts) >= 0.99 * (len(other_ts) - count)
        level = value[max(place - 1, 0)]
        if count >= 3 and _moved(other[inside] - level, ts, value, options, level, whole):
            found.append(Stretch(start, end, count))
    return found


def _moved(away: Any, ts: Any, value: Any, options: Options, level: float, whole: bool) -> bool:
    if _even(ts, 0.99) and (np.diff(value) == 0).mean() >= 0.5:
        return True  # a side that repeats still values at an even pace has no deadband, and has stopped doing so
    furthest = float(np.abs(away).max())
    if whole and np.quantile(np.abs(np.diff(value)), 0.02) < 0.5 * furthest > 0.5 * options.tolerance.of(level):
        return True  # nothing was held back elsewhere, not even the smallest steps
    return furthest > options.tolerance.of(level) and _large_steps(value, furthest) < _DEADBAND_STEPS


def _even(ts: Any, share: float) -> bool:
    pace = np.diff(ts)
    return bool(np.quantile(pace, share) <= 1.5 * np.median(pace))


def _large_steps(value: Any, size: float) -> float:
    """Return the share of changes at least this large, from the sample before or from the one before that.

    A filter that sends the value right before a change too makes two samples of one step.
    """
    if len(value) < 3:
        return 1.0
    step = np.maximum(np.abs(value[2:] - value[1:-1]), np.abs(value[2:] - value[:-2]))
    step = step[step > 0]
    return float((step >= size).mean()) if len(step) else 0.0


def frozen(ts: Any, value: Any, other_ts: Any, other: Any, window: Window, options: Options) -> list[Stretch]:
    """Find where this side's samples repeat one value while the other side's moves away from it."""
    if len(ts) < 5 or len(other_ts) < 5:
        return []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(value) != 0) + 1, [len(value)]])
    lasting = ts[starts[1:] - 1] - ts[starts[:-1]]
    candidates = np.flatnonzero((lasting >= options.frozen_s * SECOND) & (np.diff(starts) >= 5))
    if not len(candidates):
        return []
    error = np.nan_to_num(distance(other_ts, other, ts, value, options.tolerance.time_us))
    far = error > options.tolerance.of(other)
    found = []
    for number in candidates:
        start, end = int(ts[starts[number]]), int(ts[starts[number + 1] - 1])
        inside = (other_ts >= start) & (other_ts <= end)
        if inside.sum() < 5 or far[inside].mean() < 0.2 or np.ptp(other[inside]) == 0:
            continue
        if (end - start) > 0.9 * (window.end - window.start):
            band = options.deadband * float(np.median(np.abs(other)))
        else:
            band = 3 * float(np.quantile(error[~inside], 0.995)) if (~inside).any() else 0.0
        if np.quantile(error[inside], 0.9) > band:
            found.append(Stretch(start, end, int(inside.sum())))
    return found


def precision(left: Any, right: Any) -> str | None:
    """Say how the right values are the left ones with fewer digits; None when they are not."""
    if len(left) < 20:
        return None
    for decimals in range(-7, 10):
        unit = 10.0**-decimals
        if not _multiples(right, unit):
            continue
        if _multiples(left, unit) or (np.abs(left - right) <= unit * (1 + 1e-6)).mean() < 0.995:
            return None
        how = "cut" if (np.abs(left - right) > 0.5 * unit * (1 + 1e-6)).any() else "rounded"
        return f"{how} to multiples of {unit:g}"
    single = left.astype(np.float32).astype(np.float64)
    if (single == right).all() and (single != left).any():
        return "rounded to 32-bit floats"
    return None


def _multiples(value: Any, unit: float) -> bool:
    scaled = value / unit
    return bool((np.abs(scaled - np.round(scaled)) <= 1e-6 + 1e-12 * np.abs(scaled)).all())


def line(left: Any, right: Any, options: Options) -> Line | None:
    """Fit right = gain * left + offset, leaving out what does not fit; None when there is no such line.

    Least squares about the medians, twice more without the pairs beyond three times the median residual.
    """
    if len(left) < 20:
        return None
    difference = right - left
    tolerance = options.tolerance.of(left)
    kept = np.ones(len(left), bool)
    gain, offset = 1.0, float(np.median(difference))
    if np.quantile(np.abs(difference - offset) - tolerance, 0.98) > 0:
        for _ in range(3):
            x, y = left[kept], right[kept]
            spread = x - x.mean()
            power = float((spread**2).sum())
            if power <= 0:
                return None
            gain = float((spread * (y - y.mean())).sum()) / power
            offset = float(y.mean() - gain * x.mean())
            residual = np.abs(right - gain * left - offset)
            kept = residual <= max(3 * float(np.median(residual[kept])), float(tolerance.min()))
            if kept.sum() < 20:
                return None
    if abs(gain) < 1e-9 or (abs(gain - 1) < 1e-9 and abs(offset) <= float(tolerance.min())):
        return None
    if abs(offset) <= 1e-9 * float(np.abs(left).max()):
        offset = 0.0  # what least squares leaves behind
    residual = np.abs((right - offset) / gain - left)
    # Least squares of large values leaves digits behind: some room beside the tolerance.
    room = 5 * tolerance + 1e-3 * np.abs(difference)
    return Line(gain, offset) if (residual <= room).mean() >= 0.98 else None


@dataclass(frozen=True)
class Thinning:
    """How the side with fewer samples came to have fewer."""

    kind: str
    """`deadband`, `sparse` or `scattered_loss`."""
    ratio: float
    """Its samples by the other side's."""
    band: float
    """How far the other side got from its held value: the 99th of 100."""


def thinning(
    rows: Any, ts: Any, value: Any, other_ts: Any, other: Any, holes: list[Stretch], options: Options
) -> Thinning | None:
    """Say why this side has fewer samples than the other one; None when it has about as many.

    Args:
        rows: Times of all of this side's rows, bad ones included.
        ts: Times of its usable samples.
        value: Their values.
        other_ts: Times of the other side's usable samples.
        other: Their values.
        holes: What is told as missing already.
        options: Limits.
    """
    kept = np.ones(len(other_ts), bool)
    for hole in holes:
        kept &= (other_ts <= hole.start) | (other_ts >= hole.end)
    other_ts, other = other_ts[kept], other[kept]
    if len(ts) < 3 or len(rows) >= 0.99 * len(other_ts):
        return None
    near = np.minimum(np.searchsorted(rows, other_ts), len(rows) - 1)
    away = np.minimum(np.abs(rows[near] - other_ts), np.abs(rows[np.maximum(near - 1, 0)] - other_ts))
    absent = (away > options.tolerance.time_us) & (other_ts >= ts[0])
    if not absent.any():
        return None
    ratio = len(rows) / len(other_ts)
    stepped = float(np.quantile(np.abs(other - held(ts, value, other_ts))[absent], 0.99))
    straight = float(np.quantile(hold_error(other_ts, other, ts, value)[absent], 0.99))
    pace = np.diff(ts)
    if ratio < 0.75 and (np.abs(pace / np.median(pace) - 1) <= 0.05).mean() >= 0.95:
        return Thinning("sparse", ratio, stepped)
    if straight <= float(np.median(options.tolerance.of(value))):
        return Thinning("deadband", ratio, straight)
    if _large_steps(value, 0.9 * stepped) >= _DEADBAND_STEPS:
        return Thinning("deadband", ratio, stepped)
    if _large_steps(value, 3 * straight) >= 0.5:
        return Thinning("deadband", ratio, straight)
    return Thinning("scattered_loss", ratio, stepped)
