"""`otmirror slo`: objectives and alerts made into rules for Prometheus and vmalert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otmirror.errors import ConfigError
from otmirror.slo import rules, ruletests, runbooks
from otmirror.slo.alerts import RUNBOOKS

app = typer.Typer(help="Service level objectives, alerts and their runbooks.", no_args_is_help=True)


@app.command()
def generate(
    phase: Annotated[int, typer.Option(help="1: 99.5 %, pilot and parallel run. 2: 99.9 %.", min=1, max=2)] = 1,
    base: Annotated[
        str, typer.Option("--runbooks", help="What precedes a runbook's file name in runbook_url.")
    ] = RUNBOOKS,
    folder: Annotated[Path, typer.Option(help="Where the rules are written.")] = rules.FOLDER,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a file is not current.")] = False,
) -> None:
    """Write the rules of monitoring/slo and monitoring/alerts.toml, plain PromQL, and the index of the runbooks."""
    wanted = {**rules.files(phase, base, folder), **runbooks.files(phase)}
    if not check:
        rules.write(wanted)
        for path in wanted:
            typer.echo(f"wrote {path}")
        return
    stale = rules.stale(wanted)
    if stale:
        raise ConfigError(
            f"not what `otmirror slo generate --phase {phase}` makes: {', '.join(str(path) for path in stale)}"
        )
    typer.echo(f"{len(wanted)} files are current")


@app.command("test")
def run_tests(
    folder: Annotated[Path, typer.Option(help="Folder of the unit tests, in promtool's format.")] = ruletests.TESTS,
) -> None:
    """Run the unit tests of the rules with vmalert-tool; exit 1 when an alert does not do what it should."""
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise ConfigError(f"there are no tests (*.yaml) in {folder}")
    wrong = ruletests.vmalert_tool(files, lambda line: typer.echo(line, err=True))
    if wrong:
        typer.echo(wrong)
        raise typer.Exit(1)
    typer.echo(f"{len(files)} files of tests passed")
