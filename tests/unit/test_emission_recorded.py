"""Exception reporting on recorded wells: how much it saves, and that what is drawn from the rest stays true.

The reconstruction and its error are numpy's, from the recordings' cells as the standard library reads them.
"""

import csv
import datetime
from pathlib import Path

import numpy as np
import pytest

from otmirror import samples
from otmirror.emission import EmissionFilter
from otmirror.taglist import Tag
from otmirror.workspace import PROJECT

RECORDINGS = PROJECT.parent / "shared" / "data" / "3w"
RANGES = {  # instruments' ranges, round numbers around all that the recordings hold
    "P-PDG": (0.0, 5e7), "P-TPT": (0.0, 3e7), "T-TPT": (0.0, 150.0), "P-MON-CKP": (0.0, 2e7), "T-JUS-CKP": (0.0, 150.0),
    "P-JUS-CKGL": (0.0, 3e7), "T-JUS-CKGL": (0.0, 150.0), "QGL": (-2.0, 6.0),
}  # fmt: skip
BROKEN, BATCH, REFRESH = 0x808C0000, 500, 60.0


@pytest.fixture(scope="module")
def wells():
    """Sensor columns by recording: times in µs, values with NaN for empty cells."""
    files = sorted(RECORDINGS.glob("WELL-*.csv"))
    if not files:
        pytest.skip("needs the recordings in ../shared/data/3w")
    return {file.name: columns(file) for file in files}


def columns(file: Path):
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    zone = datetime.timezone.utc
    times = [datetime.datetime.fromisoformat(row["timestamp"]).replace(tzinfo=zone).timestamp() for row in rows]
    return (np.array(times) * 1e6).astype(np.int64), {
        name: np.array([float(row[name] or "nan") for row in rows]) for name in RANGES
    }


def reported(times, values, refresh, **tag):
    """What is emitted of one sensor: times and values, NaN for bad samples."""
    found = EmissionFilter(refresh=refresh, tags=[Tag("t", "-", **tag)])
    given = []
    for at in range(0, len(times), BATCH):
        some, cells = times[at : at + BATCH].tolist(), values[at : at + BATCH]
        bad = np.isnan(cells)
        table = samples.table_from_columns(
            tag=["t"] * len(some), ts=some, ts_read=some, type=["double"] * len(some), source=["s"] * len(some),
            value=[None if b else v for b, v in zip(bad.tolist(), cells.tolist(), strict=True)],
            status=[BROKEN if b else 0 for b in bad], quality=["bad" if b else "good" for b in bad],
        )  # fmt: skip
        given += [(r["ts"], np.nan if r["value"] is None else r["value"]) for r in found.new(table).to_pylist()]
    ts, value = zip(*given, strict=True)
    return np.array(ts), np.array(value)


@pytest.mark.parametrize("refresh", [0.0, REFRESH])
def test_the_error_stays_within_the_deadband(wells, refresh):
    offered = kept = 0
    worst_held = worst_drawn = 0.0
    for name, (times, sensors) in wells.items():
        for sensor, values in sensors.items():
            if np.isnan(values).all():
                continue  # no sensor there
            low, high = RANGES[sensor]
            deadband = 0.01 * (high - low)
            ts, value = reported(times, values, refresh, deadband_percent=1.0, low=low, high=high)
            where = f"{name} {sensor}"
            assert (np.diff(ts) > 0).all(), where
            offered, kept = offered + len(times), kept + len(ts)
            # The last sample at or before each moment: what a step chart, or the last value, shows.
            last = value[np.searchsorted(ts, times, side="right") - 1]
            assert (np.isnan(last) == np.isnan(values)).all(), where
            good = ~np.isnan(values)
            held = np.abs(last - values)[good]
            assert (held <= deadband).all(), where
            # A line between two samples: the held ones lie within the deadband of its first end, as does its other end
            # when they were held, so that the line may be two deadbands away.
            real = ~np.isnan(value)
            drawn = np.abs(np.interp(times, ts[real], value[real]) - values)[good & (times <= ts[real][-1])]
            assert (drawn <= 2 * deadband).all(), where
            worst_held, worst_drawn = max(worst_held, held.max() / deadband), max(worst_drawn, drawn.max() / deadband)
    print(f"refresh {refresh:g} s: {offered} samples, {kept} emitted, 1 of {offered / kept:.1f};", end=" ")
    print(f"worst error in deadbands: step {worst_held:.3f}, line {worst_drawn:.3f}")
    assert kept * 20 < offered


def test_without_the_value_before_a_change_a_line_would_be_wrong(wells):
    """The steps of the recordings are there: the same samples, but only those beyond the deadband, draw ramps."""
    worst = 0.0
    for times, sensors in wells.values():
        for sensor, values in sensors.items():
            if np.isnan(values).any():
                continue
            deadband = 0.01 * (RANGES[sensor][1] - RANGES[sensor][0])
            chosen = [0]
            for n, value in enumerate(values):
                if abs(value - values[chosen[-1]]) > deadband:
                    chosen.append(n)
            drawn = np.interp(times[: chosen[-1] + 1], times[chosen], values[chosen])
            worst = max(worst, np.abs(drawn - values[: chosen[-1] + 1]).max() / deadband)
    assert worst > 2
