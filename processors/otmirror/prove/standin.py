"""A plant of the proof's own on loopback, with relays in front of it: what is tried at all is tried on it alone."""

from __future__ import annotations

import csv
import io
import logging
import struct
from collections.abc import Iterable
from functools import cached_property
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from otmirror import taglist
from otmirror.loopthread import LoopThread
from otmirror.modbus.address import checker
from otmirror.modbus.config import ModbusConfig
from otmirror.opcua import address
from otmirror.opcua.config import OpcUaConfig
from otmirror.plant import Plant, PlantConfig
from otmirror.plant import tags as listed
from otmirror.plant.opcua import NAMESPACE
from otmirror.plant.well import SETPOINT_OFFSET
from otmirror.prove import writer
from otmirror.taglist import AddressCheck, Tag
from otmirror.witness.faulty import FaultyRelay
from otmirror.witness.modbus import ModbusWitness
from otmirror.witness.opcua import Witness

_PATIENCE = 60.0
_DEVICE = "plc"


class ModbusRelay(FaultyRelay):
    """A faulty relay for Modbus, whose answers are all of one kind."""

    witness: ModbusWitness

    def __init__(self, target: tuple[str, int]):
        """Take the device's host and port."""
        super().__init__(target, ModbusWitness())

    def spoils(self, data: bytes) -> bool:
        """Any bytes of the device."""
        return bool(data)


class StandIn:
    """One well behind OPC UA and Modbus, and a witnessing relay before each."""

    def __init__(self) -> None:
        """Start it; takes a second or two."""
        for name in ("asyncua", "pymodbus.logging"):  # what a client did wrong is answered to the client
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._loop = LoopThread("stand-in")
        self._plant = Plant(PlantConfig(wells=1, opcua_port=0, modbus_port=0))
        try:
            self._loop.run(self._plant.start(), _PATIENCE)
            url = urlsplit(self._plant.opcua_url or "")
            assert self._plant.modbus_address
            self.opcua_address = (url.hostname or "", url.port or 0)
            self.modbus_address = self._plant.modbus_address
            self._path = url.path
        except BaseException:
            self._loop.close()
            raise
        self._relays: list[FaultyRelay] = []

    def opcua_relay(self) -> FaultyRelay:
        """Return a relay of its own before the OPC UA server; closed with the stand-in."""
        self._relays.append(FaultyRelay(self.opcua_address, Witness()))
        return self._relays[-1]

    def modbus_relay(self) -> ModbusRelay:
        """Return a relay of its own before the Modbus device; closed with the stand-in."""
        relay = ModbusRelay(self.modbus_address)
        self._relays.append(relay)
        return relay

    def opcua_config(self, relay: FaultyRelay, **settings: Any) -> OpcUaConfig:
        """Return a source of the well's tags through a relay, every other one subscribed."""
        rows = list(listed.opcua_rows(self._plant.wells))
        modes = ("poll", "subscribe")
        tags = _tags(rows, address.check, [modes[n % 2] for n in range(len(rows))])
        return OpcUaConfig(f"opc.tcp://{relay.host}:{relay.port}{self._path}", tags, **settings)

    def modbus_config(self, relay: FaultyRelay, **settings: Any) -> ModbusConfig:
        """Return a source of the unit's tags through a relay."""
        devices = {_DEVICE: relay.address}
        tags = _tags(listed.modbus_rows(self._plant.modbus_wells), checker(devices, 125))
        return ModbusConfig(devices, "proof", tags, **settings)

    @cached_property
    def setpoint(self) -> ua.NodeId:
        """The node that takes writes from everybody."""
        other = writer.OpcUaWriter(*self.opcua_address)
        try:
            spaces = other.read(address.node_id(ObjectIds.Server_NamespaceArray))
            return address.node_id("Well1.Setpoint", spaces.index(NAMESPACE))
        finally:
            other.close()

    def set_opcua(self, value: float) -> float:
        """Write the setpoint with another client, and return what it reads back."""
        other = writer.OpcUaWriter(*self.opcua_address)
        try:
            other.write(self.setpoint, value)
            return float(other.read(self.setpoint))
        finally:
            other.close()

    def opcua_value(self) -> float:
        """Return the setpoint as another client reads it."""
        other = writer.OpcUaWriter(*self.opcua_address)
        try:
            return float(other.read(self.setpoint))
        finally:
            other.close()

    def set_modbus(self, value: int) -> int:
        """Write the setpoint register with another client, and return what it reads back."""
        writer.modbus(self.modbus_address, 6, struct.pack(">HH", SETPOINT_OFFSET, value))
        return self.modbus_value()

    def modbus_value(self) -> int:
        """Return the setpoint register as another client reads it."""
        answer = writer.modbus(self.modbus_address, 3, struct.pack(">HH", SETPOINT_OFFSET, 1))
        return int(struct.unpack(">H", answer[1:3])[0])

    def close(self) -> None:
        """Stop everything."""
        for relay in self._relays:
            relay.close()
        try:
            self._loop.run(self._plant.stop(), _PATIENCE)
        finally:
            self._loop.close()

    def __enter__(self) -> StandIn:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tags(rows: Iterable[listed.Row], check: AddressCheck, modes: list[str] | None = None) -> tuple[Tag, ...]:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow([*listed.HEADER, "mode"])
    for n, row in enumerate(rows):
        table.writerow([*row, modes[n] if modes else ""])
    return tuple(taglist.parse(text.getvalue(), "stand-in", check))
