"""`otmirror kpi`: the key figures, measured where they can be."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from otmirror.workspace import work

app = typer.Typer(help="Key figures: cost, freshness, success, recovery, security.", invoke_without_command=True)


def _place(text: str, *names: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(*names, help=text)
    return found


@app.callback()
def kpi(
    context: typer.Context,
    inputs: Annotated[Path | None, typer.Option(help="Costs and where to measure; rollout/kpi.example.toml.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report. [default: .work/rollout]")] = None,
    monitoring: Annotated[str | None, _place("Monitoring store, such as http://127.0.0.1:8429.")] = None,
    hot: Annotated[str | None, _place("Hot store, such as http://127.0.0.1:8428.")] = None,
    lakehouse: Annotated[str | None, _place("Folder or location of the Iceberg warehouse.")] = None,
    nifi: Annotated[str | None, _place("NiFi's REST API.")] = None,
    drill: Annotated[str | None, _place("What `otmirror drill` wrote.")] = None,
    provision: Annotated[str | None, _place("What `otmirror kpi provision` wrote.", "--provision")] = None,
    audit: Annotated[str | None, _place("Folder of the audit trail.")] = None,
    decisions: Annotated[str | None, _place("The policy's decision log.")] = None,
    secrets: Annotated[str | None, _place("Folder in which `otmirror secrets sync` remembers what it set.")] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(envvar="OTMIRROR_METRICS", help="Folder of metric files; the exporter serves them from there."),
    ] = None,
) -> None:
    """Write the key figures as Markdown, HTML, JSON and metrics. What cannot be measured is told, with what to do."""
    if context.invoked_subcommand is not None:
        return
    from otmirror.errors import ConfigError
    from otmirror.kpi import money, report, security, service
    from otmirror.kpi.figure import Window
    from otmirror.kpi.inputs import load, over
    from otmirror.rollout.evidence import now
    from otmirror.rollout.prometheus import Prometheus

    if inputs is None:
        raise ConfigError("--inputs: name the file with costs; rollout/kpi.example.toml is one to begin with")
    read = load(inputs)
    given = {"monitoring": monitoring, "hot": hot, "lakehouse": lakehouse, "nifi": nifi, "drill": drill,
             "provision": provision, "audit": audit, "decisions": decisions, "secrets": secrets}  # fmt: skip
    wanted = type(read)(read.currency, read.window, read.licences, read.costs, over(read.places, given), read.machines)
    end = now()
    window = Window(end - datetime.timedelta(seconds=wanted.window), end)
    store = Prometheus(wanted.places.monitoring) if wanted.places.monitoring else None
    figures = [
        *money.figures(wanted, window, store),
        *service.figures(wanted.places, window, store),
        *security.figures(wanted, window),
    ]
    files = report.save(out or work() / "rollout", figures, window, metrics)
    shown = Table("figure", "value", "how it comes about")
    for one in figures:
        shown.add_row(one.title, one.shown, one.how or one.todo)
    Console(width=None if os.isatty(1) else 200).print(shown)
    for file in files:
        typer.echo(f"written: {file}", err=True)


@app.command()
def provision(
    out: Annotated[
        Path | None, typer.Option(help="File for the result. [default: .work/rollout/provision.json]")
    ] = None,
    tags: Annotated[int, typer.Option(min=1, help="Tags served over each protocol by the synthetic plant.")] = 16,
) -> None:
    """Measure the time from a tag list to its samples in the hot store, on a pilot of its own on this machine."""
    from otmirror.demo.stack import Stack
    from otmirror.kpi.provision import measure
    from otmirror.rollout.evidence import write

    stack = Stack(work() / "provision", ["--tags", str(tags)], say=lambda line: typer.echo(line, err=True))
    with stack:
        stack.start_platform()
        told = measure(stack)
    target = out or work() / "rollout" / "provision.json"
    write(target, told)
    typer.echo(
        f"first of {told['tags']} tags after {told['first_sample_s']} s, all after {told['all_tags_s']} s; {target}"
    )
