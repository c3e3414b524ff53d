"""Requests no larger than the server wants them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from opcua_server import Server, all_good, rows, tags

from otmirror.opcua.reader import OpcUaReader

Connect = Callable[..., OpcUaReader]


@pytest.fixture
def limited(plant: Server) -> Iterator[Callable[..., None]]:
    yield lambda **limit: plant.do("limit", **limit)
    plant.do("limit", nodes=1000, stated=1000)


def counters(count: int) -> object:
    return tags(*(f"Counter{i}" for i in range(count)))


def test_the_servers_limit_is_kept(plant: Server, connect: Connect, limited: Callable[..., None]) -> None:
    limited(nodes=100, stated=100)
    found = rows(connect(plant, counters(2500)).read())
    assert {name: row["value"] for name, row in found.items()} == {f"Counter{i}": i for i in range(2500)}
    assert plant.do("requests")["mostNodes"] == 100


def test_a_limit_the_server_does_not_state_is_found_and_remembered(
    plant: Server, connect: Connect, limited: Callable[..., None]
) -> None:
    limited(nodes=300, stated=0)
    reader = connect(plant, counters(2500), emit_repeats=True)
    found = rows(reader.read())
    assert len(found) == 2500
    assert all_good(found)
    assert "too large" in " ".join(notice.message for notice in reader.notices())
    limited(nodes=300)  # forget the largest request so far
    while not (again := rows(reader.read())):
        time.sleep(0.005)
    assert all_good(again)
    assert plant.do("requests")["mostNodes"] <= 300


def test_the_configured_limit_is_kept_too(plant: Server, connect: Connect, limited: Callable[..., None]) -> None:
    limited(nodes=1000)
    assert all_good(rows(connect(plant, counters(120), max_nodes=50).read()))
    assert plant.do("requests")["mostNodes"] == 50


def test_ten_thousand_tags_a_cycle(plant: Server, connect: Connect) -> None:
    reader = connect(plant, counters(10_000), emit_repeats=True, interval_ms=1000)
    assert all_good(rows(reader.read()))  # the first cycle also connects
    cycles = []
    while len(cycles) < 2:
        started = time.monotonic()
        found = rows(reader.read())
        if found:
            cycles.append(time.monotonic() - started)
            assert {name: row["value"] for name, row in found.items()} == {f"Counter{i}": i for i in range(10_000)}
        else:
            time.sleep(0.005)
    assert min(cycles) < 5
