"""Tag lists of what the plant serves, ready for the two source processors."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from otmirror.errors import ConfigError
from otmirror.plant.opcua import NAMESPACE
from otmirror.plant.well import ROW_OFFSET, TIME_OFFSET, Well, float_offset

HEADER = ("tag", "address", "type", "unit", "description")
OPCUA_FILE, MODBUS_FILE = "opcua-tags.csv", "modbus-tags.csv"

MODE = "mode"
"""The further column of an OPC UA tag list with subscribed tags."""

Row = tuple[str, str, str, str, str]


def opcua_rows(wells: Iterable[Well]) -> Iterator[Row]:
    """Yield one row a sensor, addressed by namespace URI."""
    for well in wells:
        for sensor in well.recording.sensors:
            address = f"nsu={NAMESPACE};s={well.name}.{sensor.name}"
            yield f"{well.opcua_path}/{sensor.name}", address, "double", sensor.unit or "", ""


def modbus_rows(wells: Iterable[Well]) -> Iterator[Row]:
    """Yield one row a sensor, and the number and time of the row they come from."""
    for well in wells:
        path, unit = well.modbus_path, well.number
        for index, sensor in enumerate(well.recording.sensors):
            yield f"{path}/{sensor.name}", f"{unit}:holding:{float_offset(index)}", "float", sensor.unit or "", ""
        yield f"{path}/row", f"{unit}:holding:{ROW_OFFSET}", "uint32", "", "number of the row being served"
        yield f"{path}/row-time", f"{unit}:holding:{TIME_OFFSET}", "uint64", "us", "its timestamp since 1970 UTC"
        yield f"{path}/online", f"{unit}:discrete:0", "bool", "", "whether the well gives data"


def write(folder: Path, opcua_wells: Sequence[Well], modbus_wells: Sequence[Well], subscribed: int = 0) -> list[Path]:
    """Write a tag list for each protocol that has wells, and return the files.

    The last `subscribed` OPC UA tags are to be subscribed, the others polled; 0 leaves that to the processor.

    Raises:
        ConfigError: the folder cannot be written.
    """
    lists = (
        (OPCUA_FILE, _with_modes(list(opcua_rows(opcua_wells)), subscribed)),
        (MODBUS_FILE, [HEADER, *modbus_rows(modbus_wells)]),
    )
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in lists:
            if len(rows) > 1:
                with (folder / name).open("w", encoding="utf-8", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerows(rows)
                written.append(folder / name)
    except OSError as error:
        raise ConfigError(f"tag lists cannot be written to {folder}: {error.strerror or error}") from None
    return written


def _with_modes(rows: Sequence[Row], subscribed: int) -> list[tuple[str, ...]]:
    """Return the rows after their header, with the column `mode` when any of them is subscribed."""
    if not subscribed:
        return [HEADER, *rows]
    polled = len(rows) - subscribed
    modes = ("poll" if index < polled else "subscribe" for index in range(len(rows)))
    return [(*HEADER, MODE), *((*row, mode) for row, mode in zip(rows, modes, strict=True))]
