"""Every service and function code that is no read, attempted through the guarded clients.

Made against a stand-in on loopback only. A relay in front of it counts the bytes: those of one Read before the attempts
must be all that arrive over the attempts and the same Read after them.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from asyncua import ua as asyncua_ua
from asyncua.ua.ua_binary import nodeid_to_binary
from pymodbus.pdu import ModbusPDU

from otmirror.errors import ConfigError, ReadOnlyError, UnavailableError
from otmirror.modbus.guard import GuardedClient as ModbusClient
from otmirror.opcua import wire
from otmirror.opcua.address import node_id, value_of
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.guard import GuardedClient as OpcUaClient
from otmirror.prove.names import CHANNEL, LAST_FUNCTION, OTHER_SERVICES, READ_FUNCTIONS, READ_SERVICES
from otmirror.prove.report import Line, judged
from otmirror.witness.modbus import named
from otmirror.witness.relay import Relay
from otmirror.witness.services import REQUESTS

ua: Any = asyncua_ua
_TIME = value_of(node_id(ua.ObjectIds.Server_ServerStatus_CurrentTime))
_LONG = 3000.0
"""Seconds of session timeout: nothing keeps the session alive while bytes are counted."""
_UNIT, _OTHER_UNIT, _TIMEOUT = 1, 2, 5.0

Attempt = Callable[[], Awaitable[object]]


def off_list_requests() -> dict[str, type]:
    """Return asyncua's request of every service that is no read, with those of the secure channel, by service."""
    wanted = OTHER_SERVICES | CHANNEL
    named = {service: (f"{service}Request", f"{service}RequestType") for service in sorted(wanted)}
    return {service: kind for service, names in named.items() for name in names if (kind := getattr(ua, name, None))}


def _unknown(kinds: dict[str, type]) -> Iterator[str]:
    """Yield what would be left out: services without a request, and requests that no list of services has."""
    yield from (f"asyncua has no {service}" for service in sorted((OTHER_SERVICES | CHANNEL) - kinds.keys()))
    for name, kind in vars(ua).items():
        service = name.removesuffix("Request")
        if (
            isinstance(kind, type)
            and service not in {name, *READ_SERVICES, *kinds}
            and hasattr(kind(), "RequestHeader")
        ):
            yield f"asyncua has {service}, which is in no list of services"


async def opcua(config: OpcUaConfig, relay: Relay, setpoint: Any) -> Line:
    """Attempt every other service through the guarded client, over a relay that `config` leads to.

    The Write would put 13 into `setpoint`, a node that anybody may write.

    Raises:
        ConfigError: the relay leads to another machine.
        UnavailableError: the server cannot be reached.
    """
    _only_here(relay)
    kinds = off_list_requests()
    broken = list(_unknown(kinds))
    client = OpcUaClient(config)
    await client.connect()
    try:
        one_read = await _cost(relay, lambda: client.read([_TIME]))

        async def all_and_a_read() -> None:
            for service, kind in kinds.items():
                broken.extend([told async for told in _tried(service, _ways(client, service, _made(kind, setpoint)))])
            await _last(lambda: client.read([_TIME]), broken)

        cost = await _cost(relay, all_and_a_read)
        wanted = Counter({kind.__name__.removesuffix("Request"): 2 for kind in kinds.values()})
        wanted += Counter({"of unknown bytes": len(kinds)})
        broken += _differences(client.refused, wanted, cost - one_read)
    finally:
        await client.close()
    return judged(
        "refused-opcua", "Every OPC UA service off the list is refused before a byte leaves, and counted",
        "each tried in three ways on a live server, bytes counted by a relay", broken,
        f"{len(kinds)} services, {sum(client.refused.values())} refusals, 0 bytes",
    )  # fmt: skip


def _made(kind: type, setpoint: Any) -> Callable[[], Any]:
    """Return what makes a request; a Write is one that a server would carry out."""

    def write() -> Any:
        value = ua.DataValue(ua.Variant(13.0, ua.VariantType.Double))
        item = ua.WriteValue(NodeId=setpoint, AttributeId=ua.AttributeIds.Value, Value=value)
        return ua.WriteRequest(Parameters=ua.WriteParameters(NodesToWrite=[item]))

    return write if kind is ua.WriteRequest else kind


def _ways(client: OpcUaClient, service: str, made: Callable[[], Any]) -> dict[str, Attempt]:
    """Through the client's own door, through asyncua below it, and as bytes that claim to be a Read."""
    number = next(number for number, name in REQUESTS.items() if name == service)
    forged = wire.Service(ua.ReadRequest, nodeid_to_binary(node_id(number)), wire.READ.answer)

    async def below() -> object:
        inner: Any = client._client
        return await inner.uaclient._send_request(made())

    return {
        "asked": lambda: client.ask(made(), ua.ReadResponse, "trying"),
        "below": below,
        "as bytes": lambda: client.exchange(forged, wire.read_body([]), "trying"),
    }


