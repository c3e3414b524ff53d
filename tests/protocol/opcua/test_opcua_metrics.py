"""What an OPC UA source counts, against what the server, its certificates and the batches say."""

from __future__ import annotations

import time
from collections.abc import Callable

from opcua_server import Server, all_bad, all_good, read_until, tags
from tcp_relay import Relay

from otmirror.errors import ReadOnlyError
from otmirror.opcua.reader import OpcUaReader

Connect = Callable[..., OpcUaReader]
SOURCE = "opcua:metrics"
GOOD, MISSING = tags("Type.Double", "Type.Int64"), tags("No.Such.Node")


def numbers(reader: OpcUaReader) -> dict[tuple[str, ...], float]:
    found = {}
    for (name, labels), value in reader.figures.collect().numbers.items():
        rest = [label for label in labels if label != SOURCE]
        found[(name.removeprefix("otmirror_"), *rest)] = value
    return found


def test_nothing_is_said_of_a_source_that_was_never_asked(plant: Server, connect: Connect) -> None:
    found = numbers(connect(plant, GOOD, source=SOURCE))
    assert found[("source_reconnects_total",)] == found[("guard_refused_total", "Write")] == 0
    assert ("source_connected",) not in found


def test_polled_tags_and_the_requests_the_server_counted(plant: Server, connect: Connect) -> None:
    before, asked_at = plant.do("requests"), time.time()
    reader = connect(plant, [*GOOD, *MISSING], source=SOURCE)
    read_until(reader, lambda found: len(found) == 3)
    for _ in range(3):
        reader.read()
    found, after = numbers(reader), plant.do("requests")
    assert (found[("source_connected",)], found[("source_tags",)], found[("source_tags_bad",)]) == (1, 3, 1)
    assert asked_at <= found[("source_last_good_timestamp_seconds",)] <= time.time()
    for service in ("Read", "CreateSession", "ActivateSession"):
        ours = [key for key in after if key.lower() == f"{service}Request".lower() or key == service]
        assert len(ours) == 1, after
        assert found[("requests_total", service)] == after[ours[0]] - before.get(ours[0], 0)
    times = reader.figures.collect().histograms[("otmirror_request_seconds", (SOURCE,))]
    assert (
        found[("requests_total", "Read")] - 1
        <= times.buckets.sum()
        <= sum(value for key, value in found.items() if key[0] == "requests_total")
    )
    assert 0 < times.total < 10


def test_a_refusal_is_counted(plant: Server, connect: Connect) -> None:
    reader = connect(plant, GOOD, source=SOURCE)
    assert isinstance(reader.guard.refusal("Write"), ReadOnlyError)
    assert numbers(reader)[("guard_refused_total", "Write")] == 1


def test_a_connection_lost_and_made_again(plant: Server, connect: Connect) -> None:
    relay = Relay(plant.port)
    reader = connect(relay.url, GOOD, source=SOURCE)
    read_until(reader, all_good)
    assert numbers(reader)[("source_connected",)] == 1
    relay.cut()
    read_until(reader, all_bad)
    cut = time.time()
    found = numbers(reader)
    assert (found[("source_connected",)], found[("source_tags_bad",)]) == (0, 2)
    assert found[("source_last_good_timestamp_seconds",)] < cut
    relay.mend()
    read_until(reader, all_good)
    found = numbers(reader)
    assert (found[("source_connected",)], found[("source_tags_bad",)], found[("source_reconnects_total",)]) == (1, 0, 1)
    assert found[("source_last_good_timestamp_seconds",)] > cut
    relay.close()
