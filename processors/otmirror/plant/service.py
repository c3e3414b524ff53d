"""The plant: wells served over OPC UA and Modbus at once."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from otmirror.clock import Clock, SystemClock
from otmirror.errors import ConfigError
from otmirror.plant import opcua
from otmirror.plant.faults import FaultFile
from otmirror.plant.modbus import ModbusDevice
from otmirror.plant.opcua import OpcUaServer
from otmirror.plant.pacing import ClockFeed, Feed, Metronome, ReadFeed
from otmirror.plant.rows import UNITS, Recording, read_csv
from otmirror.plant.synthetic import DAY_S, GasLiftWell
from otmirror.plant.well import HIGHEST_UNIT, MOST_FLOATS, Well

HOST = opcua.HOST
FASTEST = 1_000_000
"""Rows a second; their timestamps are microseconds."""


@dataclass(frozen=True)
class PlantConfig:
    """What to serve, how fast, and where. A port of None leaves that protocol out; 0 takes a free port."""

    csv: tuple[Path, ...] = ()
    """One recording a well; none: synthetic wells."""
    wells: int | None = None
    """How many synthetic wells; None: as many as `tags` needs."""
    tags: int | None = None
    """How many sensors in all; None: eight a well."""
    seed: int = 1
    rows: int = DAY_S
    """How many rows a synthetic well has."""
    speed: float = 1.0
    """Rows a second."""
    on_read: bool = False
    """Whether each read gets the next row, instead of the row of the present second; subscriptions get no rows then."""
    recorded_times: bool = False
    """Whether a row is served with its own time, instead of when it became current."""
    loop: bool = True
    """Whether to start over at the end; reads in lock-step never do."""
    opcua_port: int | None = 48400
    modbus_port: int | None = 5020
    security: Path | None = None
    """Folder of the OPC UA server's certificate; None: no endpoint with security."""
    trusted: Path | None = None
    """Folder of the only client certificates OPC UA takes, or of their authorities; None: any, and none."""
    user: str | None = None
    password: str | None = None
    faults: Path | None = None
    """File that says what is wrong with OPC UA (`otmirror.plant.faults`)."""
    subscribed: int = 0
    """How many tags, the last ones, are subscribed by the OPC UA tag list (`otmirror.plant.tags`)."""


@dataclass(frozen=True)
class Progress:
    """How far the readers of one protocol are, over the wells that are read."""

    served: int
    finished: bool


