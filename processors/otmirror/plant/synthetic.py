"""A made-up gas-lift well with casing heading, for when there is no recording; the same for the same seed.

Casing heading: the lift gas gathers in the casing until its pressure opens the way into the tubing, then rushes in.
So the casing's pressure climbs slowly and falls fast; the gas lightens the tubing's column, the bottom-hole pressure
dips, and a surge of liquid and heat passes the choke some minutes later, again and again.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

from otmirror.plant.rows import UNITS, Sensor

DAY_S = 86_400
START_US = 1_767_225_600_000_000
"""2026-01-01 00:00:00 UTC: the own time of a synthetic well's row 0."""

_EMPTY = 131  # of 65,536: one cell in 500
_KNOT_S = 30  # the slow noise that a well's sensors share has a new value every so often
_KINDS = (("PT", "Pa", 2.0e6), ("TT", "degC", 60.0), ("FT", "m3/s", 0.4), ("LT", "%", 50.0))

_BASE = (24.5e6, 16.8e6, 72.0, 1.9e6, 48.0, 12.4e6, 31.0, 1.35)
# Share of the base that the casing's charge, the surge, the shared noise and the own noise move a sensor by.
_CHARGE = (0.006, 0.003, 0.0, 0.0, 0.0, 0.030, 0.004, -0.09)
_SURGE = (-0.022, -0.014, 0.018, 0.24, 0.09, 0.0, 0.0, 0.03)
_SHARED = (0.0006, 0.0006, 0.0004, 0.006, 0.001, 0.0008, 0.0005, 0.004)
_OWN = (0.00005, 0.00005, 0.0002, 0.002, 0.0005, 0.0002, 0.0003, 0.003)
_DELAY_S = (0.0, 45.0, 90.0, 150.0, 210.0, 0.0, 0.0, 0.0)


class GasLiftWell:
    """One synthetic well: the eight sensors of the 3W data set and `extra` further tags, one row a second."""

    def __init__(self, seed: int, number: int, extra: int = 0, rows: int = DAY_S):
        """Make the well `number` (from 1) of the plant that `seed` stands for."""
        self._key = hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=16).digest()
        self._rows = rows
        draw = self._bytes("well", 0)
        self._period_s = 1500.0 + 5 * draw[0]
        self._phase = draw[1] / 256
        self._level = 0.9 + draw[2] / 1280
        tags = (_KINDS[index % len(_KINDS)] for index in range(extra))
        self.sensors = (
            *(Sensor(name, unit) for name, unit in UNITS.items()),
            *(Sensor(f"{kind}-{101 + index}", unit) for index, (kind, unit, _) in enumerate(tags)),
        )
        self.values = lru_cache(maxsize=16)(self._values)

    def __len__(self) -> int:
        return self._rows

    def time_us(self, row: int) -> int:
        """Return the row's own time, microseconds since 1970-01-01 UTC."""
        return START_US + row * 1_000_000

    def _values(self, row: int) -> tuple[float, ...]:
        shared = self._shared_noise(row)
        eight = tuple(self._sensor(index, row, shared) for index in range(len(UNITS)))
        extra = range(len(self.sensors) - len(UNITS))
        values = eight + tuple(self._extra(index, row, shared) for index in extra)
        noise = b"".join(self._bytes(f"own{part}", row) for part in range(-(-len(values) // 16)))
        return tuple(
            _noisy(value, _OWN[index % len(_OWN)], noise[4 * index : 4 * index + 4])
            for index, value in enumerate(values)
        )

    def _sensor(self, index: int, row: int, shared: float) -> float:
        turn = self._phase + (row - _DELAY_S[index]) / self._period_s
        moved = _CHARGE[index] * _charge(turn) + _SURGE[index] * _surge(turn) + _SHARED[index] * shared
        return _BASE[index] * self._level * (1 + moved)

    def _extra(self, index: int, row: int, shared: float) -> float:
        turn = self._phase + index * 0.618 + row / (self._period_s * (0.2 + index % 7))
        return _KINDS[index % len(_KINDS)][2] * (1 + 0.1 * math.sin(math.tau * turn) + 0.002 * shared)

    def _shared_noise(self, row: int) -> float:
        knot, rest = divmod(row, _KNOT_S)
        before, after = (self._bytes("shared", at)[0] / 127.5 - 1 for at in (knot, knot + 1))
        return before + (after - before) * rest / _KNOT_S

    def _bytes(self, purpose: str, row: int) -> bytes:
        return hashlib.blake2b(row.to_bytes(8, "big"), key=self._key, person=purpose.encode()).digest()


def _charge(turn: float) -> float:
    """Rise slowly from about -1 to 1, fall fast at whole turns: the first terms of a sawtooth."""
    angle = math.tau * turn
    return -0.6 * sum(math.sin(k * angle) / k for k in range(1, 5))


def _surge(turn: float) -> float:
    """Return a pulse of height 1, shortly after each whole turn."""
    return math.exp(8 * (math.cos(math.tau * (turn - 0.06)) - 1))


def _noisy(value: float, share: float, draw: bytes) -> float:
    if int.from_bytes(draw[2:], "big") < _EMPTY:
        return math.nan
    return value * (1 + share * (draw[0] + draw[1] - 255) / 128)
