"""Two historians' data for the tests, written without the library: signals of a plant, and faults put into copies."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

DAY = "2026-10-25"
"""Clocks went back in Europe at 01:00 UTC."""
START = datetime(2026, 10, 25, tzinfo=timezone.utc)
STEP = 20
COUNT = 4320


@dataclass
class Tag:
    """Seconds since START, values (None: bad without a value), qualities, seconds until they arrived."""

    at: list[float]
    value: list[float | None]
    quality: list[str] = field(default_factory=list)
    late: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.quality = self.quality or ["good" if value is not None else "bad" for value in self.value]
        self.late = self.late or [0.4] * len(self.at)

    def copy(self) -> Tag:
        return Tag(list(self.at), list(self.value), list(self.quality), list(self.late))


def signals(seed: int) -> dict[str, Callable[[], Tag]]:
    """Return makers of a pressure, a temperature, a flow, a level, a valve and a setpoint."""
    rng = np.random.default_rng(seed)
    time = np.arange(COUNT) * STEP / 10

    def tag(values: Iterable[float]) -> Tag:
        return Tag([float(n * STEP) for n in range(COUNT)], [float(v) for v in values])

    def pressure() -> Tag:
        return tag(3.2e7 + 2e5 * np.sin(time / 900 + rng.uniform(0, 6)) + rng.normal(0, 900, COUNT))

    def temperature() -> Tag:
        return tag(96 + np.cumsum(rng.normal(0, 0.01, COUNT)))

    def flow() -> Tag:
        return tag(np.abs(40 + 6 * np.sin(time / 300 + rng.uniform(0, 6)) + rng.normal(0, 0.8, COUNT)))

    def level() -> Tag:
        return tag((time * rng.uniform(0.8, 1.2)) % 700 / 7 + rng.normal(0, 0.05, COUNT))

    def valve() -> Tag:
        return tag(np.cumsum(rng.random(COUNT) < 1 / 20) % 2)

    def setpoint() -> Tag:
        return tag([55.0] * COUNT)

    return {"P": pressure, "T": temperature, "F": flow, "L": level, "V": valve, "SP": setpoint}


def missing_hour(tag: Tag) -> Tag:
    kept = [n for n, at in enumerate(tag.at) if not 36_000 <= at < 39_600]
    return Tag(*([column[n] for n in kept] for column in (tag.at, tag.value, tag.quality, tag.late)))


def offset(tag: Tag) -> Tag:
    return Tag([at + 3 for at in tag.at], tag.value, tag.quality, tag.late)


def gain(tag: Tag) -> Tag:
    return Tag(tag.at, [v * 1.005 for v in tag.value if v is not None], tag.quality, tag.late)


def frozen(tag: Tag) -> Tag:
    held = tag.value[1500]
    return Tag(tag.at, [held if 1500 <= n < 1860 else v for n, v in enumerate(tag.value)], tag.quality, tag.late)


def duplicated(tag: Tag) -> Tag:
    made = Tag([], [], ["good"], [0.4])
    made.quality, made.late = [], []
    for n, at in enumerate(tag.at):
        for _ in range(2 if 250 <= n < 350 else 1):
            made.at.append(at)
            made.value.append(tag.value[n])
            made.quality.append(tag.quality[n])
            made.late.append(tag.late[n])
    return made


def bad_stretch(tag: Tag) -> Tag:
    """Bad for 20 minutes: what the side knows that keeps quality."""
    bad = [1000 <= n < 1060 for n in range(len(tag.at))]
    return Tag(tag.at, [None if b else v for v, b in zip(tag.value, bad, strict=True)],
               ["bad" if b else "good" for b in bad], tag.late)  # fmt: skip


def late(tag: Tag) -> Tag:
    return Tag(tag.at, tag.value, tag.quality, [1800.0 if 2000 <= n < 2090 else 0.4 for n in range(len(tag.at))])


def dst(tag: Tag) -> Tag:
    """From the changeover on, local time was taken for that of summer: one hour later in UTC."""
    return Tag([at + 3600 if at >= 3600 else at for at in tag.at], tag.value, tag.quality, tag.late)


def truncated(decimals: int) -> Callable[[Tag], Tag]:
    def cut(tag: Tag) -> Tag:
        unit = 10.0**-decimals
        values = [round(int(v / unit) * unit, 9) for v in tag.value if v is not None]
        return Tag(tag.at, values, tag.quality, tag.late)

    return cut


def deadband(band: float) -> Callable[[Tag], Tag]:
    """Report by exception: a value within the band of the last one sent is not sent."""

    def thin(tag: Tag) -> Tag:
        kept = [0]
        for n, value in enumerate(tag.value):
            last = tag.value[kept[-1]]
            if value is not None and last is not None and abs(value - last) > band:
                kept.append(n)
        return Tag(*([column[n] for n in kept] for column in (tag.at, tag.value, tag.quality, tag.late)))

    return thin


def write_csv(path: Path, tags: Mapping[str, Tag]) -> Path:
    """Write the generic profile's file, tag by tag."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("tag", "time", "value", "quality", "read"))
        for name, tag in tags.items():
            at, delay = np.array(tag.at), np.array(tag.late)
            values = ["" if value is None else repr(value) for value in tag.value]
            writer.writerows(zip([name] * len(at), iso(at), values, tag.quality, iso(at + delay), strict=True))
    return path


def iso(seconds: np.ndarray) -> list[str]:
    begin = np.datetime64(START.replace(tzinfo=None), "ms")
    moments = begin + np.round(np.asarray(seconds) * 1000).astype("timedelta64[ms]")
    return list(np.datetime_as_string(moments, unit="ms", timezone="UTC"))
