"""One key figure: its value, how it comes about, from where and over which window; or what to do to measure it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

Utc = datetime.datetime


@dataclass(frozen=True)
class Metric:
    """A sample of a metric in Prometheus' text format; the name is without otmirror_kpi_."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A key figure; without a value `todo` says what has to be done to measure it."""

    name: str
    title: str
    value: float | None = None
    unit: str = ""
    """`share`, `s`, or what is written behind the number."""
    how: str = ""
    """The calculation, with its numbers."""
    source: str = ""
    window: str = ""
    todo: str = ""
    metrics: tuple[Metric, ...] = ()

    @property
    def shown(self) -> str:
        """The value in its unit; `not measured` without one."""
        if self.value is None:
            return "not measured"
        if self.unit == "share":
            return f"{self.value * 100:.4g} %"
        return f"{number(self.value)} {self.unit}".strip()


def missing(name: str, title: str, todo: str) -> Figure:
    """Return a figure that was not measured."""
    return Figure(name, title, todo=todo)


def number(value: float) -> str:
    """Write a number: whole ones in full, others with four digits at least."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"


@dataclass(frozen=True)
class Window:
    """From when to when (UTC) something is looked at."""

    start: Utc
    end: Utc

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.start).total_seconds()

    @property
    def promql(self) -> str:
        """Its length as a range of PromQL."""
        return f"{round(self.seconds)}s"

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"
