"""Time-weighted means and clock offsets against values worked out otherwise."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from otmirror.compare import clocks
from otmirror.compare.matching import Tolerance, distance
from otmirror.compare.options import Options, Window
from otmirror.compare.series import BAD, GOOD, NO_TIME, clean, gapped, time_weighted_mean
from otmirror.compare.tag import compare

S = 1_000_000


def series(ts, value, quality=None, read=None):
    ts = np.asarray(ts, np.int64)
    quality = np.full(len(ts), GOOD, np.int8) if quality is None else np.asarray(quality, np.int8)
    read = np.full(len(ts), NO_TIME, np.int64) if read is None else np.asarray(read, np.int64)
    return clean(ts, np.asarray(value, np.float64), quality, read)


def stepped_by_hand(ts: list[int], value: list[int], start: int, end: int) -> Fraction:
    """Microsecond by microsecond in spirit: every sample's share of the interval, exactly."""
    area = covered = Fraction(0)
    for number, (at, held) in enumerate(zip(ts, value, strict=True)):
        until = ts[number + 1] if number + 1 < len(ts) else end
        length = max(0, min(until, end) - max(at, start))
        area += length * Fraction(held)
        covered += length
    return area / covered


@pytest.mark.parametrize("seed", range(25))
def test_the_stepped_mean_is_the_area_by_the_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 60))
    ts = np.sort(rng.choice(1000 * S, count, replace=False)).astype(np.int64)
    value = rng.integers(-(10**9), 10**9, count)
    start, end = sorted(int(x) for x in rng.choice(1000 * S, 2, replace=False))
    end = max(end, int(ts[0]) + 1)
    mean, seconds = time_weighted_mean(ts, value.astype(float), start, end)
    expected = stepped_by_hand(ts.tolist(), value.tolist(), start, end)
    assert mean == pytest.approx(float(expected), rel=1e-12, abs=1e-6)
    assert seconds == pytest.approx((end - max(start, int(ts[0]))) / S)


def test_the_sloped_mean_of_the_standards_historian() -> None:
    """OPC 10000-13, A.1.1, Historian 1 without its bad sample: lines through (10 s, 10), (20, 20) ... (90, 90)."""
    at = np.array([10, 20, 30, 50, 60, 70, 80, 90]) * S
    mean, seconds = time_weighted_mean(at, at / S, 20 * S, 60 * S, stepped=False)
    assert (mean, seconds) == (40.0, 40.0)
    # From 90 on the last value holds: 70..90 is 80 on average for 20 s, then 90 for 10 s.
    mean, _ = time_weighted_mean(at, at / S, 70 * S, 100 * S, stepped=False)
    assert mean == pytest.approx((80 * 20 + 90 * 10) / 30)


def test_a_bad_sample_ends_the_value_before() -> None:
    ts, value = gapped(np.array([0, 30 * S]), np.array([10.0, 40.0]), np.array([20 * S]))
    mean, seconds = time_weighted_mean(ts, value, 0, 60 * S)
    assert (mean, seconds) == (pytest.approx((10 * 20 + 40 * 30) / 50), 50.0)


def test_large_values_keep_their_digits() -> None:
    ts = np.arange(100_000, dtype=np.int64) * S
    value = np.full(100_000, 1e15) + (np.arange(100_000) % 2)
    assert time_weighted_mean(ts, value, 0, 100_000 * S)[0] == 1e15 + 0.5


def test_nothing_is_known_before_the_first_sample() -> None:
    mean, seconds = time_weighted_mean(np.array([50 * S]), np.array([3.0]), 0, 40 * S)
    assert np.isnan(mean)
    assert seconds == 0


@pytest.mark.parametrize("seconds", [-3600 * 2, -97.25, -3, 2.5, 3, 41, 3600 * 5 + 7])
@pytest.mark.parametrize("lost", [0.0, 0.3])
def test_an_offset_is_found_through_losses_and_jitter(seconds: float, lost: float) -> None:
    rng = np.random.default_rng(abs(int(seconds)))
    ts = np.arange(0, 86_400 * S, 20 * S)
    value = np.cumsum(rng.normal(0, 1, len(ts)))
    kept = rng.random(len(ts)) >= lost
    jitter = rng.integers(-50_000, 50_000, kept.sum())
    moved = np.sort(ts[kept] + round(seconds * S) + jitter)
    at, difference = clocks.deltas(ts, value, moved, value[kept])
    found = clocks.constant(difference, S)
    assert found is not None
    assert found.us / S == pytest.approx(seconds, abs=0.02)
    assert len(at) == kept.sum()


