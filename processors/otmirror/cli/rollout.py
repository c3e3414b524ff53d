"""`otmirror rollout`: whether a phase may begin or end, and the sheet that people sign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from otmirror.errors import MirrorError
from otmirror.workspace import PROJECT, work

if TYPE_CHECKING:
    from otmirror.rollout.check import Result
    from otmirror.rollout.phases import Phase

FILE = PROJECT / "rollout" / "phases.toml"
_STYLES = {"pass": "green", "fail": "red", "unknown": "yellow"}

app = typer.Typer(help="From pilot to cutover: criteria checked, and signed off.", no_args_is_help=True)

PhaseName = Annotated[str, typer.Option("--phase", help="pilot, parallel or cutover.")]
Phases = Annotated[Path, typer.Option("--phases", help="The phases and their criteria. [default: rollout/phases.toml]",
                                      show_default=False)]  # fmt: skip
Results = Annotated[
    Path | None, typer.Option(help="Folder of the evidence. [default: .work/rollout]", show_default=False)
]
Monitoring = Annotated[
    str | None, typer.Option(envvar="OTMIRROR_MONITORING_URL", help="Monitoring store, such as http://127.0.0.1:8429.")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE: of [site] in the phases' file; may repeat.")]
NoRun = Annotated[bool, typer.Option("--no-run", help="Run no command: only evidence that is there counts.")]


@app.command()
def check(
    phase: PhaseName,
    results: Results = None,
    monitoring: Monitoring = None,
    gate: Annotated[str, typer.Option(help="entry or exit. [default: both]")] = "",
    phases: Phases = FILE,
    set_: Set = None,
    no_run: NoRun = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run all commands, also where their answer is new.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the criteria of a phase: exit status 0 all pass, 1 one fails, 2 one is unknown, or a mistake of yours.

    A command whose last answer is too old is run, the monitoring store is asked, and what drills left is read.
    """
    from otmirror.rollout.check import dumps, exit_code
    from otmirror.rollout.evidence import now

    try:
        chosen, told = _checked(phase, results, monitoring, gate, phases, set_, not no_run, fresh)
    except MirrorError as error:
        Console(stderr=True).print(f"otmirror: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(dumps(chosen.name, told, now()))
    else:
        _show(chosen, told)
    raise typer.Exit(exit_code(told))


@app.command("sign-off")
def sign_off(
    phase: PhaseName,
    out: Annotated[Path, typer.Option(help="The sheet: a file that ends in .md or .html.")],
    exceptions: Annotated[
        Path | None, typer.Option(help="[[exception]] tables (TOML) for criteria that are not fulfilled.")
    ] = None,
    results: Results = None,
    monitoring: Monitoring = None,
    phases: Phases = FILE,
    set_: Set = None,
    no_run: NoRun = False,
) -> None:
    """Write the sheet of a phase for people to sign; refused while a criterion is open without a valid exception."""
    from otmirror.rollout import signoff
    from otmirror.rollout.evidence import now

    granted = signoff.load_exceptions(exceptions) if exceptions else []
    chosen, told = _checked(phase, results, monitoring, "", phases, set_, not no_run, False)
    sheet = signoff.make(chosen, told, granted, now())
    sheet.save(out)
    typer.echo(f"{out}: {sheet.verdict}")


def _checked(
    name: str, results: Path | None, monitoring: str | None, gate: str, file: Path, set_: list[str] | None, run: bool,
    fresh: bool,
) -> tuple[Phase, list[Result]]:  # fmt: skip
    from otmirror.cli.flow import collect
    from otmirror.errors import ConfigError
    from otmirror.rollout.check import Checker
    from otmirror.rollout.phases import ENTRY, EXIT, chosen, load

    if gate not in ("", ENTRY, EXIT):
        raise ConfigError(f"--gate {gate}: is entry or exit")
    phase = chosen(load(file, collect(None, set_ or (), ())), name)
    checker = Checker(
        results or work() / "rollout", monitoring, run=run, fresh=fresh, say=lambda line: typer.echo(line, err=True)
    )
    return phase, checker.check(phase.of(gate))


def _show(phase: Phase, told: list[Result]) -> None:
    shown = Table("gate", "criterion", "has to be", "is", "", title=f"{phase.title}, days {phase.days}",
                  title_justify="left")  # fmt: skip
    for result in told:
        style = _STYLES[result.state]
        shown.add_row(result.criterion.gate, result.criterion.asks, result.criterion.limit.shown(), result.shown,
                      f"[{style}]{result.state}[/{style}]")  # fmt: skip
    Console().print(shown)
    for result in told:
        if result.state != "pass":
            typer.echo(f"{result.criterion.id}: {result.why or 'outside its limit'}; {result.criterion.remedy}")
    counts = {state: sum(result.state == state for result in told) for state in _STYLES}
    typer.echo(", ".join(f"{count} {state}" for state, count in counts.items()), err=True)
