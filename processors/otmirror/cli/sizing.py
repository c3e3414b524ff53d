"""`otmirror sizing`: what a mirror of so many tags needs."""

from __future__ import annotations

from typing import Annotated

import typer

from otmirror import sizing as reckoning


def sizing(
    tags: Annotated[int, typer.Option(help="How many tags.")] = 10_000,
    rate: Annotated[float, typer.Option(help="Samples a second of each tag that reach the stores.")] = 1.0,
    outage_hours: Annotated[float, typer.Option(help="How long a store may be away.")] = 24.0,
    retention_days: Annotated[float, typer.Option(help="How long VictoriaMetrics keeps samples.")] = 31.0,
    kafka_days: Annotated[float, typer.Option(help="How long Kafka keeps samples.")] = 7.0,
    replicas: Annotated[int, typer.Option(help="Copies of each Kafka partition.")] = 3,
    table: Annotated[
        bool, typer.Option("--table", help="The table of docs/sizing.md: some sizes side by side.")
    ] = False,
) -> None:
    """Say what a mirror needs: rates, disk, thresholds, processes, each with its arithmetic."""
    plant = reckoning.Plant(tags, rate, outage_hours, retention_days, kafka_days, replicas)
    if table:
        typer.echo(reckoning.table(rate, outage_hours), nl=False)
        return
    answers = reckoning.needs(plant)
    name, value = (max(len(getattr(need, column)) for need in answers) for column in ("name", "shown"))
    for need in answers:
        typer.echo(f"{need.name:<{name}}  {need.shown:>{value}}  {need.how}")
