"""`otmirror taglist`: look at a tag list before a processor does."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from otmirror import taglist
from otmirror.taglist import AddressCheck, Tag, TagListError

app = typer.Typer(help="Check tag lists.", no_args_is_help=True)


class Protocol(str, Enum):
    """The protocol whose addresses a list holds."""

    OPCUA = "opcua"
    MODBUS = "modbus"


@app.callback()
def _group() -> None:
    """Keep `check` a sub-command: typer makes an app's only command the app itself."""


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
        tags = taglist.load(file, _address_check(protocol, devices))
    except TagListError as error:
        for problem in error.problems:
            typer.echo(f"{error.name} {problem}", err=True)
        typer.echo(f"{len(error.problems)} mistake(s)", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{file.name}: {len(tags)} tag(s), no mistakes")
    for interval, count in sorted(Counter(tag.interval_ms for tag in tags).items(), key=lambda item: item[0] or 0):
        typer.echo(f"  {f'every {interval} ms' if interval else 'at the default interval'}: {count}")


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
