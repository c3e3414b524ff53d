"""Constant clock offset and the shift of one hour between two series, from the values that both have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from otmirror.compare.matching import Tolerance
from otmirror.compare.series import SECOND, held

HOUR = 3600 * SECOND
FEWEST = 12
"""Pairs of equal values that have to say so."""
_LONGEST = 26 * HOUR
"""Offsets beyond a day and two hours are no clock's and no time zone's."""
_GRID = 65_536
_MOST_CHANGES = 1000


@dataclass(frozen=True)
class Offset:
    """How much later the right side's times are, microseconds."""

    us: int
    share: float
    """Of the pairs that agree with it."""
    pairs: int


@dataclass(frozen=True)
class Shift:
    """A part of the window in which the right side is one hour off: times from `start` until before `end`."""

    us: int
    start: int
    end: int
    pairs: int


def deltas(left_ts: Any, left: Any, right_ts: Any, right: Any) -> tuple[Any, Any]:
    """Pair what can be recognised on both sides; return the left times and right minus left, microseconds.

    Values that occur exactly once on either side are pairs, to 12 digits (VictoriaMetrics), else to 7 (32-bit floats).
    Where there are too few of them (states, valves) changes of the same direction are paired.
    """
    for digits in (12, 7):
        one, where_one = _singles(left, digits)
        two, where_two = _singles(right, digits)
        _, first, second = np.intersect1d(one, two, assume_unique=True, return_indices=True)
        at, difference = _in_order(left_ts[where_one[first]], right_ts[where_two[second]])
        if _coherent(difference):
            return at, difference
    if len(left) == len(right):
        at, difference = _by_rank(left_ts, left, right_ts, right)
        if len(at):
            return at, difference
    return _by_changes(left_ts, left, right_ts, right)


def _coherent(difference: Any) -> bool:
    """Return whether pairs are more than chance: most have one difference, or are on time or an hour off."""
    if len(difference) < FEWEST:
        return False
    hours = np.abs(np.abs(difference) - HOUR * np.round(np.abs(difference) / HOUR)) <= SECOND
    near = np.abs(difference - _mode(difference, SECOND)) <= SECOND
    return bool(near.mean() >= 0.6 or (hours & (np.abs(difference) <= HOUR + SECOND)).mean() >= 0.6)


def _in_order(left_ts: Any, right_ts: Any) -> tuple[Any, Any]:
    order = np.argsort(left_ts)
    return left_ts[order], (right_ts - left_ts)[order]


def _singles(value: Any, digits: int) -> tuple[Any, Any]:
    found, first, count = np.unique(_rounded(value, digits), return_index=True, return_counts=True)
    return found[count == 1], first[count == 1]


def _rounded(value: Any, digits: int) -> Any:
    """Round to significant digits."""
    magnitude = np.where(value == 0, 1.0, np.abs(value))
    scale = 10.0 ** (digits - 1 - np.floor(np.log10(magnitude)))
    return np.round(value * scale) / scale


def _by_rank(left_ts: Any, left: Any, right_ts: Any, right: Any) -> tuple[Any, Any]:
    """Pair by place in the order of values, which a gain keeps; nothing when that gives no constant difference."""
    first, second = np.argsort(left, kind="stable"), np.argsort(right, kind="stable")
    at, difference = _in_order(left_ts[first], right_ts[second])
    close = np.abs(difference - np.median(difference)) <= SECOND
    still = np.unique(_rounded(left, 7)).size < len(left) / 4
    return (at, difference) if close.mean() >= 0.8 and not still else (at[:0], difference[:0])


