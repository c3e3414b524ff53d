"""`otmirror nar`: the processors and all they need in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otmirror.embedded.bundle import bundle_dependencies
from otmirror.embedded.nar import build
from otmirror.workspace import PROJECT


def nar(
    folder: Annotated[Path | None, typer.Option(help="Where to put it. [default: dist]")] = None,
) -> None:
    """Build the NAR that a NiFi with Python loads from its autoload folder."""
    bundle_dependencies(lambda line: typer.echo(line, err=True))
    path = build(folder or PROJECT / "dist")
    typer.echo(f"{path} ({path.stat().st_size / 1e6:.0f} MB)")
