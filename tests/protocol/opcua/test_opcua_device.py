"""A device is asked no more than it can take: profiles, sizes and rates, counted by the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opcua_server import Server, all_good, messages, read_until, rows, tags

from otmirror.loopthread import LoopThread
from otmirror.opcua import discovery
from otmirror.opcua.address import node_id
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.reader import OpcUaReader

Connect = Callable[..., OpcUaReader]
STATED = {
    "maxNodesPerBrowse": 7, "maxNodesPerTranslateBrowsePathsToNodeIds": 9, "maxMonitoredItemsPerCall": 1000,
    "maxNodesPerHistoryReadData": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that calls itself a small controller and states tight limits."""
    server = Server(
        tmp_path_factory.mktemp("small"),
        counters=2500,
        moving=True,
        maxNodesPerRead=100,
        operationLimits=STATED,
        buildInfo={
            "productName": "CPU 1214C DC/DC/DC", "manufacturerName": "Siemens AG", "softwareVersion": "V4.5",
            "productUri": "urn:test",
        },
    )  # fmt: skip
    yield server
    server.close()


@pytest.fixture
def client(small: Server) -> Iterator[Callable[..., GuardedClient]]:
    loop, made = LoopThread("device"), []

    def connected(**settings: Any) -> GuardedClient:
        made.append(GuardedClient(OpcUaConfig(small.url, tags("Counter0"), **settings)))
        loop.run(made[-1].connect(), 20)
        return made[-1]

    yield connected
    for one in made:
        loop.run(one.close(), 20)
    loop.close()


def counters(count: int) -> Any:
    return tags(*(f"Counter{i}" for i in range(count)))


def test_a_server_is_known_by_its_build_info_and_its_limits_are_the_smallest(small: Server, client: Any) -> None:
    small.do("reads")
    one = client()
    assert (one.build.product, one.build.manufacturer, one.build.version) == (
        "CPU 1214C DC/DC/DC", "Siemens AG", "V4.5",
    )  # fmt: skip
    limits = one.limits
    assert limits.profile == "S7-1200"
    assert (limits.nodes_per_read, limits.nodes_per_browse, limits.paths_per_translate) == (100, 7, 9)
    assert (limits.items_per_call, limits.nodes_per_history_read, limits.items) == (100, 3, 1000)
    assert (limits.requests_per_second, limits.deadband_filter) == (20, False)
    assert one.max_nodes_per_read == 100
    assert one.service_level == 255
    assert len(small.do("reads")) == 1, "all that has to be known of a server is read at once"


def test_a_configured_profile_and_rate_count_instead(client: Any) -> None:
    one = client(profile="generic-fast", max_requests=7, max_nodes=40)
    assert (one.limits.profile, one.limits.requests_per_second, one.limits.nodes_per_read) == ("generic-fast", 7, 40)
    assert one.limits.items_per_call == 1000


def test_a_server_that_takes_fewer_nodes_than_its_own_description_has(start: Callable[..., Server]) -> None:
    server = start(maxNodesPerRead=5)
    loop = LoopThread("tiny")
    one = GuardedClient(OpcUaConfig(server.url, tags("Setpoint")))
    try:
        loop.run(one.connect(), 20)
        assert (one.limits.profile, one.limits.nodes_per_read, one.service_level) == ("unknown", 5, 255)
        assert one.namespaces == server.namespaces
    finally:
        loop.run(one.close(), 20)
        loop.close()


def test_two_and_a_half_thousand_tags_of_a_server_that_takes_a_hundred(small: Server, connect: Connect) -> None:
    small.do("reads")
    reader = connect(small, counters(2500), interval_ms=60_000)
    found = rows(reader.read())
    assert len(found) == 2500
    assert all_good(found)
    reads = small.do("reads")
    assert max(nodes for _, nodes in reads) == 100
    said = messages(reader)
    assert "CPU 1214C DC/DC/DC V4.5 of Siemens AG; profile S7-1200" in said
    assert "at most 100 nodes a request, 20 requests a second" in said
    # The one at the connect and 25 more at 20 a second, of which 5 may follow each other at once.
    assert (reads[-1][0] - reads[0][0]) / 1000 > (26 - 6) / 20 - 0.1


