"""The proof on a running plant: it holds, and each fault of a guard or a device fails its line and no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from asyncua import ua

from otmirror.modbus import guard as modbus_guard
from otmirror.opcua import allowlist
from otmirror.opcua.guard import GuardedClient
from otmirror.prove import attempts, proof, wire
from otmirror.prove.names import LAST_FUNCTION, OTHER_SERVICES, READ_FUNCTIONS, READ_SERVICES
from otmirror.prove.report import FAILS, Line
from otmirror.prove.standin import StandIn
from otmirror.witness.relay import Relay
from otmirror.witness.services import REQUESTS

pytestmark = pytest.mark.heavy
LINES = {
    "refused-opcua", "refused-modbus", "wire-opcua", "wire-opcua-counts", "wire-modbus", "wire-modbus-counts",
    "device-opcua", "device-modbus",
}  # fmt: skip
Patch = pytest.MonkeyPatch


def run(plant: StandIn) -> dict[str, Line]:
    return {line.id: line for line in proof.on_stand_in(plant)}


def failing(found: dict[str, Line]) -> set[str]:
    assert set(found) == LINES
    return {line.id for line in found.values() if line.verdict == FAILS}


def told(found: dict[str, Line]) -> dict[str, str]:
    return {line.id: line.seen for line in found.values() if line.verdict == FAILS}


def test_it_holds_on_a_plant_that_takes_writes_from_others(stand_in: StandIn) -> None:
    found = run(stand_in)
    assert failing(found) == set(), told(found)
    others = len(OTHER_SERVICES) + 2
    assert f"{others} services, {3 * others} refusals, 0 bytes" in found["refused-opcua"].seen
    assert f"{LAST_FUNCTION - len(READ_FUNCTIONS)} function codes" in found["refused-modbus"].seen
    assert "through 5 faults" in found["wire-opcua"].seen
    assert "through 5 faults" in found["wire-modbus"].seen


def test_every_service_there_is_reads_or_is_attempted() -> None:
    assert len(OTHER_SERVICES) == len(REQUESTS) - len(READ_SERVICES) - 2 == 22
    assert set(attempts.off_list_requests()) == OTHER_SERVICES | {"OpenSecureChannel", "CloseSecureChannel"}
    assert {"Write", "Call", "AddNodes", "DeleteNodes", "HistoryUpdate", "RegisterNodes"} <= OTHER_SERVICES


@pytest.fixture
def brief(monkeypatch: Patch) -> None:
    """One fault is enough where something else is wrong."""
    every = wire._faults
    monkeypatch.setattr(wire, "_faults", lambda relay: {"cut": every(relay)["cut"]})


def lenient_modbus(*codes: int) -> Callable[[Patch], None]:
    """A Modbus guard that lets function codes through."""

    class Lenient(modbus_guard.GuardedClient):
        def _check(self, sending: bool, pdu: Any) -> Any:
            return pdu if sending and pdu.function_code in codes else super()._check(sending, pdu)

    return lambda patch: patch.setattr(attempts, "ModbusClient", Lenient)


def late_modbus(patch: Patch) -> None:
    """A guard that refuses when the bytes are out already."""

    class Late(modbus_guard.GuardedClient):
        def _check(self, sending: bool, pdu: Any) -> Any:
            if sending and pdu.function_code == 43:
                self._client.ctx.send(b"\x00\x63\x00\x00\x00\x02\x01\x2b")
            return super()._check(sending, pdu)

    patch.setattr(attempts, "ModbusClient", Late)


def uncounted_modbus(patch: Patch) -> None:
    """A guard that refuses and does not say how often."""

    class Silent(modbus_guard.GuardedClient):
        def _check(self, sending: bool, pdu: Any) -> Any:
            try:
                return super()._check(sending, pdu)
            finally:
                self.refused[5] = 0

    patch.setattr(attempts, "ModbusClient", Silent)


def lenient_opcua(request: type) -> Callable[[Patch], None]:
    """An OPC UA guard with a service more on its list, for as long as it is attempted."""

    class Lenient(GuardedClient):
        async def ask(self, given: Any, answer: Any, doing: str) -> Any:
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(allowlist.ALLOWED, request, "more")
                return await super().ask(given, answer, doing)

    return lambda patch: patch.setattr(attempts, "OpcUaClient", Lenient)


def forged_opcua(patch: Patch) -> None:
    """A client that sends bytes without a look at what they are."""

    class Everything(frozenset):  # type: ignore[type-arg]
        def __contains__(self, _: object) -> bool:
            return True

    patch.setattr(attempts.wire, "SERVICES", Everything())


def written_by_the_reader(patch: Patch) -> None:
    """A reader whose guard takes a write for allowed, and counts it; the value is the one that is there."""
    make = wire.opcua_source
    item = ua.WriteValue(AttributeId=ua.AttributeIds.Value, Value=ua.DataValue(ua.Variant(4711.25)))
    request = ua.WriteRequest(Parameters=ua.WriteParameters(NodesToWrite=[item]))

    def source(config: Any) -> wire.Source:
        patch.setitem(allowlist.ALLOWED, ua.WriteRequest, "Write")
        made = make(config)
        read = made.read

        def read_and_write() -> Counter[str]:
            found = read()
            client = made.reader._client
            if client is not None and client.sent["Write"] == 0:
                index = client.namespaces.index("urn:otmirror:plant")
                item.NodeId = ua.NodeId("Well1.Setpoint", index)
                made.reader._loop.run(client.ask(request, ua.WriteResponse, "writing"), 5)
            return found

        made.read = read_and_write  # type: ignore[method-assign]
        return made

    patch.setattr(wire, "opcua_source", source)


def written_over_modbus(patch: Patch) -> None:
    """The same over Modbus, beneath the reader: the register gets the value that is there."""
    make = wire.modbus_source

    def source(config: Any) -> wire.Source:
        patch.setattr(modbus_guard, "ALLOWED", frozenset({1, 2, 3, 4, 6}))
        made = make(config)
        read = made.read

        def read_and_write() -> Counter[str]:
            found = read()
            (device,) = made.reader.devices.values()
            if device.client.connected and device.client.sent[6] == 0:
                made.reader._loop.run(device.client._client.write_register(30, 4711, device_id=1), 5)
            return found

        made.read = read_and_write  # type: ignore[method-assign]
        return made

    patch.setattr(wire, "modbus_source", source)


def forgetful(which: str, name: str) -> Callable[[Patch], None]:
    """A guard that forgets one of the requests it let pass."""

    def seed(patch: Patch) -> None:
        make = getattr(wire, which)

        def source(config: Any) -> wire.Source:
            made = make(config)
            sent = made.sent
            made.sent = lambda: sent() - Counter({name: sent()[name] - 1})
            return made

        patch.setattr(wire, which, source)

    return seed


def somebody_writes(setter: str, value: float) -> Callable[[Patch], None]:
    """The device's value is another one after the run."""
    troubles = proof._troubles

    def seed(patch: Patch) -> None:
        def then(plant: StandIn) -> Any:
            yield from troubles(plant)
            getattr(plant, setter)(value)

        patch.setattr(proof, "_troubles", then)

    return seed


