"""The guard, against a device that would take a write."""

import asyncio
import socket
import struct
import time

import pytest
from pymodbus.pdu import bit_message, diag_message, file_message, mei_message, other_message, register_message

from otmirror.errors import ReadOnlyError
from otmirror.modbus.guard import (
    ConnectionLostError,
    DeviceExceptionError,
    GuardedClient,
    NoAnswerError,
    NotConnectedError,
)

FORBIDDEN = {
    5: bit_message.WriteSingleCoilRequest(address=0, bits=[True], dev_id=1),
    6: register_message.WriteSingleRegisterRequest(address=0, registers=[7], dev_id=1),
    7: other_message.ReadExceptionStatusRequest(dev_id=1),
    8: diag_message.DiagnosticBase(dev_id=1),
    15: bit_message.WriteMultipleCoilsRequest(address=0, bits=[True], dev_id=1),
    16: register_message.WriteMultipleRegistersRequest(address=0, registers=[7], dev_id=1),
    20: file_message.ReadFileRecordRequest(dev_id=1),
    21: file_message.WriteFileRecordRequest(dev_id=1),
    22: register_message.MaskWriteRegisterRequest(address=0, dev_id=1),
    23: register_message.ReadWriteMultipleRegistersRequest(read_count=1, write_registers=[7], dev_id=1),
    24: file_message.ReadFifoQueueRequest(dev_id=1),
    43: mei_message.ReadDeviceInformationRequest(dev_id=1),
}


def guarded(device, timeout=0.3, units=(1, 2)):
    return GuardedClient("127.0.0.1", device.port, units, timeout)


def run(work):
    return asyncio.run(asyncio.wait_for(work, 20))


@pytest.mark.parametrize("code", FORBIDDEN)
def test_whatever_is_no_read_is_refused_before_a_byte_leaves(device, code):
    pdu = FORBIDDEN[code]
    assert pdu.function_code == code

    async def attempt():
        client = guarded(device)
        await client.connect()
        with pytest.raises(ReadOnlyError, match=f"refused function code {code} to unit 1"):
            await client.request(pdu)
        assert await client.read(1, "holding", 0, 1) == [0]
        client.close()
        return client

    client = run(attempt())
    assert client.refused == {code: 1}
    assert client.sent == {3: 1}
    assert device.asked() == [(1, 3, 0, 1)]


def test_the_library_underneath_cannot_write_either(device):
    async def attempt():
        client = guarded(device)
        await client.connect()
        inner = client._client
        for write in (
            inner.write_register(0, 7, device_id=1),
            inner.write_registers(0, [7], device_id=1),
            inner.write_coil(0, True, device_id=1),
            inner.mask_write_register(address=0, device_id=1),
            inner.readwrite_registers(read_count=1, values=[7], device_id=1),
        ):
            with pytest.raises(ReadOnlyError):
                await write
        client.close()
        return client.refused

    assert run(attempt()) == {6: 1, 16: 1, 5: 1, 22: 1, 23: 1}
    assert device.asked() == []


def test_the_device_would_take_a_write_from_somebody_else(device):
    with socket.create_connection(("127.0.0.1", device.port), 5) as other:
        other.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 6, 0, 4711))
        assert other.recv(64) == struct.pack(">HHHBBHH", 1, 0, 6, 1, 6, 0, 4711)
    assert device.register(unit=1, table="holding", offset=0) == 4711


def test_a_unit_nobody_declared_is_refused(device):
    async def attempt():
        client = guarded(device)
        await client.connect()
        with pytest.raises(ReadOnlyError, match="unit 9"):
            await client.read(9, "holding", 0, 1)
        client.close()

    run(attempt())
    assert device.asked() == []


def test_a_late_answer_is_never_taken_for_a_later_request(device):
    device.poke(unit=1, table="holding", offset=0, type="uint16", value=1111)
    device.poke(unit=1, table="holding", offset=100, type="uint16", value=2222)

    async def attempt():
        client = guarded(device, timeout=0.4)
        await client.connect()
        device.behave(unit=1, late=600)
        with pytest.raises(NoAnswerError):
            await client.read(1, "holding", 0, 1)
        device.behave(unit=1, late=300)  # the late answer comes while this one is awaited
        assert await client.read(1, "holding", 100, 1) == [2222]
        device.behave(unit=1)
        for _ in range(20):
            assert await client.read(1, "holding", 100, 1) == [2222]
        client.close()

    run(attempt())


