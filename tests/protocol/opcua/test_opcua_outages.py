"""Servers that stop, freeze, come late, move or have no room; readers that are started, stopped and left alone."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opcua_relay import FaultyRelay
from opcua_server import PLANT, Server, all_bad, all_good, messages, read_until, rows, tags

from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.reader import OpcUaReader

Connect = Callable[..., OpcUaReader]
Start = Callable[..., Server]
COUNTERS = tags(*(f"Counter{i}" for i in range(40)))
PROMISED = 10.0
"""Seconds from a server's first open port to good data of every tag, with a Longest Reconnect Delay of 5 s."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("moving"), counters=40, moving=True)
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


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize("times", [20])
def test_a_server_that_is_restarted_again_and_again(start: Start, connect: Connect, times: int) -> None:
    server = start(counters=40, moving=True)
    reader = connect(server, COUNTERS, emit_repeats=True, reconnect_first=1.0, reconnect_longest=5.0)
    read_until(reader, all_good)
    for number in range(times):
        if number % 2:
            server.do("stop")
        else:
            server.kill()
        read_until(reader, all_bad)
        opened: list[tuple[Server, float]] = []

        def restart(old: Server = server, opened: list[Any] = opened) -> None:
            opened.append((start(counters=40, moving=True, port=old.port, pki=old.pki), time.monotonic()))

        starting = threading.Thread(target=restart)
        starting.start()
        found: dict[str, dict[str, Any]] = {}
        while starting.is_alive() or not opened or time.monotonic() < opened[0][1] + PROMISED:
            found = rows(reader.read()) or found
            assert not found or len(found) == len(COUNTERS)  # no tag is silent, good or bad
            if opened and found and all_good(found):
                break
            time.sleep(0.005)
        starting.join()
        assert all_good(found), f"restart {number}"
        server = opened[0][0]
        assert server.do("mostSessions") == server.do("sessions") == 1
        assert server.do("requests")["CreateSession"] == 1
    assert messages(reader).count("connected to") == times + 1
    reader.close()
    assert server.do("sessions") == 0


@pytest.mark.heavy
@pytest.mark.timeout(240)
def test_a_server_that_is_frozen_for_a_minute(start: Start, connect: Connect) -> None:
    server = start(counters=40, moving=True)
    reader = connect(server, COUNTERS, emit_repeats=True, reconnect_first=1.0, reconnect_longest=5.0)
    read_until(reader, all_good)
    server.freeze()
    try:
        end, longest = time.monotonic() + 60, 0.0
        read_until(reader, all_bad)
        while (started := time.monotonic()) < end:
            assert all_bad(rows(reader.read()))
            longest = max(longest, time.monotonic() - started)
            time.sleep(0.01)
        assert longest < 5 + 2  # the request timeout, and cleaning up
    finally:
        server.thaw()
    read_until(reader, all_good, seconds=PROMISED)
    end = time.monotonic() + 60
    while server.do("sessions") > 1 and time.monotonic() < end:
        reader.read()
        time.sleep(0.05)
    assert server.do("sessions") == 1
    reader.close()
    assert server.do("sessions") == 0


def test_a_server_that_comes_later(relay: FaultyRelay, moving: Server, connect: Connect) -> None:
    relay.refuse()
    reader = connect(relay.url, COUNTERS, reconnect_longest=0.5)
    assert all_bad(rows(reader.read()))
    assert "connection refused" in messages(reader)
    read_until(reader, all_bad)
    assert relay.witness.requests.total() == 0
    relay.accept()
    read_until(reader, all_good)
    assert "connected to" in messages(reader)
    assert moving.do("sessions") == 1


