"""Prometheus' text format, version 0.0.4, written and read: the part of it that the bundle's own files use.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from otmirror.metrics.definitions import BY_NAME, HISTOGRAM, METRICS, Metric
from otmirror.metrics.figures import Counts, Labels, Values

END = "# EOF"
"""The last line of a file that is whole."""

_LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?\s*')
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
_PLAIN = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


@dataclass(frozen=True)
class Line:
    """One sample line: name, labels, value."""

    name: str
    labels: dict[str, str]
    value: float


def heading(metric: Metric) -> str:
    """Return the HELP and TYPE lines of a family."""
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {metric.name} {text}\n# TYPE {metric.name} {metric.kind}\n"


def render(values: Values, own: Sequence[tuple[str, str]] = ()) -> str:
    """Write values with the labels `own` before theirs, families in the order of the table; ends with `END`."""
    by_name: dict[str, list[str]] = {}
    for (name, labels), number in values.numbers.items():
        names = BY_NAME[name].labels
        by_name.setdefault(name, []).append(line(name, [*own, *zip(names, labels, strict=True)], number))
    for (name, labels), counts in values.histograms.items():
        metric = BY_NAME[name]
        lines = _histogram(metric, [*own, *zip(metric.labels, labels, strict=True)], counts)
        by_name.setdefault(name, []).extend(lines)
    parts = (heading(metric) + "".join(by_name[metric.name]) for metric in METRICS if metric.name in by_name)
    return "".join(parts) + END + "\n"


def line(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    """Write one sample line."""
    told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{told}}} {number(value)}\n" if told else f"{name} {number(value)}\n"


def number(value: float) -> str:
    """Write a number: whole ones without a point, so that a time is not rounded."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _histogram(metric: Metric, labels: list[tuple[str, str]], counts: Counts) -> Iterator[str]:
    sums = np.cumsum(counts.buckets).tolist()
    for bound, count in zip([*map(number, metric.buckets), "+Inf"], sums, strict=True):
        yield line(f"{metric.name}_bucket", [*labels, ("le", bound)], count)
    yield line(f"{metric.name}_sum", labels, counts.total)
    yield line(f"{metric.name}_count", labels, sums[-1])


def _escaped(text: str) -> str:
    # Not UTF-8 (a lone surrogate) cannot be written at all.
    clean = text.encode("utf-8", "replace").decode()
    return re.sub(r'[\\"\n]', lambda found: _ESCAPED[found[0]], clean)


def lines(text: str) -> Iterator[Line]:
    """Read sample lines; comments and blank lines are passed over.

    Raises:
        ValueError: a line is none.
    """
    for place, raw in enumerate(text.split("\n"), 1):
        if raw.strip() and not raw.startswith("#"):
            match = _LINE.fullmatch(raw)
            if not match:
                raise ValueError(f"line {place} is no sample of the text format")
            yield Line(match[1], _labels(match[2] or "", place), float(match[3]))


def _labels(text: str, place: int) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while text[at:].strip():
        match = _LABEL.match(text, at)
        if not match or match[1] in found:
            raise ValueError(f"line {place}: its labels cannot be read")
        found[match[1]] = re.sub(r"\\[\\\"n]", lambda one: _PLAIN[one[0]], match[2])
        at = match.end()
    return found


def parse(text: str) -> Values:
    """Read back what `render` wrote; metrics and labels that are not in the table (any more) are passed over.

    Raises:
        ValueError: it is not whole, or something else.
    """
    if not text.endswith(f"\n{END}\n"):
        raise ValueError("it does not end as it should")
    values = Values()
    histograms: dict[tuple[str, Labels], dict[str, float]] = {}
    for one in lines(text):
        name, part = _family(one.name)
        metric = BY_NAME.get(name)
        if metric is None or not set(metric.labels) <= one.labels.keys():
            continue
        key = (name, tuple(one.labels[label] for label in metric.labels))
        if metric.kind == HISTOGRAM:
            histograms.setdefault(key, {})[one.labels.get("le", part)] = one.value
        elif part:
            raise ValueError(f"{one.name} is no series of a {metric.kind}")
        elif metric.kind == "counter" and not 0 <= one.value < math.inf:
            raise ValueError(f"{one.name} is no count")
        else:
            values.numbers[key] = one.value
    for key, found in histograms.items():
        counts = _counts(BY_NAME[key[0]], found)
        if counts is not None:
            values.histograms[key] = counts
    return values


def _family(name: str) -> tuple[str, str]:
    for part in ("bucket", "sum", "count"):
        stem = name.removesuffix(f"_{part}")
        if stem != name and stem in BY_NAME:
            return stem, part
    return name, ""


def _counts(metric: Metric, found: dict[str, float]) -> Counts | None:
    """Return a histogram read back; None when it has other buckets, as of another version.

    Raises:
        ValueError: it contradicts itself.
    """
    bounds = [*map(number, metric.buckets), "+Inf"]
    if found.keys() - {"sum", "count"} != set(bounds):
        return None
    each = np.diff(np.array([0.0, *(found[bound] for bound in bounds)]))
    total = found.get("sum", math.nan)
    if not (each >= 0).all() or not math.isfinite(total) or found.get("count") != found["+Inf"]:
        raise ValueError(f"the buckets of {metric.name} contradict each other")
    return Counts(each.astype(np.int64), total)
