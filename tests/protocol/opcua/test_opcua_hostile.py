"""A hostile OPC UA server against the real client, from its socket on: framing, secure channel, session, services."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_server import KINDS, Chunks, HostileServer, Recorder, recorded
from opcua_server import PLANT, Server, all_good, read_until, rows, tags

from hostile import Watch, peak_memory
from otmirror.errors import ConfigError, UnavailableError
from otmirror.loopthread import LoopThread
from otmirror.opcua import guard, notifications, services, wire
from otmirror.opcua.address import node_id, value_of
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.faults import ServiceFaultError
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.reader import OpcUaReader
from otmirror.prove.names import READ_SERVICES
from otmirror.taglist import Tag

pytestmark = pytest.mark.heavy
SEED = 20261201
WORKERS, EACH = 10, 100
TIMEOUT, BOUND = 1.0, 15.0
NAMES = ("Counter0", "Counter1", "Type.String", "Type.Matrix", "Type.Structure", "Type.DateTime", "Status.NullGood")
Answers = dict[str, list[Chunks]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("recorded"), counters=3000, moving=True, history={"still": 1})
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _quick_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other server here does not answer them."""
    monkeypatch.setattr(guard, "_GOODBYE", 0.05)


@pytest.fixture(scope="module")
def answers(server: Server) -> Answers:
    """What node-opcua answers to everything the client asks, by the service."""
    relay = Recorder(server.port)
    index = server.namespaces.index(PLANT)
    server.do("record", name="Still0", values=[[1_700_000_000_000 + n, n] for n in range(50)])

    async def ask() -> None:
        client = GuardedClient(config(f"opc.tcp://127.0.0.1:{relay.port}"))
        await client.connect()
        for operation in operations(client, index):
            with contextlib.suppress(ServiceFaultError):
                await operation()
        await client.close()

    try:
        asyncio.run(asyncio.wait_for(ask(), 60))
        found_by_reader(relay)
    finally:
        relay.close()
    found = recorded(relay)
    assert {"HEL", "OpenSecureChannel", "GetEndpoints", "CreateSession", "ActivateSession", "Read", "Browse",
            "HistoryRead", "CreateSubscription", "CreateMonitoredItems", "Publish"} <= found.keys()  # fmt: skip
    return found


def found_by_reader(relay: Recorder) -> None:
    """Let a reader poll and subscribe through the recorder too."""
    url = f"opc.tcp://127.0.0.1:{relay.port}"
    subscribed = tags("Counter2", "Setpoint", mode="subscribe")
    reader = OpcUaReader(OpcUaConfig(url, (*tags(*NAMES), *subscribed), interval_ms=50))
    try:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            reader.read()
            time.sleep(0.01)
    finally:
        reader.close()


def config(url: str, timeout: float = 5.0) -> OpcUaConfig:
    return OpcUaConfig(url, (Tag("a", "i=2258"),), request_timeout=timeout)


def operations(client: GuardedClient, index: int) -> list[Callable[[], Any]]:
    nodes = [wire.node(value_of(node_id(name, index))) for name in NAMES]
    many = [wire.node(value_of(node_id(f"Counter{n}", index))) for n in range(900)]
    history = wire.node(value_of(node_id("Still0", index)))
    items = [wire.item(node, n, 100.0, 10) for n, node in enumerate(nodes)]

    async def publish() -> object:  # not the subscription's own, which waits for ever
        return notifications.published(await client.exchange(wire.PUBLISH, wire.publish_body([]), "publishing"))

    return [
        lambda: client.read_values(nodes),
        lambda: client.read_values(nodes),
        lambda: client.read_values(many),
        lambda: client.read([value_of(node_id(2256)), value_of(node_id(2255))]),
        lambda: client.browse([node_id(85), node_id(84)]),
        lambda: client.history([history], 1_699_999_000_000_000, 1_700_001_000_000_000, 100),
        lambda: services.create_subscription(client, 0.1, 10.0, 0.3, 100),
        lambda: services.create_items(client, 1, items),
        lambda: services.republish(client, 1, 1),
        publish,
        lambda: services.transfer(client, [1]),
        lambda: services.delete_subscription(client, 1),
    ]


