"""The queues: which are full, what waits in them for how long, and with which error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from otmirror import nifi
from otmirror.doctor import times
from otmirror.doctor.findings import Finding
from otmirror.doctor.flowview import FlowView
from otmirror.errors import MirrorError
from otmirror.flow.api import Rest
from otmirror.flow.status import Queue

OLD = 60.0
"""Seconds after which what waits in a queue is late, besides the time the next processor gathers."""
FULL, FILLING = 100, 50
"""Percent of the nearer back-pressure threshold."""
_SECONDS = 5.0


@dataclass(frozen=True)
class Waiting:
    """The first FlowFile of a queue: seconds in it, seconds since its origin, and what it failed with."""

    age: float
    lineage: float
    error: str | None = None


def look(rest: Rest, view: FlowView, queue: Queue, now: float) -> list[Finding]:
    """Return what is wrong with one queue that is not empty."""
    first = _first(rest, queue)
    below, above = view.below(queue.destination_id), view.above(queue.source_id)
    since = now - first.age if first else None
    what = _what(queue, first)
    if queue.percent >= FULL:
        text = f"is full ({what}): what is before it waits, the sources are not read any more"
        return [Finding("back-pressure", queue.name, text, since, below | above)]
    if queue.source_id == queue.destination_id:
        return [Finding("retry-waiting", queue.name, f"{what} goes round in it", since, below)]
    if _is_end(view, queue):
        text = f"{what} needs a person: nothing takes it out"
        return [Finding("needs-person", queue.name, text, since, frozenset({queue.source}))]
    patience = OLD + _gathers(view, queue)
    if queue.percent >= FILLING or (first is not None and first.age > patience):
        return [Finding("queue-filling", queue.name, f"{what}", since, below)]
    return []


def _what(queue: Queue, first: Waiting | None) -> str:
    told = f"{queue.count:,} FlowFiles, {queue.bytes / 1e6:.1f} MB, {queue.percent} % of its limit"
    if first is None:
        return told
    error = f', error "{first.error[:200]}"' if first.error else ""
    return f"{told}, the oldest for {times.told(first.age)}{error}"


def _is_end(view: FlowView, queue: Queue) -> bool:
    """Whether the queue leads to a funnel that leads nowhere."""
    goes_on = any(start == queue.destination_id for start, _ in view.links)
    return not goes_on and queue.destination_id not in view.names


def _gathers(view: FlowView, queue: Queue) -> float:
    """Return how long the next processor may gather, in seconds."""
    for one in view.processors:
        if one.id == queue.destination_id and one.get("Max Bin Age"):
            try:
                return nifi.parse_period(one.get("Max Bin Age"))
            except ValueError:
                return 0.0
    return 0.0


def _first(rest: Rest, queue: Queue) -> Waiting | None:
    """Return the oldest of the first FlowFiles; None where NiFi does not let us look."""
    base = f"/flowfile-queues/{queue.id}"
    try:
        told = rest.work_off(f"{base}/listing-requests", None, "listingRequest", "listing a queue", _SECONDS)
        summaries: list[dict[str, Any]] = told.get("flowFileSummaries") or []
        if not summaries:
            return None
        oldest = max(summaries, key=lambda one: int(one.get("queuedDuration") or 0))
        node = {"clusterNodeId": oldest["clusterNodeId"]} if oldest.get("clusterNodeId") else {}
        attributes = rest.get(f"{base}/flowfiles/{oldest['uuid']}", **node)["flowFile"].get("attributes") or {}
    except (MirrorError, KeyError):
        return None
    age, lineage = (int(oldest.get(key) or 0) / 1000 for key in ("queuedDuration", "lineageDuration"))
    return Waiting(age, lineage, attributes.get("otmirror.error"))
