"""Samples to the lines of VictoriaMetrics' JSON import: one line a series, its values and times as arrays.

The format: https://docs.victoriametrics.com/victoriametrics/single-server-victoriametrics/#json-line-format
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otmirror.status import BAD, QUALITIES
from otmirror.victoriametrics.config import LONGEST_LABEL

FUTURE_US = 2 * 86400 * 1_000_000
"""How far ahead of now VictoriaMetrics takes a timestamp (-futureRetention, at least 2 days)."""
FIRST_US = 86400 * 1_000_000
"""VictoriaMetrics takes no timestamp before 1970-01-02."""
SAMPLES_A_LINE = 10_000
"""The vendor advises 1,000 to 10,000; the server's -import.maxLineLen is 10 MiB."""

_TEXT_TYPES = pa.array(["string", "datetime", "bytes", "json"])
_CACHED_PREFIXES = 1_000_000
_encode = msgspec.json.Encoder().encode


class Series(NamedTuple):
    """What makes a time series, apart from the metric's name. An unknown unit is an empty string."""

    tag: str
    unit: str
    source: str


class Seen(NamedTuple):
    """What was last stored of a series' quality; times are milliseconds."""

    state: int
    """quality << 32 | status; -1 when the next sample has to be written whatever it says."""
    written: int
    seen: int


@dataclass(slots=True)
class Line:
    """One line of a request: a part of a series, and the rows of the batch it came from."""

    prefix: bytes
    values: list[float] | list[int]
    times: list[int]
    rows: list[int]

    def body(self) -> bytes:
        """Return the line as sent."""
        return b'%b"values":%b,"timestamps":%b}\n' % (self.prefix, _encode(self.values), _encode(self.times))

    def halves(self) -> tuple[Line, Line]:
        """Return the line as two."""
        half = len(self.rows) // 2
        return (
            Line(self.prefix, self.values[:half], self.times[:half], self.rows[:half]),
            Line(self.prefix, self.values[half:], self.times[half:], self.rows[half:]),
        )


@dataclass
class Plan:
    """What to send for a batch, and what cannot be."""

    lines: list[Line]
    refused: dict[int, str]
    """Row of the batch -> why VictoriaMetrics could not store it."""
    seen: dict[Series, Seen]
    """What is to be remembered once the lines were accepted."""
    text: int
    """Samples whose value is text: only their quality and status are sent."""


class Planner:
    """Turns batches into lines. Not thread-safe."""

    def __init__(self, metric_prefix: str, labels: Mapping[str, str], retention: float, interval: float):
        """`retention` and `interval` (the longest time between two quality samples) are seconds."""
        self._metric, self._labels = metric_prefix, dict(labels)
        self._retention_us, self._interval_ms = int(retention * 1e6), int(interval * 1000)
        self._prefixes: dict[tuple[str, Series], bytes] = {}

    def plan(self, table: pa.Table, now_us: int, memory: Mapping[Series, Seen]) -> Plan:
        """Plan a batch of `samples.SCHEMA`; `memory` holds what earlier plans' `seen` said."""
        batch = _Batch.of(table)
        refused = self._refuse(batch, now_us)
        fine = np.ones(table.num_rows, dtype=bool)
        fine[list(refused)] = False
        order = np.lexsort((batch.ts, batch.series))
        order = order[fine[order]]
        lines = list(self._value_lines(batch, order))
        quality_lines, seen = self._quality_lines(batch, order, memory)
        return Plan(lines + quality_lines, refused, seen, int(np.count_nonzero(batch.is_text & fine)))

    def _refuse(self, batch: _Batch, now_us: int) -> dict[int, str]:
        refused = dict(batch.no_number)
        oldest = max(now_us - self._retention_us, FIRST_US)
        for row in np.flatnonzero(batch.ts < oldest).tolist():
            refused[row] = f"timestamp {moment(batch.ts[row])} is older than the property Retention allows"
        for row in np.flatnonzero(batch.ts > now_us + FUTURE_US).tolist():
            refused[row] = f"timestamp {moment(batch.ts[row])} is more than 2 days in the future"
        for number, series in enumerate(batch.keys):
            for label, value in zip(series._fields, series, strict=True):
                if len(value) * 4 > LONGEST_LABEL and len(value.encode()) > LONGEST_LABEL:
                    reason = f"{label} is longer than {LONGEST_LABEL} bytes"
                    refused.update(dict.fromkeys(np.flatnonzero(batch.series == number).tolist(), reason))
        return refused

    def _value_lines(self, batch: _Batch, order: Any) -> Iterator[Line]:
        rows = order[~np.isnan(batch.value[order])]
        values, times = batch.value[rows].tolist(), batch.ms[rows].tolist()
        numbers: list[int] = rows.tolist()
        for series, start, end in batch.groups(rows):
            prefix = self._prefix("value", series)
            for first in range(start, end, SAMPLES_A_LINE):
                part = slice(first, min(first + SAMPLES_A_LINE, end))
                yield Line(prefix, values[part], times[part], numbers[part])

    def _quality_lines(
        self, batch: _Batch, order: Any, memory: Mapping[Series, Seen]
    ) -> tuple[list[Line], dict[Series, Seen]]:
        states, times, numbers = batch.state[order].tolist(), batch.ms[order].tolist(), order.tolist()
        lines: list[Line] = []
        updates: dict[Series, Seen] = {}
        for series, start, end in batch.groups(order):
            before = memory.get(series)
            picked, updates[series] = self._pick(states[start:end], times[start:end], before)
            for first in range(0, len(picked), SAMPLES_A_LINE):
                places = [start + place for place in picked[first : first + SAMPLES_A_LINE]]
                at, rows = [times[place] for place in places], [numbers[place] for place in places]
                quality = [states[place] >> 32 for place in places]
                status = [states[place] & 0xFFFFFFFF for place in places]
                lines.append(Line(self._prefix("quality", series), quality, at, rows))
                lines.append(Line(self._prefix("status", series), status, at, rows))
        return lines, updates

    def _pick(self, states: list[int], times: list[int], before: Seen | None) -> tuple[list[int], Seen]:
        """Return the places whose quality is to be written: every change, and one every interval.

        Samples older than what was seen (a batch that had to wait) stand for themselves, and the next ones are
        written again after them.
        """
        late = before if before is not None and times[0] < before.seen else None
        state, written = (-1, 0) if before is None or late else (before.state, before.written)
        picked = []
        for place, (now, at) in enumerate(zip(states, times, strict=True)):
            if late and at >= late.seen:
                state, late = -1, None
            if now != state or at - written >= self._interval_ms:
                picked.append(place)
                state, written = now, at
        if late:
            return picked, Seen(-1, late.written, late.seen)
        return picked, Seen(state, written, times[-1])

    def _prefix(self, kind: str, series: Series) -> bytes:
        known = self._prefixes.get((kind, series))
        if known is None:
            if len(self._prefixes) >= _CACHED_PREFIXES:
                self._prefixes.clear()
            labels = {name: value for name, value in series._asdict().items() if value}
            metric = {"__name__": f"{self._metric}_{kind}", **labels, **self._labels}
            known = self._prefixes[kind, series] = b'{"metric":%b,' % _encode(metric)
        return known


