"""What crosses the wire, told by a witness between this client and node-opcua, in good times and in bad."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_relay import FaultyRelay, overwritten, stuck, truncated
from opcua_server import PLANT, Server, all_bad, all_good, messages, read_until, rows, tags
from test_opcua_guard import ALLOWED, attempts

from otmirror.errors import ReadOnlyError
from otmirror.loopthread import LoopThread
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.reader import OpcUaReader
from otmirror.taglist import Tag

Connect = Callable[..., OpcUaReader]
CHANNEL = {"OpenSecureChannel", "CloseSecureChannel"}
COUNTERS = tags(*(f"Counter{i}" for i in range(40)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("moving"), counters=40, moving=True, written=4)
    yield server
    server.close()


@pytest.fixture
def moving(shared: Server) -> Server:
    """Without the sessions of those who could not say goodbye in an earlier test."""
    shared.do("killSessions")
    shared.do("mostSessions")
    return shared


@pytest.fixture
def relay(moving: Server) -> Iterator[FaultyRelay]:
    relay = FaultyRelay(moving)
    yield relay
    relay.close()


def services(counts: Counter[str]) -> Counter[str]:
    return Counter({name: count for name, count in counts.items() if name not in CHANNEL})


def asked(server: Server, before: dict[str, int] | None = None) -> Counter[str]:
    told = server.do("requests")
    return Counter({k: v - (before or {}).get(k, 0) for k, v in told.items() if k != "mostNodes"}) - Counter()


def one_session(server: Server, reader: OpcUaReader, seconds: float = 8) -> bool:
    """Whether the sessions whose goodbye was lost end by their timeout, while the reader goes on."""
    end = time.monotonic() + seconds
    while server.do("sessions") > 1 and time.monotonic() < end:
        reader.read()
        time.sleep(0.02)
    return bool(server.do("sessions") == 1)


def right(samples: dict[str, dict[str, Any]]) -> bool:
    """Counter n of the server is n, and a fraction that grows with every read: any other number was never served."""
    return all(row["value"] is None or int(row["value"]) == int(tag[7:]) for tag, row in samples.items())


def test_witness_guard_and_server_count_the_same(moving: Server, relay: FaultyRelay, connect: Connect) -> None:
    before = moving.do("requests")
    reader = connect(relay.url, COUNTERS, max_nodes=7, session_timeout=1.0, interval_ms=50)
    for _ in range(20):
        assert all_good(read_until(reader, lambda _: True))
    reader.close()
    assert relay.settled()
    assert services(relay.witness.requests) == reader.guard.sent == asked(moving, before)
    assert reader.guard.sent["Read"] > 100
    assert relay.witness.beyond(ALLOWED) == relay.witness.unreadable == relay.witness.results == Counter()
    assert services(relay.witness.responses) == services(relay.witness.requests)
    assert relay.witness.requests["OpenSecureChannel"] == relay.witness.transport["HEL"] == 2


WRITTEN = tags(*(f"Written{i}" for i in range(4)), mode="subscribe")


@pytest.fixture
def counting(moving: Server) -> Iterator[Server]:
    moving.do("write", every=20)
    yield moving
    moving.do("write", every=0)


def test_of_subscriptions_too_witness_guard_and_server_count_the_same(
    counting: Server, relay: FaultyRelay, connect: Connect
) -> None:
    before = counting.do("requests")
    reader = connect(relay.url, (*WRITTEN, *COUNTERS), sampling_ms=0, emit_repeats=True)
    values: set[float] = set()
    while len(values) < 100:
        table = reader.read()
        values |= (
            {row["value"] for row in table.to_pylist() if row["tag"] == "Written0"} if table is not None else set()
        )
        time.sleep(0.005)
    reader.close()
    assert relay.settled()
    assert services(relay.witness.requests) == reader.guard.sent == asked(counting, before)
    assert {"CreateSubscription", "CreateMonitoredItems", "Publish"} <= set(reader.guard.sent)
    assert relay.witness.beyond(ALLOWED) == Counter()


@pytest.mark.parametrize("fault", ["cut", "reset", "subscription", "session", "freeze"])
def test_what_brings_a_subscription_back_is_on_the_list_as_well(
    counting: Server, relay: FaultyRelay, connect: Connect, fault: str
) -> None:
    reader = connect(
        relay.url, (*WRITTEN, *COUNTERS), sampling_ms=0, emit_repeats=True, request_timeout=0.7, reconnect_longest=0.5
    )

    def counted(beyond: float) -> float:
        """Read until the subscribed tags are good and past a number; returns the last one."""
        last: dict[str, float] = {}
        end = time.monotonic() + 15
        while time.monotonic() < end:
            table = reader.read()
            for row in table.to_pylist() if table is not None else []:
                if row["tag"].startswith("Written"):
                    last[row["tag"]] = row["value"] or -1.0
            if len(last) == len(WRITTEN) and min(last.values()) > beyond:
                return max(last.values())
            time.sleep(0.005)
        raise AssertionError(f"{last} are not beyond {beyond}; {messages(reader)}")

    reached = counted(0)
    {
        "cut": relay.cut,
        "reset": lambda: relay.cut(reset=True),
        "subscription": lambda: counting.do("killSubscriptions"),
        "session": lambda: counting.do("killSessions"),
        "freeze": relay.freeze,
    }[fault]()
    if fault == "freeze":
        read_until(reader, lambda samples: "Counter0" in samples and samples["Counter0"]["quality"] == "bad")
        relay.thaw()
    counted(reached + 20)
    reader.close()
    assert relay.settled()
    sent = services(relay.witness.requests)
    assert relay.witness.beyond(ALLOWED) == Counter()
    assert set(sent) <= ALLOWED
    assert sent <= reader.guard.sent
    assert reader.guard.refused == Counter()


def test_attempts_at_anything_else_never_reach_the_wire(plant: Server) -> None:
    relay = FaultyRelay(plant)
    client, loop = GuardedClient(OpcUaConfig(relay.url, (Tag("a", "i=2259"),))), LoopThread("wire test")
    try:
        loop.run(client.connect(), 10)
        before, size = relay.witness.requests, relay.witness.transferred
        for service, attempt in attempts(plant).items():
            with pytest.raises(ReadOnlyError):
                loop.run(attempt(client._client), 10)
            assert client.refused[service] == 1
        assert relay.witness.requests == before
        assert relay.witness.transferred == size
    finally:
        loop.run(client.close(), 10)
        loop.close()
        relay.close()
    assert plant.do("setpoint") == 42


def test_the_witness_would_have_seen_a_write_and_a_call(plant: Server) -> None:
    from asyncua import Client

    relay, loop = FaultyRelay(plant), LoopThread("unguarded")
    index = plant.namespaces.index(PLANT)

    async def meddle() -> None:
        async with Client(relay.url) as client:
            node = client.get_node(ua.NodeId("Setpoint", index))
            await node.write_value(ua.DataValue(ua.Variant(13.0, ua.VariantType.Double)))
            call = ua.CallMethodRequest(ObjectId=ua.NodeId(85), MethodId=ua.NodeId("Trip", index))
            await client.uaclient.call([call])
            await node.write_value(ua.DataValue(ua.Variant(42.0, ua.VariantType.Double)))

    try:
        loop.run(meddle(), 10)
    finally:
        loop.close()
        relay.close()
    assert plant.do("setpoint") == 42
    assert relay.witness.beyond(ALLOWED) == {"Write": 2, "Call": 1}


# What is done to the connection, and whether it surely takes a new one to go on.
FAULTS: dict[str, tuple[Callable[[FaultyRelay], Any], bool]] = {
    "cut": (lambda relay: relay.cut(), True),
    "reset": (lambda relay: relay.cut(reset=True), True),
    "truncated": (lambda relay: relay.spoil(truncated()), True),
    "truncated and reset": (lambda relay: relay.spoil(truncated(reset=True)), True),
    "header only": (lambda relay: relay.spoil(truncated(left_out=100)), True),
    "stuck": (lambda relay: relay.spoil(stuck()), True),
    "message type": (lambda relay: relay.spoil(overwritten(0, b"XYZF")), True),
    "huge size": (lambda relay: relay.spoil(overwritten(4, b"\xff\xff\xff\x7f")), True),
    "small size": (lambda relay: relay.spoil(overwritten(4, b"\x01\x00\x00\x00")), True),
    "channel": (lambda relay: relay.spoil(overwritten(8, b"\xfe\xff\xff\xff")), False),
    "request id": (lambda relay: relay.spoil(overwritten(20, b"\x77\x77\x77\x77")), False),
    "response type": (lambda relay: relay.spoil(overwritten(24, b"\x01\x00\xa4\x02")), False),
    "count of values": (lambda relay: relay.spoil(overwritten(52, b"\xff\xff\xff\x7f")), False),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_costs_cycles_but_never_a_wrong_value(
    moving: Server, relay: FaultyRelay, connect: Connect, kind: str
) -> None:
    fault, reconnects = FAULTS[kind]
    before = moving.do("requests")
    reader = connect(relay.url, COUNTERS, request_timeout=0.7, session_timeout=1.0, emit_repeats=True)
    # A busy machine can be too slow for the first one.
    read_until(reader, lambda samples: right(samples) and all_good(samples))
    first = relay.witness.requests["CreateSession"]
    fault(relay)

    def over(samples: dict[str, dict[str, Any]]) -> bool:
        assert len(samples) == len(COUNTERS)
        assert right(samples)
        assert all(row["value"] is None for row in samples.values() if row["quality"] == "bad")
        again = relay.witness.requests["CreateSession"] > first
        return (relay.struck(0) or relay.cuts) and again >= reconnects and all_good(samples)

    read_until(reader, over, seconds=8)
    reader.close()
    assert relay.settled()
    sent = services(relay.witness.requests)
    assert relay.witness.beyond(ALLOWED) == Counter()
    assert set(sent) <= ALLOWED
    assert sent <= reader.guard.sent  # what was cut off on the way was counted, and did not arrive
    assert asked(moving, before) <= sent
    if reconnects:
        assert sent["CreateSession"] > first
        assert "lost the connection" in messages(reader)


@pytest.mark.heavy
def test_a_whole_run_with_one_fault_after_the_other(start: Callable[..., Server], connect: Connect) -> None:
    servers = [start(counters=40, moving=True)]
    relay = FaultyRelay(servers[0])

    def restart() -> None:
        servers.append(start(counters=40, moving=True, port=servers[0].port, pki=servers[0].pki))

    # What is done, and what undoes it once all tags are bad; None where the next connection is good already.
    faults: list[tuple[Callable[[], Any], Callable[[], Any] | None]] = [
        *[(relay.cut, None)] * 5,
        *[(lambda: relay.cut(reset=True), None)] * 2,
        (lambda: relay.spoil(truncated()), None),
        (lambda: relay.spoil(stuck()), None),
        (lambda: relay.spoil(overwritten(0, b"XYZF")), None),
        (relay.freeze, relay.thaw),
        (relay.refuse, relay.accept),
        (relay.swallow, lambda: relay.swallow(False)),
        (servers[0].kill, restart),
    ]
    reader = connect(
        relay.url, COUNTERS, interval_ms=50, request_timeout=0.7, reconnect_longest=0.5, session_timeout=2.0,
        emit_repeats=True,
    )  # fmt: skip
    try:
        for fault, undo in faults:
            read_until(reader, lambda samples: right(samples) and all_good(samples))
            before = relay.witness.requests["CreateSession"]
            fault()
            if undo is not None:
                read_until(reader, all_bad)
                undo()
            read_until(reader, lambda _: relay.witness.requests["CreateSession"] > before)  # noqa: B023
        read_until(reader, lambda samples: right(samples) and all_good(samples))
        assert one_session(servers[-1], reader)
        reader.close()
        assert relay.settled()
        assert servers[-1].do("sessions") == 0
        sent = services(relay.witness.requests)
        assert relay.witness.beyond(ALLOWED) == Counter()
        assert set(sent) <= ALLOWED
        assert sent <= reader.guard.sent
        assert sent["CreateSession"] > len(faults)
        assert reader.guard.refused == Counter()
    finally:
        relay.close()


@pytest.mark.parametrize("port", ["garbage", "silence"])
def test_a_server_that_speaks_another_protocol_or_none(tmp_path: Path, connect: Connect, port: str) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                if port == "garbage":
                    with client:
                        client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 50)
                else:
                    kept.append(client)

        kept: list[socket.socket] = []
        threading.Thread(target=answer, daemon=True).start()
        relay = FaultyRelay(listener.getsockname()[1])
        try:
            reader = connect(relay.url, COUNTERS[:2], request_timeout=0.5)
            started = time.monotonic()
            assert all_bad(rows(reader.read()))
            assert time.monotonic() - started < 5
            assert "error: " in messages(reader)
            assert relay.witness.requests == Counter()
        finally:
            relay.close()
            for client in kept:
                client.close()
