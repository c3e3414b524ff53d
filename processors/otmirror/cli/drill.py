"""`otmirror drill`: faults on purpose, in a pilot of its own, timed from the fault to fresh data."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from otmirror.cli.signals import ended_by_signals
from otmirror.drill.faults import Fault, faults
from otmirror.errors import ConfigError, MirrorError, UnavailableError
from otmirror.workspace import work


def drill(
    fault: Annotated[
        list[str] | None, typer.Option(help="Part of a fault's name; may repeat. [default: all of them]")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="Three faults only.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Print the faults and what is expected; make none.")] = False,
    output: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
    page: Annotated[Path | None, typer.Option(help="Markdown file for the table.")] = None,
    audit: Annotated[
        bool, typer.Option("--audit/--no-audit", help="At the end compare both stores with what was read.")
    ] = True,
    runbooks: Annotated[
        bool, typer.Option("--runbooks", help="Try the runbooks too that no fault led to, while all is well.")
    ] = False,
) -> None:
    """Start a pilot with monitoring, make faults, and time detection, diagnosis and recovery.

    It touches nothing but what it starts itself, in the work folder. Exit status 1 when a goal is missed: an alert
    within two minutes, the doctor right in nine of ten, every runbook's commands working, all data fresh again.
    """
    from otmirror.drill import report, run
    from otmirror.drill.stack import DrillStack

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    chosen = _chosen(faults(), fault or (), short)
    if listed:
        for one in chosen:
            console.print(f"{one.name}: {' or '.join(sorted(one.alerts))}; {', '.join(one.truth)}", markup=False)
        return
    began = time.monotonic()

    def say(line: str) -> None:
        console.print(f"[{time.monotonic() - began:6.1f} s] {line}", markup=False, soft_wrap=True)

    stack = DrillStack(work() / "drill", say=say)
    lost: dict[str, object] = {}
    with stack, ended_by_signals():
        stack.start()
        stack.run()
        stack.start_monitoring()
        it = run.Drill(stack, say)
        if not it.healthy(run.START):
            raise UnavailableError(f"no fresh data after {run.START:.0f} s; see {stack.nifi.app_log}")
        say("data is fresh: the drill begins")
        try:
            it.work_off(chosen)
        except KeyboardInterrupt:
            say("stopped: what was done so far is told")
            it.outcomes = it.outcomes[:-1]
        else:
            with contextlib.suppress(KeyboardInterrupt):
                if runbooks and it.healthy(run.RECOVERY):
                    it.look_up_rest()
        outcomes = it.outcomes
        if audit:
            try:
                lost = run.lost(stack)
            except MirrorError as error:
                say(f"the stores were not compared: {error}")
    moment = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    told = report.as_json(outcomes, moment, conditions(), sorted(it.fired), lost, it.others)
    console.print(report.table(outcomes))
    console.print(report.markdown(told, outcomes).rpartition("|\n")[2].strip(), markup=False)
    if output is not None:
        output.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if page is not None:
        page.write_text(report.markdown(told, outcomes), encoding="utf-8")
    broken = [line for lines in it.others.values() for line in lines if line.problem]
    for line in broken:
        console.print(f"does not work: {line.text}: {line.problem}", markup=False, soft_wrap=True)
    if broken or not report.met(outcomes):
        raise typer.Exit(1)


def _chosen(known: Sequence[Fault], named: Sequence[str], short: bool) -> list[Fault]:
    chosen = [one for one in known if (one.short or not short)]
    if not named:
        return chosen
    for part in named:
        if not any(part.lower() in one.name.lower() for one in known):
            raise ConfigError(f"--fault {part}: there is none; --list shows all")
    return [one for one in known if any(part.lower() in one.name.lower() for part in named)]


def conditions() -> str:
    """Return on what the drill ran."""
    load = os.getloadavg()[1]
    return f"{os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}, scraped and judged every 5 s"