def test_a_late_answer_and_the_awaited_one_in_one_piece(device):
    device.poke(unit=2, table="holding", offset=124, type="uint16", value=7)

    async def attempt():
        client = guarded(device, timeout=0.4)
        await client.connect()
        device.behave(unit=1, late=500)
        with pytest.raises(NoAnswerError):
            await client.read(1, "holding", 0, 125)
        device.behave(unit=2, late=100)
        answer = asyncio.ensure_future(client.read(2, "holding", 0, 125))
        await asyncio.sleep(0.01)
        time.sleep(0.3)  # noqa: ASYNC251 - this end is busy: both answers wait in the socket
        assert (await answer)[124] == 7
        client.close()

    run(attempt())


@pytest.mark.parametrize("misbehave", ["tid0", "short", "garbage", "half"])
def test_an_answer_that_cannot_be_trusted_ends_the_connection(device, misbehave):
    async def attempt():
        client = guarded(device)
        await client.connect()
        device.behave(unit=1, misbehave=misbehave)
        start = time.monotonic()
        with pytest.raises(ConnectionLostError):
            await client.read(1, "holding", 0, 10)
        assert time.monotonic() - start < 0.25, "it sat out the timeout"
        assert not client.connected
        device.behave(unit=1)
        await client.connect()
        assert await client.read(1, "holding", 0, 10) == [0] * 10
        client.close()

    run(attempt())


def test_half_a_late_answer_is_never_glued_to_the_next(device):
    device.poke(unit=1, table="holding", offset=5, type="uint16", value=55)

    async def attempt():
        client = guarded(device)
        await client.connect()
        device.behave(unit=1, misbehave="partial", late=600)
        with pytest.raises(NoAnswerError):
            await client.read(1, "holding", 0, 2)
        device.behave(unit=1)
        with pytest.raises(ConnectionLostError, match="part of a late answer"):
            await client.read(1, "holding", 5, 1)
        await client.connect()
        assert await client.read(1, "holding", 5, 1) == [55]
        client.close()

    run(attempt())


def test_an_answer_in_single_bytes(device):
    device.poke(unit=1, table="input", offset=3, type="uint16", value=33)
    device.behave(unit=1, misbehave="bytes")

    async def attempt():
        client = guarded(device)
        await client.connect()
        values = await client.read(1, "input", 0, 4)
        client.close()
        return values

    assert run(attempt()) == [0, 0, 0, 33]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 17, 2000])
@pytest.mark.parametrize("table", ["coil", "discrete"])
def test_bits_in_order_and_number(device, table, count):
    wanted = [place % 3 == 0 or place % 7 == 0 for place in range(count)]
    for place in range(count):
        if wanted[place] and (place < 20 or place > 1980):
            device.bit(unit=1, table=table, offset=5 + place, value=1)

    async def attempt():
        client = guarded(device)
        await client.connect()
        values = await client.read(1, table, 5, count)
        client.close()
        return [bool(value) for value in values]

    values = run(attempt())
    assert len(values) == count
    assert values[:20] == wanted[:20]
    assert values[1981:] == wanted[1981:]


def test_an_exception(device):
    device.behave(unit=1, exception=4)

    async def attempt():
        client = guarded(device)
        await client.connect()
        with pytest.raises(DeviceExceptionError) as caught:
            await client.read(1, "coil", 0, 1)
        client.close()
        return caught.value.code

    assert run(attempt()) == 4


def test_why_there_is_no_connection(device):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NotConnectedError, match="Connection refused"):
        run(GuardedClient("127.0.0.1", port, (1,), 2.0).connect())
    with pytest.raises(NotConnectedError):
        run(GuardedClient("no-such-host.invalid", 502, (1,), 2.0).connect())


def test_a_connection_that_ends_is_noticed_at_once(device):
    async def attempt():
        client = guarded(device, timeout=5.0)
        await client.connect()
        device.behave(unit=1, silent=True)
        answer = asyncio.ensure_future(client.read(1, "holding", 0, 1))
        await asyncio.sleep(0.05)
        device.drop()
        start = time.monotonic()
        with pytest.raises(ConnectionLostError):
            await answer
        assert time.monotonic() - start < 2

    run(attempt())
