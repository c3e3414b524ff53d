"""A device for each test, and readers of it that are closed at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from modbus_device import Device

from otmirror import taglist
from otmirror.modbus.address import checker
from otmirror.modbus.config import ModbusConfig
from otmirror.modbus.reader import ModbusReader

HEADER = "tag,address,type,order,scale,offset,interval_ms,deadband,unit\n"


@pytest.fixture(scope="session")
def running_device() -> Iterator[Device]:
    running = Device()
    yield running
    running.kill()


@pytest.fixture
def device(running_device: Device) -> Device:
    """Return a device that knows nothing yet; whoever kills it starts one of its own."""
    running_device.reset()
    return running_device


@pytest.fixture
def make_reader(device: Device) -> Iterator[Callable[..., ModbusReader]]:
    """Return a function that makes a reader of tag list rows; closed at the end."""
    made: list[ModbusReader] = []

    def make(rows: str, **settings: Any) -> ModbusReader:
        devices = settings.pop("devices", None) or {"plc": ("127.0.0.1", device.port)}
        check = checker(devices, settings.get("max_registers", 125))
        tags = taglist.parse(HEADER + rows, check=check)
        defaults = {"source": "modbus:test", "interval_ms": 100, "timeout": 1.0, "reconnect_first": 0.2}
        made.append(ModbusReader(ModbusConfig(devices=devices, tags=tags, **(defaults | settings))))
        return made[-1]

    yield make
    for reader in made:
        reader.close()
