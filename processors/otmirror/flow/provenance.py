"""Where a FlowFile came from: NiFi's provenance over REST."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otmirror.errors import UnavailableError
from otmirror.flow.api import Rest


@dataclass(frozen=True)
class Event:
    """One provenance event: what one component did to one FlowFile."""

    id: int
    type: str
    time: str
    component_id: str
    component: str
    component_type: str
    flowfile: str
    parents: tuple[str, ...]
    children: tuple[str, ...]
    attributes: dict[str, str]


@dataclass(frozen=True)
class Lineage:
    """The events around one FlowFile, as a graph: nodes by id, links from an earlier node to a later one."""

    nodes: dict[str, dict[str, Any]]
    links: tuple[tuple[str, str], ...]

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the event nodes (`eventType`, `flowFileUuid`, `millis` ...), oldest first."""
        found = [n for n in self.nodes.values() if n["type"] == "EVENT" and kind in (None, n.get("eventType"))]
        return sorted(found, key=lambda n: (n["millis"], n["id"]))


class Provenance:
    """The part of the client that asks for provenance."""

    rest: Rest

    def provenance_query(self, terms: Mapping[str, str], limit: int = 1000, timeout: float = 60.0) -> list[Event]:
        """Return events that match all search terms, newest first.

        A term is an indexed field (`EventType`, `FlowFileUUID`, `Filename`, `ProcessorID`, `Relationship`) or an
        indexed attribute (`otmirror.batch`, `otmirror.source`); a value may hold * and ?.
        """
        body = {
            "provenance": {
                "request": {
                    "searchTerms": {name: {"value": value, "inverse": False} for name, value in terms.items()},
                    "maxResults": limit,
                    "summarize": False,
                    "incrementalResults": False,
                }
            }
        }
        told = self.rest.work_off("/provenance", body, "provenance", "the search in provenance", timeout)
        return [_event(entry) for entry in told["results"].get("provenanceEvents") or ()]

    def event(self, event_id: int) -> Event:
        """Return one event with its attributes."""
        return _event(self.rest.get(f"/provenance-events/{event_id}")["provenanceEvent"])

    def lineage(self, of: int | str, timeout: float = 60.0) -> Lineage:
        """Return the lineage of a FlowFile by its UUID, or of the FlowFile of an event by the event's id."""
        uuid = of if isinstance(of, str) else self.event(of).flowfile
        body = {"lineage": {"request": {"lineageRequestType": "FLOWFILE", "uuid": uuid}}}
        return self._lineage(body, timeout)

    def parents(self, event_id: int, timeout: float = 60.0) -> Lineage:
        """Return the lineage of the FlowFiles that went into an event, such as a JOIN of MergeContent."""
        body = {"lineage": {"request": {"lineageRequestType": "PARENTS", "eventId": event_id}}}
        return self._lineage(body, timeout)

    def _lineage(self, body: dict[str, Any], timeout: float) -> Lineage:
        return _lineage(self.rest.work_off("/provenance/lineage", body, "lineage", "the lineage", timeout))


def _lineage(told: Any) -> Lineage:
    results = told["results"]
    problems = results.get("errors")
    if problems:
        raise UnavailableError(f"NiFi's provenance: {'; '.join(problems)}")
    nodes = {node["id"]: node for node in results.get("nodes") or ()}
    links = tuple((link["sourceId"], link["targetId"]) for link in results.get("links") or ())
    return Lineage(nodes, links)


def _event(told: Mapping[str, Any]) -> Event:
    return Event(
        id=int(told["eventId"]),
        type=told["eventType"],
        time=told["eventTime"],
        component_id=told.get("componentId") or "",
        component=told.get("componentName") or "",
        component_type=told.get("componentType") or "",
        flowfile=told["flowFileUuid"],
        parents=tuple(told.get("parentUuids") or ()),
        children=tuple(told.get("childUuids") or ()),
        attributes={a["name"]: a.get("value") or "" for a in told.get("attributes") or ()},
    )
