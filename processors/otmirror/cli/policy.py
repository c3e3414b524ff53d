"""`otmirror policy`: flows and compose files against the rules of docs/policy.md, and what was blocked so far."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from otmirror.cli.flow import collect
from otmirror.embedded import opa
from otmirror.errors import MirrorError
from otmirror.policy import decisions
from otmirror.policy.check import Context, check
from otmirror.policy.engine import NO_OPA, Decision, Engine, Told, line

app = typer.Typer(help="Policy as code: what a flow and a compose file may hold.", no_args_is_help=True)

Log = Annotated[
    Path | None,
    typer.Option(help="Decision log; OTMIRROR_POLICY_LOG names it too. [default: .work/policy/decisions.jsonl]"),
]


@app.command("check")
def check_(
    files: Annotated[list[Path], typer.Argument(help="Flows (.json) and compose files (.yml, .yaml).")],
    site_file: Annotated[
        Path | None,
        typer.Option("--site", envvar="OTMIRROR_POLICY_SITE", help="Your site's file. [default: the demo's]"),
    ] = None,
    params: Annotated[
        Path | None, typer.Option(help="NAME=VALUE lines: parameters of flows, variables of compose files.")
    ] = None,
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of one; may repeat.")] = None,
    tags: Annotated[
        Path | None, typer.Option(help="Folder with the tag lists the flows name: their tags and intervals count too.")
    ] = None,
    log: Log = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the decisions as JSON.")] = False,
    waivers: Annotated[bool, typer.Option("--waivers", help="Also list the waivers that were used.")] = False,
    skip_without_opa: Annotated[
        bool, typer.Option("--skip-without-opa", help="Without an OPA say so and end with 0.")
    ] = False,
) -> None:
    """Say what the policy denies: exit status 0 all allowed, 1 something denied, 2 no decision could be made."""
    try:
        if skip_without_opa and opa.found() is None:
            typer.echo(NO_OPA, err=True)
            return
        context = Context(collect(params, param or (), ()), tags)
        told = check(files, Engine.ready(site_file), log or decisions.default_log(), "policy check", context)
    except MirrorError as error:
        raise undecided(error) from None
    if as_json:
        typer.echo(json.dumps([_as_json(path, decision) for path, decision in told.items()], indent=2))
    else:
        _tell(told, waivers)
    if any(decision.denied for decision in told.values()):
        raise typer.Exit(1)


@app.command()
def stats(
    log: Log = None,
    since: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="Only from this day on (UTC).")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write them as JSON.")] = False,
) -> None:
    """Count what the policy blocked, from the decision log."""
    told = decisions.stats(log or decisions.default_log(), since)
    if as_json:
        typer.echo(json.dumps(asdict(told), indent=2))
        return
    table = Table("", "count", title=f"policy decisions {told.first[:19]} to {told.last[:19]} UTC")
    rows = {
        "decisions": told.decisions,
        "decisions that blocked a file": told.blocked,
        "violations blocked": told.violations,
        "of these, distinct": told.distinct,
        "files whose latest decision blocks": told.open_files,
        "waivers used": told.waivers,
        **{f"  {rule}": count for rule, count in told.by_rule.items()},
    }
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    Console().print(table)


def undecided(error: MirrorError) -> typer.Exit:
    """Tell why no decision could be made, and return the exit that says so: status 2."""
    Console(stderr=True).print(f"otmirror: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(2)


def _tell(told: dict[Path, Decision], waivers: bool) -> None:
    for path, decision in told.items():
        for denial in decision.denied:
            typer.echo(line(path, denial))
        for waiver in decision.waived if waivers else ():
            typer.echo(f"{path}: {waiver.kind} {waiver.name} ({waiver.id}): {waiver.message}", err=True)
    denied = sum(len(decision.denied) for decision in told.values())
    used = sum(len(decision.waived) for decision in told.values())
    typer.echo(f"{len(told)} files, {denied} denials, {used} waivers used", err=True)


def _as_json(path: Path, decision: Decision) -> dict[str, Any]:
    def shown(entries: Sequence[Told]) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in entries]

    return {
        "file": str(path),
        "allowed": not decision.denied,
        "denied": shown(decision.denied),
        "waived": shown(decision.waived),
    }
