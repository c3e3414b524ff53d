"""One well of the plant, and what its tags are called on either protocol."""

from __future__ import annotations

from dataclasses import dataclass

from otmirror.plant.rows import Recording

AREA = "acme/north/pad7"
FIXED_FLOATS = 8
ROW_OFFSET, TIME_OFFSET, SETPOINT_OFFSET, FURTHER_OFFSET = 16, 18, 30, 40
HIGHEST_UNIT = 247
"""Modbus over Serial Line 1.02, 2.2: units are 1 to 247."""

MOST_FLOATS = FIXED_FLOATS + (65_536 - FURTHER_OFFSET) // 2
"""How many sensors fit the registers of one unit."""


@dataclass(frozen=True, slots=True)
class Well:
    """A recording and its place in the plant: `number`, from 1, is also its Modbus unit."""

    number: int
    recording: Recording

    @property
    def name(self) -> str:
        """Its name as an OPC UA object."""
        return f"Well{self.number}"

    @property
    def opcua_path(self) -> str:
        """What its tags read over OPC UA start with."""
        return f"{AREA}/well{self.number}"

    @property
    def modbus_path(self) -> str:
        """What its tags read over Modbus start with."""
        return f"{AREA}/rtu{self.number}"


def float_offset(index: int) -> int:
    """Return the offset of a sensor's float32 (two registers) in the holding and in the input registers.

    Eight sensors, the row's number and the row's time are contiguous, so that one request reads a whole row;
    further sensors follow from offset 40.
    """
    if index < FIXED_FLOATS:
        return 2 * index
    return FURTHER_OFFSET + 2 * (index - FIXED_FLOATS)
