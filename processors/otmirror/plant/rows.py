"""The rows a plant serves: what one well's sensors measured, one row a moment."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from otmirror.errors import ConfigError

TIMESTAMP, LABEL = "timestamp", "class"
"""The column that holds a row's time, and the one that holds the event's label, which is no sensor."""

RESERVED = ("Setpoint", "row", "row-time", "online")
"""Names of the plant's own tags beside the sensors'."""

UNITS = {
    "P-PDG": "Pa",
    "P-TPT": "Pa",
    "T-TPT": "degC",
    "P-MON-CKP": "Pa",
    "T-JUS-CKP": "degC",
    "P-JUS-CKGL": "Pa",
    "T-JUS-CKGL": "degC",
    "QGL": "m3/s",
}
"""The eight sensors of the 3W data set (Vargas et al. 2019) and their units."""

_SHOWN = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Sensor:
    """One column: its name and its engineering unit, None when unknown."""

    name: str
    unit: str | None = None


class Recording(Protocol):
    """One well's rows, numbered from 0."""

    @property
    def sensors(self) -> Sequence[Sensor]:
        """The columns, in the order of `values`."""

    def __len__(self) -> int:
        """How many rows there are; at least one."""

    def time_us(self, row: int) -> int:
        """The row's own time, microseconds since 1970-01-01 UTC."""

    def values(self, row: int) -> Sequence[float]:
        """One number a sensor, in its unit; NaN where the sensor gave nothing."""


@dataclass(frozen=True)
class RecordedWell:
    """A recording held in memory, column by column."""

    sensors: tuple[Sensor, ...]
    times: array[int]
    columns: tuple[array[float], ...]

    def __len__(self) -> int:
        return len(self.times)

    def time_us(self, row: int) -> int:
        """Return the row's own time, microseconds since 1970-01-01 UTC."""
        return self.times[row]

    def values(self, row: int) -> tuple[float, ...]:
        """Return one number a sensor; NaN where its cell is empty."""
        return tuple(column[row] for column in self.columns)


def read_csv(path: Path) -> RecordedWell:
    """Read a recording: columns `timestamp` (no zone = UTC), one a sensor, and perhaps `class`, which is skipped.

    Raises:
        ConfigError: the file cannot be read, or cells cannot be used (with their lines).
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return _Reader(path).read(csv.reader(lines))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text: save it as CSV UTF-8") from None
    except csv.Error as error:
        raise ConfigError(f"{path} is not CSV: {error}") from None


class _Reader:
    """Turns a file's rows into columns and gathers what is wrong on the way."""

    def __init__(self, path: Path):
        self.path = path
        self.problems: list[str] = []
        self.times: array[int] = array("q")

    def read(self, rows: csv._reader) -> RecordedWell:  # type: ignore[name-defined]
        header = [name.strip() for name in next(rows, [])]
        picked = self._pick(header)
        columns = tuple(array("d") for _ in picked)
        for row in rows:
            if any(row):
                self._row(rows.line_num, row, header, picked, columns)
        if not self.times and not self.problems:
            self.problems.append("line 2: there is no row")
        self._raise()
        sensors = tuple(Sensor(header[index], UNITS.get(header[index])) for index in picked)
        return RecordedWell(sensors, self.times, columns)

    def _pick(self, header: list[str]) -> list[int]:
        if TIMESTAMP not in header:
            self.problems.append(f"line 1: there is no column {TIMESTAMP!r}")
        for name in dict.fromkeys(header):
            if not name:
                self.problems.append("line 1: a column has no name")
            elif header.count(name) > 1:
                self.problems.append(f"line 1: column {name!r} appears twice")
            elif name in RESERVED:
                self.problems.append(f"line 1: {name!r} is a name of the plant's own: rename the column")
        picked = [index for index, name in enumerate(header) if name not in (TIMESTAMP, LABEL)]
        if not picked:
            self.problems.append(f"line 1: there is no sensor's column beside {TIMESTAMP!r}")
        self._raise()
        return picked

    def _row(
        self, line: int, row: list[str], header: list[str], picked: list[int], columns: tuple[array[float], ...]
    ) -> None:
        if len(row) != len(header):
            self.problems.append(f"line {line}: {len(row)} cells, but the header has {len(header)} columns")
            return
        self._time(line, row[header.index(TIMESTAMP)].strip())
        for column, index in zip(columns, picked, strict=True):
            column.append(self._number(line, header[index], row[index].strip()))

    def _time(self, line: int, cell: str) -> None:
        try:
            time = _microseconds(cell)
        except ValueError:
            self.problems.append(
                f"line {line}, column {TIMESTAMP}: {cell!r} is not a time since 1970 (2018-02-06 18:29:17)"
            )
            return
        if self.times and time <= self.times[-1]:
            self.problems.append(f"line {line}, column {TIMESTAMP}: {cell} is not after the row before")
            return
        self.times.append(time)

    def _number(self, line: int, name: str, cell: str) -> float:
        if not cell:
            return math.nan
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.problems.append(f"line {line}, column {name}: {cell!r} is not a number; an empty cell means no value")
        return number

    def _raise(self) -> None:
        if not self.problems:
            return
        shown = "; ".join(self.problems[:_SHOWN])
        more = f"; and {len(self.problems) - _SHOWN} more" if len(self.problems) > _SHOWN else ""
        raise ConfigError(f"{self.path} {shown}{more}")


def _microseconds(cell: str) -> int:
    # Before Python 3.11 fromisoformat does not know the Z of UTC.
    time = datetime.fromisoformat(cell[:-1] + "+00:00" if cell.endswith("Z") else cell)
    since = (time if time.tzinfo else time.replace(tzinfo=timezone.utc)) - _EPOCH
    if since.days < 0:
        raise ValueError("before 1970")
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
