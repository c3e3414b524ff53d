"""Components in a NiFi that lacks their type: which they are, and which mistakes only follow from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from otmirror.flow.api import Rest
from otmirror.flow.status import Component


@dataclass(frozen=True)
class Ghosts:
    """`told` is a sentence a missing component; `ids` theirs in this NiFi.

    `led` maps the id of a component that is there to its properties that lead to a missing service.
    """

    told: tuple[str, ...]
    ids: frozenset[str]
    led: dict[str, frozenset[str]] = field(default_factory=dict)

    def own_errors(self, component: Component) -> tuple[str, ...]:
        """Return the errors of a component that do not follow from a missing type."""
        if component.id in self.ids:
            return ()
        names = self.led.get(component.id, frozenset())
        return tuple(e for e in component.errors if not any(e.startswith(f"'{name}'") for name in names))


def ghosts(rest: Rest, group: str) -> Ghosts:
    """Return the components of a flow, those of inner groups included, whose type this NiFi does not have."""
    processors = rest.get(f"/process-groups/{group}/processors", includeDescendantGroups="true")["processors"]
    path = f"/flow/process-groups/{group}/controller-services"
    told = rest.get(path, includeAncestorGroups="false", includeDescendantGroups="true")["controllerServices"]
    services = {entity["id"]: entity["component"] for entity in told}
    every = {entity["id"]: entity["component"] for entity in processors} | services
    ids = frozenset(name for name, component in every.items() if component.get("extensionMissing"))
    unusable = _unusable(services, ids)
    led = {name: _leading(component, unusable) for name, component in every.items()}
    lines = sorted(_sentence(every[name], name in services) for name in ids)
    return Ghosts(tuple(lines), ids, {name: found for name, found in led.items() if found})


def _unusable(services: Mapping[str, Any], missing: frozenset[str]) -> frozenset[str]:
    """Return the missing services and those that cannot be enabled because they need one of them."""
    found = set(services.keys() & missing)
    while True:
        more = {name for name, s in services.items() if set((s.get("properties") or {}).values()) & found} - found
        if not more:
            return frozenset(found)
        found |= more


def _leading(component: Any, services: frozenset[str]) -> frozenset[str]:
    settings = component.get("config") or component
    told = settings.get("descriptors") or {}
    values = settings.get("properties") or {}
    names = [name for name, value in values.items() if value in services]
    return frozenset((told.get(name) or {}).get("displayName") or name for name in names)


def _sentence(component: Any, service: bool) -> str:
    short = component["type"].rsplit(".", 1)[-1]
    kind = "controller service" if service else "processor"
    return f"{component['name']}: this NiFi has no {kind} {short}; it is there but cannot run"
