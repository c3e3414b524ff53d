"""What the doctor says: a short table with the verdict below it, or the same as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from otmirror.doctor import times
from otmirror.doctor.examine import Report
from otmirror.doctor.findings import ERROR, Finding, runbook
from otmirror.doctor.rules import Cause

_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON's types; times are ISO 8601 in UTC, and seconds since 1970 beside them."""
    return {
        "healthy": report.healthy,
        "verdict": verdict(report),
        "moment": times.iso(report.moment),
        "seconds": round(report.seconds, 2),
        "nifi": report.site.url,
        "flows": list(report.flows),
        "causes": [
            {
                **_finding(cause.finding),
                "since": times.iso(cause.since), "since_seconds": cause.since,
                "consequences": [_finding(one) for one in cause.consequences],
            }
            for cause in report.causes
        ],
        "notes": [_finding(one) for one in report.notes],
        "looked": list(report.looked),
    }  # fmt: skip


def _finding(one: Finding) -> dict[str, Any]:
    kind = one.kind
    return {
        "code": one.code, "layer": kind.layer, "weight": kind.weight, "subject": one.subject, "text": one.text,
        "since": times.iso(one.since), "since_seconds": one.since, "alert": kind.alert, "runbook": runbook(kind.alert),
    }  # fmt: skip


def verdict(report: Report) -> str:
    """Return what is the matter in one line."""
    if report.healthy:
        return f"nothing is wrong: {len(report.looked)} things looked at in {report.seconds:.1f} s"
    first = report.causes[0]
    since = f", since {times.clock(first.since)}" if first.since is not None else ""
    book = runbook(first.finding.kind.alert)
    more = len(report.causes) - 1
    others = f"; {more} more beside it" if more else ""
    opened = f"; open {book}" if book else ""
    return f"likely cause: {first.finding.code} at {first.finding.subject}{since}{opened}{others}"


def show(report: Report, console: Console) -> None:
    """Print the causes with their consequences, the notes, and the verdict."""
    if report.causes or report.notes:
        table = Table(title=Text(f"{report.site.url}  {', '.join(report.flows)}"), title_justify="left")
        for name in ("", "what", "where", "since", "found", "runbook"):
            table.add_column(name, overflow="fold")
        for number, cause in enumerate(report.causes, 1):
            _add(table, str(number), cause, report.moment)
        for note in report.notes:
            table.add_row("", *_cells(note, note.since, report.moment, ""), style="dim")
        console.print(table)
    style = "green" if report.healthy else "red" if report.causes[0].finding.kind.weight == ERROR else "yellow"
    console.print(Text(verdict(report), style=style), soft_wrap=True)


def _add(table: Table, number: str, cause: Cause, now: float) -> None:
    one = cause.finding
    cells = _cells(one, cause.since, now, (runbook(one.kind.alert) or "").removeprefix("docs/runbooks/"))
    table.add_row(number, *cells, style=_STYLES[one.kind.weight])
    for follows in cause.consequences:
        table.add_row("", *_cells(follows, follows.since, now, "", "  so "), style="dim")


def _cells(one: Finding, since: float | None, now: float, book: str, before: str = "") -> list[Text]:
    # As Text: what servers say may hold what rich takes for markup.
    ago = f"{times.told(now - since)} ago" if since is not None else ""
    return [Text(part) for part in (before + one.code, one.subject, ago, one.text, book)]
