"""The clocks of a tag's two sides: how the right one is off, told and put right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from otmirror.compare import clocks, faults
from otmirror.compare.findings import Finding, moment, span
from otmirror.compare.matching import distance, paired
from otmirror.compare.options import Options, Window
from otmirror.compare.result import TagResult
from otmirror.compare.series import BAD, SECOND, Series, clean

_FINE_US = 250_000


def aligned(result: TagResult, left: Series, right: Series, window: Window, options: Options) -> Series:
    """Find how the right side's clock is off, tell it, and return that side with its times put right."""
    left_ts, left_value = left.values()
    # With the rows that repeat a time: an hour that came twice is among them.
    right_ts, right_value = _by_time(*right.rows())
    tolerance = options.tolerance
    if _on_time(left, right, options):
        # A value that stands still fits at any time.
        result.offset_s = 0.0 if len(left_value) and np.ptp(left_value) else float("nan")
        return right
    if len(left_ts) < clocks.FEWEST or len(right_ts) < clocks.FEWEST:
        return right
    at, difference = clocks.deltas(left_ts, left_value, right_ts, right_value)
    offset = clocks.constant(difference, tolerance.time_us)
    if offset is not None and abs(offset.us) <= tolerance.time_us:
        result.offset_s = offset.us / 1e6
        return right
    shift = clocks.hour_shift(at, difference, tolerance.time_us, window.start, window.end)
    moved = _unshifted(left, right, shift, options) if shift else None
    if shift and moved and _fits(left, moved, right, options):
        _tell_shift(result, shift, window)
        return moved
    if offset is not None:
        evidence = f"{offset.share:.0%} of {offset.pairs:,} pairs agree"
        moved = _unmoved(result, left, right, offset.us, evidence, options)
        if moved:
            return moved
    if match(left, right, options)[0] >= options.min_match:
        return right
    shift, moved = _hour_by_values(left, right, window, options)
    if shift and moved:
        _tell_shift(result, shift, window)
        return moved
    guess = None
    if len(difference) < clocks.FEWEST:
        guess = clocks.by_correlation(left_ts, left_value, right_ts, right_value, window.start, window.end)
        guess = _refined(left, right, guess, window, options) if guess is not None else None
    moved = _unmoved(result, left, right, guess, "the changes fit best there", options) if guess else None
    return moved or right


def _refined(left: Series, right: Series, guess: int, window: Window, options: Options) -> int:
    """Return the offset around a guess, which is as coarse as its grid, at which most pairs are equal."""
    reach = clocks.grid_step(window.start, window.end) + SECOND
    ts, value = right.values()
    best, most = guess, 0
    for us in range(guess - reach, guess + reach + 1, _FINE_US):
        one, two = paired(ts - us, value, *left.values(), _FINE_US)
        equal = int((np.abs(one - two) <= options.tolerance.of(one)).sum())
        if equal > most:
            best, most = us, equal
    return best


def _unmoved(result: TagResult, left: Series, right: Series, us: int, evidence: str, options: Options) -> Series | None:
    """Tell an offset and return the right side without it; None when it is within tolerance or does not fit."""
    moved = right.moved(-us)
    if abs(us) <= options.tolerance.time_us or not _fits(left, moved, right, options):
        return None
    result.offset_s = us / 1e6
    ahead = "ahead of" if us > 0 else "behind"
    text = f"{span(abs(us))} {ahead} the left side; {evidence}"
    result.findings.append(Finding("clock_offset", result.tag, "right", text, {"offset_s": us / 1e6}))
    return moved


def _hour_by_values(
    left: Series, right: Series, window: Window, options: Options
) -> tuple[clocks.Shift | None, Series | None]:
    """Find a shift of an hour by where held values agree, for states and for values that repeat."""
    at, difference = clocks.by_agreement(*left.values(), *right.values(), window.start, window.end, options.tolerance)
    shift = clocks.hour_shift(at, difference, options.tolerance.time_us, window.start, window.end)
    moved = _unshifted(left, right, shift, options) if shift else None
    return (shift, moved) if moved and _fits(left, moved, right, options) else (None, None)


def _by_time(ts: Any, value: Any, quality: Any, _read: Any) -> tuple[Any, Any]:
    """Return times and values of the usable rows, by time."""
    fine = np.isfinite(value) & (quality != BAD)
    order = np.argsort(ts[fine], kind="stable")
    return ts[fine][order], value[fine][order]


def _on_time(left: Series, right: Series, options: Options) -> bool:
    """Return whether nearly each time of the side with fewer is one of the other side too, and the values agree."""
    few, many = sorted((left.ts // 1000, right.ts // 1000), key=len)
    if not len(few) or right.repeats is not None:
        return False
    place = np.minimum(np.searchsorted(many, few), len(many) - 1)
    return bool((many[place] == few).mean() >= 0.99) and match(left, right, options)[0] >= options.min_match


def _fits(left: Series, moved: Series, before: Series, options: Options) -> bool:
    """Return whether the values agree better than before, or by a line, once the clock is put right."""
    share, count, _, _ = match(left, moved, options)
    if count and share >= max(0.9, match(left, before, options)[0] - 0.01):
        return True
    one, two = paired(*left.values(), *moved.values(), options.tolerance.time_us)
    return faults.line(one, two, options) is not None


def _unshifted(left: Series, right: Series, shift: clocks.Shift, options: Options) -> Series:
    ts, value, quality, read = right.rows()
    usable = np.isfinite(value)
    moved = ts - shift.us
    inside = (moved >= shift.start) & (moved < shift.end)
    back = clocks.unshifted(ts, value, shift, *left.values(), options.tolerance.of(value))
    # The order the rows came in is the shift's doing.
    return replace(clean(np.where(usable, back, np.where(inside, moved, ts)), value, quality, read), disorder=0)


def _tell_shift(result: TagResult, shift: clocks.Shift, window: Window) -> None:
    whole = shift.start == window.start and shift.end == window.end
    where = "all of the window" if whole else f"{moment(shift.start)} to {moment(shift.end)}"
    later = "later" if shift.us > 0 else "earlier"
    result.findings.append(
        Finding("dst_shift", result.tag, "right", f"one hour {later}: {where}; {shift.pairs:,} pairs say so",
                {"offset_s": shift.us / 1e6, "from": moment(shift.start), "until": moment(shift.end)})
    )  # fmt: skip


def match(left: Series, right: Series, options: Options) -> tuple[float, int, float, Any]:
    """Return share confirmed, how many were asked, the largest difference, and which were not, of the sparser side."""
    (ts, value), (other_ts, other) = sorted((left.values(), right.values()), key=lambda pair: len(pair[0]))
    error = distance(ts, value, other_ts, other, options.tolerance.time_us)
    told = np.isfinite(error)
    if not told.any():
        return float("nan"), 0, 0.0, np.zeros(len(ts), bool)
    wrong = told & (error > options.tolerance.of(value))
    return 1.0 - float(wrong.sum()) / int(told.sum()), int(told.sum()), float(error[told].max()), wrong