def test_a_name_is_looked_up_again_at_each_connect(moving: Server, tmp_path: Path) -> None:
    """In a mount namespace of its own, where /etc/hosts is a file of this test's."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 plc7.test\n")
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$1" /etc/hosts && shift && exec "$@"']
    probe = [*inside, "-", str(hosts), "getent", "hosts", "plc7.test"]
    if sys.platform != "linux" or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount in a namespace of its own (unshare, Linux)")
    old, new = FaultyRelay(moving, listen=("127.0.0.2", 0)), None
    program = f"""if True:
        import json, sys
        from pathlib import Path
        from otmirror.opcua.config import OpcUaConfig
        from otmirror.opcua.reader import OpcUaReader
        from otmirror.taglist import Tag
        tags = (Tag("Counter1", "nsu={PLANT};s=Counter1"),)
        reader = OpcUaReader(OpcUaConfig("opc.tcp://plc7.test:{old.port}", tags, interval_ms=100, reconnect_first=0.2,
                                         reconnect_longest=0.5, pki=Path({str(tmp_path / "pki")!r})))
        while True:
            table = reader.read()
            for row in table.to_pylist() if table is not None else []:
                print(json.dumps([row["quality"], row["value"]]), flush=True)
    """
    process = subprocess.Popen(
        [*inside, "-", str(hosts), sys.executable, "-c", program],
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[3] / "processors",
    )  # fmt: skip
    assert process.stdout
    told = (json.loads(line) for line in process.stdout)
    try:
        assert next(told)[0] == "good"
        new = FaultyRelay(moving, listen=("127.0.0.3", old.port))
        hosts.write_text("127.0.0.3 plc7.test\n")
        old.refuse()
        before = old.witness.requests.total()
        assert any(int(value) == 1 for _, value in told if value is not None and new.witness.requests["Read"])
        assert old.witness.requests.total() == before
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        for relay in (old, new):
            if relay is not None:
                relay.close()


def test_a_server_without_room_is_asked_as_the_backoff_says(moving: Server, connect: Connect) -> None:
    holder, reader = connect(moving, COUNTERS), connect(moving, COUNTERS, reconnect_longest=1.0)
    assert all_good(rows(holder.read()))
    before, end, polls = moving.do("requests")["CreateSession"], time.monotonic() + 4, 0
    moving.do("maxSessions", count=1)
    try:
        while time.monotonic() < end:
            polls += reader.read() is not None
            time.sleep(0.005)
        assert polls > 10
        assert "has no session left" in messages(reader)
        # Delays of at least 0.1, 0.2, 0.4, 0.5, 0.5 ... s
        assert 2 <= moving.do("requests")["CreateSession"] - before <= 11
        assert moving.do("mostSessions") == 1
        holder.close()
        read_until(reader, all_good)
        assert moving.do("sessions") == 1
    finally:
        moving.do("maxSessions", count=50)


def test_connections_that_never_last_leave_few_sessions(moving: Server, relay: FaultyRelay, connect: Connect) -> None:
    """Each is cut after its first good values, and its session stays on the server until it times out."""
    reader = connect(relay.url, COUNTERS, interval_ms=20, emit_repeats=True)
    end, good = time.monotonic() + 5, 0
    while time.monotonic() < end:
        found = rows(reader.read())
        if found and all_good(found):
            good += 1
            relay.cut()
        time.sleep(0.005)
    # Delays of at least 0.1, 0.2, 0.4, 0.8, 1.6 and 3.2 s
    assert 3 <= good <= 7
    assert moving.do("sessions") == relay.witness.requests["CreateSession"] == good


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("times", [8, pytest.param(50, marks=pytest.mark.heavy)])
def test_a_reader_that_is_started_and_stopped_leaves_nothing(moving: Server, tmp_path: Path, times: int) -> None:
    def once() -> None:
        reader = OpcUaReader(OpcUaConfig(moving.url, COUNTERS, pki=tmp_path / "pki", interval_ms=100))
        assert all_good(rows(reader.read()))
        reader.close()
        assert moving.do("sessions") == 0

    once()
    gc.collect()
    threads, files = set(threading.enumerate()), descriptors()
    for _ in range(times):
        once()
    end = time.monotonic() + 5
    while set(threading.enumerate()) - threads and time.monotonic() < end:
        time.sleep(0.01)
    gc.collect()
    assert set(threading.enumerate()) <= threads
    assert descriptors() <= files
    assert moving.do("mostSessions") == 1


@pytest.mark.parametrize("seconds", [2.0, pytest.param(300.0, marks=[pytest.mark.heavy, pytest.mark.timeout(420)])])
def test_a_reader_that_is_not_called_for_a_while(moving: Server, tmp_path: Path, seconds: float) -> None:
    """As when the queue behind the processor is full. Nothing is read ahead, and nothing is made up afterwards."""
    reader = OpcUaReader(
        OpcUaConfig(moving.url, COUNTERS, pki=tmp_path / "pki", interval_ms=50, emit_repeats=True),
        away=0.5 if seconds < 10 else 10.0,
    )
    try:
        for _ in range(20):
            before = read_until(reader, all_good)
        gc.collect()
        # What this process allocates from here on; its resident memory depends on what ran in it before.
        tracemalloc.start()
        reads = moving.do("requests")["Read"]
        time.sleep(seconds)
        assert moving.do("sessions") == 0
        assert moving.do("requests")["Read"] - reads <= 4  # keeping the session alive until it was let go
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 10_000_000
        asked = time.time_ns() // 1000
        table = reader.read()
        assert table is not None
        assert table.num_rows == len(COUNTERS)
        after = rows(table)
        assert all_good(after)
        assert min(row["ts"] for row in after.values()) >= asked - 1_000_000
        assert min(row["seq"] for row in after.values()) > max(row["seq"] for row in before.values()) + 1
    finally:
        tracemalloc.stop()
        reader.close()


def test_a_reader_that_is_called_too_rarely_says_so(moving: Server, connect: Connect) -> None:
    reader = connect(moving, COUNTERS, interval_ms=20, emit_repeats=True)
    assert all_good(rows(reader.read()))
    for _ in range(4):
        time.sleep(0.1)  # four slots and more
        table = reader.read()
        assert table is not None
        assert table.num_rows == len(COUNTERS)
    assert "polls were skipped" in messages(reader)
