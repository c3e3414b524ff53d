"""`otmirror backup`: back up, verify and restore what the mirror keeps."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from otmirror.cli.flow import collect
from otmirror.cli.lakehouse import Place, located
from otmirror.cli.signals import ended_by_signals
from otmirror.errors import MirrorError
from otmirror.recovery import manifest
from otmirror.recovery.place import backups

app = typer.Typer(
    help="Backups of VictoriaMetrics, the Iceberg catalog, flows and configuration: docs/recovery.md.",
    no_args_is_help=True,
)

Backup = Annotated[Path, typer.Argument(help="The backup's own folder, such as backups/2026-11-26T02-00-00Z.")]
KeyFile = Annotated[
    Path | None, typer.Option(help="File with the key that seals the manifest (openssl rand -hex 32); kept elsewhere.")
]
Url = Annotated[str | None, typer.Option("--nifi", help="NiFi's REST API, such as http://127.0.0.1:8643/nifi-api.")]


@app.command()
@located
def create(
    at: Place,
    to: Annotated[Path, typer.Option(help="Folder in which the backup's own folder is made.")],
    hot: Annotated[str | None, typer.Option(help="URL of VictoriaMetrics.")] = None,
    hot_data: Annotated[Path | None, typer.Option(help="Its -storageDataPath, as seen from here.")] = None,
    hot_user: Annotated[str | None, typer.Option(help="User of its basic authentication.")] = None,
    hot_password_file: Annotated[Path | None, typer.Option(help="File with the user's password.")] = None,
    hot_snapshot_key_file: Annotated[Path | None, typer.Option(help="File with its -snapshotAuthKey.")] = None,
    hot_ca: Annotated[Path | None, typer.Option(help="PEM file of the authority of its certificate.")] = None,
    prefix: Annotated[str, typer.Option(help="Metric Prefix of ToVictoriaMetrics.")] = "ot",
    nifi: Url = None,
    nifi_home: Annotated[Path | None, typer.Option(help="NiFi's folder: also its conf/flow.json.gz.")] = None,
    config: Annotated[list[Path] | None, typer.Option(help="A configuration file or folder; may repeat.")] = None,
    data: Annotated[bool, typer.Option("--data", help="Also every file of the Iceberg tables.")] = False,
    with_keys: Annotated[bool, typer.Option("--with-keys", help="Also private keys and secrets in files.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not restore VictoriaMetrics once to count what is in it.")
    ] = False,
    key_file: KeyFile = None,
) -> None:
    """Back up while everything runs; complete or not at all. Files that the backup before has are linked."""
    from otmirror.recovery.create import Sources
    from otmirror.recovery.create import create as make
    from otmirror.recovery.hot import Server

    server = Server(hot, hot_data, hot_user, hot_password_file, hot_snapshot_key_file, hot_ca) if hot else None
    lakehouse = at.config() if at.warehouse or at.uri else None
    sources = Sources(server, lakehouse, nifi, nifi_home, config or [], data, with_keys, not quick, prefix)
    key = manifest.key_of(key_file)
    with ended_by_signals():
        folder, told = make(sources, to, key, _say)
    typer.echo(f"{folder}: {told.bytes / 1e6:,.1f} MB, {told.new_bytes / 1e6:,.1f} MB of it new, {told.seconds:.1f} s")
    typer.echo(f"consistency point: {told.consistency_point.time or 'none: a store has no recent sample of a source'}")
    for one in told.not_included:
        typer.echo(f"not included: {one.what} ({one.why})")


@app.command("list")
def list_(
    folder: Annotated[Path, typer.Argument(help="Where the backups are.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the backups in a folder; exit status 1 when one of them has no readable manifest."""
    table = Table(Column("Backup", no_wrap=True), "Consistent to", "Parts", "Samples", "Rows", "MB", "New MB", "s")
    told, broken = [], []
    for path in backups(folder):
        try:
            found = manifest.read(path)
        except MirrorError as error:
            broken.append(str(error))
            continue
        hot, lake = found.hot, found.lakehouse
        samples = sum(hot.counts.samples.values()) if hot and hot.counts else hot.rows if hot else 0
        rows = sum(one.rows for one in lake.tables) if lake else 0
        named = {"hot": hot, "lakehouse" + (" + data" if lake and lake.data else ""): lake,
                 f"{len(found.flows)} flows": found.flows, "configuration": found.configuration}  # fmt: skip
        parts = [name for name, part in named.items() if part]
        table.add_row(path.name, found.consistency_point.time or "-", ", ".join(parts), f"{samples:,}", f"{rows:,}",
                      f"{found.bytes / 1e6:,.1f}", f"{found.new_bytes / 1e6:,.1f}", f"{found.seconds:.1f}")  # fmt: skip
        told.append({"name": path.name, "consistency_point": found.consistency_point.time, "parts": parts,
                     "samples": samples, "rows": rows, "bytes": found.bytes, "new_bytes": found.new_bytes,
                     "seconds": found.seconds})  # fmt: skip
    if as_json:
        typer.echo(json.dumps(told))
    else:
        Console().print(table)
    for line in broken:
        typer.echo(line, err=True)
    if broken:
        raise typer.Exit(1)