@dataclass
class _Batch:
    """A batch's columns as numpy arrays, one entry a row."""

    series: Any
    """Number of the row's series in `keys`."""
    keys: list[Series]
    ts: Any
    """Microseconds."""
    ms: Any
    value: Any
    """NaN where there is none to store."""
    state: Any
    """quality << 32 | status."""
    is_text: Any
    no_number: dict[int, str]
    """Rows whose text should be a number and is none that can be stored, with the reason."""

    @classmethod
    def of(cls, table: pa.Table) -> _Batch:
        series, keys = _series(table)
        ts = table.column("ts").to_numpy()
        quality = table.column("quality").combine_chunks()
        code = sum(number * (pc.equal(quality, name).to_numpy(False)) for number, name in enumerate(QUALITIES))
        value = pc.fill_null(table.column("value"), math.nan).to_numpy().copy()
        is_text, no_number = _from_text(table, value)
        state = (np.asarray(code, dtype=np.int64) << 32) | table.column("status").to_numpy()
        return cls(series, keys, ts, ts // 1000, value, state, is_text, no_number)

    def groups(self, rows: Any) -> Iterator[tuple[Series, int, int]]:
        """Yield each series among `rows` (ordered by series) with where its rows start and end."""
        if not len(rows):
            return
        numbers = self.series[rows]
        starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
        for start, end in pairwise(starts):
            yield self.keys[int(numbers[start])], start, end


def _series(table: pa.Table) -> tuple[Any, list[Series]]:
    """Number the distinct (tag, unit, source) of a batch."""
    code = np.zeros(table.num_rows, dtype=np.int64)
    dictionaries = []
    for name in Series._fields:
        coded = pc.fill_null(table.column(name), "").combine_chunks().dictionary_encode()
        code = code * len(coded.dictionary) + coded.indices.to_numpy(False)
        dictionaries.append(coded.dictionary.to_pylist())
    tags, units, sources = dictionaries
    distinct, numbers = np.unique(code, return_inverse=True)
    keys = [
        Series(tags[c // (len(units) * len(sources))], units[c // len(sources) % len(units)], sources[c % len(sources)])
        for c in distinct.tolist()
    ]
    return numbers, keys


def _from_text(table: pa.Table, value: Any) -> tuple[Any, dict[int, str]]:
    """Put the numbers that travel as text (integers beyond 2**53) into `value`; return text rows and misfits."""
    usable = pc.and_(pc.is_null(table.column("value")), pc.is_valid(table.column("text")))
    usable = pc.and_(usable, pc.not_equal(table.column("quality"), BAD))
    textual = pc.is_in(table.column("type"), value_set=_TEXT_TYPES)
    no_number: dict[int, str] = {}
    for row in np.flatnonzero(pc.and_not(usable, textual).to_numpy()).tolist():
        text = table.column("text")[row].as_py()
        try:
            number = float(text)
        except ValueError:
            no_number[row] = f"its text is no number, but its type is {table.column('type')[row].as_py()}"
            continue
        if math.isfinite(number):
            value[row] = number
        else:
            no_number[row] = f"its value is {text[:40]}, which VictoriaMetrics drops"
    return pc.and_(usable, textual).to_numpy(), no_number


def moment(ts_us: int) -> str:
    """Write a time in microseconds for people."""
    try:
        return datetime.fromtimestamp(int(ts_us) / 1e6, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{ts_us} us"
