"""The values of one part of the bundle, a source or a sink: counted as batches pass, collected when they are asked for.

A part owns its figures and knows nothing of files or processors. Whoever wants to know collects them.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from otmirror.metrics.definitions import BY_NAME, COUNTER, GAUGE, HISTOGRAM, Metric

Labels = tuple[str, ...]
"""The values of a metric's labels, in the order of its definition."""


@dataclass
class Counts:
    """A histogram's observations: how many in each bucket (not cumulative, the last one open), and their sum."""

    buckets: npt.NDArray[np.int64]
    total: float = 0.0

    def copy(self) -> Counts:
        """Return the same, for others to change."""
        return Counts(self.buckets.copy(), self.total)

    def add(self, other: Counts) -> None:
        """Add another one of the same buckets."""
        self.buckets = self.buckets + other.buckets
        self.total += other.total


@dataclass
class Values:
    """All values at one moment, by metric name and labels."""

    numbers: dict[tuple[str, Labels], float] = field(default_factory=dict)
    histograms: dict[tuple[str, Labels], Counts] = field(default_factory=dict)

    def of_kind(self, *kinds: str) -> Iterator[tuple[tuple[str, Labels], float]]:
        """Yield the numbers of counters or of gauges."""
        for key, value in self.numbers.items():
            if BY_NAME[key[0]].kind in kinds:
                yield key, value

    def merged(self, newer: Values) -> Values:
        """Return both together: counts added, of times of what happened last the later, of other gauges the newer."""
        both = Values(dict(newer.numbers), {key: c.copy() for key, c in newer.histograms.items()})
        for key, value in self.numbers.items():
            metric = BY_NAME[key[0]]
            if metric.kind == COUNTER:
                both.numbers[key] = both.numbers.get(key, 0.0) + value
            elif metric.lasting:
                both.numbers[key] = max(value, both.numbers.get(key, value))
            else:
                both.numbers.setdefault(key, value)
        for key, counts in self.histograms.items():
            if key in both.histograms:
                both.histograms[key].add(counts)
            else:
                both.histograms[key] = counts.copy()
        return both

    def lasting(self) -> Values:
        """Return what outlives the part or process: counts, and times of what happened last."""
        kept = {k: v for k, v in self.numbers.items() if BY_NAME[k[0]].kind == COUNTER or BY_NAME[k[0]].lasting}
        return Values(kept, dict(self.histograms))


class Figures:
    """Counters, gauges and histograms of one part. Thread-safe; only metrics of the table can be counted."""

    def __init__(self) -> None:
        self._values = Values()
        self._before: list[Callable[[], object]] = []
        self._lock = threading.RLock()

    def add(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter; with 0 it is there from now on, so that its first step is seen as one."""
        key = _key(name, COUNTER, labels)
        with self._lock:
            self._values.numbers[key] = self._values.numbers.get(key, 0.0) + by

    def at_least(self, name: str, total: float, **labels: str) -> None:
        """Raise a counter to a total that somebody else keeps."""
        key = _key(name, COUNTER, labels)
        with self._lock:
            self._values.numbers[key] = max(total, self._values.numbers.get(key, 0.0))

    def put(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        key = _key(name, GAUGE, labels)
        with self._lock:
            self._values.numbers[key] = value

    def latest(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge, unless it is higher already."""
        key = _key(name, GAUGE, labels)
        with self._lock:
            self._values.numbers[key] = max(value, self._values.numbers.get(key, value))

    def forget(self, *names: str) -> None:
        """Take gauges away, as long as they say nothing."""
        with self._lock:
            for key in [key for key in self._values.numbers if key[0] in names]:
                del self._values.numbers[key]

    def replace(self, name: str, values: Mapping[str, float]) -> None:
        """Set a gauge of one label for each of its values; what it was before for others is gone."""
        [label] = definition(name).labels
        with self._lock:
            self.forget(name)
            for text, value in values.items():
                self.put(name, value, **{label: text})

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""
        key = _key(name, HISTOGRAM, labels)
        bounds = BY_NAME[name].buckets
        with self._lock:
            held = self._values.histograms.setdefault(key, Counts(np.zeros(len(bounds) + 1, np.int64)))
            held.buckets[bisect_left(bounds, value)] += 1
            held.total += value

    def observe_all(self, name: str, values: npt.NDArray[np.float64], **labels: str) -> None:
        """Add observations to a histogram, however many at the cost of a few."""
        key = _key(name, HISTOGRAM, labels)
        bounds = BY_NAME[name].buckets
        # A value that equals a bound belongs to its bucket (`le`).
        found = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds) + 1).astype(np.int64)
        counts = Counts(found, float(values.sum()))
        with self._lock:
            held = self._values.histograms.setdefault(key, Counts(np.zeros(len(bounds) + 1, np.int64)))
            held.add(counts)

    def before(self, look: Callable[[], object]) -> None:
        """Have `look` called before values are collected: it sets gauges of what is known only when asked for."""
        self._before.append(look)

    def collect(self) -> Values:
        """Return all values as they are now, from any thread. A look that fails leaves its values as they were."""
        for look in [*self._before]:
            try:
                look()
            except Exception:  # noqa: S112 - a figure must never cost more than itself
                continue
        with self._lock:
            return Values(dict(self._values.numbers), {k: c.copy() for k, c in self._values.histograms.items()})


def _key(name: str, kind: str, labels: Mapping[str, str]) -> tuple[str, Labels]:
    metric = definition(name)
    if metric.kind != kind or labels.keys() != set(metric.labels):
        raise ValueError(f"{name} is a {metric.kind} with labels {metric.labels}, not a {kind} with {tuple(labels)}")
    return name, tuple(labels[label] for label in metric.labels)


def definition(name: str) -> Metric:
    """Return what a metric is.

    Raises:
        ValueError: it is not defined.
    """
    if name not in BY_NAME:
        raise ValueError(f"{name} is not in the table of metrics")
    return BY_NAME[name]
