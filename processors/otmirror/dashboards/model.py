"""What a dashboard is made of. A panel asks one question; its title is the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

MONITORING = "monitoring"
"""The store of metrics about the mirror."""
HOT = "hot"
"""The store of the plant's values."""
DATASOURCES = {MONITORING: "otmirror-monitoring", HOT: "otmirror-hot"}
"""The uid of each store's data source in Grafana."""

Kind = Literal["stat", "timeseries", "bargauge", "table"]
Steps = tuple[tuple[float | None, str], ...]
"""From which value on (None: from the lowest) which colour holds, rising."""


def rising(amber: float, red: float) -> Steps:
    """Return thresholds of a figure that is better when small."""
    return ((None, "green"), (amber, "orange"), (red, "red"))


def falling(amber: float, green: float) -> Steps:
    """Return thresholds of a figure that is better when large: red below `amber`, green from `green` on."""
    return ((None, "red"), (amber, "orange"), (green, "green"))


@dataclass(frozen=True)
class Query:
    """A query in PromQL (MetricsQL where needed), and the name of its series, with `{{label}}` for a label."""

    expr: str
    legend: str = ""
    store: str = MONITORING


@dataclass(frozen=True)
class Column:
    """A column of a table: a query with one value a row, its unit, its thresholds, words in place of values."""

    title: str
    expr: str
    unit: str
    steps: Steps = ()
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Value -> text and colour."""
    store: str = MONITORING


@dataclass(frozen=True)
class Panel:
    """One question.

    `unit` is an id of Grafana's (https://grafana.com/docs/grafana/latest/panels-visualizations/configure-standard-options/);
    `width` counts the 24 columns of its grid; `runbooks` are file names in docs/runbooks without `.md`; `see` are uids
    of dashboards; `labels` are a table's first columns, label -> title.
    """

    kind: Kind
    title: str
    description: str
    width: int
    unit: str = "none"
    queries: Sequence[Query] = ()
    columns: Sequence[Column] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    steps: Steps = ()
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    minimum: float | None = None
    maximum: float | None = None
    decimals: int | None = None
    stacked: bool = False
    runbooks: Sequence[str] = ()
    see: Sequence[str] = ()
    label_link: tuple[str, str] | None = None
    """The title of a table's column, and the address its cells lead to."""


@dataclass(frozen=True)
class Row:
    """Panels side by side; `height` in Grafana's grid units of about 30 pixels."""

    height: int
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard, of all values that `label` has in `metric`."""

    name: str
    metric: str
    label: str
    store: str = MONITORING


@dataclass(frozen=True)
class Dashboard:
    """A page: its uid, title, the question it answers, its rows, its choices, the time it shows at first."""

    uid: str
    title: str
    question: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()
    span: str = "1h"
    refresh: str = "30s"


SOURCE = Variable("source", "otmirror_samples_read_total", "source")
AREA = Variable("area", "otmirror_store_tags", "area")
YES_NO = {"1": ("yes", "green"), "0": ("no", "red")}


def newest(metric: str, span: str, *by: str) -> str:
    """Return the query of a figure that is made once in a while: the newest within `span`, the largest of each `by`."""
    made = f"last_over_time({metric}[{span}])"
    return f"max by ({', '.join(by)}) ({made})" if by else f"max({made})"


def stat(title: str, expr: str, unit: str, description: str, width: int = 8, *, store: str = MONITORING,
         steps: Steps = ((None, "blue"),), words: Mapping[str, tuple[str, str]] | None = None, legend: str = "",
         decimals: int | None = None, runbooks: Sequence[str] = (), see: Sequence[str] = ()) -> Panel:  # fmt: skip
    """Return a panel of one large figure, that of now."""
    return Panel("stat", title, description, width, unit, (Query(expr, legend, store),), steps=steps,
                 words=words or {}, decimals=decimals, runbooks=runbooks, see=see)  # fmt: skip


def counted(expr: str) -> str:
    """Return a sum without labels, 0 where it has no series yet, and that only while the mirror is scraped."""
    return f'{expr} or sum(up{{job="otmirror"}} == 1) * 0'
