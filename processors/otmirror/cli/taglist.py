"""`otmirror taglist`: look at a tag list before a processor does, or make one of what Telegraf reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from otmirror import taglist
from otmirror.errors import ConfigError
from otmirror.taglist import AddressCheck, RowCheck, Tag, TagListError
from otmirror.telegraf.imports import Result, as_csv, read
from otmirror.telegraf.template import DEFAULT_TAG

MQTT_WILDCARDS = {"+", "#"}
"""What a topic's name must not hold beside NUL (MQTT 5.0, 4.7.1), which no tag list takes."""

app = typer.Typer(help="Check tag lists, and make them of a telegraf.conf.", no_args_is_help=True)


class Protocol(str, Enum):
    """The protocol whose addresses a list holds."""

    OPCUA = "opcua"
    MODBUS = "modbus"


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The tag list (CSV).")],
    protocol: Annotated[Protocol, typer.Option(help="The protocol whose addresses it holds.")],
    devices: Annotated[
        str | None,
        typer.Option(help="Modbus: the property Devices of the processor; without it any device's name is accepted."),
    ] = None,
) -> None:
    """List every mistake with its line, or say what the list holds. Exit status 1 when there are mistakes."""
    try:
        tags = taglist.load(file, _address_check(protocol, devices), _row_check(protocol))
    except TagListError as error:
        for problem in error.problems:
            typer.echo(f"{error.name} {problem}", err=True)
        typer.echo(f"{len(error.problems)} mistake(s)", err=True)
        raise typer.Exit(1) from None
    for tag in tags:
        if found := MQTT_WILDCARDS & set(tag.tag):
            typer.echo(
                f"{file.name} line {tag.line}, column tag: warning: {tag.tag!r} holds {' and '.join(sorted(found))}, "
                "which no MQTT topic may: with mqtt.message = tag it cannot be published",
                err=True,
            )
    typer.echo(f"{file.name}: {len(tags)} tag(s), no mistakes")
    for interval, count in sorted(Counter(tag.interval_ms for tag in tags).items(), key=lambda item: item[0] or 0):
        typer.echo(f"  {f'every {interval} ms' if interval else 'at the default interval'}: {count}")
    for line in _thinned(tags):
        typer.echo(f"  {line}")


@app.command("from-telegraf")
def from_telegraf(
    file: Annotated[Path, typer.Argument(help="The configuration (telegraf.conf, or a file of telegraf.d).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tag lists; made when missing.")] = Path(
        "."
    ),
    tag: Annotated[str, typer.Option(help="How tags are named: the sinks' property Telegraf Tag.")] = DEFAULT_TAG,
) -> None:
    """Make tag lists of the OPC UA nodes and Modbus registers Telegraf reads; the tags are those of its live metrics.

    Says what to set beside them, and what could not be carried over. Exit status 1 when nothing could.
    """
    try:
        result = read(file.read_text("utf-8"), tag)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    _write(result, output)
    for left in result.left:
        typer.echo(f"not carried over: {left}", err=True)
    if not result.lists:
        typer.echo(f"{file.name}: nothing to import", err=True)
        raise typer.Exit(1)


def _write(result: Result, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for found in result.lists:
            (folder / found.file).write_text(as_csv(found), encoding="utf-8")
            typer.echo(f"{folder / found.file}: {len(found.tags)} tag(s) of {found.where}")
            for name, value in found.settings:
                typer.echo(f"  set {name}: {value}")
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror or error}") from None


def _thinned(tags: Sequence[Tag]) -> Iterator[str]:
    """Yield what a list says of when samples are sent."""
    served = sum(tag.deadband_percent is not None and tag.low is None for tag in tags)
    for what, count in (
        ("with a deadband", sum(tag.deadband is not None or tag.deadband_percent is not None for tag in tags)),
        ("  of these, in percent of a range that the server has to know", served),
        ("with a shortest time between samples", sum(bool(tag.exc_min_ms) for tag in tags)),
        ("with a refresh of their own", sum(tag.exc_max_ms is not None for tag in tags)),
        ("polled whatever the processor's default", sum(tag.mode == "poll" for tag in tags)),
        ("subscribed to whatever the processor's default", sum(tag.mode == "subscribe" for tag in tags)),
    ):
        if count:
            yield f"{what}: {count}"


def _row_check(protocol: Protocol) -> RowCheck | None:
    if protocol is Protocol.OPCUA:
        return None
    from otmirror.modbus.config import unfit

    return unfit


def _address_check(protocol: Protocol, devices: str | None) -> AddressCheck:
    if protocol is Protocol.OPCUA:
        from otmirror.opcua import address as opcua

        return opcua.check
    from otmirror.modbus import address as modbus
    from otmirror.modbus.config import MAX_REGISTERS, parse_devices

    if devices is not None:
        return modbus.checker(parse_devices(devices), MAX_REGISTERS)

    def check_any_device(tag: Tag) -> str | None:
        named = tag.address.rpartition("/")[0]
        return modbus.checker([named or "the only device"], MAX_REGISTERS)(tag)

    return check_any_device
