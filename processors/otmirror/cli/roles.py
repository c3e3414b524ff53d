"""`otmirror nifi roles`: the roles of security/roles.toml in a running NiFi."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otmirror.cli.versioned import DEFAULT_URL, Url
from otmirror.flow.api import Rest
from otmirror.flow.roles import Difference, Roles, load, table
from otmirror.workspace import PROJECT

FILE = PROJECT / "security" / "roles.toml"

app = typer.Typer(help="Who may do what in NiFi: roles in a file, groups and policies in NiFi.", no_args_is_help=True)

File = Annotated[Path, typer.Option("--roles", help="The roles. [default: security/roles.toml]", show_default=False)]


@app.command()
def apply(file: File = FILE, url: Url = DEFAULT_URL) -> None:
    """Give a NiFi the groups and policies of the roles; a second time changes nothing. Needs an administrator."""
    roles = load(file)
    changes = Roles(Rest(url), roles).apply()
    for change in changes:
        typer.echo(_done(change))
    typer.echo(f"{len(roles)} roles, {len(changes)} changes.")


@app.command()
def check(file: File = FILE, url: Url = DEFAULT_URL) -> None:
    """Say where a NiFi is not as the roles want it, and who else has policies; exit status 1 with differences."""
    roles = load(file)
    seen = Roles(Rest(url), roles)
    differences = seen.differences()
    for difference in differences:
        typer.echo(str(difference))
    for identity, policies in seen.others().items():
        typer.echo(f"{identity}: no role, {policies} policies")
    typer.echo(f"{len(roles)} roles, {len(differences)} differences.")
    if differences:
        raise typer.Exit(1)


@app.command()
def show(file: File = FILE) -> None:
    """Print the roles and their policies as a table in Markdown."""
    typer.echo(table(load(file)), nl=False)


def _done(change: Difference) -> str:
    if change.grant is None:
        return f"{change.role.name}: made the group {change.role.group!r}"
    return f"{change.role.name}: {'gave' if change.missing else 'took'} {change.grant}"
