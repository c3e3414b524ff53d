"""The plant's Modbus TCP device: one unit a well.

Holding and input registers hold the same, all big-endian, most significant word first (ABCD):

| offset | what |
|---|---|
| 0 to 15 | the first eight sensors, float32; NaN (0x7FC00000) where a sensor gave nothing |
| 16, 17 | the row's number from 0, uint32; 0xFFFFFFFF past the end |
| 18 to 21 | the row's timestamp, microseconds since 1970-01-01 UTC, uint64 |
| 30 | holding only: a setpoint, uint16, that clients may write |
| 40 and up | further sensors, float32 |

Discrete input 0 says whether the well gives data; coil 0 is a command that clients may write. All other registers
are illegal addresses. All registers of one request come from one row. Like many devices it takes one request at a
time: a client waits for an answer before it asks again.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from otmirror.plant.pacing import Feed, Moment
from otmirror.plant.well import (
    FIXED_FLOATS,
    FURTHER_OFFSET,
    ROW_OFFSET,
    SETPOINT_OFFSET,
    TIME_OFFSET,
    Well,
    float_offset,
)

HOST = "127.0.0.1"
NO_ROW = 0xFFFFFFFF
NAN = b"\x7f\xc0\x00\x00"

# Modbus application protocol 1.1b3, section 6: function codes that read.
_READ_DISCRETE, _READ_HOLDING, _READ_INPUT, _READ_WRITE = 2, 3, 4, 23


class ModbusDevice:
    """Serves wells as units of one Modbus TCP device on 127.0.0.1."""

    def __init__(self, wells: Sequence[tuple[Well, Feed]], port: int):
        """Take the wells with their feeds; port 0 lets the system choose one."""
        self._wells, self._port = wells, port
        self._server: Any = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; after `start` with the real port."""
        return HOST, self._port

    async def start(self) -> None:
        """Listen.

        Raises:
            RuntimeError: the port cannot be had.
        """
        units = [_Unit(well, feed).device() for well, feed in self._wells]
        self._server = ModbusTcpServer(units, address=self.address)
        await self._server.serve_forever(background=True)
        self._port = self._server.transport.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        if self._server is not None:
            server, self._server = self._server, None
            with suppress(asyncio.CancelledError):
                await server.shutdown()


class _Unit:
    """Refreshes one well's registers just before a request is answered from them."""

    def __init__(self, well: Well, feed: Feed):
        self._well, self._feed = well, feed

    def device(self) -> SimDevice:
        sensors = len(self._well.recording.sensors)
        command = [SimData(0, values=[True] + [False] * 15, datatype=DataType.BITS)]
        online = [SimData(0, values=[False] * 16, datatype=DataType.BITS, readonly=True)]
        first: list[int] = [0] * (TIME_OFFSET + 4)
        for index in range(FIXED_FLOATS):
            _put(first, float_offset(index), NAN)
        block = [SimData(0, values=first, datatype=DataType.REGISTERS, readonly=True)]
        if sensors > FIXED_FLOATS:
            words = [0] * (2 * (sensors - FIXED_FLOATS))
            block.append(SimData(FURTHER_OFFSET, values=words, datatype=DataType.REGISTERS, readonly=True))
        setpoint = SimData(SETPOINT_OFFSET, values=0, datatype=DataType.REGISTERS)
        return SimDevice(self._well.number, (command, online, [*block, setpoint], list(block)), action=self._refresh)

    async def _refresh(
        self, function: int, _start: int, address: int, _count: int, registers: list[int], written: object
    ) -> None:
        """Put the row that this request gets into the registers; nothing else runs until it is answered."""
        if written is not None:
            return
        if function == _READ_DISCRETE:
            registers[0] = int(self._feed.now(_READ_HOLDING).row is not None)
        elif function in (_READ_HOLDING, _READ_INPUT, _READ_WRITE):
            table = _READ_INPUT if function == _READ_INPUT else _READ_HOLDING
            moment = self._feed.next(table) if address == 0 else self._feed.now(table)
            self._fill(registers, moment)

    def _fill(self, registers: list[int], moment: Moment) -> None:
        if moment.row is None:
            floats = [NAN] * len(self._well.recording.sensors)
        else:
            floats = [_float32(value) for value in self._well.recording.values(moment.row)]
        for index, raw in enumerate(floats):
            _put(registers, float_offset(index), raw)
        _put(registers, ROW_OFFSET, struct.pack(">I", NO_ROW if moment.row is None else moment.row))
        _put(registers, TIME_OFFSET, struct.pack(">Q", moment.ts))


def _float32(value: float) -> bytes:
    if math.isnan(value):
        return NAN
    try:
        return struct.pack(">f", value)
    except OverflowError:
        return struct.pack(">f", float("inf") if value > 0 else float("-inf"))


def _put(registers: list[int], offset: int, raw: bytes) -> None:
    registers[offset : offset + len(raw) // 2] = struct.unpack(f">{len(raw) // 2}H", raw)
