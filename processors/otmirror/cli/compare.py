"""`otmirror compare`: two historians over the same window, for a parallel run."""

from __future__ import annotations

import csv
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from otmirror.errors import ConfigError

if TYPE_CHECKING:
    from otmirror.compare.report import Verdict
    from otmirror.compare.run import Comparison

RED, NOT_YET = 3, 4
"""Exit status of a red day, and of too few green days for --cutover."""


def compare(
    left: Annotated[
        str,
        typer.Option(
            help="The reference: http://host:8428 (VictoriaMetrics), iceberg:/data/lake, "
            "iceberg:https://catalog:8181, a CSV file or folder, a SQLite file."
        ),
    ],
    right: Annotated[str, typer.Option(help="The other side, written alike.")],
    window: Annotated[str, typer.Option(help="A day in UTC, `yesterday`, or START..END with zones.")] = "yesterday",
    left_profile: Annotated[
        str | None,
        typer.Option(
            help="How the left files are written: pi, pi-datalink, aveva, "
            "ignition, ignition-sql, canary, generic, wide, or a file."
        ),
    ] = None,
    right_profile: Annotated[str | None, typer.Option(help="The same of the right files.")] = None,
    left_zone: Annotated[
        str | None, typer.Option(help="Zone of left times that name none, such as Europe/Oslo.")
    ] = None,
    right_zone: Annotated[str | None, typer.Option(help="The same of the right times.")] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="What counts as the same, as a fault, and as green (TOML).")
    ] = None,
    tag_map: Annotated[
        Path | None, typer.Option(help="CSV with columns left and right: tags called otherwise.")
    ] = None,
    tags: Annotated[str | None, typer.Option(help="Only tags whose left name this regular expression matches.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html, report.md, report.json, metrics.prom and tag-map.csv.")
    ] = None,
    days: Annotated[Path | None, typer.Option(help="Folder that keeps each day's verdict.")] = None,
    cutover: Annotated[
        bool, typer.Option("--cutover", help="Exit with 4 until enough days in a row were green.")
    ] = False,
    pieces: Annotated[
        int, typer.Option(help="Pieces each side is cut into: more need less memory.", min=1, max=4096)
    ] = 64,
) -> None:
    """Compare two historians tag by tag and name what differs.

    Exit status: 0 green, 1 a mistake or a side that cannot be read, 3 red, 4 green but not for long enough (--cutover).
    A bearer token of VictoriaMetrics is in OTMIRROR_COMPARE_LEFT_TOKEN, OTMIRROR_COMPARE_RIGHT_TOKEN.
    """
    from otmirror.compare import gate
    from otmirror.compare.options import parse_window
    from otmirror.compare.report import Verdict
    from otmirror.compare.run import run
    from otmirror.compare.sources import opened

    if cutover and days is None:
        raise ConfigError("--cutover: needs --days, the folder that keeps each day's verdict")
    options, rules = gate.load(thresholds)
    span = parse_window(window, datetime.now(timezone.utc))
    if days is not None:
        gate.require_day(span)
    one, two = (
        opened(name, text, profile, zone, os.environ.get)
        for name, text, profile, zone in (
            ("left", left, left_profile, left_zone),
            ("right", right, right_profile, right_zone),
        )
    )
    renamed = read_map(tag_map) if tag_map else {}
    with _progress() as say:
        found = run(one, two, span, options, tag_map=renamed, wanted=_matcher(tags), pieces=pieces, say=say)
    checks = gate.check(found, rules)
    verdict = Verdict(checks, needed=rules.green_days)
    if days is not None:
        gate.remember(days, found, verdict.green)
        verdict = Verdict(checks, gate.green_days(days, found.window.name), rules.green_days)
    if out is not None:
        write(out, found, verdict)
    _show(found, verdict)
    if not verdict.green:
        raise typer.Exit(RED)
    if cutover and (verdict.green_days or 0) < rules.green_days:
        raise typer.Exit(NOT_YET)


def read_map(path: Path) -> dict[str, str]:
    """Read a map of tags: left name -> right name.

    Raises:
        ConfigError: a column is missing, a name is empty or comes twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"left", "right"} <= set(reader.fieldnames or ()):
                raise ConfigError(f"{path}:1: needs the columns left and right")
            found: dict[str, str] = {}
            for row in reader:
                one, two = (row["left"] or "").strip(), (row["right"] or "").strip()
                if not one or not two:
                    raise ConfigError(f"{path}:{reader.line_num}: a name is empty")
                if one in found or two in found.values():
                    raise ConfigError(f"{path}:{reader.line_num}: {one if one in found else two} comes twice")
                found[one] = two
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8") from None
    return found


def write(folder: Path, found: Comparison, verdict: Verdict) -> None:
    """Write all forms of the report into a folder.

    Raises:
        ConfigError: it cannot be written.
    """
    from otmirror.compare import html, report

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text(html.to_html(found, verdict), encoding="utf-8")
        (folder / "report.md").write_text(report.to_markdown(found, verdict), encoding="utf-8")
        (folder / "report.json").write_text(report.to_json(found, verdict), encoding="utf-8")
        (folder / "metrics.prom").write_text(report.to_prometheus(found, verdict), encoding="utf-8")
        with (folder / "tag-map.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("left", "right"))
            writer.writerows((pair.left, pair.right) for pair in found.proposals)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be written: {error.strerror}") from None


def _matcher(pattern: str | None) -> Callable[[str], bool]:
    if pattern is None:
        return lambda _: True
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--tags: {pattern!r} is no regular expression: {error}") from None
    return lambda name: wanted.search(name) is not None


def _show(found: Comparison, verdict: Verdict) -> None:
    from otmirror.compare.findings import KINDS
    from otmirror.compare.report import counted, figures, groups, headline

    console = Console()
    shown = Table("", "left", "right")
    for row in figures(found):
        shown.add_row(*row)
    console.print(shown)
    for group in groups(found):
        what = f", {group.what}" if group.what else ""
        side = f" on the {group.side}" if group.side else ""
        note = "" if KINDS[group.kind].alarm else " (no fault)"
        first = group.findings[0]
        typer.echo(
            f"{KINDS[group.kind].title}{note}{side}{what}: {counted(group.tags)}, such as {first.tag}: {first.evidence}"
        )
    typer.echo(headline(verdict))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Give a function that shows the line it is told: at once on a terminal, every 5 s elsewhere."""
    console, last = Console(stderr=True), [time.monotonic()]
    if console.is_terminal:
        with console.status("reading") as shown:
            yield shown.update
        return

    def say(line: str) -> None:
        if time.monotonic() - last[0] >= 5.0:
            last[0] = time.monotonic()
            typer.echo(line, err=True)

    yield say
