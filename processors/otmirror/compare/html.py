"""A comparison as one HTML file that needs nothing else: no script, no network, plots as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from otmirror import __version__
from otmirror.compare.findings import KINDS, Finding
from otmirror.compare.options import Window, parse_moment
from otmirror.compare.page import head, table
from otmirror.compare.plots import lag_plot, match_plot, tag_plot
from otmirror.compare.report import Verdict, both_figures, counted, figures, groups, headline
from otmirror.compare.run import Comparison

_SHOWN = 20
_PLOTS = 24
"""Tags with a plot: those with an alarm first, of each kind some."""


def to_html(found: Comparison, verdict: Verdict) -> str:
    """Return the report as one HTML document."""
    state = "green" if verdict.green else "red"
    parts = [
        head(f"Parallel run {found.window.name}"),
        f"<h1>Parallel run, {escape(found.window.name)}</h1>",
        f"<p class='v {state}'>{escape(headline(verdict))}</p>",
        f"<p><b class=l>left</b> {escape(found.left)}<br><b class=r>right</b> {escape(found.right)}</p>",
        "<h2>Gate</h2>",
        table(("check", "limit", "measured", ""),
               [(c.rule, c.limit, c.measured, "passed" if c.passed else "FAILED") for c in verdict.checks]),
        "<h2>Totals</h2>",
        table(("", "left", "right"), figures(found)),
        table(("both", ""), both_figures(found)),
        *_pictures(found),
        *_quality(found),
        *_findings(found),
        *_tags(found),
        f"<p class=note>otmirror {__version__}, {found.seconds:.1f} s. Same: {found.options.tolerance.relative:g} of "
        f"the value or {found.options.tolerance.absolute:g}, within {found.options.tolerance.time_us / 1e6:g} s. "
        "Time-weighted mean: TimeAverage of OPC 10000-13, 5.4.3.6.</p></html>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _pictures(found: Comparison) -> list[str]:
    shares = [result.match for result in found.tags if np.isfinite(result.match)]
    pictures = [match_plot(shares)] if shares else []
    lags = {side: lag for side in ("left", "right") if (lag := found.totals.lag(side, np.linspace(0.01, 0.999, 60)))}
    if lags:
        pictures.append(lag_plot(lags))
    return ["<div class=plots>", *(f"<figure>{picture}</figure>" for picture in pictures), "</div>"] if pictures else []


def _quality(found: Comparison) -> list[str]:
    counts = found.totals.quality
    if not counts.sum():
        return []
    names = ("bad", "uncertain", "good")
    rows = [(f"left {name}", *(f"{int(n):,}" for n in counts[place])) for place, name in enumerate(names)]
    return ["<h2>Quality at the same times</h2>", table(("", *(f"right {name}" for name in names)), rows)]


def _findings(found: Comparison) -> list[str]:
    parts = ["<h2>Findings</h2>"]
    for group in groups(found):
        kind = KINDS[group.kind]
        side = f" on the {group.side}" if group.side else ""
        what = f", {group.what}" if group.what else ""
        note = "" if kind.alarm else " <span class=note>(no fault)</span>"
        parts.append(f"<h3>{escape(kind.title + side + what)}: {counted(group.tags)}{note}</h3>"
                     f"<p>{escape(kind.meaning)}. <b>To do:</b> {escape(kind.remedy)}.</p>")  # fmt: skip
        parts.append(table(("tag", "evidence"), [(f.tag, f.evidence) for f in group.findings[:_SHOWN]]))
        if len(group.findings) > _SHOWN:
            parts.append(f"<p class=note>... and {len(group.findings) - _SHOWN:,} more in the JSON.</p>")
    return [*parts, "<p>None.</p>"] if len(parts) == 1 else parts


def _tags(found: Comparison) -> list[str]:
    by_tag = {result.tag: result for result in found.tags}
    names: dict[str, str] = {}
    all_groups = [group for group in groups(found) if KINDS[group.kind].alarm]
    for place in range(_PLOTS):
        for group in all_groups:
            if place < len(group.tags) and len(names) < _PLOTS:
                names.setdefault(group.tags[place], KINDS[group.kind].title)
    if not names:
        return []
    parts = [
        "<h2>Plots</h2><p class=note>Held values at 128 times of the window; shaded is what a finding names.</p>",
        "<div class=plots>",
    ]
    for tag, title in names.items():
        picture = tag_plot(*by_tag[tag].prints, _marked(by_tag[tag].findings, found.window))
        parts.append(f"<figure>{picture}<figcaption><b>{escape(tag)}</b>: {escape(title)}</figcaption></figure>")
    return [*parts, "</div>"]


def _marked(findings: Sequence[Finding], window: Window) -> list[tuple[float, float]]:
    """Return the parts of the window, 0 to 1, that findings name."""
    parts = []
    for finding in findings:
        if {"from", "until"} <= finding.numbers.keys():
            ends = (parse_moment(str(finding.numbers[name])) for name in ("from", "until"))
            first, last = (min(max((end - window.start) / (window.end - window.start), 0.0), 1.0) for end in ends)
            parts.append((first, last))
    return parts
