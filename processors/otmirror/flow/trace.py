"""From a row in the lakehouse back to the source: the way of a batch through NiFi's provenance."""

from __future__ import annotations

from otmirror.errors import ConfigError
from otmirror.flow.provenance import Event, Provenance

_ORIGINS = frozenset({"CREATE", "RECEIVE"})


def origins(api: Provenance, batch: str) -> list[Event]:
    """Return the events with which the FlowFiles of a batch entered the flow, oldest first.

    Args:
        api: NiFi's provenance.
        batch: column `batch` of a row; it is the attribute `otmirror.batch` of the FlowFile that was committed.

    Raises:
        ConfigError: provenance knows no such batch; it may be older than what NiFi keeps.
        UnavailableError: NiFi does not answer.
    """
    waiting = {event.flowfile for event in api.provenance_query({"otmirror.batch": batch})}
    if not waiting:
        raise ConfigError(f"NiFi's provenance has no event of batch {batch}: is it of this NiFi, and young enough?")
    walked: set[str] = set()
    found: dict[int, Event] = {}
    while waiting:
        flowfile = waiting.pop()
        walked.add(flowfile)
        for event in api.provenance_query({"FlowFileUUID": flowfile}):
            if event.type in _ORIGINS and event.flowfile == flowfile:
                found[event.id] = event
            elif flowfile in event.children:
                waiting.update(set(event.parents) - walked)
    return [found[number] for number in sorted(found)]