async def modbus(address: tuple[str, int], relay: Relay) -> Line:
    """Attempt every other function code, and an undeclared unit, through the guarded client.

    Raises:
        ConfigError: the relay leads to another machine.
        UnavailableError: the device cannot be reached.
    """
    _only_here(relay)
    codes = [code for code in range(1, LAST_FUNCTION + 1) if code not in READ_FUNCTIONS]
    client = ModbusClient(*address, [_UNIT], _TIMEOUT)
    await client.connect()
    broken: list[str] = []
    try:
        one_read = await _cost(relay, lambda: client.read(_UNIT, "holding", 0, 1))

        async def all_and_a_read() -> None:
            for name, attempt in _modbus_attempts(client, codes):
                broken.extend([told async for told in _tried(name, {"asked": attempt})])
            await _last(lambda: client.read(_UNIT, "holding", 0, 1), broken)

        cost = await _cost(relay, all_and_a_read)
        wanted = Counter({named(code): 1 for code in codes}) + Counter({named(3): 1})
        wanted += Counter({named(code): 1 for code in (5, 6, 15, 16, 22, 23)})
        told = Counter({named(code): count for code, count in client.refused.items()})
        broken += _differences(told, wanted, cost - one_read)
    finally:
        client.close()
    return judged(
        "refused-modbus", "Every Modbus function code but 1 to 4 is refused before a byte leaves, and counted",
        "each tried on a live device, also below the guard and for an undeclared unit, bytes counted by a relay",
        broken, f"{len(codes)} function codes, {sum(client.refused.values())} refusals, 0 bytes",
    )  # fmt: skip


class _Made(ModbusPDU):
    """A message of any function code, with an address and a number behind it."""

    def __init__(self, function_code: int):
        super().__init__(dev_id=_UNIT)
        self.function_code = function_code

    def encode(self) -> bytes:
        return b"\x00\x1e\x00\x07"


def _modbus_attempts(client: ModbusClient, codes: list[int]) -> Iterator[tuple[str, Attempt]]:
    for code in codes:
        yield named(code), lambda code=code: client.request(_Made(code))  # type: ignore[misc]
    yield f"a read of unit {_OTHER_UNIT}", lambda: client.read(_OTHER_UNIT, "holding", 0, 1)
    inner: Any = client._client
    below: dict[int, Attempt] = {
        5: lambda: inner.write_coil(0, True, device_id=_UNIT),
        6: lambda: inner.write_register(30, 7, device_id=_UNIT),
        15: lambda: inner.write_coils(0, [True], device_id=_UNIT),
        16: lambda: inner.write_registers(30, [7], device_id=_UNIT),
        22: lambda: inner.mask_write_register(address=30, device_id=_UNIT),
        23: lambda: inner.readwrite_registers(read_count=1, values=[7], write_address=30, device_id=_UNIT),
    }
    yield from ((f"{named(code)} below the guard", attempt) for code, attempt in below.items())


async def _tried(name: str, ways: dict[str, Attempt]) -> Any:
    for way, attempt in ways.items():
        try:
            await attempt()
        except ReadOnlyError:
            continue
        except Exception as error:
            yield f"{name} ({way}) was not refused: {type(error).__name__}"
        else:
            yield f"{name} ({way}) was answered"


async def _last(read: Attempt, broken: list[str]) -> None:
    """Read once more; when what was attempted has ended the connection, that is one more thing that is wrong."""
    try:
        await read()
    except UnavailableError as error:
        broken.append(f"the attempts ended the connection: {error}")


async def _cost(relay: Relay, work: Callable[[], Awaitable[object]]) -> int:
    """Return how many bytes of the client passed the relay; the answer to the last request has come by then."""
    before = relay.witness.transferred[0]
    await work()
    return relay.witness.transferred[0] - before


def _differences(told: Counter[str], wanted: Counter[str], extra: int) -> Iterator[str]:
    for name in sorted((told - wanted) | (wanted - told)):
        yield f"the guard counts {told[name]} refusals of {name} instead of {wanted[name]}"
    if extra:
        yield f"{extra} bytes left"


def _only_here(relay: Relay) -> None:
    if not ipaddress.ip_address(relay.target[0]).is_loopback:
        raise ConfigError(f"{relay.target[0]} is not this machine: nothing is attempted on a server of yours")


def settings() -> dict[str, Any]:
    """Return what a configuration needs so that bytes can be counted."""
    return {"session_timeout": _LONG, "request_timeout": _TIMEOUT}
