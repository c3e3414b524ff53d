"""The read-only proof against jsmodbus, which takes writes from others."""

import asyncio
import struct

import pytest

from otmirror import taglist
from otmirror.errors import UnavailableError
from otmirror.modbus.address import checker
from otmirror.modbus.config import ModbusConfig
from otmirror.prove import attempts, wire, writer
from otmirror.prove.report import HOLDS
from otmirror.prove.standin import ModbusRelay

ROWS = (
    "tag,address,type\na,1:holding:0,uint16\nb,1:input:5,float\nc,1:coil:3,\nd,1:discrete:9,\n"
    "setpoint,1:holding:30,uint16\n"
)


def test_a_device_that_takes_writes_is_unchanged_by_a_hostile_run(device):
    address = ("127.0.0.1", device.port)
    assert writer.modbus(address, 6, struct.pack(">HH", 30, 4711)) == struct.pack(">HH", 30, 4711)
    assert device.register(unit=1, table="holding", offset=30) == 4711, "the device takes no write at all"
    device.asked()
    relay = ModbusRelay(address)
    tried = asyncio.run(attempts.modbus(relay.address, relay))
    assert tried.verdict == HOLDS, tried.seen
    assert relay.witness.function_codes == {3: 2}
    devices = {"plc": relay.address}
    tags = taglist.parse(ROWS, "rows", checker(devices, 125))
    config = ModbusConfig(
        devices, "proof", tags, interval_ms=50, timeout=0.5, reconnect_first=0.1, reconnect_longest=0.3, refresh=0.001
    )
    run = wire.troubled(wire.modbus_source(config), relay)
    relay.close()
    (line, _) = wire.modbus_lines("wire", "jsmodbus", relay, run)
    assert line.verdict == HOLDS, line.seen
    assert len(run.faults) == 5
    asked = device.asked()
    assert {function for _, function, *_ in asked} == {1, 2, 3, 4}
    assert device.register(unit=1, table="holding", offset=30) == 4711


def test_the_witness_and_the_device_count_the_same(device):
    relay = ModbusRelay(("127.0.0.1", device.port))
    devices = {"plc": relay.address}
    tags = taglist.parse(ROWS, "rows", checker(devices, 125))
    config = ModbusConfig(devices, "proof", tags, interval_ms=20, refresh=0.001)
    run = wire.calm(wire.modbus_source(config), relay, 0.5)
    relay.close()
    lines = wire.modbus_lines("wire", "jsmodbus", relay, run)
    assert [line.verdict for line in lines] == [HOLDS, HOLDS], lines
    asked = [function for _, function, *_ in device.asked()]
    assert relay.witness.function_codes == {code: asked.count(code) for code in (1, 2, 3, 4)}
    assert sum(relay.witness.responses.values()) == len(asked) > 20
    assert not relay.witness.results


def test_the_witness_would_have_seen_a_write_and_an_exception(device):
    relay = ModbusRelay(("127.0.0.1", device.port))
    try:
        writer.modbus(relay.address, 16, struct.pack(">HHBH", 30, 1, 2, 99))
        assert relay.settled()
        assert relay.witness.beyond(wire.MODBUS_READS) == {"16 Write Multiple Registers": 1}
        device.behave(unit=1, exception=4)
        with pytest.raises(UnavailableError, match="exception 4"):
            writer.modbus(relay.address, 3, struct.pack(">HH", 0, 1))
        assert relay.settled()
        assert relay.witness.results == {4: 1}
    finally:
        relay.close()
