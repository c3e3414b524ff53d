"""One tag, both sides: the counts, the measures, and the faults that explain what differs.

What is found is put right before the next fault is looked for: first the clocks, then holes and frozen stretches, then
gain and digits. So one cause is one finding, not thousands of values that differ.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from otmirror.compare import faults
from otmirror.compare.alignment import aligned, match
from otmirror.compare.findings import Finding, moment, span
from otmirror.compare.matching import paired
from otmirror.compare.options import Options, Window
from otmirror.compare.result import FINGERPRINT, Side, TagResult
from otmirror.compare.series import BAD, GOOD, NO_TIME, SECOND, UNKNOWN, Series, gapped, held, time_weighted_mean


def compare(tag: str, left: Series, right: Series, window: Window, options: Options) -> TagResult:
    """Compare one tag that both sides have."""
    result = TagResult(tag, side(left), side(right))
    given = right
    result.left.mean, result.right.mean = (_mean(series, window, options) for series in (left, right))
    if _identical(left, right):
        result.match, result.compared, result.offset_s = 1.0, result.left.samples, 0.0
    else:
        right = aligned(result, left, right, window, options)
        shared = _shared(result, window)
        _values(result, _inside(left, shared), _inside(right, shared), shared, options)
    _rows(result, left, right, options)
    _quality(result, left, right, options)
    result.prints = (fingerprint(left, window), fingerprint(given, window))
    return result


def side(series: Series) -> Side:
    """Count one side."""
    known = series.read != NO_TIME
    lag = (series.read[known] - series.ts[known]) / 1e6 if known.any() else None
    usable = int(series.usable.sum())
    return Side(usable, int((series.quality == BAD).sum()), series.duplicates, series.disorder, lag=lag)


def fingerprint(series: Series, window: Window) -> Any:
    """Return the held value at evenly spaced times, float64 of shape (FINGERPRINT,)."""
    step = (window.end - window.start) / FINGERPRINT
    at = (window.start + step * (np.arange(FINGERPRINT) + 0.5)).astype(np.int64)
    return held(*series.values(), at)


def _mean(series: Series, window: Window, options: Options) -> float:
    ts, value = series.values()
    if options.stepped:
        ts, value = gapped(ts, value, series.ts[series.quality == BAD])
    return time_weighted_mean(ts, value, window.start, window.end, options.stepped)[0]


def _identical(left: Series, right: Series) -> bool:
    same = len(left.ts) == len(right.ts) and np.array_equal(left.ts, right.ts)
    return bool(same and np.array_equal(left.value, right.value, equal_nan=True))


def _rows(result: TagResult, left: Series, right: Series, options: Options) -> None:
    """Look at what one side's rows say by themselves."""
    for name, series, counted in (("left", left, result.left), ("right", right, result.right)):
        rows = len(series.ts) + series.duplicates
        if series.duplicates:
            result.findings.append(
                Finding("duplicates", result.tag, name, f"{series.duplicates:,} of {rows:,} rows repeat a time",
                        {"rows": series.duplicates})
            )  # fmt: skip
        if counted.lag is not None and _late(result, name, series, counted.lag, options):
            continue  # what comes late comes after later ones
        if series.disorder > max(1, options.disorder_share * rows):
            result.findings.append(
                Finding("out_of_order", result.tag, name, f"{series.disorder:,} of {rows:,} rows came late",
                        {"rows": series.disorder})
            )  # fmt: skip


def _late(result: TagResult, name: str, series: Series, lag: Any, options: Options) -> bool:
    late = lag > options.late_s
    count = int(late.sum())
    if count <= options.late_share * len(lag):
        return False
    times = series.ts[series.read != NO_TIME][late]
    result.findings.append(
        Finding("late", result.tag, name,
                f"{count:,} of {len(lag):,} samples arrived more than {options.late_s:g} s late, at worst "
                f"{span(float(lag.max()) * 1e6)}; their times are {moment(int(times[0]))} to {moment(int(times[-1]))}",
                {"rows": count, "worst_s": float(lag.max()), **_ends(times)})
    )  # fmt: skip
    return True


def _values(result: TagResult, left: Series, right: Series, window: Window, options: Options) -> None:
    holes = _holes(result, left, right, window, options)
    result.match, result.compared, result.worst, _ = match(left, right, options)
    if result.compared and result.match < options.min_match:
        left, right = _freezes(result, left, right, window, options)
        share, _, worst, wrong = match(left, right, options)
        if share < options.min_match and not _explained(result, left, right, options):
            result.findings.append(
                Finding("value_mismatch", result.tag, "", f"{int(wrong.sum()):,} of {len(wrong):,} samples differ, "
                        f"at worst by {worst:g}", {"rows": int(wrong.sum()), "worst": worst})
            )  # fmt: skip
    else:
        _thinned(result, left, right, holes, options)


def _holes(result: TagResult, left: Series, right: Series, window: Window, options: Options) -> list[faults.Stretch]:
    holes = []
    for name, one, two in (("left", left, right), ("right", right, left)):
        bad = one.ts[one.quality == BAD]
        for hole in faults.missing(*one.values(), *two.values(), window, options):
            if ((bad > hole.start) & (bad < hole.end)).any():
                continue  # the side says itself that it had no value
            holes.append(hole)
            length = hole.end - hole.start
            share = length / (window.end - window.start)
            if name == "left":
                result.missing_left += length
            else:
                result.missing_right += length
            result.findings.append(
                Finding("missing", result.tag, name,
                        f"{moment(hole.start)} to {moment(hole.end)} ({span(length)}, {share:.1%} of the window); the "
                        f"other side has {hole.samples:,} samples there",
                        {"from": moment(hole.start), "until": moment(hole.end), "seconds": length / 1e6,
                         "rows": hole.samples})
            )  # fmt: skip
    return holes


