"""A hostile Modbus device: real answers, recorded and spoiled, to a real client over a real socket."""

from __future__ import annotations

import asyncio
import random
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from hostile import Watch as _Watch
from hostile import damaged, peak_memory
from otmirror import taglist
from otmirror.loopthread import LoopThread
from otmirror.modbus.address import checker
from otmirror.modbus.config import ModbusConfig
from otmirror.modbus.guard import (
    ConnectionLostError,
    DeviceExceptionError,
    GuardedClient,
    NoAnswerError,
    NotConnectedError,
)
from otmirror.modbus.reader import ModbusReader
from otmirror.prove.wire import MODBUS_READS
from otmirror.witness.modbus import ModbusWitness
from otmirror.witness.relay import Link, Relay

pytestmark = pytest.mark.heavy
SEED = 20261130
WORKERS, EACH = 20, 450
TIMEOUT, BOUND = 0.05, 5.0
TABLES = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
ASKED = [(table, offset, count) for table in TABLES for offset, count in ((0, 1), (3, 17), (10, 125))]
Recorded = dict[bytes, bytes]
"""Answers by the PDU that asked for them, both from the unit on."""


class Recorder(Relay):
    """Keeps each request and its answer."""

    def __init__(self, port: int):
        self.kept: list[tuple[bool, bytes]] = []
        super().__init__(("127.0.0.1", port), ModbusWitness())

    async def passing(self, link: Link, request: bool, data: bytes) -> bytes:
        self.kept.append((request, data))
        return await super().passing(link, request, data)


@pytest.fixture
def recorded(device: Any) -> Recorded:
    """What jsmodbus answers, exceptions included, by the request."""
    for offset in range(140):
        device.poke(unit=1, table="holding", offset=offset, type="uint16", value=offset * 257 % 65536)
    relay = Recorder(device.port)

    async def ask() -> None:
        client = GuardedClient("127.0.0.1", relay.port, (1, 2), 5.0)
        device.behave(unit=2, exception=2)
        await client.connect()
        for unit in (1, 2):
            for table, offset, count in ASKED:
                try:
                    await client.read(unit, table, offset, count)
                except DeviceExceptionError as error:
                    assert (unit, error.code) == (2, 2)  # noqa: PT017 - unit 2 answers with nothing else
        client.close()

    try:
        asyncio.run(ask())
    finally:
        relay.close()
    found = {
        request[6:]: answer[6:] for (_, request), (_, answer) in zip(relay.kept[::2], relay.kept[1::2], strict=True)
    }
    assert len(found) == 2 * len(ASKED)
    return found


class Hostile:
    """A device that gives recorded answers, most of them spoiled. `honest` ends that."""

    def __init__(self, recorded: Recorded, seed: str, share: float = 0.9):
        self.recorded, self.share = recorded, share
        self.chance = random.Random(seed)
        self.witness = ModbusWitness()
        self.spoiled = self.connections = 0
        self.kinds: Counter[str] = Counter()
        self.last = "nothing"
        self.honest = False
        self.port = 0

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number, held = self.connections, b""
        try:
            while True:
                head = await reader.readexactly(6)
                body = await reader.readexactly(struct.unpack(">HHH", head)[2])
                self.witness.take(number, True, head + body)
                answer = self.recorded[body]
                frame = head[:4] + struct.pack(">H", len(answer)) + answer
                if not self.honest and self.chance.random() < self.share:
                    self.spoiled += 1
                    kind = self.chance.choice(KINDS)
                    self.kinds[kind] += 1
                    frame, held, goes_on = self.spoil(kind, frame, held)
                    self.last = f"{kind} {frame.hex()}"
                    writer.write(frame)
                    if not goes_on:
                        break
                else:
                    writer.write(frame)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.witness.ended(number)
            writer.close()

    def spoil(self, kind: str, frame: bytes, held: bytes) -> tuple[bytes, bytes, bool]:
        """What is sent, what is held back for the next answer, and whether the connection goes on."""
        chance = self.chance
        if kind == "damaged":
            return damaged(chance, frame), held, True
        if kind == "length":
            return (
                frame[:4] + struct.pack(">H", chance.choice((0, 1, 2, 3, 254, 255, 4096, 65535))) + frame[6:],
                held,
                True,
            )
        if kind == "cut short":
            return frame[: chance.randrange(len(frame))], held, chance.random() < 0.7
        if kind == "doubled":
            return frame * chance.randrange(2, 5), held, True
        if kind == "reordered":
            return held or b"", frame, True
        if kind == "transaction":
            return struct.pack(">H", chance.choice((0, 1, 2, 65535, chance.randrange(65536)))) + frame[2:], held, True
        if kind == "unit or function":
            at = chance.choice((6, 7))
            return frame[:at] + bytes([chance.randrange(256)]) + frame[at + 1 :], held, True
        if kind == "byte count":
            return frame[:8] + bytes([chance.randrange(256)]) + frame[9:], held, True
        if kind == "exception":
            return frame[:4] + b"\x00\x03" + frame[6:7] + bytes([frame[7] | 0x80, chance.randrange(256)]), held, True
        if kind == "of another request":
            other = chance.choice(list(self.recorded.values()))
            return frame[:4] + struct.pack(">H", len(other)) + other, held, True
        if kind == "silent":
            return b"", held, True
        return chance.randbytes(chance.randrange(1, 600)), held, chance.random() < 0.5  # noise