class Plant:
    """Wells behind a real OPC UA server and a real Modbus device, for as long as it is started."""

    def __init__(self, config: PlantConfig, clock: Clock | None = None):
        """Read or make the wells.

        Raises:
            ConfigError: the configuration contradicts itself, or a recording cannot be used.
        """
        _check(config)
        self.config = config
        self.wells = [Well(number, recording) for number, recording in enumerate(_recordings(config), 1)]
        self.modbus_wells = self.wells[:HIGHEST_UNIT] if config.modbus_port is not None else []
        for well in self.modbus_wells:
            if len(well.recording.sensors) > MOST_FLOATS:
                raise ConfigError(f"{well.name} has more sensors than fit a Modbus unit ({MOST_FLOATS}): add wells")
        sensors = sum(len(well.recording.sensors) for well in self.wells)
        if config.subscribed > sensors:
            raise ConfigError(f"--subscribed {config.subscribed} is more than the {sensors} OPC UA tags there are")
        self._clock = clock or SystemClock()
        self._metronome = Metronome(self._clock, config.speed)
        self._feeds: dict[str, list[Feed]] = {}
        self._opcua: OpcUaServer | None = None
        self._modbus: ModbusDevice | None = None

    @property
    def opcua_url(self) -> str | None:
        """The OPC UA endpoint; None when not served."""
        return self._opcua.url if self._opcua else None

    @property
    def modbus_address(self) -> tuple[str, int] | None:
        """Host and port of the Modbus device; None when not served."""
        return self._modbus.address if self._modbus else None

    @property
    def rows_served(self) -> dict[str, Progress]:
        """Rows served by protocol (`opcua`, `modbus`), summed over the wells that have been read."""
        progress = {}
        for protocol, feeds in self._feeds.items():
            served = [(count, feed.finished()) for feed in feeds if (count := feed.served()) is not None]
            progress[protocol] = Progress(sum(count for count, _ in served), _all(done for _, done in served))
        return progress

    @property
    def finished(self) -> bool:
        """Whether every protocol has served the last row of each well that is read."""
        return _all(progress.finished for progress in self.rows_served.values())

    async def start(self) -> None:
        """Listen on 127.0.0.1; row 0 begins when all is ready.

        Raises:
            ConfigError: a port is taken, or the security folder cannot be used.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        config = self.config
        if config.opcua_port is not None:
            port = _usable(config.opcua_port, "OPC UA", "--opcua-port")
            access = opcua.Access(config.security, config.trusted, config.user, config.password)
            faults = FaultFile(config.faults).current
            metronome = None if config.on_read else self._metronome
            self._opcua = OpcUaServer(self._pair("opcua", self.wells), port, access, self._clock, faults, metronome)
            await self._opcua.build()
        if config.modbus_port is not None:
            port = _usable(config.modbus_port, "Modbus", "--modbus-port")
            self._modbus = ModbusDevice(self._pair("modbus", self.modbus_wells), port)
        self._metronome.start()
        if self._opcua is not None:
            await self._opcua.start()
        if self._modbus is not None:
            await self._modbus.start()

    async def stop(self) -> None:
        """Close all connections and stop listening. May be called more than once."""
        modbus, opcua_server = self._modbus, self._opcua
        self._modbus = self._opcua = None
        if modbus is not None:
            await modbus.stop()
        if opcua_server is not None:
            await opcua_server.stop()

    async def __aenter__(self) -> Plant:
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()

    def _pair(self, protocol: str, wells: Sequence[Well]) -> list[tuple[Well, Feed]]:
        self._feeds[protocol] = [self._feed(well.recording) for well in wells]
        return list(zip(wells, self._feeds[protocol], strict=True))

    def _feed(self, recording: Recording) -> Feed:
        config = self.config
        if config.on_read:
            return ReadFeed(recording, self._clock, config.recorded_times)
        return ClockFeed(recording, self._metronome, config.loop, config.recorded_times)


def _all(flags: Iterable[bool]) -> bool:
    """Return whether there are flags and all are set."""
    gathered = list(flags)
    return bool(gathered) and all(gathered)


def _check(config: PlantConfig) -> None:
    for name, number in (("--wells", config.wells), ("--tags", config.tags), ("--rows", config.rows)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} {number} is below 1")
    if not 0 < config.speed <= FASTEST:
        raise ConfigError(f"--speed {config.speed:g} is not above 0 and at most {FASTEST:,}: it is rows a second")
    if config.csv and (config.wells is not None or config.tags is not None):
        raise ConfigError("--csv serves one well a file: leave out --wells and --tags")
    if config.opcua_port is None and config.modbus_port is None:
        raise ConfigError("neither OPC UA nor Modbus is to be served: leave out --no-opcua or --no-modbus")
    if config.subscribed < 0:
        raise ConfigError(f"--subscribed {config.subscribed} is below 0")
    if config.subscribed and config.opcua_port is None:
        raise ConfigError("--subscribed is for OPC UA tags: leave out --no-opcua")
    if config.subscribed and config.on_read:
        raise ConfigError("--subscribed needs --advance clock: when reads make the rows, subscriptions get none")
    if config.trusted is not None and config.security is None:
        raise ConfigError("--trusted needs --security, the folder of the server's own certificate")
    if config.trusted is not None and not config.trusted.is_dir():
        raise ConfigError(f"--trusted {config.trusted} is not a folder")
    if (config.user is None) != (config.password is None):
        raise ConfigError("--user and --password-file go together: give both or neither")


def _recordings(config: PlantConfig) -> list[Recording]:
    if config.csv:
        return [read_csv(path) for path in config.csv]
    eight = len(UNITS)
    wells = config.wells or max(1, (config.tags or eight) // eight)
    extra = (config.tags or wells * eight) - wells * eight
    if extra < 0:
        raise ConfigError(f"--tags {config.tags} is less than the {eight} sensors of each of {wells} wells")
    share, rest = divmod(extra, wells)
    return [GasLiftWell(config.seed, number, share + (number <= rest), config.rows) for number in range(1, wells + 1)]


def _usable(port: int, what: str, option: str) -> int:
    """Return the port if it can be listened on; the servers themselves only say that they cannot start."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            taken = getattr(error, "errno", None) == errno.EADDRINUSE
            reason = "is in use" if taken else f"cannot be used ({error})"
            raise ConfigError(f"{what} port {port} on {HOST} {reason}: choose another with {option}") from None
    return port
