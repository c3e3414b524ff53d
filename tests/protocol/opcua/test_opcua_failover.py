"""Two servers that back each other up: one is lost, gets worse, or cannot be had."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opcua_server import Server, all_bad, all_good, free_port, messages, read_until, rows, tags

from otmirror.loopthread import LoopThread
from otmirror.notices import Notices
from otmirror.opcua.allowlist import ReadOnlyGuard
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.failover import Failover, StandbyClient
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.reader import OpcUaReader
from otmirror.status import STATUS

Connect = Callable[..., OpcUaReader]
Start = Callable[..., Server]
TAGS = tags("Counter0", "Counter1")
OPTIONS: dict[str, Any] = {"counters": 2, "moving": True}


@pytest.fixture
def pair(start: Start) -> tuple[Server, Server]:
    """Two servers that a test may kill or freeze."""
    return start(**OPTIONS), start(**OPTIONS)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp("running")
    both = Server(folder, **OPTIONS), Server(folder, **OPTIONS)
    yield both
    for server in both:
        server.close()


@pytest.fixture
def shared(running: tuple[Server, Server]) -> tuple[Server, Server]:
    """Two healthy servers without a session, which stay as they are."""
    for server in running:
        server.do("serviceLevel", value=255)
        assert server.do("sessions") == 0
    return running


def sources(samples: dict[str, dict[str, Any]]) -> set[str]:
    return {row["source"] for row in samples.values()}


def until(true: Callable[[], bool], reader: OpcUaReader, seconds: float = 15) -> None:
    """Read on until something is true of a server."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, messages(reader)
        reader.read()
        time.sleep(0.02)


def gone_over(reader: OpcUaReader, to: Server, seconds: float = 15) -> tuple[str, list[dict[str, Any]]]:
    """Read on until the reader says that it is connected to a server; return all it said and all bad samples."""
    said, bad, end = "", [], time.monotonic() + seconds
    while f"connected to {to.url} " not in said:
        assert time.monotonic() < end, said
        bad += [row for row in rows(reader.read()).values() if row["quality"] != "good"]
        said += messages(reader)
    return said, bad


@pytest.mark.parametrize("redundancy", ["cold", "warm"])
def test_a_killed_server_is_replaced_by_the_next(
    pair: tuple[Server, Server], start: Start, connect: Connect, redundancy: str
) -> None:
    first, second = pair
    reader = connect(first, TAGS, backups=(second.url,), redundancy=redundancy, reconnect_first=1.0)
    before = read_until(reader, all_good)
    assert second.do("sessions") == 0 or redundancy == "warm"
    if redundancy == "warm":
        until(lambda: second.do("sessions") == 1, reader)
    asked = second.do("requests")
    reads = asked.get("Read", 0)
    # A busy machine may have needed more than one for the one that stands by.
    made = asked.get("CreateSession", 0) if redundancy == "warm" else 1
    first.kill()
    lost = time.monotonic()
    said, _ = gone_over(reader, second)
    after = read_until(reader, all_good)
    assert time.monotonic() - lost < 10
    assert sources(after) == sources(before) == {f"opcua:127.0.0.1:{first.port}"}
    assert f"lost the connection to {first.url}" in said
    assert second.do("sessions") == 1
    assert second.do("requests")["CreateSession"] == made, "the session that stood by is the one that is read"
    assert second.do("requests")["Read"] > reads
    # The first one comes back: it is no reason to leave one that works.
    again = start(port=first.port, pki=first.pki, **OPTIONS)
    if redundancy == "warm":
        until(lambda: again.do("sessions") == 1, reader, 30)
    for _ in range(5):
        assert all_good(read_until(reader, bool))
    assert second.do("sessions") == 1
    assert again.do("sessions") == (1 if redundancy == "warm" else 0)
    reader.close()
    assert second.do("sessions") == again.do("sessions") == 0


@pytest.mark.heavy
@pytest.mark.parametrize("redundancy", ["cold", "warm"])
def test_a_server_that_gets_worse_is_left_for_a_healthy_one(
    shared: tuple[Server, Server], connect: Connect, redundancy: str
) -> None:
    first, second = shared
    reader = connect(first, TAGS, backups=(second.url,), redundancy=redundancy)
    read_until(reader, all_good)
    if redundancy == "warm":
        until(lambda: second.do("sessions") == 1, reader)
    first.do("serviceLevel", value=199)
    messages(reader)
    said, bad = gone_over(reader, second)
    assert f"{first.url} says it is degraded (199), so its tags are read from {second.url}" in said
    assert bad == [], "the change costs no sample"
    assert sources(read_until(reader, all_good)) == {f"opcua:127.0.0.1:{first.port}"}
    assert second.do("sessions") == 1
    if redundancy == "warm":
        until(lambda: first.do("sessions") == 1, reader)
    else:
        assert first.do("sessions") == 0
    # Now the other one gets worse: within the same minute nothing changes.
    second.do("serviceLevel", value=100)
    first.do("serviceLevel", value=255)
    quiet = time.monotonic() + 5
    while time.monotonic() < quiet:
        if reader.read() is None:
            time.sleep(0.01)
    assert "connected" not in messages(reader)
    assert second.do("sessions") == 1


