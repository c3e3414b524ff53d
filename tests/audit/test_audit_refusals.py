"""Each refusal of a guard becomes a line, also when whoever tried keeps quiet about it."""

import asyncio
import json
import logging

import pytest
from asyncua import ua
from pymodbus.pdu.register_message import WriteSingleRegisterRequest

from otmirror.errors import ReadOnlyError
from otmirror.modbus.guard import GuardedClient
from otmirror.opcua.allowlist import ReadOnlyGuard


def lines(caplog):
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "otmirror.refused"]


def test_opcua(caplog):
    guard = ReadOnlyGuard()
    guard.device = "opc.tcp://plc7:4840"
    for request in (ua.WriteRequest(), ua.CallRequest(), ua.WriteRequest()):
        with pytest.raises(ReadOnlyError):
            guard.observe_request(request)
    guard.observe_request(ua.ReadRequest())
    assert [(line["device"], line["service"], line["count"]) for line in lines(caplog)] == [
        ("opc.tcp://plc7:4840", "Write", 1), ("opc.tcp://plc7:4840", "Call", 1), ("opc.tcp://plc7:4840", "Write", 2),
    ]  # fmt: skip
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_modbus(caplog):
    async def attempt():
        received = asyncio.get_running_loop().create_future()

        async def device(reader, writer):
            received.set_result(await reader.read())
            writer.close()

        server = await asyncio.start_server(device, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = GuardedClient("127.0.0.1", port, [1], 5.0)
        await client.connect()
        with pytest.raises(ReadOnlyError):
            await client.request(WriteSingleRegisterRequest(address=0, registers=[7], dev_id=1))
        client.close()
        told = await received
        server.close()
        return port, told

    port, received = asyncio.run(asyncio.wait_for(attempt(), 20))
    assert received == b""
    assert lines(caplog) == [
        {"protocol": "modbus", "device": f"127.0.0.1:{port}", "service": "function code 6 to unit 1", "count": 1}
    ]
