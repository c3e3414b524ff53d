"""Which errors are a component's own, and which only follow from a type this NiFi lacks.

In a running NiFi: tests/nifi/test_roundtrip.py.
"""

from __future__ import annotations

from typing import Any

from otmirror.flow.api import Rest
from otmirror.flow.ghosts import ghosts
from otmirror.flow.status import Component


class Canned(Rest):
    """Two services, one of a missing type and one that needs it; a processor that needs the second."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1/nifi-api")

    def get(self, path: str, **_: Any) -> Any:
        if path.endswith("/processors"):
            config = {"properties": {"reader": "s2"}, "descriptors": {"reader": {"displayName": "Record Reader"}}}
            lacking = {"name": "To Kafka", "type": "org.x.PublishKafka", "extensionMissing": True, "config": {}}
            split = {"name": "Split", "type": "org.x.Split", "config": config}
            return {"processors": [{"id": "p1", "component": split}, {"id": "p2", "component": lacking}]}
        told = {"name": "Kafka", "type": "org.x.Kafka3", "extensionMissing": True, "properties": {}}
        other = {"name": "Reader", "type": "org.x.Reader", "properties": {"connection": "s1"}}
        return {"controllerServices": [{"id": "s1", "component": told}, {"id": "s2", "component": other}]}


def component(name: str, *errors: str) -> Component:
    return Component(name, name, "t", "g", "STOPPED", "INVALID", errors, 0, 0, 0, 0, 0, 0, 0)


def test_what_follows_from_a_missing_type_is_told_apart() -> None:
    told = ghosts(Canned(), "g")
    assert told.told == (
        "Kafka: this NiFi has no controller service Kafka3; it is there but cannot run",
        "To Kafka: this NiFi has no processor PublishKafka; it is there but cannot run",
    )
    follows = "'Record Reader' validated against 's2' is invalid because Controller Service s2 is disabled"
    own = "'Line Split Count' is invalid because it is required"
    assert told.own_errors(component("p1", follows, own)) == (own,)
    assert told.own_errors(component("p2", own)) == ()
    assert told.own_errors(component("p3", follows)) == (follows,)
