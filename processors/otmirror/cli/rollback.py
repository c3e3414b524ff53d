"""`otmirror rollback`: back to the incumbent in one command, and forward again."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otmirror.embedded.processes import claim
from otmirror.errors import ConfigError
from otmirror.workspace import work

if TYPE_CHECKING:
    from otmirror.rollout.record import Record, Records
    from otmirror.rollout.rollback import Plan, Rollback
    from otmirror.rollout.target import Target

NOT_DONE = 2
"""Exit status when nothing was touched."""


def rollback(
    url: Annotated[
        str | None,
        typer.Option(help="NiFi's REST API. [default: the embedded NiFi that runs here]", show_default=False),
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Home of an embedded NiFi, such as .work/nifi/pilot.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Start exactly what the rollback stopped.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and end.")] = False,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that the queues may take to drain.")] = 120.0,
    records: Annotated[Path | None, typer.Option(help="Folder of the records. [default: .work/rollback]")] = None,
) -> None:
    """Go back to the incumbent: stop the sources, drain, disable what publishes; nothing that was written is deleted.

    Shows the plan and asks. May be repeated. Works when NiFi does not answer: its processes are ended then and its
    flow file is changed so that the sources stay stopped. Exit status: 0 done and verified, 1 something is left to do,
    2 nothing was touched.
    """
    from otmirror.rollout.record import Records
    from otmirror.rollout.rollback import Rollback
    from otmirror.rollout.target import find

    target = find(url, home)
    kept = Records(records or work() / "rollback")
    job = Rollback(target, kept, lambda line: typer.echo(f"  {line}", err=True), drain)
    if undo:
        _undo(job, target, yes, dry_run, kept)
        return
    plan = job.plan()
    for line in _planned(plan, target, drain):
        typer.echo(line)
    if dry_run or not _agreed(yes):
        raise typer.Exit(0 if dry_run else NOT_DONE)
    with claim(kept.folder / "lock", "the rollback"):
        record = job.run(plan)
    _tell(record, kept, target)
    if record.problems:
        raise typer.Exit(1)


def _planned(plan: Plan, target: Target, drain: float) -> list[str]:
    sources = ", ".join(part.name for part in plan.sources) or "none runs"
    devices = ", ".join(plan.devices) or "no device is known"
    if not plan.answers:
        steps = [
            "end its Python processes that read devices; should it answer then, go on through it:",
            f"   stop the sources: {sources}; let the queues drain; disable what publishes",
            f"else end NiFi in {target.home}, what waits in its queues stays on the disk, and set the same sources "
            "stopped in its flow file, so that its next start is quiet",
            f"verify that no connection stays open to {devices}",
        ]
        return [f"NiFi does not answer: {plan.trouble}", *_numbered(steps)]
    publishers = ", ".join(part.name for part in plan.publishers) or "nothing does here"
    steps = [
        f"stop the sources: {sources}",
        f"let the queues drain ({plan.waiting:,} FlowFiles wait), {drain:.0f} s at most; the sinks go on",
        f"disable what publishes: {publishers}",
        f"verify that no connection stays open to {devices}",
    ]
    return [f"NiFi at {target.url} answers. This will be done:", *_numbered(steps)]


def _numbered(steps: list[str]) -> list[str]:
    undo = "Nothing is deleted, in NiFi or in a store. Undone by: otmirror rollback --undo"
    return [*(f" {number}. {step}" for number, step in enumerate(steps, 1)), undo]


def _agreed(yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        typer.echo("nothing was done: there is nobody to ask here; --yes does it", err=True)
        return False
    return typer.confirm("Go on?")


def _tell(record: Record, kept: Records, target: Target) -> None:
    for name, moment in record.last.items():
        typer.echo(f"last sample in {name}: {moment}")
    for name, count in record.waiting.items():
        typer.echo(f"still queued: {name}: {count:,} FlowFiles")
    if record.verified and not record.sessions:
        typer.echo("no connection to a device is open")
    for problem in record.problems:
        typer.echo(f"LEFT TO DO: {problem}", err=True)
    file = kept.file(record.root)
    if not file.exists():
        typer.echo(json.dumps(asdict(record)))
    start = f"otmirror nifi start --home {target.home}, then " if record.nifi_ended else ""
    typer.echo(f"{'ended with something left to do' if record.problems else 'done'} in {record.seconds:.1f} s; "
               f"record: {file}\nstart again: {start}otmirror rollback --undo{_named(target)}")  # fmt: skip


def _named(target: Target) -> str:
    return f" --home {target.home}" if target.home else f" --url {target.url}"


def _undo(job: Rollback, target: Target, yes: bool, dry_run: bool, kept: Records) -> None:
    record = job.open()
    if record is None:
        raise ConfigError(f"there is nothing to undo: no rollback of {target.url} in {kept.folder}")
    typer.echo(f"rolled back {record.began}. This will be done:")
    for one in reversed(record.touched):
        typer.echo(f"  {one.name} ({one.kind}): {one.before} again")
    if dry_run or not _agreed(yes):
        raise typer.Exit(0 if dry_run else NOT_DONE)
    with claim(kept.folder / "lock", "the rollback"):
        record, file = job.undo()
    for problem in record.problems:
        typer.echo(f"LEFT TO DO: {problem}", err=True)
    typer.echo(f"{'not undone as a whole' if record.problems else 'undone'}; record: {file}")
    if record.problems:
        raise typer.Exit(1)