@app.command()
def verify(
    backup: Backup,
    digests_only: Annotated[bool, typer.Option("--digests-only", help="Compare files only, open nothing.")] = False,
    key_file: KeyFile = None,
) -> None:
    """Compare every file with the manifest, restore each part to a scratch folder, open and count it."""
    from otmirror.recovery import verify as checking

    key = manifest.key_of(key_file)
    with ended_by_signals():
        problems = checking.verify(backup, key, opened=not digests_only, say=_say)
    for line in problems:
        typer.echo(line, err=True)
    if problems:
        raise typer.Exit(1)
    told = manifest.read(backup)
    typer.echo(f"{backup}: {len(told.files):,} files as they were" + ("" if digests_only else ", every part opened"))


@app.command()
@located
def restore(
    at: Place,
    backup: Backup,
    hot_data: Annotated[Path | None, typer.Option(help="New folder for VictoriaMetrics' data.")] = None,
    nifi: Url = None,
    config: Annotated[Path | None, typer.Option(help="New folder for the configuration files.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of a flow parameter that is another now.")] = None,
    param_secret: Annotated[
        list[str] | None, typer.Option(help="NAME=VARIABLE: a flow parameter from an environment variable.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move what is there aside, replace flows and tables that are there.")
    ] = False,
    no_count: Annotated[bool, typer.Option("--no-count", help="Do not count VictoriaMetrics' samples again.")] = False,
    key_file: KeyFile = None,
) -> None:
    """Restore the parts whose target is named, to new folders, and compare counts with the manifest's."""
    from otmirror.recovery.restore import Targets
    from otmirror.recovery.restore import restore as put_back

    lakehouse = at.config(there=False) if at.warehouse or at.uri else None
    targets = Targets(hot_data, lakehouse, nifi, config, collect(None, param or [], param_secret or []))
    key = manifest.key_of(key_file)
    with ended_by_signals():
        result = put_back(backup, targets, key=key, force=force, count=not no_count, say=_say)
    for number, line in enumerate(result.next, 1):
        typer.echo(f"{number}. {line}")
    for line in result.differences:
        typer.echo(f"differs: {line}", err=True)
    if result.differences:
        raise typer.Exit(1)
    typer.echo("everything restored is as the manifest says")


def _say(line: str) -> None:
    typer.echo(line, err=True)


@app.command()
def drill(
    seconds: Annotated[float, typer.Option(help="Mirrored before the backup.")] = 30.0,
    tags: Annotated[int, typer.Option(help="Tags served over each protocol by the synthetic plant.")] = 16,
) -> None:
    """Run the pilot, back it up, destroy both stores and NiFi, restore, prove what came back; RPO and RTO."""
    from otmirror.demo.stack import Stack
    from otmirror.recovery.drill import drill as run
    from otmirror.workspace import work

    began = time.monotonic()
    say = lambda step: typer.echo(f"[{time.monotonic() - began:5.1f} s] {step}")  # noqa: E731
    with Stack(work() / "restore-drill", ["--tags", str(tags)], say=say) as stack, ended_by_signals():
        stack.start()
        told = run(stack, seconds, say)
    for name, value in told.steps.items():
        typer.echo(f"{name + ':':<34}{value:8.1f} s")
    typer.echo(f"backup: {told.bytes / 1e6:.2f} MB (VictoriaMetrics {told.hot_bytes / 1e6:.2f}, "
               f"Iceberg {told.lakehouse_bytes / 1e6:.2f})")  # fmt: skip
    typer.echo(f"RPO: {told.rpo:.1f} s (consistency point to destruction)   "
               f"RTO: {told.rto:.1f} s (destruction to new samples in both stores)")  # fmt: skip
    typer.echo(f"read before the consistency point: {told.samples:,} samples; lost in Iceberg {told.lost_cold}, "
               f"lost in VictoriaMetrics {told.lost_hot}, repeated {told.repeated}, "
               f"different {told.different}")  # fmt: skip
    typer.echo(f"mirrored after the restore: {told.new_samples:,} samples, {told.new_lost} lost or repeated")
    for line in told.problems:
        typer.echo(line, err=True)
    if not told.passed:
        raise typer.Exit(1)
