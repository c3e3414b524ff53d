"""The proof as a whole: the source, a stand-in, and in a dry run a server of yours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from otmirror import taglist
from otmirror.errors import ConfigError, MirrorError
from otmirror.modbus.address import checker
from otmirror.modbus.config import ModbusConfig, parse_devices, unfit
from otmirror.opcua import address
from otmirror.opcua.config import OpcUaConfig
from otmirror.prove import attempts, flows, static, wire
from otmirror.prove.report import FAILS, UNCHECKED, Line, judged
from otmirror.prove.source import Bundle
from otmirror.prove.standin import ModbusRelay, StandIn
from otmirror.witness.faulty import FaultyRelay
from otmirror.workspace import PROJECT

_TRIES = 60.0
_BEFORE = (4711.25, 4711)
"""What another client sets the stand-in's setpoints to."""
_FAST = {"interval_ms": 100, "reconnect_first": 0.1, "reconnect_longest": 0.3}


@dataclass(frozen=True)
class Yours:
    """A server to look on at, in a dry run: exactly one of `opcua` (a URL) and `modbus` (`host:port`)."""

    opcua: str | None
    modbus: str | None
    taglist: Path
    seconds: float

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: not exactly one server, or no time to read.
        """
        if (self.opcua is None) == (self.modbus is None):
            raise ConfigError("give one of --opcua and --modbus with --taglist: its tag list is for one of them")
        if not 0 < self.seconds <= 86_400:
            raise ConfigError(f"--seconds {self.seconds:g} is not above 0 and at most 86400")


def prove(bundle: Path, flow_folder: Path, yours: Yours | None = None) -> Iterator[Line]:
    """Yield the lines of the proof, as they are known.

    Raises:
        ConfigError: there is no bundle, or what is given of your server cannot be used.
    """
    look = _dry(yours) if yours is not None else None
    yield from static.lines(Bundle(bundle))
    yield flows.line(flow_folder)
    with StandIn() as plant:
        yield from on_stand_in(plant)
    yield from _elsewhere()
    if look is not None:
        yield from look()


def on_stand_in(plant: StandIn) -> Iterator[Line]:
    """Yield what is proven on a plant of the proof's own: refusals, the wire, and the device after all that."""
    before = plant.set_opcua(_BEFORE[0]), plant.set_modbus(_BEFORE[1])
    yield from _refusals(plant)
    yield from _troubles(plant)
    how = "another client wrote a value first, and reads it after all of the above"
    broken = [] if before[0] == _BEFORE[0] else ["the stand-in took no write from the other client either"]
    value: float = plant.opcua_value()
    broken += [] if value == before[0] else [f"its setpoint was {before[0]:g} and is {value:g}"]
    claim = "An OPC UA server that takes writes from others is unchanged"
    yield judged("device-opcua", claim, how, broken, f"the setpoint is still {value:g}")
    broken = [] if before[1] == _BEFORE[1] else ["the stand-in took no write from the other client either"]
    value = plant.modbus_value()
    broken += [] if value == before[1] else [f"its register was {before[1]} and is {value:g}"]
    claim = "A Modbus device that takes writes from others is unchanged"
    yield judged("device-modbus", claim, how, broken, f"the register is still {value:g}")


def _refusals(plant: StandIn) -> Iterator[Line]:
    relay = plant.opcua_relay()
    config = plant.opcua_config(relay, **attempts.settings())
    yield _bounded("refused-opcua", attempts.opcua(config, relay, plant.setpoint))
    other = plant.modbus_relay()
    yield _bounded("refused-modbus", attempts.modbus(other.address, other))


def _bounded(id: str, work: Coroutine[Any, Any, Line]) -> Line:
    """Return the line, or one that fails when it could not be found out."""
    try:
        return asyncio.run(asyncio.wait_for(work, _TRIES))
    except (MirrorError, TimeoutError, asyncio.TimeoutError) as error:
        told = f"not found out: {error or type(error).__name__}"
        return Line(id, "Everything off the list is refused", "tried on a live server", told, FAILS)


def _troubles(plant: StandIn) -> Iterator[Line]:
    relay = plant.opcua_relay()
    config = plant.opcua_config(relay, request_timeout=1.0, emit_repeats=True, **_FAST)
    yield from wire.opcua_lines("wire", "the stand-in", relay, wire.troubled(wire.opcua_source(config), relay))
    other = plant.modbus_relay()
    settings = plant.modbus_config(other, timeout=0.5, refresh=0.001, **_FAST)
    yield from wire.modbus_lines("wire", "the stand-in", other, wire.troubled(wire.modbus_source(settings), other))


def _elsewhere() -> Iterator[Line]:
    """Yield claims that need more than this command: in the table, so that nobody takes them for checked."""
    yield Line(
        "encrypted", "The same over SignAndEncrypt", "the server's own log of requests, as no relay can look inside",
        "held by tests/protocol/opcua/test_opcua_proof.py; on your plant: the server's audit log", UNCHECKED,
    )  # fmt: skip
    zones = PROJECT / "tests" / "zones"
    held = "held by tests/zones, where network namespaces are allowed" if zones.is_dir() else "no test of zones is here"
    yield Line(
        "network", "Firewalls let only the mirror reach the devices, and nothing reach it from the office",
        "the zones built from network namespaces", held, UNCHECKED,
    )  # fmt: skip


def _dry(yours: Yours) -> Callable[[], list[Line]]:
    """Check what was given, and return what looks on at that server: it is read as a processor would, nothing else."""
    if yours.opcua is not None:
        tags = tuple(taglist.load(yours.taglist, address.check))
        config = OpcUaConfig(yours.opcua, tags, refresh=1.0)
        return lambda: _look_at_opcua(config, yours.seconds)
    devices = parse_devices(yours.modbus or "")
    if len(devices) != 1:
        raise ConfigError("--modbus: give one device, host:port or name=host:port")
    listed = tuple(taglist.load(yours.taglist, checker(devices, 125), unfit))
    settings = ModbusConfig(devices, "proof", listed)
    return lambda: _look_at_modbus(settings, yours.seconds)


def _look_at_opcua(config: OpcUaConfig, seconds: float) -> list[Line]:
    with closing(FaultyRelay(config.host_port)) as relay:
        here = urlunsplit(urlsplit(config.endpoint)._replace(netloc=f"{relay.host}:{relay.port}"))
        run = wire.calm(wire.opcua_source(OpcUaConfig(here, config.tags)), relay, seconds)
        return wire.opcua_lines("yours", f"your server {config.endpoint}", relay, run)


def _look_at_modbus(config: ModbusConfig, seconds: float) -> list[Line]:
    ((name, where),) = config.devices.items()
    with closing(ModbusRelay(where)) as relay:
        run = wire.calm(wire.modbus_source(ModbusConfig({name: relay.address}, "proof", config.tags)), relay, seconds)
        return wire.modbus_lines("yours", f"your device {where[0]}:{where[1]}", relay, run)
