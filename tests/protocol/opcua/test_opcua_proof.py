"""The read-only proof against node-opcua, which takes writes from others: also over an encrypted channel."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opcua_relay import FaultyRelay
from opcua_server import PLANT, Server, tags
from test_opcua_guard import ALLOWED

from otmirror.opcua.address import node_id
from otmirror.opcua.config import OpcUaConfig
from otmirror.prove import attempts, wire
from otmirror.prove.report import HOLDS
from otmirror.prove.writer import OpcUaWriter
from otmirror.witness.opcua import ENCRYPTED

TAGS = tags("Counter0", "Counter1", "Counter2")
FAST: dict[str, Any] = {"interval_ms": 100, "reconnect_first": 0.1, "reconnect_longest": 0.3, "request_timeout": 2.0}


def asked(server: Server, before: dict[str, int]) -> Counter[str]:
    told = server.do("requests")
    return Counter({k: v - before.get(k, 0) for k, v in told.items() if k != "mostNodes"}) - Counter()


def test_a_server_that_takes_writes_is_unchanged_by_a_hostile_run(start: Callable[..., Server]) -> None:
    plant = start(counters=3)  # of its own: the sessions that the faults cut off stay until they time out
    setpoint = node_id("Setpoint", plant.namespaces.index(PLANT))
    other = OpcUaWriter("127.0.0.1", plant.port)
    try:
        other.write(setpoint, 97.5)
        assert plant.do("setpoint") == 97.5, "the server takes no write at all"
        before = plant.do("requests")
        relay = FaultyRelay(plant)
        tried = asyncio.run(attempts.opcua(OpcUaConfig(relay.url, TAGS, **attempts.settings()), relay, setpoint))
        assert tried.verdict == HOLDS, tried.seen
        run = wire.troubled(wire.opcua_source(OpcUaConfig(relay.url, TAGS, emit_repeats=True, **FAST)), relay)
        relay.close()
        # The attempts' own connection is on the same relay: its reads are no part of the run's counts.
        (line, _) = wire.opcua_lines("wire", "node-opcua", relay, run)
        assert line.verdict == HOLDS, line.seen
        assert len(run.faults) == 5
        assert set(asked(plant, before)) <= ALLOWED
        assert plant.do("setpoint") == 97.5
    finally:
        other.write(setpoint, 42.0)
        other.close()


def test_over_an_encrypted_channel_the_server_is_asked_to_read_and_nothing_else(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    """A relay sees nothing of it, and says so; the server's own log of requests tells."""
    server = start(security=["SignAndEncrypt"], acceptAnyClient=True, counters=3, moving=True)
    relay = FaultyRelay(server)
    config = OpcUaConfig(
        relay.url, TAGS, policy="Basic256Sha256", mode="SignAndEncrypt", pki=tmp_path / "pki", emit_repeats=True, **FAST
    )
    before = server.do("requests")
    run = wire.troubled(wire.opcua_source(config), relay)
    relay.close()
    assert not run.unrecovered, run.unrecovered
    assert relay.witness.unreadable[ENCRYPTED] > 20
    assert ENCRYPTED in relay.witness.beyond(ALLOWED), "what cannot be read must not count as harmless"
    told = asked(server, before)
    assert set(told) <= ALLOWED
    assert told <= run.sent
    assert told["Read"] >= 6
    assert told["ActivateSession"] >= 5
    assert run.refused == Counter()


@pytest.mark.parametrize("host", ["192.0.2.1", "::ffff:192.0.2.1"])
def test_the_client_that_writes_writes_to_this_machine_only(host: str) -> None:
    from otmirror.errors import ConfigError

    with pytest.raises(ConfigError, match="stand-ins on loopback only"):
        OpcUaWriter(host, 4840)
