"""Connections that fail, break, freeze and come back: one session, one clear message, no sample too good."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opcua_server import PLANT, Server, all_bad, all_good, free_port, messages, read_until, rows, tags

from otmirror.loopthread import LoopThread
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.reader import OpcUaReader

Connect = Callable[..., OpcUaReader]
Start = Callable[..., Server]
NO_COMMUNICATION = 0x80310000
SOURCE_TIME = 1_772_600_767_123_000  # 2026-03-04T05:06:07.123Z, in server.js
TAGS = tags("Counter0", "Counter1")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("opc.tcp://127.0.0.1:{port}", "nothing listens at 127.0.0.1:{port} (connection refused)"),
        ("opc.tcp://localhost:{port}/x", "nothing listens at localhost:{port} (connection refused)"),
        (
            "opc.tcp://no-such-host.invalid:{port}",
            "of opc.tcp://no-such-host.invalid:{port} is unknown",
        ),
    ],
)
def test_an_address_nobody_answers_at(connect: Connect, url: str, hint: str) -> None:
    port = free_port()
    reader = connect(url.format(port=port), TAGS)
    found = rows(reader.read())
    assert {row["status"] for row in found.values()} == {NO_COMMUNICATION}
    assert all(row["ts"] == row["ts_read"] and row["value"] is None for row in found.values())
    assert hint.format(port=port) in messages(reader)
    again = read_until(reader, all_bad)  # staleness stays visible, the message is not repeated
    assert again["Counter0"]["ts"] > found["Counter0"]["ts"]
    assert messages(reader) == ""


def test_no_session_left(plant: Server, connect: Connect) -> None:
    plant.do("maxSessions", count=0)
    try:
        reader = connect(plant, TAGS)
        assert all_bad(rows(reader.read()))
        assert "has no session left (BadTooManySessions" in messages(reader)
    finally:
        plant.do("maxSessions", count=50)
    recovered, end = [], time.monotonic() + 15
    while not recovered and time.monotonic() < end:
        table = reader.read()
        recovered = [] if table is None else [row for row in table.to_pylist() if row["value"] == 1.0]
    # The server's own time of the value lies before the outage: it comes with that, and with the time of reading.
    assert [row["ts"] for row in recovered] == [SOURCE_TIME, recovered[0]["ts_read"]]
    assert recovered[1]["seq"] == recovered[0]["seq"] + 1


def test_a_killed_server_is_found_again_with_one_session_and_namespaces_where_they_are_now(
    start: Start, connect: Connect
) -> None:
    server = start(namespaces=[PLANT, "urn:other"], counters=2)
    reader = connect(server, TAGS)
    assert rows(reader.read())["Counter1"]["value"] == 1.0
    assert "connected to" in messages(reader)
    server.kill()
    gone = read_until(reader, all_bad)
    assert {row["status"] for row in gone.values()} == {NO_COMMUNICATION}
    assert "lost the connection" in messages(reader)
    moved = start(namespaces=["urn:other", "urn:third", PLANT], counters=2, port=server.port, pki=server.pki)
    assert moved.namespaces.index(PLANT) != server.namespaces.index(PLANT)
    assert read_until(reader, all_good)["Counter1"]["value"] == 1.0
    assert "info: " in messages(reader)
    assert moved.do("sessions") == 1
    assert moved.do("requests")["CreateSession"] == 1
    reader.close()
    assert moved.do("sessions") == 0


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may be frozen."""
    server = Server(tmp_path_factory.mktemp("spare"), counters=2, moving=True)
    yield server
    server.close()


def test_a_frozen_server_delays_a_cycle_by_the_timeout_and_keeps_one_session(spare: Server, connect: Connect) -> None:
    reader = connect(spare, TAGS, request_timeout=0.7, reconnect_longest=0.4)
    assert all_good(rows(reader.read()))
    spare.freeze()
    started = time.monotonic()
    read_until(reader, all_bad)
    assert time.monotonic() - started < 0.7 * 2 + 1.0  # the read, and a goodbye that is not answered either
    assert "no answer within 0.7 s" in messages(reader)
    started = time.monotonic()
    read_until(reader, all_bad)
    assert time.monotonic() - started < 0.7 + 0.5
    spare.thaw()
    read_until(reader, all_good)
    assert spare.do("sessions") == 1
    spare.freeze()
    started = time.monotonic()
    reader.close()
    assert time.monotonic() - started < 3
    spare.thaw()
    end = time.monotonic() + 10  # far less than the session timeout: the goodbye waited for it in the socket
    while spare.do("sessions") and time.monotonic() < end:
        time.sleep(0.02)
    assert spare.do("sessions") == 0