def test_two_degraded_servers_are_looked_at_once_and_nothing_changes(
    shared: tuple[Server, Server], connect: Connect
) -> None:
    first, second = shared
    first.do("serviceLevel", value=150)
    second.do("serviceLevel", value=199)
    before = second.do("requests")
    reader = connect(first, TAGS, backups=(second.url,))
    read_until(reader, all_good)
    until(lambda: second.do("requests").get("CloseSession", 0) > before.get("CloseSession", 0), reader)
    quiet = time.monotonic() + 3
    while time.monotonic() < quiet:
        assert all_good(rows(reader.read()))
    assert second.do("requests")["CreateSession"] == before.get("CreateSession", 0) + 1
    assert (first.do("sessions"), second.do("sessions")) == (1, 0)


def test_the_second_server_is_read_when_the_first_was_never_there(start: Start, connect: Connect) -> None:
    second, port = start(**OPTIONS), free_port()
    reader = connect(f"opc.tcp://127.0.0.1:{port}", TAGS, backups=(second.url,))
    assert sources(read_until(reader, all_good)) == {f"opcua:127.0.0.1:{port}"}
    said = messages(reader)
    assert f"nothing listens at 127.0.0.1:{port}" in said
    assert "The next server is tried" in said


def test_a_frozen_server_is_replaced(pair: tuple[Server, Server], connect: Connect) -> None:
    first, second = pair
    reader = connect(first, TAGS, backups=(second.url,), request_timeout=1.0)
    read_until(reader, all_good)
    first.freeze()
    frozen = time.monotonic()
    read_until(reader, all_bad)
    read_until(reader, all_good)
    assert time.monotonic() - frozen < 10
    assert second.do("sessions") == 1
    first.thaw()


def test_a_standby_reads_nothing_but_the_servers_state(shared: tuple[Server, Server]) -> None:
    server, loop, guard = shared[0], LoopThread("standby"), ReadOnlyGuard()
    server.do("reads")
    config = OpcUaConfig(server.url, TAGS, backups=("opc.tcp://127.0.0.1:1",), session_timeout=1.5)
    standby = StandbyClient(lambda url: GuardedClient(config, guard, endpoint=url))
    try:
        assert loop.run(standby.take(), 5) is None
        loop.run(standby.want(server.url), 5)
        end = time.monotonic() + 15
        while not standby.ready and time.monotonic() < end:
            time.sleep(0.01)
        assert standby.level == 255
        server.do("serviceLevel", value=3)
        while standby.level != 3 and time.monotonic() < end:
            time.sleep(0.01)
        assert standby.level == 3
        assert {nodes for _, nodes in server.do("reads")[1:]} == {2}
        loop.run(standby.want(server.url), 5)
        assert server.do("sessions") == 1
        client = loop.run(standby.take(), 5)
        assert client is not None
        assert client.alive
        assert standby.idle
        loop.run(standby.close(), 10)
        assert server.do("sessions") == 1, "what was handed over stays"
        loop.run(client.close(), 10)
        assert server.do("sessions") == 0
        loop.run(standby.want("opc.tcp://127.0.0.1:1"), 5)
        while standby.error is None and time.monotonic() < end:
            time.sleep(0.01)
        assert "nothing listens" in str(standby.error)
    finally:
        loop.run(standby.close(), 10)
        loop.close()


def test_stopping_gives_up_on_the_servers_that_are_left() -> None:
    loop, stopped = LoopThread("stopped"), [False]
    urls = [f"opc.tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    config = OpcUaConfig(urls[0], TAGS, backups=(urls[1],))
    notices = Notices(time.monotonic)
    failover = Failover(config, ReadOnlyGuard(), loop, notices, time.monotonic, lambda: stopped[0])
    stopped[0] = True
    assert failover.connect() is None
    assert notices.take() == []
    stopped[0] = False
    assert failover.connect() is None
    assert [notice.level for notice in notices.take()] == ["error", "error"]
    failover.close()
    loop.close()


def test_subscribed_tags_are_subscribed_on_the_other_server_and_the_gap_is_told(start: Start, connect: Connect) -> None:
    first, second = start(written=3), start(written=3)
    names = ("Written0", "Written1", "Written2")
    reader = connect(first, tags(*names, mode="subscribe"), backups=(second.url,))
    read_until(reader, lambda found: len(found) == 3 and all_good(found))
    end = time.monotonic() + 15
    while not first.do("subscriptions"):
        assert time.monotonic() < end
        reader.read()
    assert [one["items"] for one in first.do("subscriptions")] == [3]
    first.kill()
    found: list[dict[str, Any]] = []

    def goes_on() -> bool:
        table = reader.read()
        found.extend([] if table is None else table.to_pylist())
        last = {row["tag"]: row["quality"] for row in found}
        return bool(second.do("subscriptions")) and set(last) == set(names) and set(last.values()) == {"good"}

    end = time.monotonic() + 15
    while not goes_on():  # every batch counts here, so nothing else may read
        assert time.monotonic() < end, messages(reader)
        time.sleep(0.02)
    assert {row["tag"] for row in found if row["status"] == STATUS["BadDataLost"]} == set(names)
    assert [one["items"] for one in second.do("subscriptions")] == [3]
    assert second.do("requests").get("TransferSubscriptions", 0) == 0
    second.do("burst", node=1, count=1)
    moved = read_until(reader, lambda samples: "Written1" in samples and samples["Written1"]["value"] == 1.0)
    assert moved["Written1"]["source"] == f"opcua:127.0.0.1:{first.port}"