def deaf_witness(patch: Patch) -> None:
    """A relay that does not look at Modbus: what nobody saw is no proof."""
    make = StandIn.modbus_relay

    def relay(plant: StandIn) -> Any:
        made = make(plant)
        patch.setattr(made.witness, "_note", lambda *_: None)
        return made

    patch.setattr(StandIn, "modbus_relay", relay)


SEEDS: dict[str, tuple[set[str], Callable[[Patch], None], str]] = {
    "a guard that lets function code 43 through": ({"refused-modbus"}, lenient_modbus(43), "43 Encapsulated"),
    "a guard that lets a write of a register through": (
        {"refused-modbus", "device-modbus"}, lenient_modbus(6), "6 Write Single Register"),
    "a guard that refuses after the bytes have left": ({"refused-modbus"}, late_modbus, "bytes left"),
    "a guard that does not count what it refuses": ({"refused-modbus"}, uncounted_modbus, "5 Write Single Coil"),
    "a guard that lets a call of a method through": ({"refused-opcua"}, lenient_opcua(ua.CallRequest), "Call (asked)"),
    "a guard that lets Write through": (
        {"refused-opcua", "device-opcua"}, lenient_opcua(ua.WriteRequest), "Write (asked)"),
    "a client that sends any bytes": ({"refused-opcua"}, forged_opcua, "AddNodes (as bytes)"),
    "a write on the OPC UA wire": ({"wire-opcua"}, written_by_the_reader, "Write: 1"),
    "a write on the Modbus wire": ({"wire-modbus"}, written_over_modbus, "6 Write Single Register: 1"),
    "an OPC UA guard that counts otherwise": ({"wire-opcua-counts"}, forgetful("opcua_source", "Read"), "1 counted"),
    "a Modbus guard that counts otherwise": (
        {"wire-modbus-counts"}, forgetful("modbus_source", "3 Read Holding Registers"), "1 counted"),
    "another value in the OPC UA server": ({"device-opcua"}, somebody_writes("set_opcua", 1.0), "was 4711.25 and is 1"),
    "another value in the Modbus device": ({"device-modbus"}, somebody_writes("set_modbus", 1), "was 4711 and is 1"),
    "a witness that saw nothing": ({"wire-modbus"}, deaf_witness, "nothing was read"),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEDS)
def test_a_violation_fails_its_line_and_no_other(stand_in: StandIn, brief: None, monkeypatch: Patch, name: str) -> None:
    lines, seed, words = SEEDS[name]
    seed(monkeypatch)
    found = run(stand_in)
    assert failing(found) == lines, told(found)
    assert any(words in seen for seen in told(found).values()), told(found)


def test_nothing_is_attempted_on_another_machine() -> None:
    import asyncio

    from otmirror.errors import ConfigError

    relay = Relay(("192.0.2.1", 502))
    try:
        with pytest.raises(ConfigError, match=r"192\.0\.2\.1 is not this machine"):
            asyncio.run(attempts.modbus(relay.address, relay))
        assert relay.accepted == 0
    finally:
        relay.close()