def _by_changes(left_ts: Any, left: Any, right_ts: Any, right: Any) -> tuple[Any, Any]:
    """Pair each change of the left side with one of the same direction, at the difference that most others have."""
    one, two = _change(left_ts, left), _change(right_ts, right)
    if len(one[0]) < FEWEST or len(two[0]) < FEWEST:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    every = (two[0][:, None] - one[0][None, :])[two[1][:, None] == one[1][None, :]]
    every = every[np.abs(every) <= HOUR + HOUR // 2]
    if not len(every):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    best = round(_mode(every, SECOND // 2))
    fits = _has(one, two, best)
    if fits.mean() >= 0.8:
        return one[0][fits], np.full(int(fits.sum()), best)
    on, late, early = (_has(one, two, candidate) for candidate in (0, HOUR, -HOUR))
    sure = on.astype(int) + late + early == 1
    difference = np.where(on, 0, np.where(late, HOUR, -HOUR))
    return one[0][sure], difference[sure]


def _change(ts: Any, value: Any) -> tuple[Any, Any]:
    """Return times and directions of the changes; none when there are so many that they are no states."""
    step = np.diff(value)
    places = np.flatnonzero(step)
    places = places if len(places) <= _MOST_CHANGES else places[:0]
    return ts[places + 1], np.sign(step[places])


def _has(one: tuple[Any, Any], two: tuple[Any, Any], difference: int) -> Any:
    place = np.searchsorted(two[0], one[0] + difference)
    found = np.zeros(len(one[0]), bool)
    for beside in (-1, 0):
        near = np.clip(place + beside, 0, len(two[0]) - 1)
        found |= (np.abs(two[0][near] - one[0] - difference) <= SECOND) & (two[1][near] == one[1])
    return found


def constant(difference: Any, tolerance_us: int) -> Offset | None:
    """Return the offset that most pairs agree on within the tolerance; None when fewer than four of five do."""
    near = difference[np.abs(difference) <= _LONGEST]
    if len(near) < FEWEST:
        return None
    middle = _mode(near, max(tolerance_us, SECOND // 10))
    close = np.abs(near - middle) <= max(tolerance_us, SECOND // 10)
    share = float(close.mean())
    return Offset(round(float(np.median(near[close]))), share, len(near)) if share >= 0.8 else None


def _mode(values: Any, width: int) -> float:
    """Return the middle of the densest span of `width` on either side."""
    ordered = np.sort(values)
    reach = np.searchsorted(ordered, ordered + 2 * width, "right") - np.arange(len(ordered))
    start = int(np.argmax(reach))
    return float(np.median(ordered[start : start + int(reach[start])]))


def hour_shift(at: Any, difference: Any, tolerance_us: int, start: int, end: int) -> Shift | None:
    """Find a part of the window whose pairs are exactly one hour off while the others are not.

    Args:
        at: Left times of the pairs, ascending, microseconds.
        difference: Right minus left.
        tolerance_us: What the clocks may differ besides.
        start: Begin of the window, microseconds.
        end: End of the window.
    """
    for sign in (1, -1):
        off = np.abs(difference - sign * HOUR) <= tolerance_us
        on = np.abs(difference) <= tolerance_us
        decided = off | on
        if off.sum() < FEWEST or decided.mean() < 0.6:
            continue
        state, moments = off[decided].astype(np.int64), at[decided]
        # Off in one stretch that reaches the begin or the end of the window, or over all of it.
        before = np.concatenate([[0], np.cumsum(state)])
        count, total = np.arange(len(state) + 1), int(before[-1])
        from_cut = (count - before) + (total - before)  # on before the cut, off after it
        until_cut = before + (len(state) - count - (total - before))
        for score, tail in ((from_cut, True), (until_cut, False)):
            cut = int(np.argmax(score))
            if score[cut] < 0.95 * len(state):
                continue
            edge = _changeover(moments, cut)
            first = (start if cut == 0 else int(edge)) if tail else start
            last = end if tail or cut == len(state) else int(edge)
            return Shift(sign * HOUR, first, last, total)
    return None


def by_agreement(
    left_ts: Any, left: Any, right_ts: Any, right: Any, start: int, end: int, tolerance: Tolerance
) -> tuple[Any, Any]:
    """Return times at which held values agree either at once or an hour apart, and 0 or the hour: for `hour_shift`."""
    grid = np.linspace(start, end, 4096, endpoint=False).astype(np.int64)
    mine = held(left_ts, left, grid)
    agrees = [np.abs(held(right_ts, right, grid + us) - mine) <= tolerance.of(mine) for us in (0, HOUR, -HOUR)]
    # Off the right side's ends its held value says nothing.
    for place, us in ((1, HOUR), (2, -HOUR)):
        agrees[place] &= (grid + us >= start) & (grid + us < end)
    sure = np.sum(agrees, axis=0) == 1
    return grid[sure], np.where(agrees[0], 0, np.where(agrees[1], HOUR, -HOUR))[sure]


def _changeover(moments: Any, cut: int) -> int:
    """Return where the shift begins or ends: a whole hour between the pairs around the cut, where there is one."""
    after = int(moments[min(cut, len(moments) - 1)])
    before = int(moments[max(cut - 1, 0)])
    hour = -(-before // HOUR) * HOUR
    return hour if before < hour <= after else after


def unshifted(ts: Any, value: Any, shift: Shift, left_ts: Any, left: Any, tolerance: Any) -> Any:
    """Return the right side's times without the shift.

    Where both readings of a time lie in their part (the hour that came twice), the one whose value fits counts.
    """
    moved = ts - shift.us
    could_be = (moved >= shift.start) & (moved < shift.end)
    could_stay = (ts < shift.start) | (ts >= shift.end)
    stays = np.abs(held(left_ts, left, ts) - value) <= tolerance
    goes = np.abs(held(left_ts, left, moved) - value) <= tolerance
    return np.where(could_be & ~(could_stay & stays & ~goes), moved, ts)


def by_correlation(
    left_ts: Any, left: Any, right_ts: Any, right: Any, start: int, end: int, reach_us: int = HOUR + HOUR // 2
) -> int | None:
    """Return the offset at which the two sides' changes fit best, to about the grid's step; None when none does.

    For values that are not equal, such as those with another gain: both are held on a grid of at most 65,536 points,
    and their differences correlated.
    """
    if len(left_ts) < FEWEST or len(right_ts) < FEWEST:
        return None
    step = grid_step(start, end)
    grid = np.arange(start, end, step)
    one, two = (_on_grid(ts, value, grid) for ts, value in ((left_ts, left), (right_ts, right)))
    scale = float(np.sqrt((one**2).sum() * (two**2).sum()))
    if not scale:
        return None
    size = 1 << (2 * len(one) - 1).bit_length()
    spectrum = np.conj(np.fft.rfft(one, size)) * np.fft.rfft(two, size)
    fit = np.fft.irfft(spectrum, size) / scale
    lags = np.concatenate([np.arange(size // 2), np.arange(-size // 2, 0)])
    fit = np.where(np.abs(lags) * step <= reach_us, fit, -1.0)
    best = int(np.argmax(fit))
    return int(lags[best] * step) if fit[best] >= 0.3 else None


def grid_step(start: int, end: int) -> int:
    """Return the step of `by_correlation`'s grid, microseconds."""
    return max((end - start) // _GRID, SECOND // 10)


def _on_grid(ts: Any, value: Any, grid: Any) -> Any:
    change = np.diff(np.nan_to_num(held(ts, value, grid), nan=float(value[0])))
    return change - change.mean()
