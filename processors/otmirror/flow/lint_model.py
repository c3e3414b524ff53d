"""What a rule of the flow lint sees: one flow with its components, and where to put findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otmirror.flow.canonical import Flow
from otmirror.flow.catalogue import Type

SOURCES = frozenset({"ReadOpcUaTags", "PollModbusReadOnly"})
PUBLISH_MQTT = "org.apache.nifi.processors.mqtt.PublishMQTT"
CONSUME_MQTT = "org.apache.nifi.processors.mqtt.ConsumeMQTT"
PUBLISH_KAFKA = "org.apache.nifi.kafka.processors.PublishKafka"
CONSUME_KAFKA = "org.apache.nifi.kafka.processors.ConsumeKafka"
SINKS = frozenset({"ToVictoriaMetrics", "WriteIceberg", PUBLISH_MQTT, PUBLISH_KAFKA})
# A name begins and ends with no blank, so that a long run of blanks has one way to match.
REFERENCE = re.compile(r"(?<!#)(?:##)*#\{\s*(?:'([^']+)'|([^\s{}'](?:[^{}']*[^\s{}'])?))\s*\}")
_FAILING = re.compile(r"fail|retry|reject|unmatched|invalid|error", re.IGNORECASE)
Component = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """One defect: the rule's id, the flow's file, the component's name, what is wrong and what to do."""

    rule: str
    file: str
    component: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.component}: {self.message}; {self.remedy} [{self.rule}]"


Told = Iterator[tuple[str, str]]
"""What a rule yields: the component's name and what is wrong with it."""


@dataclass(frozen=True)
class Rule:
    """A check, its id and what to do about what it finds."""

    id: str
    remedy: str
    check: Callable[[View], Told]


RULES: list[Rule] = []


def rule(name: str, remedy: str) -> Callable[[Callable[[View], Told]], Callable[[View], Told]]:
    """Register a check under its id."""

    def register(check: Callable[[View], Told]) -> Callable[[View], Told]:
        RULES.append(Rule(name, remedy, check))
        return check

    return register


class View:
    """One flow as the rules look at it; inner groups are included everywhere."""

    def __init__(self, path: Path, flow: Flow, known: dict[str, Type]):
        """Take the flow of a file and the catalogue of types."""
        self.path, self.flow, self.known = path, flow, known
        self.groups = list(_groups(flow["flowContents"]))
        self.processors = self._every("processors")
        self.services = self._every("controllerServices")
        self.connections = self._every("connections")
        self.typed = self.processors + self.services
        self.ends = {c["identifier"]: c for kind in _ENDS for c in self._every(kind)}
        self.contexts: dict[str, Component] = flow.get("parameterContexts") or {}
        self.parameters = {p["name"]: p for c in self.contexts.values() for p in c.get("parameters") or ()}

    def _every(self, kind: str) -> list[Component]:
        return [c for group in self.groups for c in group.get(kind) or ()]

    def into(self, component: Component, own: bool = True) -> list[Component]:
        """Return the connections that end at a component; without its loops to itself unless `own`."""
        it = component["identifier"]
        ends = [c for c in self.connections if c["destination"]["id"] == it]
        return [c for c in ends if own or c["source"]["id"] != it]

    def out_of(self, component: Component) -> list[Component]:
        """Return the connections that start at a component."""
        return [c for c in self.connections if c["source"]["id"] == component["identifier"]]

    def relationships(self, processor: Component) -> frozenset[str]:
        """Return the relationships a processor has as it is set; none for an unknown type."""
        kind = self.known.get(processor["type"])
        if kind is None:
            return frozenset()
        if not kind.routes_by_property:
            return kind.relationships
        if processor["properties"].get("Routing Strategy", "Route to Property name") != "Route to Property name":
            return kind.relationships | {"matched"}
        return kind.relationships | (set(processor["properties"]) - set(kind.properties))

    def value(self, component: Component, name: str) -> str | None:
        """Return a property's value or default; a value that is one parameter is that parameter's, if it has one.

        What is left with `#{` or `${` in it is only known when the flow runs.
        """
        kind = self.known.get(component["type"])
        declared = kind.properties.get(name) if kind else None
        value = component["properties"].get(name)
        if value is None:
            return declared.default if declared else None
        whole = REFERENCE.fullmatch(value)
        parameter = self.parameters.get(whole[1] or whole[2]) if whole else None
        if parameter and parameter.get("value") is not None and not parameter.get("sensitive"):
            return str(parameter["value"])
        return str(value)

    def of_type(self, *types: str) -> list[Component]:
        """Return the processors of some types."""
        return [p for p in self.processors if p["type"] in types]


def fails(relationship: str) -> bool:
    """Tell whether a relationship is for what could not be handled."""
    return bool(_FAILING.search(relationship))


def open_value(value: str | None) -> bool:
    """Tell whether a value is known only when the flow runs."""
    return value is not None and ("#{" in value or "${" in value)


_ENDS = ("processors", "funnels", "inputPorts", "outputPorts")


def _groups(group: Component) -> Iterator[Component]:
    yield group
    for inner in group.get("processGroups") or ():
        yield from _groups(inner)