@pytest.mark.parametrize("seed", range(5))
def test_unrelated_values_give_no_offset(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ts = np.arange(0, 86_400 * S, 20 * S)
    for values in (rng.normal(50, 1, (2, len(ts))), np.round(rng.normal(50, 1, (2, len(ts))), 2)):
        assert clocks.constant(clocks.deltas(ts, values[0], ts, values[1])[1], S) is None


def test_a_gain_does_not_hide_an_offset() -> None:
    rng = np.random.default_rng(4)
    ts = np.arange(0, 86_400 * S, 20 * S)
    value = np.cumsum(rng.normal(0, 1, len(ts)))
    _, difference = clocks.deltas(ts, value, ts + 7 * S, value * 1.02 + 4)
    assert clocks.constant(difference, S).us == 7 * S


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", ["values", "states"])
def test_one_hour_from_a_changeover_on(sign: int, kind: str) -> None:
    rng = np.random.default_rng(11)
    ts = np.arange(0, 86_400 * S, 10 * S)
    value = np.cumsum(rng.normal(0, 1, len(ts))) if kind == "values" else np.cumsum(rng.random(len(ts)) < 0.02) % 2.0
    changeover = 8 * 3600 * S
    moved = np.where(ts >= changeover, ts + sign * 3600 * S, ts)
    order = np.argsort(moved, kind="stable")
    at, difference = clocks.deltas(ts, value, moved[order], value[order])
    found = clocks.hour_shift(at, difference, S, 0, 86_400 * S)
    assert found is not None
    assert (found.us, found.start, found.end) == (sign * 3600 * S, changeover, 86_400 * S)


def test_distance_takes_time_and_value_together() -> None:
    other_ts, other = np.array([0, 10, 20]) * S, np.array([1.0, 5.0, 2.0])
    at = np.array([9, 10, 12, 14]) * S
    # One second around 9 s: held 1, then 5; around 12 s: held 5 only.
    found = distance(at, np.array([3.0, 5.0, 4.0, 7.0]), other_ts, other, S)
    assert found.tolist() == [0.0, 0.0, 1.0, 2.0]
    assert np.isnan(distance(np.array([-5 * S]), np.array([1.0]), other_ts, other, S)).all()


def test_quality_kept_apart_is_joined_as_of_the_sample() -> None:
    from otmirror.compare.series import FROM_SERIES

    ts = [0, 10 * S, 20 * S, 0, 15 * S, 20 * S]
    joined = series(ts, [1, 2, 3, np.nan, np.nan, np.nan], [FROM_SERIES] * 3 + [GOOD, BAD, GOOD])
    assert joined.ts.tolist() == [0, 10 * S, 15 * S, 20 * S]
    assert joined.quality.tolist() == [GOOD, GOOD, BAD, GOOD]
    assert joined.duplicates == 0


def test_few_or_no_samples_are_compared_without_a_word() -> None:
    window = Window(0, 3600 * S)
    for count in (1, 2, 5):
        one = series(np.arange(count) * 60 * S, np.arange(count))
        assert compare("a", one, one, window, Options()).findings == []
    bad = series([0, 60 * S], [np.nan, np.nan], [BAD, BAD])
    assert compare("a", bad, bad, window, Options()).findings == []


def test_the_tolerance_is_absolute_and_relative() -> None:
    ts = np.arange(200) * 10 * S
    one = series(ts, 1000 + np.sin(np.arange(200)))
    two = series(ts, 1000.5 + np.sin(np.arange(200)))
    window = Window(0, 2000 * S)
    kinds = {f.kind for f in compare("a", one, two, window, Options()).findings}
    assert kinds == {"gain"}
    assert compare("a", one, two, window, Options(tolerance=Tolerance(absolute=0.51))).findings == []
    assert compare("a", one, two, window, Options(tolerance=Tolerance(relative=0.00051))).findings == []


@pytest.mark.parametrize("fault", ["offset", "hour"])
def test_values_that_repeat_show_clocks_too(fault: str) -> None:
    """Two decimals, every two seconds: hardly a value comes once only."""
    rng = np.random.default_rng(3)
    ts = np.arange(0, 86_400 * S, 2 * S)
    value = np.round(60 + 10 * np.sin(ts / S / 5000) + rng.normal(0, 0.05, len(ts)), 2)
    moved = ts + 3 * S if fault == "offset" else np.where(ts >= 7 * 3600 * S, ts + 3600 * S, ts)
    window = Window(0, 86_400 * S)
    inside = moved < window.end
    found = compare("a", series(ts, value), series(moved[inside], value[inside]), window, Options()).findings
    assert [f.kind for f in found] == ["clock_offset" if fault == "offset" else "dst_shift"]
    assert found[0].numbers["offset_s"] == pytest.approx(3.0 if fault == "offset" else 3600.0, abs=0.3)
