"""`otmirror supply`: what the bundle is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from otmirror import __version__
from otmirror.embedded.bundle import BUNDLED, LOCK, PROCESSORS, bundle_dependencies
from otmirror.embedded.nar import NAR_ID
from otmirror.errors import ConfigError, UnavailableError
from otmirror.supply import lock, sbom
from otmirror.supply import scan as scanning
from otmirror.workspace import PROJECT

app = typer.Typer(help="Bill of materials, licences, vulnerabilities of the bundle.", no_args_is_help=True)


@app.command("sbom")
def sbom_(folder: Annotated[Path, typer.Option(help="Where the files go.")] = PROJECT / "dist") -> None:
    """Write the bundle's bill of materials (CycloneDX) and its licences; fails on a licence that is not allowed."""
    bundle_dependencies(lambda line: typer.echo(line, err=True))
    bom = sbom.make(PROCESSORS / BUNDLED)
    found = sbom.licences(bom)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{NAR_ID}-{__version__}.cdx.json"
    target.write_text(json.dumps(bom, indent=2) + "\n")
    (folder / "licences.md").write_text(sbom.table(found))
    typer.echo(f"{target}: {len(found)} packages; licences in {folder / 'licences.md'}")
    wrong = [
        f"{one.name} {one.version} ({', '.join(one.licences) or 'states none'})" for one in found if not one.allowed
    ]
    if wrong:
        raise ConfigError(f"licences off the allow-list: {'; '.join(wrong)}")


@app.command()
def scan() -> None:
    """Look the locked packages up in a database of known vulnerabilities; exit status 1 when one has some.

    Where no database can be reached it says so and is not a failure.
    """
    try:
        found = scanning.scan()
    except UnavailableError as error:
        typer.echo(f"vulnerability scan skipped: {error}")
        return
    for one in found:
        typer.echo(str(one), err=True)
    if found:
        raise typer.Exit(1)
    typer.echo("no known vulnerability in the bundle's packages")


@app.command("lock")
def lock_() -> None:
    """Write the hashes of the bundle's packages anew, after a change of requirements.txt."""
    lock.write()
    for python in ("3.10", "3.11", "3.12"):
        lock.check(python)
    typer.echo(f"{LOCK} holds for Python 3.10, 3.11 and 3.12")
