"""`otmirror sizing`: what a mirror of so many tags needs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from otmirror import sizing as reckoning
from otmirror.cli.lakehouse import Place, located
from otmirror.sizing import Need

app = typer.Typer(help="Disks, cores, thresholds for so many tags; and what a running mirror takes.")


@app.callback(invoke_without_command=True)
def sizing(
    context: typer.Context,
    tags: Annotated[int, typer.Option(help="How many tags.")] = 10_000,
    rate: Annotated[float, typer.Option(help="Samples a second of each tag that reach the stores.")] = 1.0,
    outage_hours: Annotated[float, typer.Option(help="How long a store may be away.")] = 24.0,
    retention_days: Annotated[float, typer.Option(help="How long VictoriaMetrics keeps samples.")] = 31.0,
    kafka_days: Annotated[float, typer.Option(help="How long Kafka keeps samples.")] = 7.0,
    replicas: Annotated[int, typer.Option(help="Copies of each Kafka partition.")] = 3,
    table: Annotated[
        bool, typer.Option("--table", help="The table of docs/sizing.md: some sizes side by side.")
    ] = False,
    buffer: Annotated[
        bool, typer.Option("--buffer", help="The table of docs/capacity.md: how long the queues bridge.")
    ] = False,
) -> None:
    """Say what a mirror needs: rates, disk, thresholds, processes, each with its arithmetic."""
    if context.invoked_subcommand:
        return
    plant = reckoning.Plant(tags, rate, outage_hours, retention_days, kafka_days, replicas)
    if buffer:
        typer.echo(reckoning.buffer_table(), nl=False)
        return
    if table:
        typer.echo(reckoning.table(rate, outage_hours), nl=False)
        return
    _show(reckoning.needs(plant))


def _show(answers: list[Need]) -> None:
    name, value = (max(len(getattr(need, column)) for need in answers) for column in ("name", "shown"))
    for need in answers:
        typer.echo(f"{need.name:<{name}}  {need.shown:>{value}}  {need.how}")


@app.command()
@located
def measure(
    at: Place,
    hot: Annotated[str | None, typer.Option(help="URL of a running VictoriaMetrics.")] = None,
    hot_user: Annotated[str | None, typer.Option(help="User of its basic authentication.")] = None,
    hot_password_file: Annotated[Path | None, typer.Option(help="File with the user's password.")] = None,
    hot_ca: Annotated[Path | None, typer.Option(help="PEM file of the authority of its certificate.")] = None,
    prefix: Annotated[str, typer.Option(help="Metric Prefix of ToVictoriaMetrics.")] = "ot",
    window: Annotated[float, typer.Option(help="Seconds back from now whose samples are counted for the rate.")] = 3600,
    table: Annotated[bool, typer.Option("--table", help="Also GB by tags, rates and days, as Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure bytes a sample and the rate in running stores, and say what they grow to in 30 to 365 days."""
    from otmirror.recovery.hot import Server
    from otmirror.recovery.measure import measure as look

    server = Server(hot, None, hot_user, hot_password_file, authority=hot_ca) if hot else None
    found = look(server, at.config() if at.warehouse or at.uri else None, prefix, window)
    grown = reckoning.growth(found.samples_s, found.hot_sample_b, found.cold_sample_b)
    if as_json:
        typer.echo(json.dumps({**asdict(found), "growth_gb": {need.name: need.value for need in grown}}))
        return
    _show([*found.needs(), *grown])
    if table:
        typer.echo("\n" + reckoning.growth_table(found.hot_sample_b, found.cold_sample_b), nl=False)
