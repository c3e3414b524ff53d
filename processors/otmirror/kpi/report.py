"""The key figures as a page, as JSON, and as Prometheus' text for the exporter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from otmirror import __version__
from otmirror.kpi.figure import Figure, Metric, Window
from otmirror.metrics import text
from otmirror.rollout.evidence import write_text
from otmirror.rollout.sheet import Sheet, Table

PREFIX = "otmirror_kpi_"
FILE = "otmirror-kpi.prom"
HELP: Mapping[str, tuple[str, str]] = {
    "licence_cost_removed": ("gauge", "Licence cost of the incumbent that is not paid any more, a year."),
    "cost_per_endpoint": ("gauge", "Running cost a year by devices connected in the window."),
    "cost_per_gb": ("gauge", "Running cost a year by GB (10^9 bytes) that both stores hold."),
    "provision_seconds": ("gauge", "From a tag list to its first sample, or to all tags, in the hot store."),
    "freshness_seconds": ("gauge", "Age of samples when they were stored, by quantile, over the window."),
    "success_ratio": ("gauge", "Stored samples by stored and rejected ones, over the window."),
    "mttr_seconds": ("gauge", "Mean time to recover: of the drill's faults, or while alerts that page were firing."),
    "sso_share_ratio": ("gauge", "People who log in through single sign-on, by all people seen in the window."),
    "vault_share_ratio": ("gauge", "Sensitive parameters set from Vault by all that have a value."),
    "violations_blocked_total": ("counter", "Denials in the policy's decision log."),
    "report_timestamp_seconds": ("gauge", "When the key figures were made, seconds since 1970."),
}
"""Every metric: its type and what it says."""


def sheet(figures: Sequence[Figure], window: Window) -> Sheet:
    """Return the page."""
    measured = sum(one.value is not None for one in figures)
    page = Sheet(f"Key figures, {window.end:%Y-%m-%d}", f"{measured} of {len(figures)} measured")
    page.add(f"Made {window.end:%Y-%m-%d %H:%M} UTC by otmirror {__version__}. Window: {window}.")
    page.add(Table(("figure", "value", "how it comes about"),
                   [(one.title, one.shown, one.how or one.todo) for one in figures]), "Figures")  # fmt: skip
    page.add(Table(("figure", "from", "over"), [(one.title, one.source, one.window) for one in figures
                                                if one.value is not None]), "Sources")  # fmt: skip
    open_ = [(one.title, one.todo) for one in figures if one.value is None]
    if open_:
        page.add(Table(("figure", "to measure it"), open_), "Not measured")
    return page


def to_json(figures: Sequence[Figure], window: Window) -> str:
    """Return the figures as JSON: time, window, figures; values in the unit told, shares 0 to 1."""
    told = {
        "time": window.end.isoformat(timespec="seconds"),
        "window": {"start": window.start.isoformat(timespec="seconds"), "seconds": round(window.seconds)},
        "figures": [asdict(one) for one in figures],
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def to_prometheus(figures: Sequence[Figure], window: Window) -> str:
    """Return the figures in Prometheus' text format; what was not measured has no sample."""
    every = [metric for one in figures for metric in one.metrics]
    every.append(Metric("report_timestamp_seconds", round(window.end.timestamp(), 3)))
    parts = []
    for name, (kind, told) in HELP.items():
        samples = [metric for metric in every if metric.name == name]
        if samples:
            parts += [f"# HELP {PREFIX}{name} {told}\n", f"# TYPE {PREFIX}{name} {kind}\n"]
            parts += [text.line(PREFIX + name, one.labels.items(), one.value) for one in samples]
    return "".join(parts)


def checked(content: str) -> str:
    """Return what `to_prometheus` wrote.

    Raises:
        ValueError: it is something else; one such line would cost Prometheus a whole scrape.
    """
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    for one in text.lines(content):
        key = (one.name, tuple(sorted(one.labels.items())))
        if one.name.removeprefix(PREFIX) not in HELP or not one.name.startswith(PREFIX) or key in seen:
            raise ValueError(f"{one.name} is no key figure")
        seen.add(key)
    # Every report ends with its time.
    if not content.endswith("\n") or (f"{PREFIX}report_timestamp_seconds", ()) not in seen:
        raise ValueError("it is not whole")
    return content


def save(out: Path, figures: Sequence[Figure], window: Window, metrics: Path | None) -> list[Path]:
    """Write kpi-<day>.md, .html and kpi.json into a folder, and the metrics into another; return the files.

    Raises:
        MirrorError: one cannot be written.
    """
    page, day = sheet(figures, window), f"kpi-{window.end:%Y-%m-%d}"
    files = [out / f"{day}.md", out / f"{day}.html", out / "kpi.json"]
    page.save(files[0])
    page.save(files[1])
    write_text(files[2], to_json(figures, window))
    if metrics is not None:
        files.append(metrics / FILE)
        write_text(files[-1], to_prometheus(figures, window))
    return files
