"""`otmirror nifi`: the embedded NiFi."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from otmirror.embedded.bundle import PROCESSORS, bundle_dependencies
from otmirror.embedded.install import install as install_nifi
from otmirror.embedded.server import EmbeddedNifi
from otmirror.workspace import work

PORT = 8643
"""Of the canvas; chosen to clash with none of the neighbours in the platform (8080, 8443, 9000 ...)."""

app = typer.Typer(help="A NiFi of one's own, on this machine only.", no_args_is_help=True)

Home = Annotated[Path | None, typer.Option(help="Folder with its flow, queues and logs. [default: .work/nifi/pilot]")]
Port = Annotated[int, typer.Option(help="Port of the canvas on 127.0.0.1; 0: any free one.")]
Nar = Annotated[list[Path] | None, typer.Option(help="Load this NAR instead of the processors' folder; may repeat.")]


def home_of(named: Path | None) -> Path:
    """Return the folder of the NiFi meant."""
    return named or work() / "nifi" / "pilot"


@app.command()
def install() -> None:
    """Install NiFi and the packages of the processors, unless they are there."""
    where = install_nifi(_say)
    bundle_dependencies(_say)
    _say(f"NiFi is installed in {where.lib}")


@app.command()
def start(home: Home = None, port: Port = PORT, nar: Nar = None) -> None:
    """Start NiFi with the processors and wait until it answers."""
    if not nar:
        bundle_dependencies(_say)
    install_nifi(_say)
    server = EmbeddedNifi(home_of(home), port, None if nar else PROCESSORS, nar or [])
    with Console(stderr=True).status("NiFi starts ..."):
        server.start()
    typer.echo(f"NiFi {server.status().version} runs: {server.canvas}")


@app.command()
def stop(home: Home = None) -> None:
    """Stop NiFi; what waits in its queues is kept."""
    server = EmbeddedNifi(home_of(home))
    was = server.status().running
    server.stop()
    typer.echo("NiFi is stopped." if was else "NiFi was not running.")


@app.command()
def status(home: Home = None) -> None:
    """Say whether NiFi runs and where; exit status 1 when it does not."""
    told = EmbeddedNifi(home_of(home)).status()
    if not told.running:
        left = f" ({told.processes} of its processes are left; the next start ends them)" if told.processes else ""
        typer.echo(f"NiFi does not run{left}.")
        raise typer.Exit(1)
    version = f"{told.version} runs" if told.version else "runs but does not answer"
    typer.echo(f"NiFi {version}: {told.url} (pid {told.pid}, {told.processes} processes)")


@app.command()
def logs(
    home: Home = None, lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 50
) -> None:
    """Print the last lines of NiFi's log, what the Python processors say included."""
    server = EmbeddedNifi(home_of(home))
    for line in server.logs(lines):
        typer.echo(line)
    typer.echo(f"({server.app_log})", err=True)


def _say(line: str) -> None:
    typer.echo(line, err=True)