def test_the_session_outlives_polls_rarer_than_its_timeout(plant: Server, connect: Connect) -> None:
    before = plant.do("requests")["CreateSession"]
    reader = connect(plant, TAGS, interval_ms=2600, session_timeout=1.0, emit_repeats=True)
    assert all_good(rows(reader.read()))
    read_until(reader, lambda samples: True)
    assert "lost" not in messages(reader)
    assert plant.do("requests")["CreateSession"] == before + 1


def test_the_channels_keys_are_renewed_while_reading(plant: Server) -> None:
    config = OpcUaConfig(plant.url, TAGS, request_timeout=5)
    client, loop = GuardedClient(config, channel_lifetime=1.0), LoopThread("renewal")

    async def read_for(seconds: float) -> int:
        from asyncua import ua

        state = ua.ReadValueId(NodeId=ua.NodeId(2259), AttributeId=ua.AttributeIds.Value)
        reads, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            (value,) = await client.read([state])
            assert value.Value.Value == 0
            reads += 1
        return reads

    try:
        loop.run(client.connect(), 10)
        first = client._client.uaclient.protocol._connection.security_token.TokenId
        assert loop.run(read_for(2.5), 10) > 100
        assert client.alive
        assert client._client.uaclient.protocol._connection.security_token.TokenId > first
    finally:
        loop.run(client.close(), 10)
        loop.close()


def test_a_killed_process_leaves_its_session_no_longer_than_the_session_timeout(
    spare: Server, connect: Connect
) -> None:
    program = f"""
        from pathlib import Path
        from otmirror.opcua.config import OpcUaConfig
        from otmirror.opcua.reader import OpcUaReader
        from otmirror.taglist import Tag
        reader = OpcUaReader(OpcUaConfig({spare.url!r}, (Tag("a", "i=2259"),), session_timeout=1.5))
        print(reader.read().num_rows, flush=True)
        input()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3] / "processors",
    )  # fmt: skip
    with process:
        assert process.stdout
        assert process.stdout.readline() == b"1\n"
        process.kill()
    reader = connect(spare, TAGS, session_timeout=1.5)
    assert all_good(rows(reader.read()))
    end = time.monotonic() + 6
    while spare.do("sessions") > 1 and time.monotonic() < end:
        reader.read()
        time.sleep(0.05)
    assert spare.do("sessions") == 1


def test_close_ends_a_wait_for_the_next_slot_and_may_be_repeated(plant: Server, connect: Connect) -> None:
    reader = connect(plant, TAGS)
    assert all_good(rows(reader.read()))
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(reader.read()))
    thread.start()
    reader.close()
    thread.join(5)
    assert len(results) == 1
    reader.close()
    assert reader.read() is None
    assert plant.do("sessions") == 0


def test_nothing_due_returns_at_once(plant: Server, connect: Connect) -> None:
    reader = connect(plant, TAGS, interval_ms=5000)
    assert all_good(rows(reader.read()))
    started = time.monotonic()
    assert reader.read() is None
    assert time.monotonic() - started < 0.05


def test_a_reader_that_is_not_asked_ends_its_session_and_comes_back(plant: Server, tmp_path: Path) -> None:
    """On a cluster the source of another node takes over without a word to this one."""
    reader = OpcUaReader(
        OpcUaConfig(plant.url, tuple(TAGS), pki=tmp_path / "pki", interval_ms=100, emit_repeats=True), away=0.5
    )
    try:
        first = read_until(reader, all_good)
        assert plant.do("sessions") == 1
        end = time.monotonic() + 15
        while plant.do("sessions") and time.monotonic() < end:
            time.sleep(0.05)
        assert plant.do("sessions") == 0
        again = read_until(reader, all_good)
        assert plant.do("sessions") == 1
        assert min(row["seq"] for row in again.values()) > max(row["ts_read"] for row in first.values())
    finally:
        reader.close()
    assert plant.do("sessions") == 0
