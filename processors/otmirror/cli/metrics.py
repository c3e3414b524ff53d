"""`otmirror metrics`: the bundle's own metrics at one address, and their list."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from otmirror.errors import ConfigError
from otmirror.exporter.document import document
from otmirror.exporter.server import Exporter, address
from otmirror.exporter.union import Union
from otmirror.metrics.meter import FOLDER
from otmirror.workspace import PROJECT

app = typer.Typer(help="The metrics of the processors, for Prometheus or VictoriaMetrics.", no_args_is_help=True)
console = Console(highlight=False)


@app.command()
def serve(
    folder: Annotated[
        list[Path] | None, typer.Option(help="Folder of the processors' metrics files; repeatable.", envvar=FOLDER)
    ] = None,
    listen: Annotated[str, typer.Option(help="Where to answer, as host:port.")] = "127.0.0.1:9478",
    disk: Annotated[list[Path] | None, typer.Option(help="Watch the disk this path is on; repeatable.")] = None,
) -> None:
    """Answer at /metrics with the metrics of all processors, until it is stopped."""
    if not folder:
        raise ConfigError(f"name the folder of the metrics files with --folder, or set {FOLDER} as for NiFi")
    # A container's first process ends on SIGTERM only when it says so.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Exporter(address(listen), Union(folder, disk or ())) as server:
        console.print(f"metrics of {', '.join(map(str, folder))} at {server.url}", markup=False, soft_wrap=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


@app.command("document")
def write_document(
    output: Annotated[Path, typer.Option(help="Where to write it.")] = PROJECT / "docs" / "metrics.md",
) -> None:
    """Write docs/metrics.md from the table of metrics in the code."""
    output.write_text(document(), encoding="utf-8")
    console.print(f"wrote {output}", markup=False, soft_wrap=True)
