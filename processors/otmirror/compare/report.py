"""A comparison as data, as Markdown and as Prometheus' text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from otmirror import __version__
from otmirror.compare.findings import KINDS, Finding
from otmirror.compare.gate import Check
from otmirror.compare.result import Side, TagResult
from otmirror.compare.run import Comparison
from otmirror.compare.totals import Totals

_SHARES = ("p50", "p95", "p99", "max")
_SHOWN = 20
"""Tags of a kind that are listed in Markdown and HTML; all are in the JSON."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says."""

    checks: Sequence[Check]
    green_days: int | None = None
    """In a row; None when no folder of days was given."""
    needed: int = 14

    @property
    def green(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Group:
    """The findings of one kind and side that belong together."""

    kind: str
    side: str
    tags: list[str]
    findings: list[Finding]
    what: str
    """What they have in common, such as the clock offset; empty when there is nothing."""


def groups(found: Comparison) -> list[Group]:
    """Put findings of a kind together, in the order of KINDS; one clock offset of many tags is one group."""
    by: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in found.findings:
        what = ""
        if finding.kind in ("clock_offset", "dst_shift"):
            what = f"{float(finding.numbers['offset_s']):+.3f}".rstrip("0").rstrip(".") + " s"
            if finding.kind == "dst_shift":
                what += f", {finding.numbers['from']} to {finding.numbers['until']}"
        by.setdefault((finding.kind, finding.side, what), []).append(finding)
    order = list(KINDS)
    keys = sorted(by, key=lambda key: (order.index(key[0]), -len(by[key])))
    return [Group(kind, side, sorted({f.tag for f in by[kind, side, what]}), by[kind, side, what], what)
            for kind, side, what in keys]  # fmt: skip


def counted(tags: Sequence[str]) -> str:
    """Write how many tags there are."""
    return f"{len(tags):,} tag" + ("s" if len(tags) != 1 else "")


def data(found: Comparison, verdict: Verdict) -> dict[str, Any]:
    """Return everything as plain values for JSON; times are seconds or ISO 8601."""
    return {
        "version": __version__,
        "window": found.window.name,
        "left": found.left,
        "right": found.right,
        "seconds": round(found.seconds, 3),
        "green": verdict.green,
        "green_days": verdict.green_days,
        "checks": [asdict(check) for check in verdict.checks],
        "options": asdict(found.options),
        "totals": totals_data(found.totals),
        "findings": [{**asdict(finding), "alarm": finding.alarm} for finding in found.findings],
        "tag_map": [asdict(pair) for pair in found.proposals],
        "tags": [tag_data(result) for result in found.tags],
    }


def totals_data(totals: Totals) -> dict[str, Any]:
    """Return the sums."""
    lags = {side: totals.lag(side) for side in ("left", "right")}
    means, offsets = totals.mean_differences, totals.offsets
    return {
        "tags": {"both": totals.both, "only_left": totals.only_left, "only_right": totals.only_right,
                 "renamed": totals.renamed},
        "coverage": totals.coverage,
        "samples": totals.samples,
        "bad": totals.bad,
        "duplicates": totals.duplicates,
        "out_of_order": totals.disorder,
        "missing_s": {side: us / 1e6 for side, us in totals.missing_us.items()},
        "compared": totals.compared,
        "match": _number(totals.match),
        "quality": totals.quality.tolist(),
        "mean_difference": {name: _number(float(np.quantile(means, q))) for name, q in
                            (("p50", 0.5), ("p99", 0.99), ("max", 1.0))} if means else None,
        "clock_offset_s": _number(float(np.median(offsets))) if offsets else None,
        "lag_s": {side: None if lag is None else dict(zip(_SHARES, lag, strict=True)) for side, lag in lags.items()},
    }  # fmt: skip


def tag_data(result: TagResult) -> dict[str, Any]:
    """Return what is known of a tag."""

    def one(side: Side) -> dict[str, Any]:
        lag = None if side.lag is None or not len(side.lag) else dict(zip(_SHARES, map(float, side.lag), strict=True))
        return {"samples": side.samples, "bad": side.bad, "duplicates": side.duplicates, "out_of_order": side.disorder,
                "mean": _number(side.mean), "lag_s": lag}  # fmt: skip

    return {
        "tag": result.tag,
        "left": one(result.left),
        "right": one(result.right),
        "compared": result.compared,
        "match": _number(result.match),
        "worst": _number(result.worst),
        "mean_difference": _number(result.mean_difference),
        "clock_offset_s": _number(result.offset_s),
        "missing_s": {"left": result.missing_left / 1e6, "right": result.missing_right / 1e6},
        "quality": None if result.quality is None else result.quality.tolist(),
        "findings": [finding.kind for finding in result.findings],
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def to_json(found: Comparison, verdict: Verdict) -> str:
    """Return the report as JSON."""
    return json.dumps(data(found, verdict), indent=1) + "\n"


def headline(verdict: Verdict) -> str:
    """Return the verdict in a line."""
    failed = [check.rule for check in verdict.checks if not check.passed]
    line = "green: every check passed" if not failed else f"red: {', '.join(failed)}"
    if verdict.green_days is not None:
        line += f"; {verdict.green_days} green days in a row, {verdict.needed} are needed for a cutover"
    return line


def figures(found: Comparison) -> list[tuple[str, str, str]]:
    """Return rows for people: what, left, right."""
    totals = found.totals

    def lag(side: str) -> str:
        values = totals.lag(side)
        return "not told" if values is None else " / ".join(f"{value:.4g}" for value in values)

    totals_ = (("samples", totals.samples), ("bad samples", totals.bad),
               ("rows that repeat a time", totals.duplicates), ("rows after a later one", totals.disorder))  # fmt: skip
    missing = {side: f"{us / 3.6e9:,.1f}" for side, us in totals.missing_us.items()}
    return [
        ("tags on both sides", f"{totals.both:,}", f"{totals.both:,}"),
        ("tags on this side only", f"{totals.only_left:,}", f"{totals.only_right:,}"),
        *((title, f"{counts['left']:,}", f"{counts['right']:,}") for title, counts in totals_),
        ("hours in missing intervals", missing["left"], missing["right"]),
        ("lag p50 / p95 / p99 / max, s", lag("left"), lag("right")),
    ]


def both_figures(found: Comparison) -> list[tuple[str, str]]:
    """Return rows for people that belong to both sides."""
    totals = found.totals
    rows = [("samples compared", f"{totals.compared:,}"), ("confirmed by the other side", f"{totals.match:.4%}")]
    if totals.mean_differences:
        p50, p99 = np.quantile(totals.mean_differences, [0.5, 0.99])
        rows.append(("time-weighted means differ, p50 / p99", f"{p50:.2g} / {p99:.2g}"))
    if totals.offsets:
        rows.append(("right clock ahead, median of tags", f"{np.median(totals.offsets):+.3f} s"))
    return rows


def to_markdown(found: Comparison, verdict: Verdict) -> str:
    """Return the report as Markdown, to be read or mailed."""
    lines = [f"# Parallel run, {found.window.name}", "", f"**{_md(headline(verdict))}**", "",
             f"- left: {_md(found.left)}", f"- right: {_md(found.right)}",
             f"- compared in {found.seconds:.1f} s by otmirror {__version__}", ""]  # fmt: skip
    lines += _table(
        ("check", "limit", "measured", ""),
        [(c.rule, c.limit, c.measured, "passed" if c.passed else "FAILED") for c in verdict.checks],
    )
    lines += _table(("", "left", "right"), figures(found))
    lines += _table(("both", ""), both_figures(found))
    lines += ["## Findings", ""]
    found_groups = groups(found)
    if not found_groups:
        lines += ["None.", ""]
    for group in found_groups:
        kind = KINDS[group.kind]
        note = "" if kind.alarm else " (no fault)"
        what = f", {group.what}" if group.what else ""
        side = f" on the {group.side}" if group.side else ""
        lines += [f"### {kind.title}{note}{side}{what}: {counted(group.tags)}", "",
                  f"{kind.meaning[0].upper()}{kind.meaning[1:]}. To do: {kind.remedy}.", ""]  # fmt: skip
        lines += _table(("tag", "evidence"), [(f.tag, f.evidence) for f in group.findings[:_SHOWN]])
        if len(group.findings) > _SHOWN:
            lines += [f"... and {len(group.findings) - _SHOWN:,} more in the JSON.", ""]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    made = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*made, *("| " + " | ".join(_md(cell) for cell in row) + " |" for row in rows), ""]


def _md(text: str) -> str:
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return " ".join(text.split())


def to_prometheus(found: Comparison, verdict: Verdict) -> str:
    """Return the totals in Prometheus' text format, for a textfile collector or /api/v1/import/prometheus."""
    totals = found.totals
    lines: list[str] = []

    def metric(name: str, help_: str, values: Sequence[tuple[str, float]]) -> None:
        kept = [(labels, value) for labels, value in values if math.isfinite(value)]
        if kept:
            lines.extend([f"# HELP otmirror_compare_{name} {help_}", f"# TYPE otmirror_compare_{name} gauge"])
            lines.extend(f"otmirror_compare_{name}{labels} {value!r}" for labels, value in kept)

    def sides(counts: dict[str, int], scale: float = 1.0) -> list[tuple[str, float]]:
        return [(f'{{side="{side}"}}', count * scale) for side, count in counts.items()]

    metric("green", "1: every check of the gate passed.", [("", float(verdict.green))])
    if verdict.green_days is not None:
        metric("green_days", "Green days in a row.", [("", float(verdict.green_days))])
    metric("window_end_seconds", "End of the window compared.", [("", found.window.end / 1e6)])
    metric("duration_seconds", "How long the comparison took.", [("", round(found.seconds, 3))])
    where = {"both": totals.both, "only_left": totals.only_left, "only_right": totals.only_right}
    metric("tags", "Tags by where they are.", [(f'{{where="{name}"}}', count) for name, count in where.items()])
    metric("coverage_ratio", "Share of the left side's tags that the right side has.", [("", totals.coverage)])
    metric("match_ratio", "Share of compared samples that the other side confirms.", [("", totals.match)])
    metric("samples", "Usable samples.", sides(totals.samples))
    metric("bad_samples", "Bad samples.", sides(totals.bad))
    metric("duplicate_rows", "Rows that repeat a time.", sides(totals.duplicates))
    metric("missing_seconds", "Time in missing intervals, over all tags.", sides(totals.missing_us, 1e-6))
    if totals.offsets:
        metric("clock_offset_seconds", "Right clock ahead, median of tags.", [("", float(np.median(totals.offsets)))])
    lags = [(f'{{side="{side}",quantile="{q}"}}', value) for side in ("left", "right")
            for q, value in zip(("0.5", "0.95", "0.99", "1"), totals.lag(side) or (), strict=False)]  # fmt: skip
    metric("lag_seconds", "From a sample's time to its arrival.", lags)
    tags: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for finding in found.findings:
        tags[finding.kind].add(finding.tag)
    labels = {kind: f'{{kind="{kind}",alarm="{str(KINDS[kind].alarm).lower()}"}}' for kind in KINDS}
    metric("finding_tags", "Tags with a kind of finding.", [(labels[kind], len(names)) for kind, names in tags.items()])
    return "\n".join(lines) + "\n"