def _shared(result: TagResult, window: Window) -> Window:
    """Return the part of the window that both sides can have: a shifted side's edge lies outside of it."""
    shifts = [float(f.numbers["offset_s"]) for f in result.findings if f.kind in ("dst_shift", "clock_offset")]
    ahead, behind = (round(max([0.0, *(sign * shift for shift in shifts)]) * SECOND) for sign in (1, -1))
    return Window(window.start + behind, window.end - ahead) if ahead + behind < window.end - window.start else window


def _inside(series: Series, window: Window) -> Series:
    if len(series.ts) and window.start <= series.ts[0] and series.ts[-1] < window.end:
        return series
    return _kept(series, (series.ts >= window.start) & (series.ts < window.end))


def _freezes(result: TagResult, left: Series, right: Series, window: Window, options: Options) -> tuple[Series, Series]:
    for name, one, two in (("left", left, right), ("right", right, left)):
        for still in faults.frozen(*one.values(), *two.values(), window, options):
            value = held(*one.values(), np.array([still.start]))[0]
            result.findings.append(
                Finding("frozen", result.tag, name,
                        f"{value:g} from {moment(still.start)} to {moment(still.end)} ({span(still.end - still.start)})"
                        f" while {still.samples:,} samples of the other side moved",
                        {"from": moment(still.start), "until": moment(still.end), "value": float(value)})
            )  # fmt: skip
            margin = options.tolerance.time_us
            left, right = (_without(series, still.start - margin, still.end + margin) for series in (left, right))
    return left, right


def _without(series: Series, start: int, end: int) -> Series:
    return _kept(series, (series.ts < start) | (series.ts > end))


def _kept(series: Series, which: Any) -> Series:
    ts, value, quality, read = (column[which] for column in (series.ts, series.value, series.quality, series.read))
    return replace(series, ts=ts, value=value, quality=quality, read=read)


def _explained(result: TagResult, left: Series, right: Series, options: Options) -> bool:
    """Look for fewer digits and for a line between the two sides' values at the same times."""
    one, two = paired(*left.values(), *right.values(), min(options.tolerance.time_us, 1000))
    if len(one) < 20:
        one, two = paired(*left.values(), *right.values(), options.tolerance.time_us)
    if len(one) < 20:
        one, two = left.values()[1], held(*right.values(), left.values()[0])
        one, two = one[np.isfinite(two)], two[np.isfinite(two)]
    for name, exact, coarse in (("right", one, two), ("left", two, one)):
        how = faults.precision(exact, coarse)
        if how:
            result.findings.append(
                Finding("precision", result.tag, name, f"{len(one):,} values are the other side's {how}")
            )
            return True
    found = faults.line(one, two, options)
    if found is None:
        return False
    evidence = f"right = {found.gain:.6g} x left {found.offset:+.6g} fits {len(one):,} pairs"
    result.findings.append(
        Finding("gain", result.tag, "right", evidence,
                {"gain": found.gain, "offset": found.offset})
    )  # fmt: skip
    return True


def _thinned(result: TagResult, left: Series, right: Series, holes: list[faults.Stretch], options: Options) -> None:
    fewer = "left" if result.left.samples < result.right.samples else "right"
    one, two = (left, right) if fewer == "left" else (right, left)
    found = faults.thinning(one.ts, *one.values(), *two.values(), holes, options)
    if found:
        result.findings.append(
            Finding(found.kind, result.tag, fewer,
                    f"{found.ratio:.1%} of the other side's samples; its held value is within {found.band:.4g} of them",
                    {"ratio": found.ratio, "band": found.band})
        )  # fmt: skip


def _quality(result: TagResult, left: Series, right: Series, options: Options) -> None:
    """Count qualities at the same times, and tell where one side calls good what the other does not."""
    if not len(left.ts) or not len(right.ts) or (left.quality == UNKNOWN).all() or (right.quality == UNKNOWN).all():
        return
    place = np.minimum(np.searchsorted(right.ts, left.ts - 1000), len(right.ts) - 1)
    same = np.abs(right.ts[place] - left.ts) <= 1000
    one, two = left.quality[same], right.quality[place[same]]
    both = (one >= BAD) & (two >= BAD)
    result.quality = np.bincount(one[both].astype(np.int64) * 3 + two[both], minlength=9).reshape(3, 3)
    for name, full, other in (("right", left, right), ("left", right, left)):
        doubtful = full.ts[(full.quality == BAD) | (full.quality == 1)]
        lost = doubtful[_calls_good(other, doubtful, options.tolerance.time_us)]
        if len(lost) > max(1, (1 - options.min_match) * len(full.ts)):
            ends = _ends(lost)
            evidence = (
                f"{len(lost):,} of {len(doubtful):,} samples that are bad or uncertain on the other side are good "
                f"here, {ends['from']} to {ends['until']}"
            )
            result.findings.append(Finding("quality_lost", result.tag, name, evidence, {"rows": len(lost), **ends}))


def _ends(times: Any) -> dict[str, float | str]:
    return {"from": moment(int(times[0])), "until": moment(int(times[-1]))}


def _calls_good(series: Series, at: Any, within_us: int) -> Any:
    """Return where the side says good all around each time."""
    good = np.ones(len(at), bool)
    for moved in (-within_us, 0, within_us):
        place = np.searchsorted(series.ts, at + moved, "right") - 1
        good &= (place >= 0) & (series.quality[np.maximum(place, 0)] == GOOD)
    return good