ALLOWED = (UnavailableError, ConfigError)
"""What the client may raise: UnavailableError is of the connection, a fault of the server or an answer without sense,
ConfigError of endpoints that a server does not have."""


async def worker(server: HostileServer, watch: Watch, index: int, few: asyncio.Semaphore) -> None:
    def last() -> str:
        return server.last

    while server.spoiled < EACH:
        client = GuardedClient(config(server.url, TIMEOUT))
        connected = []
        async with few:  # the time limit of a connection is for the server, not for this end's other work
            await watch.call("connecting", noting(client.connect(), connected), BOUND, last)
        while connected and client.alive and server.spoiled < EACH:
            await watch.call("asking", server.chance.choice(operations(client, index))(), BOUND, last)
        await watch.call("closing", client.close(), BOUND, last)


async def noting(work: Any, done: list[bool]) -> None:
    await work
    done.append(True)


@pytest.mark.timeout(300)
def test_a_thousand_spoiled_answers_do_no_harm(server: Server, answers: Answers) -> None:
    watch = Watch(SEED, ALLOWED)
    servers = [HostileServer(answers, f"{SEED}-{n}") for n in range(WORKERS)]
    index = server.namespaces.index(PLANT)

    async def run() -> int:
        watch.listen()
        few = asyncio.Semaphore(5)
        listening = [await one.start() for one in servers]
        await asyncio.gather(*(worker(one, watch, index, few) for one in servers))
        for one in listening:
            one.close()
        await asyncio.sleep(0.2)
        return len(asyncio.all_tasks())

    before = peak_memory()
    left = asyncio.run(asyncio.wait_for(run(), 270))
    assert watch.wrong == []
    assert sum(one.spoiled for one in servers) >= WORKERS * EACH == 1000
    kinds = sum((one.kinds for one in servers), Counter())
    assert set(kinds) == set(KINDS)
    met = sum((one.services for one in servers), Counter())
    assert {"HEL", "OpenSecureChannel", "GetEndpoints", "CreateSession", "ActivateSession", "Read", "Browse",
            "HistoryRead", "CreateSubscription", "CreateMonitoredItems", "Publish"} <= met.keys()  # fmt: skip
    assert watch.results["answered"] > 300
    for one in servers:
        assert one.witness.beyond(READ_SERVICES) == Counter()
    assert watch.longest < BOUND
    assert left <= 2 + WORKERS  # this one, the watch, and what serves
    assert peak_memory() - before < 512 << 20, watch.leaps


def test_a_reader_of_a_hostile_server_goes_on_and_recovers(answers: Answers, tmp_path: Path) -> None:
    """Every cycle ends in time and never raises; the tags are good again when the server is honest."""
    loop = LoopThread("hostile server")
    hostile = HostileServer(answers, f"{SEED}-reader", early=0.05, share=0.4)
    listening = loop.run(hostile.start(), 5)
    reader = OpcUaReader(OpcUaConfig(
        hostile.url, tags(*NAMES[:2]), interval_ms=20, request_timeout=0.4, reconnect_first=0.1,
        reconnect_longest=0.1, pki=tmp_path, emit_repeats=True, backfill=False,
    ))  # fmt: skip
    try:
        end = time.monotonic() + 80
        while hostile.spoiled < 100:
            assert time.monotonic() < end, f"{hostile.spoiled} spoiled, {hostile.last}"
            started = time.monotonic()
            rows(reader.read())
            assert time.monotonic() - started < 5, hostile.last
            assert len(reader.notices()) < 50
        hostile.honest = True
        read_until(reader, lambda samples: len(samples) == 2 and all_good(samples), seconds=20)
        assert hostile.witness.beyond(READ_SERVICES) == Counter()
        assert threading.active_count() < 50
    finally:
        reader.close()
        loop.soon(listening.close)
        loop.close()
