"""NiFi's own memory, over REST: who changed which component, and which FlowFiles people looked into or threw away."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

from otmirror.audit.event import SUCCESS, AuditEvent, Thing, identify
from otmirror.audit.sources import State
from otmirror.flow.api import Rest

_DATE = "%m/%d/%Y %H:%M:%S"
_PAGE = 500
_MOST_EVENTS = 1000
_OVERLAP = datetime.timedelta(seconds=5)
"""Asked for again each time: NiFi's times are whole seconds, and it writes a little later than it stamps."""
PEOPLES = ("DOWNLOAD", "REPLAY", "DROP")
"""Kinds of provenance events that a person can cause."""


class History:
    """The flow's configuration history: who configured, added, removed, started or stopped what, old and new value."""

    name = "nifi-history"

    def __init__(self, rest: Rest):
        """Take the NiFi to ask."""
        self._rest = rest

    def read(self, state: State) -> Iterator[AuditEvent]:
        """Yield the changes that were not told yet, oldest first."""
        offset, told = 0, []
        while True:
            page = self._rest.get(
                "/flow/history", offset=offset, count=_PAGE, sortColumn="timestamp", sortOrder="asc",
                **({"startDate": state["from"]} if "from" in state else {}),
            )["history"]["actions"]  # fmt: skip
            told += [_change(entity["action"]) for entity in page if entity.get("canRead")]
            offset += len(page)
            if len(page) < _PAGE:
                break
        yield from _untold(told, state)
        if page:
            # NiFi takes times in the zone it tells them in, and does not want the zone's name.
            last = datetime.datetime.strptime(page[-1]["timestamp"].rsplit(" ", 1)[0], _DATE)
            state["from"] = (last - _OVERLAP).strftime(_DATE)


def _change(action: dict[str, Any]) -> AuditEvent:
    told = action.get("actionDetails") or {}
    when = _read(action["timestamp"])
    target = told.get("name") or told.get("sourceName") or ""
    detail = {
        "property": target,
        "previous": told.get("previousValue") or "",
        "value": told.get("value") or told.get("destinationName") or told.get("group") or "",
        "type": (action.get("componentDetails") or {}).get("type") or "",
    }
    return AuditEvent(
        identify(History.name, action["id"], action["timestamp"], action.get("sourceId"), target),
        when, action.get("userIdentity") or "", (action.get("operation") or "change").lower(),
        Thing((action.get("sourceType") or "component").lower(), action.get("sourceName") or "",
              action.get("sourceId") or ""),
        SUCCESS, History.name, detail,
    )  # fmt: skip


class Provenance:
    """An extract of provenance, bounded in time and number: content that people downloaded, replayed or threw away."""

    name = "nifi-provenance"

    def __init__(self, rest: Rest, clock: Callable[[], datetime.datetime], first: datetime.timedelta):
        """Take the NiFi to ask, a clock in UTC, and how far back the first read goes."""
        self._rest, self._clock, self._first = rest, clock, first

    def read(self, state: State) -> Iterator[AuditEvent]:
        """Yield what is new, 1,000 events of a kind at most."""
        now = self._clock()
        start = _read(state["until"]) - _OVERLAP if "until" in state else now - self._first
        told = [
            _provenance(event)
            for kind in PEOPLES
            for event in self._events(kind, start)
            # Processors drop FlowFiles too, all the time; a person's details name the person.
            if kind != "DROP" or " by " in (event.get("details") or "")
        ]
        yield from _untold(told, state)
        state["until"] = now.astimezone(datetime.timezone.utc).strftime(f"{_DATE} UTC")

    def _events(self, kind: str, start: datetime.datetime) -> list[dict[str, Any]]:
        body = {
            "provenance": {
                "request": {
                    "searchTerms": {"EventType": {"value": kind, "inverse": False}},
                    "startDate": start.astimezone(datetime.timezone.utc).strftime(f"{_DATE} UTC"),
                    "maxResults": _MOST_EVENTS,
                    "summarize": False,
                    "incrementalResults": False,
                }
            }
        }
        told = self._rest.work_off("/provenance", body, "provenance", "the search in provenance", 60.0)
        return sorted(told["results"].get("provenanceEvents") or (), key=lambda event: int(event["eventId"]))


def _provenance(told: dict[str, Any]) -> AuditEvent:
    details = told.get("details") or ""
    return AuditEvent(
        identify(Provenance.name, told["eventId"], told["eventTime"], told["flowFileUuid"]),
        _read(told["eventTime"]), _person(details), told["eventType"].lower(),
        Thing("flowfile", told.get("componentName") or "", told["flowFileUuid"]), SUCCESS, Provenance.name,
        {"reason": details},
    )  # fmt: skip


def _person(details: str) -> str:
    """Return who NiFi says did it: `... requested by NAME for ...`, `FlowFile Queue emptied by NAME`."""
    _, found, rest = details.partition(" by ")
    return rest.partition(" for ")[0].strip() if found else ""


def _read(text: str) -> datetime.datetime:
    """Return a time in NiFi's notation, `11/25/2026 22:31:46[.123] UTC`; NiFi runs in UTC or on this machine's time."""
    date, zone = text.rsplit(" ", 1)
    read = datetime.datetime.strptime(date.partition(".")[0], _DATE)
    if zone in ("UTC", "GMT", "Z"):
        return read.replace(tzinfo=datetime.timezone.utc)
    return read.astimezone(datetime.timezone.utc)


def _untold(events: list[AuditEvent], state: State) -> Iterator[AuditEvent]:
    """Yield what the read before did not have, and remember what this one has.

    Not by NiFi's numbers: they begin anew with a new home.
    """
    before = set(state.get("told", ()))
    now: list[str] = state.setdefault("told", [])
    for event in events:
        if event.id not in before:
            now.append(event.id)
            yield event
    state["told"] = [event.id for event in events]
