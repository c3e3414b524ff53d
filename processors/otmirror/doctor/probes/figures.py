"""What the processors wrote of themselves into the metrics folder."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from otmirror.doctor import times
from otmirror.doctor.findings import Finding
from otmirror.doctor.flowview import FlowView, Processor
from otmirror.doctor.probes.hot import AHEAD, STALE
from otmirror.metrics.text import lines

QUIET = 30.0
"""Seconds after which a file that should be new every 5 s is old."""
FRESH = 10.0
"""Seconds within which a good value came when all is well with a source."""
BEHIND = 300.0
"""Seconds by which source timestamps may lag behind the moment they are read."""
_STANDS, _TOO_OLD = 10.0, "retention"
_BUFFER = 600.0
"""Seconds until a buffer overflows from which on it matters."""
_LATELY = 300.0
"""Seconds for which what happened once is told."""
_CONFLICTS, _CONFLICTS_AGO = 5, 60.0
"""Commits lost, and the seconds since the last one, that make another writer a finding."""
_AGAIN, _PAUSE = 7.0, 0.2
"""Seconds within which a file is written again, and between two looks whether it was."""

Points = Mapping[str, list[tuple[Mapping[str, str], float]]]


@dataclass(frozen=True)
class Figures:
    """The figures of one processor by name; of metrics with labels one entry a combination."""

    processor: Processor
    file: Path
    points: Points = field(default_factory=dict)
    known: bool = True
    """Whether it is of a processor of the flows."""

    def each(self, name: str) -> list[tuple[Mapping[str, str], float]]:
        """Return the labels and value of each series of a metric."""
        return self.points.get(f"otmirror_{name}", [])

    def one(self, name: str) -> float | None:
        """Return the value of a metric without further labels; None when there is none."""
        return next((value for _, value in self.each(name)), None)


def read(folders: Iterable[Path], views: Iterable[FlowView]) -> list[Figures]:
    """Read the processors' files; one that cannot be read is left out.

    A file of none of the flows' processors comes with a processor that NiFi says nothing of: of what is gone only a
    refusal of the guard still counts.
    """
    processors = {one.id: one for view in views for one in view.processors}
    found = []
    for folder in folders:
        for file in sorted(folder.glob("*.prom")):
            points = _points(file)
            if points is None:
                continue
            processor = processors.get(file.stem) or Processor(file.stem, file.stem, "", {})
            found.append(Figures(processor, file, points, file.stem in processors))
    return found


def _points(file: Path) -> Points | None:
    points: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    try:
        for point in lines(file.read_text("utf-8")):
            points.setdefault(point.name, []).append((point.labels, point.value))
    except (OSError, ValueError):
        return None
    return points


def fresh(figures: Iterable[Figures], now: float) -> frozenset[str]:
    """Return the names of source processors that had a good value from every one of their devices a moment ago."""
    found = set()
    for one in figures:
        good = [value for _, value in one.each("source_last_good_timestamp_seconds")]
        if good and min(good) > now - FRESH:
            found.add(one.processor.name)
    return frozenset(found)


def judge(figures: Iterable[Figures], now: float) -> Iterator[Finding]:
    """Yield what the figures say is wrong."""
    end = time.monotonic() + _AGAIN
    for one in figures:
        scope = frozenset({one.processor.name})
        beat = one.one("heartbeat_timestamp_seconds")
        meant = one.processor.told is not None and one.processor.told.state == "RUNNING"
        if meant and beat is not None and now - beat > QUIET:
            text = f"its process wrote nothing for {times.told(now - beat)} ({one.file})"
            yield Finding("heartbeat-old", one.processor.name, text, beat, scope)
        if one.known:
            yield from _source(one, now, scope, end)
            yield from _conflicts(one, now, scope)
        yield from _refused(one, scope)


def late_clocks(figures: Iterable[Figures]) -> Iterator[Finding]:
    """Yield which device's clock must be far behind, as samples are being rejected for their age.

    The newest timestamp that was ever read does not move any more then, while good values go on to come.
    """
    known = [one for one in figures if one.known]
    old = any(count and labels.get("reason") == _TOO_OLD for one in known
              for labels, count in one.each("samples_rejected_total"))  # fmt: skip
    for one in known if old else ():
        newest = {labels.get("source"): value for labels, value in one.each("source_newest_sample_timestamp_seconds")}
        for labels, good in one.each("source_last_good_timestamp_seconds"):
            name = labels.get("source", "")
            if good - newest.get(name, good) > _STANDS:
                text = "its samples are rejected as too old, while good values come: its timestamps are far behind"
                yield Finding("clock-behind", name, text, newest[name], frozenset({one.processor.name}))


def _source(one: Figures, now: float, scope: frozenset[str], end: float) -> Iterator[Finding]:
    newest = {labels.get("source"): value for labels, value in one.each("source_newest_sample_timestamp_seconds")}
    for labels, good in one.each("source_last_good_timestamp_seconds"):
        name = labels.get("source", "")
        if now - good > STALE:
            text = f"the last good value came {times.told(now - good)} ago"
            yield Finding("source-stale", name, text, good, scope)
        stamp = newest.get(name)
        if stamp is not None and stamp - now > AHEAD:
            text = f"its clock is {times.told(stamp - now)} ahead of this machine's"
            yield Finding("clock-ahead", name, text, scope=scope)
        elif stamp is not None and good - stamp > BEHIND:
            text = f"its timestamps are {times.told(good - stamp)} behind the moment they are read"
            yield Finding("clock-behind", name, text, scope=scope)
    declared = {labels.get("source"): value for labels, value in one.each("source_tags")}
    for labels, bad in _bad(one, now, end):
        text = f"{bad:.0f} of {declared.get(labels.get('source'), math.nan):.0f} tags are bad"
        yield Finding("tags-bad", labels.get("source", ""), text, scope=scope)
    for labels, left in one.each("buffer_left_seconds"):
        if left < _BUFFER:
            text = f"its buffer is full in {times.told(left)}: what comes then is lost"
            yield Finding("buffer-filling", labels.get("source", ""), text, scope=scope)
    for labels, left in one.each("server_queue_left_seconds"):
        full = f"are full in {times.told(left)}" if left else "are full"
        text = f"NiFi does not ask, and the server's queues of subscribed tags {full}: what comes then is lost"
        yield Finding("buffer-filling", labels.get("source", ""), text, scope=scope)
    counts = {labels.get("source"): value for labels, value in one.each("gaps_total")}
    for labels, at in one.each("last_gap_timestamp_seconds"):
        if now - at < _LATELY:
            text = (
                f"it lost samples {times.told(now - at)} ago, {counts.get(labels.get('source'), math.nan):,.0f} gap "
                "records in all: a queue of the server overflowed, or a subscription was lost"
            )
            yield Finding("samples-lost", labels.get("source", ""), text, at, scope)


def _bad(one: Figures, now: float, end: float) -> list[tuple[Mapping[str, str], float]]:
    """Return the sources with bad tags and how many; those of one poll that failed are not meant.

    So what was written a moment ago has to be there still when it is written again, until `end` (monotonic clock).
    """
    found = [(labels, bad) for labels, bad in one.each("source_tags_bad") if bad > 0]
    beat = one.one("heartbeat_timestamp_seconds")
    if not found or beat is None or now - beat > QUIET:
        return found
    later = one
    while later.one("heartbeat_timestamp_seconds") == beat and time.monotonic() < end:
        time.sleep(_PAUSE)
        later = replace(one, points=_points(one.file) or one.points)
    sources = {labels.get("source") for labels, _ in found}
    return [(labels, bad) for labels, bad in later.each("source_tags_bad") if bad > 0 and labels["source"] in sources]


def _conflicts(one: Figures, now: float, scope: frozenset[str]) -> Iterator[Finding]:
    count, at = one.one("iceberg_commit_conflicts_total") or 0.0, one.one("iceberg_last_conflict_timestamp_seconds")
    if at is not None and count > _CONFLICTS and now - at < _CONFLICTS_AGO:
        text = (
            f"{count:,.0f} of its commits lost against another writer's of the same table, the last one "
            f"{times.told(now - at)} ago; nothing is lost, they are repeated"
        )
        yield Finding("cold-conflicts", one.processor.name, text, scope=scope)


def _refused(one: Figures, scope: frozenset[str]) -> Iterator[Finding]:
    refused = {labels.get("service", ""): count for labels, count in one.each("guard_refused_total") if count}
    if refused:
        text = f"{sum(refused.values()):.0f} requests were refused: {', '.join(sorted(refused))}"
        yield Finding("guard-refused", one.processor.name, text, scope=scope)