KINDS = (
    "damaged", "damaged", "damaged", "length", "cut short", "doubled", "reordered", "transaction", "unit or function",
    "byte count", "exception", "of another request", "silent", "noise",
)  # fmt: skip


async def worker(device: Hostile, watch: _Watch) -> None:
    client = GuardedClient("127.0.0.1", device.port, (1, 2), TIMEOUT)
    while device.spoiled < EACH:
        if not client.connected:
            await watch.call("connecting", client.connect(), BOUND, lambda: device.last)
        unit, (table, offset, count) = device.chance.choice((1, 1, 1, 2)), device.chance.choice(ASKED)
        values = await watch.call("reading", client.read(unit, table, offset, count), BOUND, lambda: device.last)
        if values is not None:
            most = 1 if table in ("coil", "discrete") else 65535
            if len(values) != count or not all(0 <= value <= most for value in values):
                watch.wrong.append(f"seed {watch.seed}: {len(values)} values of {count}: {values} after {device.last}")
    client.close()


def test_nine_thousand_spoiled_answers_do_no_harm(recorded: Recorded) -> None:
    watch = _Watch(SEED, (ConnectionLostError, NoAnswerError, NotConnectedError, DeviceExceptionError))
    devices = [Hostile(recorded, f"{SEED}-{n}") for n in range(WORKERS)]

    async def run() -> int:
        watch.listen()
        servers = [await device.start() for device in devices]
        await asyncio.gather(*(worker(device, watch) for device in devices))
        for server in servers:
            server.close()
        await asyncio.sleep(0.1)
        return len(asyncio.all_tasks())

    before = peak_memory()
    left = asyncio.run(asyncio.wait_for(run(), 110))
    assert watch.wrong == []
    assert sum(device.spoiled for device in devices) >= WORKERS * EACH == 9000
    kinds = sum((device.kinds for device in devices), Counter())
    assert set(kinds) == set(KINDS)
    assert min(watch.results[kind] for kind in ("answered", "ConnectionLostError", "NoAnswerError")) > 100
    for device in devices:
        assert device.witness.beyond(MODBUS_READS) == Counter()
    assert watch.longest < BOUND
    assert left <= 2 + WORKERS, "tasks are left behind"  # this one, the watch, and what serves
    assert peak_memory() - before < 100 << 20, watch.leaps


@pytest.fixture
def hostile(recorded: Recorded) -> Iterator[Hostile]:
    loop = LoopThread("hostile device")
    device = Hostile(recorded, f"{SEED}-reader", 0.7)
    server = loop.run(device.start(), 5)
    yield device
    loop.soon(server.close)
    loop.close()


def test_a_reader_of_a_hostile_device_goes_on_and_recovers(hostile: Hostile) -> None:
    """Every cycle gives its samples or none, in time; the values are right again when the device is."""
    devices = {"plc": ("127.0.0.1", hostile.port)}
    rows = "tag,address,type\n" + "".join(f"{table}{n},1:{table}:0{',uint16' if n in (3, 4) else ','}\n"
                                          for table, n in TABLES.items())  # fmt: skip
    tags = taglist.parse(rows, "rows", checker(devices, 1))
    reader = ModbusReader(ModbusConfig(
        devices, "hostile", tags, interval_ms=10, timeout=0.05, reconnect_first=0.1, reconnect_longest=0.1,
        refresh=0.001,
    ))  # fmt: skip
    threads = threading.active_count()
    try:
        end = time.monotonic() + 60
        qualities: Counter[str] = Counter()
        while hostile.spoiled < 150:
            assert time.monotonic() < end, f"{hostile.spoiled} spoiled, {hostile.last}"
            started = time.monotonic()
            table = reader.read()
            assert time.monotonic() - started < 3, hostile.last
            if table is not None:
                assert table.num_rows <= 20 * len(tags)
                qualities.update(table["quality"].to_pylist())
            assert len(reader.notices()) < 50
        hostile.honest = True
        good = False
        while not good:
            assert time.monotonic() < end, "it does not recover"
            table = reader.read()
            good = table is not None and table["quality"].to_pylist() == ["good"] * len(tags)
        assert {row["tag"]: row["value"] for row in table.to_pylist()}["holding3"] == 0
        assert qualities["bad"] > 50
        assert hostile.witness.beyond(MODBUS_READS) == Counter()
        assert threading.active_count() <= threads
    finally:
        reader.close()
