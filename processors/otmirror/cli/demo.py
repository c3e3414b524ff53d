"""`otmirror demo`: the main job on one machine, and an honest account of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from otmirror.cli.signals import ended_by_signals
from otmirror.demo import report, run
from otmirror.demo.canvas import take_picture
from otmirror.demo.stack import Stack
from otmirror.workspace import work

console = Console(highlight=False)


def demo(
    duration: Annotated[float, typer.Option(help="Seconds to mirror.")] = 60.0,
    forever: Annotated[bool, typer.Option("--forever", help="Stay up until Ctrl-C.")] = False,
    tags: Annotated[int, typer.Option(help="Tags served over each protocol by the synthetic plant.")] = 16,
    csv: Annotated[list[Path] | None, typer.Option(help="Serve recordings instead; repeatable.")] = None,
    nar: Annotated[Path | None, typer.Option(help="Run the processors from this NAR.")] = None,
    port: Annotated[int, typer.Option(help="Port of the canvas; 0: any free one.")] = 0,
    output: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("report.html"),
    monitoring: Annotated[
        bool, typer.Option("--monitoring", help="Also scrape all metrics; on with --forever.")
    ] = False,
    canvas: Annotated[Path | None, typer.Option(help="Also take a picture of the canvas.")] = None,
) -> None:
    """Run a plant, NiFi, VictoriaMetrics and Iceberg; mirror; audit both stores. Fails unless all arrived once."""
    began = time.monotonic()
    plant = [f"--csv={file.resolve()}" for file in csv] if csv else ["--tags", str(tags)]
    stack = Stack(
        work() / ("run" if forever else "demo"), plant, nifi_port=port, nars=[nar.resolve()] if nar else (),
        say=lambda step: console.print(f"[{time.monotonic() - began:5.1f} s] {step}", markup=False),
    )  # fmt: skip
    try:
        with stack, ended_by_signals():
            stack.start()
            if monitoring or forever:
                _show_monitoring(stack)
            if forever:
                _stay(stack)
                return
            result = _mirror(stack, duration, canvas)
            run.write_report(output, stack, result)
    except KeyboardInterrupt:
        console.print("stopped")
        raise typer.Exit(130) from None
    show(result)
    console.print(f"report: {output.resolve()}   data and logs: {stack.folder}", markup=False, soft_wrap=True)
    raise typer.Exit(0 if result.audit.complete else 1)


def _mirror(stack: Stack, duration: float, canvas: Path | None) -> report.Run:
    bar = Progress(TextColumn("mirroring"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[now]}"),
                   console=console, transient=True)  # fmt: skip
    with bar:
        task = bar.add_task("", total=duration, now="")

        def watch(left: float) -> None:
            bar.update(task, completed=duration - left, now=f"{stack.progress()}")

        def picture() -> None:
            if canvas:
                take_picture(stack, canvas)

        return run.record(stack, duration, watch, before_stop=picture)


def _show_monitoring(stack: Stack) -> None:
    monitoring = stack.start_monitoring(fixed=True)
    stack.start_pages()
    console.print(
        f"dashboards:       {stack.pages.url}\n"
        f"monitoring store: {monitoring.url}/vmui/\nmetrics:          {monitoring.exporter_url}/metrics\n"
        f"alerts:           {monitoring.vmalert_url or 'none'}",
        markup=False,
    )


def _stay(stack: Stack) -> None:
    stack.run()
    console.print(
        f"\ncanvas:           {stack.nifi.canvas}\n"
        f"VictoriaMetrics:  {stack.victoriametrics.url}/vmui/#/?g0.expr=ot_value\n"
        f"Iceberg:          {stack.lakehouse.warehouse} (table ot.samples, catalog.db)\n"
        f"OPC UA server:    {stack.plant_status()['opcua']}\n"
        f"Modbus device:    {stack.plant_status()['modbus']}\n\nCtrl-C stops all of it.",
        markup=False,
    )
    with console.status("") as line:
        while True:
            line.update(stack.progress())
            time.sleep(2)


def show(result: report.Run) -> None:
    """Print the figures of a run."""
    head, rows = report.source_rows(result.audit)
    table = Table(title=f"mirrored for {result.seconds:.0f} s", title_justify="left")
    for index, column in enumerate(head):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for store, ages in (("VictoriaMetrics", result.hot_ages), ("Iceberg", result.cold_ages)):
        told = "  ".join(f"{name} {'-' if age is None else f'{age:.2f} s'}" for name, age in ages)
        console.print(f"freshness in {store + ':':<17} {told}")
    color = "green" if result.audit.complete else "red"
    console.print(f"[{color}]{report.verdict(result.audit)}[/{color}]")
