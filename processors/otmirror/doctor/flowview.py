"""The flows as NiFi tells them, or as its flow file has them when it tells nothing."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otmirror.flow import status as view
from otmirror.flow.client import NifiApi
from otmirror.flow.status import Bulletin, Component, Queue

OPCUA, MODBUS = "ReadOpcUaTags", "PollModbusReadOnly"
HOT, COLD = "ToVictoriaMetrics", "WriteIceberg"
SOURCES, OURS = (OPCUA, MODBUS), (OPCUA, MODBUS, HOT, COLD)
_PARAMETER = re.compile(r"#\{'?([^}']+)'?\}")
_SERVICE_ADDRESS = ("bootstrap.servers", "Bootstrap Servers")
_BROKER = "Broker URI"


@dataclass(frozen=True)
class Processor:
    """One processor. `properties` have their parameters filled in; a sensitive one has no value."""

    id: str
    name: str
    type: str
    properties: Mapping[str, str | None]
    told: Component | None = None
    """What NiFi says of it now; None when it says nothing."""
    version: str = ""
    """Of the bundle it is from."""

    @property
    def kind(self) -> str:
        """Its class without the package."""
        return self.type.rpartition(".")[2]

    def get(self, name: str, default: str = "") -> str:
        """Return a property without surrounding blanks; `default` when it is empty."""
        return (self.properties.get(name) or "").strip() or default


@dataclass(frozen=True)
class FlowView:
    """One flow: its processors, queues and what was told to the operator; brokers as `host:port` or a URI."""

    name: str
    processors: tuple[Processor, ...]
    queues: tuple[Queue, ...] = ()
    bulletins: tuple[Bulletin, ...] = ()
    brokers: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """From component to component, by id, funnels included."""
    live: bool = True
    names: Mapping[str, str] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[Processor]:
        """Return the processors of some kinds."""
        return [one for one in self.processors if one.kind in kinds]

    def below(self, component: str) -> frozenset[str]:
        """Return the names of the processors that samples reach from a component on, itself included."""
        return self._reached(component, 0, 1)

    def above(self, component: str) -> frozenset[str]:
        """Return the names of the processors whose samples reach a component, itself included."""
        return self._reached(component, 1, 0)

    def _reached(self, component: str, start: int, end: int) -> frozenset[str]:
        seen, rim = {component}, [component]
        while rim:
            rim = [link[end] for link in self.links if link[start] in rim and link[end] not in seen]
            seen.update(rim)
        return frozenset(self.names[one] for one in seen if one in self.names)


def from_nifi(api: NifiApi, only: str | None = None) -> list[FlowView]:
    """Ask a NiFi for its flows, or for the one of that name.

    Raises:
        ConfigError: there is no such flow, or NiFi does not let us look.
        UnavailableError: NiFi does not answer.
    """
    groups = {only: api.group(only)} if only else api.groups()
    return [_from_group(api, name, group) for name, group in groups.items()]


def _from_group(api: NifiApi, name: str, group: str) -> FlowView:
    told = api.rest.get(f"/process-groups/{group}/processors", includeDescendantGroups="true")["processors"]
    values = api.parameters(group)
    queues = api.queues(group)
    processors = []
    for entity in told:
        component = entity["component"]
        config = component.get("config") or {}
        processors.append(
            Processor(
                entity["id"], component["name"], component["type"], _filled(config, values),
                view.component(entity, queues), str((component.get("bundle") or {}).get("version") or ""),
            )
        )  # fmt: skip
    path = f"/flow/process-groups/{group}/controller-services"
    services = api.rest.get(path, includeAncestorGroups="false", includeDescendantGroups="true")["controllerServices"]
    addresses = [_resolved(one["component"].get("properties") or {}, {}, values) for one in services]
    links = tuple((queue.source_id, queue.destination_id) for queue in queues)
    return FlowView(
        name, tuple(processors), queues, api.bulletins(group), _brokers(processors, addresses), links,
        names={one.id: one.name for one in processors},
    )  # fmt: skip


def _filled(config: Mapping[str, Any], values: Mapping[str, str | None]) -> dict[str, str | None]:
    return _resolved(config.get("properties") or {}, config.get("descriptors") or {}, values)


def _resolved(
    properties: Mapping[str, str | None], descriptors: Mapping[str, Any], values: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Return properties with parameters in place; what is sensitive has no value, whatever stands in it."""
    found: dict[str, str | None] = {}
    for name, raw in properties.items():
        if (descriptors.get(name) or {}).get("sensitive"):
            found[name] = None
        else:
            found[name] = None if raw is None else _PARAMETER.sub(lambda match: values.get(match[1]) or "", raw)
    return found


def _brokers(processors: Sequence[Processor], services: Sequence[Mapping[str, str | None]]) -> tuple[str, ...]:
    disabled = {one.id for one in processors if one.told is not None and one.told.state == "DISABLED"}
    named = [one.get(_BROKER) for one in processors if one.id not in disabled]
    named += [(service.get(name) or "") for service in services for name in _SERVICE_ADDRESS]
    parts = (part.strip() for text in named for part in text.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def from_file(home: Path, only: str | None = None) -> list[FlowView]:
    """Read the flows from the flow file of a NiFi that does not answer; empty when there is none.

    Sensitive values are encrypted in it and left out.
    """
    file = next(iter(sorted(home.glob("**/flow.json.gz"), key=lambda path: len(path.parts))), None)
    try:
        told = json.loads(gzip.decompress(file.read_bytes())) if file else {}
    except (OSError, ValueError, EOFError):
        return []
    contexts = {
        context["name"]: {
            p["name"]: p.get("value") for p in context.get("parameters") or () if not p.get("sensitive")
        }
        for context in told.get("parameterContexts") or ()
    }  # fmt: skip
    groups = (told.get("rootGroup") or {}).get("processGroups") or ()
    return [_from_stored(group, contexts) for group in groups if only in (None, group.get("name"))]


def _from_stored(group: Mapping[str, Any], contexts: Mapping[str, Mapping[str, str | None]]) -> FlowView:
    values = contexts.get(group.get("parameterContextName") or "", {})
    processors = []
    for entry in _all(group, "processors"):
        descriptors = entry.get("propertyDescriptors") or {}
        properties = _resolved(entry.get("properties") or {}, descriptors, values)
        identifier = entry.get("instanceIdentifier") or entry["identifier"]
        processors.append(Processor(identifier, entry["name"], entry["type"], properties))
    services = [_resolved(s.get("properties") or {}, {}, values) for s in _all(group, "controllerServices")]
    return FlowView(
        str(group.get("name")), tuple(processors), brokers=_brokers(processors, services), live=False,
        names={one.id: one.name for one in processors},
    )  # fmt: skip


def _all(group: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    yield from group.get(kind) or ()
    for inner in group.get("processGroups") or ():
        yield from _all(inner, kind)
