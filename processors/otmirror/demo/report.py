"""report.html: the figures of a run and some tags as both stores have them, in one file without outside parts."""

from __future__ import annotations

import datetime
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import pyarrow as pa
import pyarrow.compute as pc

from otmirror.demo.audit import Audit, SourceAudit

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { padding: .25rem .9rem;
  border-bottom: 1px solid #d9e0e6; text-align: right;
  font-variant-numeric: tabular-nums }
td:first-child, th:first-child { text-align: left } .ok { color: #0a7a3b } .bad { color: #b3261e }
svg { width: 100%; height: auto } p.note { color: #5a6872 }
"""


@dataclass(frozen=True)
class Run:
    """What a run gave. Ages are seconds from source timestamp to queryable."""

    started: datetime.datetime
    seconds: float
    audit: Audit
    hot_ages: Sequence[tuple[str, float | None]] = ()
    cold_ages: Sequence[tuple[str, float | None]] = ()
    memory_mb: dict[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write(path: Path, run: Run, cold: pa.Table | None, hot: pa.Table, tags: int = 6) -> None:
    """Write the report; `tags` is how many tags are drawn."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>OT mirror: a run</title>",
        f"<style>{_STYLE}</style><h1>OT mirror: a run of {run.seconds:.0f} s</h1>",
        f"<p class='note'>{run.started:%Y-%m-%d %H:%M:%S} UTC, read back from both stores after the run.</p>",
        f"<p class='{'ok' if run.audit.complete else 'bad'}'><b>{verdict(run.audit)}</b></p>",
        _table(*source_rows(run.audit)),
        "<h2>Freshness: source timestamp to queryable, after the first seconds of the start</h2>",
        _table(("store", *(name for name, _ in run.hot_ages)), _ages(run)),
        "<h2>Some tags, from both stores</h2>",
        _plots(cold, hot, tags),
        "<h2>Memory</h2>",
        _table(("process", "resident MB"), [(name, f"{mb:.0f}") for name, mb in run.memory_mb.items()]),
        *(f"<p class='note'>{html.escape(note)}</p>" for note in run.notes),
        "</html>",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def verdict(audit: Audit) -> str:
    """Say in one line whether everything arrived once, and what is wrong when not."""
    word = "everything arrived, once" if audit.complete else "NOT everything arrived once"
    counts = {
        "lost": audit.lost,
        "duplicated": audit.duplicated,
        "with another value in VictoriaMetrics": audit.hot_different,
        "only in VictoriaMetrics": audit.hot_unknown,
        "lines rejected (ot.rejects)": audit.rejected,
    }
    told = [f"{count} {what}" for what, count in counts.items() if count or what in ("lost", "duplicated")]
    return f"{word}: {', '.join(told)}"


def source_rows(audit: Audit) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return a header, a column a source, and one row a figure, all as text."""
    figures: dict[str, Callable[[SourceAudit], object]] = {
        "tags": lambda s: s.tags,
        "samples that left the source": lambda s: "-" if s.emitted is None else s.emitted,
        "found in Iceberg": lambda s: s.stored,
        "of these, bad quality": lambda s: s.bad,
        "of these, with a number": lambda s: s.numeric,
        "numbers found in VictoriaMetrics": lambda s: s.hot_found,
        "lost": lambda s: s.lost,
        "duplicated": lambda s: s.duplicated,
        "restarts of the reader": lambda s: s.restarts,
        "longest gap at one, s": lambda s: f"{s.longest_gap_s:.1f}",
    }
    rows = [(name, *(str(figure(source)) for source in audit.sources)) for name, figure in figures.items()]
    return ("source", *(source.source for source in audit.sources)), rows


def _ages(run: Run) -> list[tuple[str, ...]]:
    return [
        (name, *("-" if age is None else f"{age:.2f} s" for _, age in ages))
        for name, ages in (("VictoriaMetrics", run.hot_ages), ("Iceberg", run.cold_ages))
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    header = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{header}</tr>{body}</table>"


def _plots(cold: pa.Table | None, hot: pa.Table, limit: int) -> str:
    names = _tags_to_draw(cold, hot, limit)
    if not names:
        return "<p>nothing to draw</p>"
    figure, axes = plt.subplots(len(names), 1, figsize=(11, 1.9 * len(names)), sharex=True, squeeze=False)
    for axis, name in zip(axes[:, 0], names, strict=True):
        rows = hot.filter(pc.equal(hot.column("tag"), name)).sort_by("ts_ms")
        axis.plot(_dates(rows.column("ts_ms"), 1e3), rows.column("value").to_pylist(), lw=2.5, color="#8fb8de",
                  label="VictoriaMetrics")  # fmt: skip
        if cold is not None:
            _draw_cold(axis, cold.filter(pc.equal(cold.column("tag"), name)).sort_by("ts"))
        axis.set_title(name, fontsize=9, loc="left")
        axis.margins(x=0.01)
    axes[0, 0].legend(fontsize=8, loc="upper right")
    axes[-1, 0].xaxis.set_major_formatter(mdates.DateFormatter("%H:%M:%S"))  # type: ignore[no-untyped-call]
    figure.tight_layout()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    drawing = buffer.getvalue()
    return drawing[drawing.index("<svg") :]


def _draw_cold(axis: Any, rows: pa.Table) -> None:
    good = rows.filter(pc.is_valid(rows.column("value")))
    bad = rows.filter(pc.equal(rows.column("quality"), pa.scalar("bad")))
    axis.plot(_dates(good.column("ts"), 1e6), good.column("value").to_pylist(), ".", ms=3.5, color="#123a5e",
              label="Iceberg")  # fmt: skip
    for moment in _dates(bad.column("ts"), 1e6):
        axis.axvline(moment, color="#b3261e", lw=0.8, alpha=0.6)


def _tags_to_draw(cold: pa.Table | None, hot: pa.Table, limit: int) -> list[str]:
    """Choose tags evenly over the sources, those with the most distinct values first."""
    if hot.num_rows == 0:
        return []
    counted = hot.group_by(["source", "tag"]).aggregate([("value", "count_distinct")]).to_pylist()
    by_source: dict[str, list[str]] = {}
    for row in sorted(counted, key=lambda row: (-row["value_count_distinct"], row["tag"])):
        by_source.setdefault(row["source"], []).append(row["tag"])
    share = max(1, limit // len(by_source))
    return [tag for source in sorted(by_source) for tag in by_source[source][:share]][:limit]


def _dates(column: pa.ChunkedArray, per_second: float) -> list[datetime.datetime]:
    utc = datetime.timezone.utc
    return [datetime.datetime.fromtimestamp(ts / per_second, utc) for ts in column.to_pylist()]
