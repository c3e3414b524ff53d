"""`otmirror zones`: what is made of the table of zones and conduits, and whether a network keeps to it."""

from __future__ import annotations

import asyncio
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from otmirror.errors import ConfigError
from otmirror.zones import hosts as places
from otmirror.zones import model, probe

app = typer.Typer(help="Network zones and conduits (IEC 62443), from security/zones.toml.", no_args_is_help=True)


class Profile(str, Enum):
    """Which conduits hold."""

    FULL = "full"
    PILOT = "pilot"


Source = Annotated[Path, typer.Option(help="The table of zones and conduits.")]
HostsFile = Annotated[Path, typer.Option(help="Where your members are; a copy of security/hosts.example.toml.")]
ProfileOf = Annotated[Profile, typer.Option(help="full: buses in a DMZ; pilot: one NiFi that writes the store.")]


@app.command()
def nftables(
    hosts: HostsFile,
    router: Annotated[bool, typer.Option("--router", help="Rules of the firewall between the zones.")] = False,
    member: Annotated[str | None, typer.Option(help="Rules of this member's own host.")] = None,
    profile: ProfileOf = Profile.FULL,
    zones: Source = model.TABLE,
) -> None:
    """Print an nftables rule set that drops, counts and logs all but the conduits; load it with `nft -f -`."""
    from otmirror.zones import nftables as rules

    if router == (member is not None):
        raise ConfigError("choose one of --router and --member NAME")
    matrix = model.load(zones)
    where = places.load(hosts, matrix)
    made = rules.host(matrix, where, member, profile.value) if member else rules.router(matrix, where, profile.value)
    typer.echo(made, nl=False)


@app.command()
def kubernetes(
    folder: Annotated[Path, typer.Argument(help="Folder for one YAML file a zone.")],
    hosts: HostsFile,
    profile: ProfileOf = Profile.FULL,
    zones: Source = model.TABLE,
) -> None:
    """Write NetworkPolicies: everything denied, each conduit allowed."""
    from otmirror.zones import document

    matrix = model.load(zones)
    for file in document.write(document.policies(matrix, places.load(hosts, matrix), folder, profile.value)):
        typer.echo(f"wrote {file}")


@app.command("document")
def write_document() -> None:
    """Write what is made of the table: docs/zones.md and its picture, security/kubernetes, security/nftables."""
    from otmirror.zones import document

    for file in document.write(document.files()):
        typer.echo(f"wrote {file}")


@app.command("probe")
def try_out(
    start: Annotated[str, typer.Option("--from", help="The member on whose host this runs.")],
    hosts: HostsFile,
    profile: ProfileOf = Profile.FULL,
    timeout: Annotated[float, typer.Option(help="Seconds until a connection counts as blocked.")] = 3.0,
    zones: Source = model.TABLE,
    every: Annotated[bool, typer.Option("--all", help="Show the right ones too.")] = False,
) -> None:
    """Try every conduit and everything forbidden from here: TCP connections, closed at once. Exit 1: they differ."""
    if not 0 < timeout <= 60:
        raise ConfigError(f"--timeout is above 0 and at most 60 s, not {timeout:g}")
    matrix = model.load(zones)
    tries = probe.plan(matrix, places.load(hosts, matrix), start, profile.value)
    found = asyncio.run(probe.run(tries, timeout))
    wrong = [entry for entry in found if not entry.right]
    shown = Table("member", "address", "port", "expected", "seen")
    for entry in found if every else wrong:
        style = None if entry.right else "red"
        shown.add_row(entry.member, entry.address, str(entry.port), entry.expected, entry.seen, style=style)
    console = Console(width=None if Console().is_terminal else 100)
    if shown.row_count:
        console.print(shown)
    wanted = sum(entry.expected == probe.OPEN for entry in found)
    typer.echo(
        f"from {start}: {len(found)} connections tried, {wanted} to be open, {len(found) - wanted} blocked; "
        f"{len(wrong)} not as the table says"
    )
    if wrong:
        raise typer.Exit(1)
