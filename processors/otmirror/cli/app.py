"""The command itself, put together from its sub-commands."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from otmirror.cli import (
    audit,
    backup,
    compare,
    dashboards,
    demo,
    doctor,
    drill,
    flow,
    kpi,
    lakehouse,
    metrics,
    nar,
    nifi,
    opcua,
    pki,
    plant,
    policy,
    prove,
    roles,
    rollback,
    rollout,
    secrets,
    setup,
    sizing,
    slo,
    supply,
    taglist,
    zones,
)
from otmirror.errors import MirrorError

app = typer.Typer(
    help="Read-only tag mirror: OPC UA and Modbus through Apache NiFi into VictoriaMetrics and Iceberg.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
nifi.app.add_typer(roles.app, name="roles")
app.add_typer(nifi.app, name="nifi")
app.add_typer(flow.app, name="flow")
app.add_typer(taglist.app, name="taglist")
app.add_typer(lakehouse.app, name="lakehouse")
app.add_typer(opcua.app, name="opcua")
app.add_typer(zones.app, name="zones")
app.add_typer(policy.app, name="policy")
app.add_typer(secrets.app, name="secrets")
app.add_typer(audit.app, name="audit")
app.add_typer(supply.app, name="supply")
app.add_typer(metrics.app, name="metrics")
app.add_typer(slo.app, name="slo")
app.add_typer(pki.app, name="pki")
app.add_typer(dashboards.app, name="dashboards")
app.add_typer(kpi.app, name="kpi")
app.add_typer(rollout.app, name="rollout")
app.add_typer(backup.app, name="backup")
app.add_typer(sizing.app, name="sizing")
app.command("setup")(setup.setup)
app.command("plant")(plant.plant)
app.command("demo")(demo.demo)
app.command("nar")(nar.nar)
app.command("prove")(prove.prove)
app.command("doctor")(doctor.doctor)
app.command("drill")(drill.drill)
app.command("compare")(compare.compare)
app.command("rollback")(rollback.rollback)


def main() -> None:
    """Run the command; a mistake of the user ends in one line, not in a traceback."""
    try:
        app()
    except MirrorError as error:
        Console(stderr=True).print(f"otmirror: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
