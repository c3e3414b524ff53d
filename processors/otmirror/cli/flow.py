"""`otmirror flow`: flows in files and in a running NiFi."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from otmirror.cli import versioned
from otmirror.cli.versioned import DEFAULT_URL, Url, flow_file
from otmirror.errors import ConfigError
from otmirror.flow.canonical import dumps, keep_local, load
from otmirror.flow.client import NifiApi
from otmirror.flow.ghosts import ghosts
from otmirror.flow.status import FlowStatus
from otmirror.flow.trace import origins
from otmirror.workspace import PROJECT

app = typer.Typer(help="Flows in files (flows/*.json) and in a running NiFi.", no_args_is_help=True)
app.command()(versioned.lint)
app.command()(versioned.diff)
app.command()(versioned.publish)

Name = Annotated[str, typer.Argument(help="The flow's name on the canvas.")]
_STYLES = {"RUNNING": "green", "INVALID": "red", "VALIDATING": "yellow", "ERROR": "red", "WARNING": "yellow"}


@app.command("import")
def import_(
    flow: Annotated[str, typer.Argument(help="A flow file, or the name of one in flows/.")],
    url: Url = DEFAULT_URL,
    name: Annotated[str | None, typer.Option(help="Its name on the canvas. [default: the file's]")] = None,
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of a parameter; may repeat.")] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VARIABLE: take a parameter from an environment variable, so that it is not seen."),
    ] = None,
    params: Annotated[Path | None, typer.Option(help="File of NAME=VALUE lines; # starts a comment.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove a flow of that name first, unless FlowFiles wait in its queues.")
    ] = False,
    drop_queued: Annotated[
        bool, typer.Option("--drop-queued", help="With --replace: drop FlowFiles that wait in its queues.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Import components whose type this NiFi lacks; say which they are.")
    ] = False,
) -> None:
    """Put a flow on the canvas, set its parameters and say what is not valid yet."""
    values = collect(params, param or (), secret or ())
    api = NifiApi(url)
    group = api.import_flow(
        flow_file(flow),
        name,
        values,
        replace=replace,
        drop_queued=drop_queued,
        allow_missing=allow_missing,
        say=lambda line: typer.echo(line, err=True),
    )
    _tell_imported(api, group)


def _tell_imported(api: NifiApi, group: str) -> None:
    """Print what came in, what this NiFi lacks for it and what is wrong beside that; exit status 1 with the latter."""
    told, lacking = api.status(group), ghosts(api.rest, group)
    typer.echo(f"{told.name}: {len(told.components)} processors, {len(told.queues)} queues")
    for line in lacking.told:
        typer.echo(line, err=True)
    wrong = [(c.name, " ".join(e.split())) for c in told.invalid for e in lacking.own_errors(c)]
    # Before the processors, which only say that a service of theirs is disabled.
    lines = [*api.invalid_services(group), *(f"{name}: {error}" for name, error in wrong)]
    for line in lines:
        typer.echo(line, err=True)
    if lines:
        raise typer.Exit(1)


@app.command()
def export(
    name: Name,
    url: Url = DEFAULT_URL,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="[default: flows/NAME.json]")] = None,
) -> None:
    """Write a flow from the canvas to its file; name and parameter values the file has are kept."""
    api = NifiApi(url)
    target = output or PROJECT / "flows" / f"{name}.json"
    group = api.group(name)
    exported = api.export_flow(group)
    before = target.read_text(encoding="utf-8") if target.exists() else ""
    text = dumps(keep_local(exported, load(target), api.missing(group)) if before else exported)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    typer.echo(f"{target} {'is unchanged' if text == before else 'written'}")


@app.command()
def start(name: Name, url: Url = DEFAULT_URL) -> None:
    """Start a flow's processors and verify that they run."""
    api = NifiApi(url)
    api.start(api.group(name))
    typer.echo(f"{name} runs.")


@app.command()
def stop(name: Name, url: Url = DEFAULT_URL) -> None:
    """Stop a flow's processors; what waits in its queues is kept."""
    api = NifiApi(url)
    api.stop(api.group(name))
    typer.echo(f"{name} is stopped.")


@app.command()
def status(name: Name, url: Url = DEFAULT_URL) -> None:
    """Show a flow's processors, queues and bulletins; exit status 1 when it does not run as a whole."""
    api = NifiApi(url)
    group = api.group(name)
    told, console = api.status(group), Console()
    show(told, console)
    for line in api.invalid_services(group):
        console.print(f"controller service {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    if not told.running:
        raise typer.Exit(1)


@app.command()
def trace(
    batch: Annotated[str, typer.Argument(help="Column batch of a row in the lakehouse.")], url: Url = DEFAULT_URL
) -> None:
    """Follow a row back to the reads it came from, in NiFi's provenance."""
    for event in origins(NifiApi(url), batch):
        told = event.attributes
        typer.echo(
            f"{event.time}  {event.component} ({event.component_type})  source {told.get('otmirror.source')}  "
            f"{told.get('otmirror.samples')} samples  FlowFile {event.flowfile}"
        )


def show(told: FlowStatus, console: Console) -> None:
    """Print a flow's status as tables."""
    table = Table("Processor", "State", "In", "Out", "Queued before it", title=f"{escape(told.name)} (last 5 minutes)")
    for c in told.components:
        row = (escape(c.name), _coloured(c.shown), f"{c.flowfiles_in:,}", f"{c.flowfiles_out:,}", f"{c.queued:,}")
        table.add_row(*row)
    console.print(table)
    for c in told.invalid:
        for error in c.errors:
            console.print(
                f"{c.name}: {' '.join(error.split())}", style="red", markup=False, highlight=False, soft_wrap=True
            )
    for q in told.queues:
        if q.count:
            line = f"{q.source} -> {q.destination}: {q.count:,} FlowFiles, {q.bytes / 1e6:,.1f} MB, {q.percent} %"
            console.print(f"queue {line} of the back-pressure threshold", markup=False, highlight=False, soft_wrap=True)
    for b in told.bulletins:
        line = f"{b.time} {b.level} {b.source}: {b.message}"
        console.print(line, style=_STYLES.get(b.level), markup=False, highlight=False, soft_wrap=True)


def collect(
    file: Path | None, given: list[str] | tuple[str, ...], secret: list[str] | tuple[str, ...]
) -> dict[str, str]:
    """Return parameter values from a file, the command line and the environment; the later win.

    Raises:
        ConfigError: a line is no NAME=VALUE, or a variable is not set; never shows a value.
    """
    values: dict[str, str] = {}
    if file:
        values.update(_lines(file))
    for place, pair in enumerate(given, 1):
        values.update([_pair(pair, f"--param number {place}")])
    for pair in secret:
        name, variable = _pair(pair, "--secret")
        if variable not in os.environ:
            raise ConfigError(f"--secret {name}: the environment variable {variable} is not set")
        values[name] = os.environ[variable]
    return values


def _lines(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"parameter file {file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    numbered = [(n, line.strip()) for n, line in enumerate(lines, 1)]
    return dict(_pair(line, f"{file} line {n}") for n, line in numbered if line and not line.startswith("#"))


def _pair(text: str, where: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"{where}: write NAME=VALUE")
    return name.strip(), value.strip()


def _coloured(state: str) -> str:
    style = _STYLES.get(state)
    return f"[{style}]{state}[/]" if style else state
