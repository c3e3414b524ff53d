"""`otmirror plant`: a plant to read from, on this machine only."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from otmirror.errors import ConfigError
from otmirror.plant import Plant, PlantConfig, tags
from otmirror.plant.rows import UNITS


class Advance(str, Enum):
    """What makes the next row current."""

    CLOCK = "clock"
    ON_READ = "on-read"


class Timestamps(str, Enum):
    """Which time a row is served with."""

    LIVE = "live"
    RECORDED = "recorded"


Csv = Annotated[
    list[Path] | None,
    typer.Option(help="Recording to serve (timestamp, one column a sensor), one a well; repeat it. None: synthetic."),
]
Wells = Annotated[int | None, typer.Option(help="Synthetic wells; without it as many as --tags needs.")]
Tags = Annotated[int | None, typer.Option(help=f"Sensors in all synthetic wells; without it {len(UNITS)} a well.")]
Seed = Annotated[int, typer.Option(help="Seed of the synthetic wells: the same seed, the same data.")]
Rows = Annotated[int, typer.Option(help="Rows of a synthetic well.")]
Speed = Annotated[float, typer.Option(help="Rows a second (--advance clock).")]
AdvanceOn = Annotated[
    Advance,
    typer.Option(
        help="clock: rows pass by themselves, subscriptions get each; on-read: each read of a tag gets its next row, "
        "subscriptions get none."
    ),
]
TimestampsOf = Annotated[
    Timestamps, typer.Option(help="live: when the row became current; recorded: the row's own time.")
]
OpcUaPort = Annotated[int, typer.Option(help="OPC UA port; 0 takes a free one.")]
ModbusPort = Annotated[int, typer.Option(help="Modbus TCP port; 0 takes a free one.")]
NoOpcUa = Annotated[bool, typer.Option("--no-opcua", help="Serve no OPC UA.")]
NoModbus = Annotated[bool, typer.Option("--no-modbus", help="Serve no Modbus.")]
Security = Annotated[
    Path | None,
    typer.Option(help="Folder for a certificate: OPC UA then also has Basic256Sha256 endpoints."),
]
Trusted = Annotated[
    Path | None,
    typer.Option(
        help="Folder with the client certificates, or their authorities, to let in: encrypted, and no others."
    ),
]
User = Annotated[str | None, typer.Option(help="The only user OPC UA lets in; without it anonymous.")]
PasswordFile = Annotated[Path | None, typer.Option(help="File with that user's password.")]
WriteTags = Annotated[Path | None, typer.Option(help="Folder to write the tag lists of what is served to.")]
Subscribed = Annotated[
    int, typer.Option(help="How many OPC UA tags, the last ones, the tag list has subscribed instead of polled.")
]
Once = Annotated[bool, typer.Option("--once", help="At the end of the rows give no data instead of starting over.")]
StatusFile = Annotated[
    Path | None, typer.Option(help="File for the addresses and the progress (JSON, replaced every second).")
]

FaultsOf = Annotated[
    Path | None,
    typer.Option(
        help='JSON file with what is wrong with OPC UA, looked at all the time: {"clock_s": 60, "bad": ["T"]}.'
    ),
]


def plant(
    csv: Csv = None,
    wells: Wells = None,
    tags: Tags = None,
    seed: Seed = 1,
    rows: Rows = PlantConfig.rows,
    speed: Speed = 1.0,
    advance: AdvanceOn = Advance.CLOCK,
    timestamps: TimestampsOf = Timestamps.LIVE,
    opcua_port: OpcUaPort = 48400,
    modbus_port: ModbusPort = 5020,
    no_opcua: NoOpcUa = False,
    no_modbus: NoModbus = False,
    security: Security = None,
    trusted: Trusted = None,
    user: User = None,
    password_file: PasswordFile = None,
    write_tags: WriteTags = None,
    subscribed: Subscribed = 0,
    once: Once = False,
    status_file: StatusFile = None,
    faults: FaultsOf = None,
) -> None:
    """Serve recorded or synthetic wells over OPC UA and Modbus TCP on 127.0.0.1, until Ctrl-C."""
    config = PlantConfig(
        csv=tuple(csv or ()),
        wells=wells,
        tags=tags,
        seed=seed,
        rows=rows,
        speed=speed,
        on_read=advance is Advance.ON_READ,
        recorded_times=timestamps is Timestamps.RECORDED,
        loop=not once,
        opcua_port=None if no_opcua else opcua_port,
        modbus_port=None if no_modbus else modbus_port,
        security=security,
        trusted=trusted,
        user=user,
        password=_password(password_file),
        faults=faults,
        subscribed=subscribed,
    )
    # What a client did wrong is answered to the client.
    for name in ("asyncua", "pymodbus.logging"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _forget(status_file)
    try:
        asyncio.run(_serve(Plant(config), write_tags, status_file))
    finally:
        _forget(status_file)


def _forget(status_file: Path | None) -> None:
    """Remove the status file, so that nobody takes a plant that is gone for ready."""
    if status_file is not None:
        with suppress(OSError):
            status_file.unlink()


def _password(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--password-file {file} cannot be read: {getattr(error, 'strerror', error)}") from None


async def _serve(plant: Plant, write_tags: Path | None, status_file: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if write_tags is not None:
        served = plant.wells if plant.config.opcua_port is not None else []
        for file in tags.write(write_tags, served, plant.modbus_wells, plant.config.subscribed):
            print(f"tag list {file}")
    starting, stopping = asyncio.ensure_future(plant.start()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        return
    starting.result()
    try:
        _announce(plant)
        await _report(plant, status_file, stop)
    finally:
        await plant.stop()


def _announce(plant: Plant) -> None:
    sensors = sum(len(well.recording.sensors) for well in plant.wells)
    print(f"plant of {len(plant.wells)} well(s), {sensors} sensors")
    if plant.opcua_url:
        print(f"OPC UA   {plant.opcua_url}")
    if plant.modbus_address:
        units = len(plant.modbus_wells)
        print("Modbus   {}:{}".format(*plant.modbus_address), f"units 1 to {units}" if units > 1 else "unit 1")
        if units < len(plant.wells):
            print(f"         wells {units + 1} to {len(plant.wells)} are on OPC UA only: Modbus has {units} units")
    ports = [plant.opcua_url or "", "{}:{}".format(*plant.modbus_address) if plant.modbus_address else ""]
    print("ready", *filter(None, ports), flush=True)


async def _report(plant: Plant, status_file: Path | None, stop: asyncio.Event) -> None:
    """Report the progress every second until `stop`; the end of the rows once."""
    told = False
    while True:
        progress = {protocol: done.served for protocol, done in plant.rows_served.items()}
        line = "rows served: " + ", ".join(f"{protocol} {served}" for protocol, served in progress.items())
        if plant.finished and not told:
            told = True
            print(f"finished, {line}", flush=True)
        elif sys.stdout.isatty():
            print(f"\r{line}", end="", flush=True)
        if status_file is not None:
            _write_status(status_file, plant, progress)
        try:
            await asyncio.wait_for(stop.wait(), 1)
        except asyncio.TimeoutError:
            continue
        print("\nplant stopped" if sys.stdout.isatty() else "plant stopped", flush=True)
        return


def _write_status(file: Path, plant: Plant, progress: dict[str, int]) -> None:
    modbus = plant.modbus_address
    status = {
        "ready": True,
        "pid": os.getpid(),
        "opcua": plant.opcua_url,
        "modbus": "{}:{}".format(*modbus) if modbus else None,
        "rows_served": progress,
        "finished": plant.finished,
    }
    fresh = file.with_name(file.name + ".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(status) + "\n", encoding="utf-8")
        fresh.replace(file)
    except OSError as error:
        raise ConfigError(f"--status-file {file} cannot be written: {error.strerror or error}") from None