def busiest(reads: list[list[int]], seconds: float) -> int:
    """The most requests in any span of so many seconds, by the server's clock."""
    times = [at / 1000 for at, _ in reads]
    return max(sum(start <= at < start + seconds for at in times) for start in times)


def test_a_rate_that_is_too_low_is_kept_and_told(small: Server, connect: Connect) -> None:
    reader = connect(small, counters(500), interval_ms=150, max_requests=10)
    small.do("reads")
    assert rows(reader.read())
    said, end = messages(reader), time.monotonic() + 20
    assert "polling takes 33.3 requests a second and 10 are allowed" in said  # 5 requests each 0.15 s
    while "polls were skipped" not in said and time.monotonic() < end:
        if reader.read() is None:
            time.sleep(0.005)
        said += messages(reader)
    assert "the 10 requests a second that are allowed (Max Requests Per Second) are not enough" in said
    assert busiest(small.do("reads"), 1.0) <= 10 + 4  # a burst, one request more, and what a slow machine bunches up


def test_a_rate_holds_while_the_connection_breaks_again_and_again(small: Server, connect: Connect) -> None:
    before = small.do("requests")["CreateSession"]
    reader = connect(
        small, counters(300), interval_ms=50, max_requests=10, reconnect_first=0.1, reconnect_longest=0.1,
        emit_repeats=True,
    )  # fmt: skip
    small.do("reads")
    began = time.monotonic()
    for _ in range(6):
        read_until(reader, all_good)
        small.do("interrupt")
    read_until(reader, all_good)
    lasted = time.monotonic() - began
    reads = small.do("reads")
    assert small.do("requests")["CreateSession"] - before >= 7
    assert len(reads) <= 10 * lasted + 4
    assert busiest(reads, 1.0) <= 10 + 4
    assert small.do("sessions") <= 1 + 6  # the server keeps those that were cut off until they time out


def test_browsing_keeps_the_limits_and_the_rate_too(small: Server) -> None:
    loop = LoopThread("browsing")
    one = GuardedClient(OpcUaConfig(small.url, tags("Counter0"), max_requests=40))

    async def listed() -> int:
        choice = discovery.Choice(("*/Type.*",), depth=2)
        return len([variable async for variable in discovery.browse(one, node_id(85), choice)])

    try:
        loop.run(one.connect(), 20)
        before, began = small.do("requests"), time.monotonic()
        assert loop.run(listed(), 60) > 20
        lasted, after = time.monotonic() - began, small.do("requests")
        asked = sum(after[name] - before.get(name, 0) for name in ("Read", "Browse"))
        assert asked > 10, "at most 7 nodes are asked for at once"
        assert asked <= 40 * (lasted + 0.25) + 2
    finally:
        loop.run(one.close(), 20)
        loop.close()


def test_a_small_controller_gets_as_many_monitored_items_as_it_can_have(small: Server, connect: Connect) -> None:
    names = [f"Counter{i}" for i in range(1100)]
    reader = connect(small, tags(*names, mode="subscribe"), interval_ms=400, max_requests=200)
    seen: set[str] = set()
    end = time.monotonic() + 40
    while len(seen) < len(names):
        assert time.monotonic() < end
        seen |= {tag for tag, row in rows(reader.read()).items() if row["quality"] == "good"}
    (subscription,) = small.do("subscriptions")
    assert subscription["items"] == 1000
    assert subscription["publishing"] == 500, "no more often than the profile says"
    assert "100 of 1100 tags are polled: the server takes 1000 monitored items at most (profile S7-1200)" in messages(
        reader
    )
