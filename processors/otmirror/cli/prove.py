"""`otmirror prove`: show that this mirror only reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from otmirror.embedded.bundle import PROCESSORS
from otmirror.errors import ConfigError
from otmirror.prove import proof, report
from otmirror.workspace import PROJECT


def prove(
    opcua: Annotated[
        str | None, typer.Option(help="Look on at a server of yours, such as opc.tcp://10.1.2.3:4840.")
    ] = None,
    modbus: Annotated[str | None, typer.Option(help="Look on at a device of yours, such as 10.1.2.3:502.")] = None,
    taglist: Annotated[Path | None, typer.Option(help="Tag list (CSV) of what to read of it.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to look on.")] = 30.0,
    bundle: Annotated[Path, typer.Option(help="Folder of the processors whose source is looked at.")] = PROCESSORS,
    flows: Annotated[Path, typer.Option(help="Folder of the flows.")] = PROJECT / "flows",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prove that this mirror only reads: one line a claim; exit status 1 when one fails.

    What would be a write is tried on a stand-in on this machine only. A server of yours is read through a relay that
    names what passes, as a processor would read it and no more.
    """
    yours = None
    if opcua is not None or modbus is not None:
        if taglist is None:
            raise ConfigError("--taglist: name the tag list of what to read of your server")
        yours = proof.Yours(opcua, modbus, taglist, seconds)
    elif taglist is not None:
        raise ConfigError("--taglist goes with --opcua or --modbus")
    lines = []
    for line in proof.prove(bundle, flows, yours):
        lines.append(line)
        typer.echo(f"{line.verdict}: {line.claim}", err=True)
    if as_json:
        typer.echo(report.as_json(lines))
    else:
        Console(width=None if sys.stdout.isatty() else 200).print(report.as_table(lines))
    broken = report.failed(lines)
    unchecked = sum(line.verdict == report.UNCHECKED for line in lines)
    typer.echo(f"{len(lines)} claims, {len(broken)} failed, {unchecked} not checked here", err=True)
    if broken:
        raise typer.Exit(1)
