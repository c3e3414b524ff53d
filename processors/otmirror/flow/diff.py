"""What differs between two flows, in words: one line a change; `otmirror flow diff`.

Compared is the canonical form: instance ids and the order in a file do not count. Copies of what stands elsewhere do
not either: the name and comments of a component in its connections, and descriptors of properties that differ anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from otmirror.flow.canonical import Flow, canonical

_KINDS = {
    "processors": "",
    "controllerServices": "service ",
    "connections": "connection ",
    "funnels": "funnel ",
    "labels": "label ",
    "inputPorts": "input port ",
    "outputPorts": "output port ",
    "processGroups": "group ",
    "remoteProcessGroups": "remote group ",
}
_WORDS = {
    "autoTerminatedRelationships": "ended relationships",
    "backPressureDataSizeThreshold": "back-pressure size",
    "backPressureObjectThreshold": "back-pressure",
    "backoffMechanism": "backoff",
    "concurrentlySchedulableTaskCount": "concurrent tasks",
    "executionNode": "execution node",
    "flowFileExpiration": "expiration",
    "loadBalanceStrategy": "load balancing",
    "maxBackoffPeriod": "longest backoff",
    "parameterContextName": "parameter context",
    "penaltyDuration": "penalty duration",
    "retriedRelationships": "retried relationships",
    "retryCount": "retries",
    "runDurationMillis": "run duration (ms)",
    "scheduledState": "state",
    "schedulingPeriod": "run schedule",
    "schedulingStrategy": "scheduling",
    "selectedRelationships": "relationships",
    "yieldDuration": "yield duration",
}
_HIDDEN = "(sensitive)"
_LONG = 160
Component = dict[str, Any]


def diff(before: Flow, after: Flow) -> list[str]:
    """Return the changes from one flow to the other, grouped by component; empty when they are the same."""
    old, new = canonical(before), canonical(after)
    new = _same_ids(old, new)
    lines = list(_group(old["flowContents"], new["flowContents"], "flow"))
    lines += _parameters(old.get("parameterContexts") or {}, new.get("parameterContexts") or {})
    apart = ("flowContents", "parameterContexts")
    lines += _fields(old, new, "file", apart)
    return [" ".join(line.splitlines()) for line in lines]


def _group(old: Component, new: Component, label: str) -> Iterator[str]:
    kinds = [kind for kind in _KINDS if kind in old or kind in new]
    if label != "flow":
        yield from _component("processGroups", old, new)
    else:
        yield from _fields(old, new, label, (*_KINDS, "position"))
    for kind in kinds:
        was = {c["identifier"]: c for c in old.get(kind) or ()}
        now = {c["identifier"]: c for c in new.get(kind) or ()}
        for name in sorted(was.keys() ^ now.keys()):
            gone = name in was
            yield f"{'removed' if gone else 'added'} {_called(kind, was[name] if gone else now[name])}"
        for name in (n for n in was if n in now):
            if kind == "processGroups":
                yield from _group(was[name], now[name], "inner")
            else:
                yield from _component(kind, was[name], now[name])


def _component(kind: str, old: Component, new: Component) -> Iterator[str]:
    label = _label(kind, old)
    apart = ["name", "position", "properties", "propertyDescriptors", "bundle", "source", "destination"]
    apart += list(_KINDS) if kind == "processGroups" else []
    if old.get("name") != new.get("name"):
        yield f"{label} renamed to {new.get('name')!r}"
    if old.get("position") != new.get("position"):
        yield f"{label} moved by {_distance(old.get('position') or {}, new.get('position') or {})}"
    if old.get("bundle") != new.get("bundle"):
        yield f"{label}: version {_bundle(old)} -> {_bundle(new)}"
    yield from _properties(old, new, label)
    for end in ("source", "destination"):
        was, now = (_end(c.get(end)) for c in (old, new))
        if was != now:
            yield f"{label}: {end} {(old.get(end) or {}).get('name')} -> {(new.get(end) or {}).get('name')}"
    yield from _fields(old, new, label, apart)


def _properties(old: Component, new: Component, label: str) -> Iterator[str]:
    was, now = old.get("properties") or {}, new.get("properties") or {}
    told_old, told_new = old.get("propertyDescriptors") or {}, new.get("propertyDescriptors") or {}
    for name in sorted(was.keys() | now.keys() | told_old.keys() | told_new.keys()):
        hidden = any((told.get(name) or {}).get("sensitive") for told in (told_old, told_new))
        if was.get(name) != now.get(name):
            yield f"{label}: {name} {_change(was.get(name), now.get(name), hidden)}"
        elif told_old.get(name) != told_new.get(name):
            yield f"{label}: {name}: its description {_presence(told_old.get(name), told_new.get(name))}"


def _parameters(old: Component, new: Component) -> Iterator[str]:
    for context in sorted(old.keys() | new.keys()):
        if context not in new or context not in old:
            yield f"{'added' if context in new else 'removed'} parameter context {context!r}"
            continue
        was = {p["name"]: p for p in old[context].get("parameters") or ()}
        now = {p["name"]: p for p in new[context].get("parameters") or ()}
        for name in sorted(was.keys() | now.keys()):
            yield from _parameter(name, was.get(name), now.get(name))
        yield from _fields(old[context], new[context], f"parameter context {context}", ("parameters",))


def _parameter(name: str, old: Component | None, new: Component | None) -> Iterator[str]:
    if old is None or new is None:
        yield f"{'added' if new else 'removed'} parameter {name!r}"
        return
    hidden = bool(old.get("sensitive") or new.get("sensitive"))
    if old.get("value") != new.get("value"):
        yield f"parameter {name}: {_change(old.get('value'), new.get('value'), hidden)}"
    yield from _fields(old, new, f"parameter {name}", ("name", "value"))


def _fields(old: Component, new: Component, label: str, apart: Any) -> Iterator[str]:
    for key in sorted((old.keys() | new.keys()) - set(apart)):
        was, now = old.get(key), new.get(key)
        if was != now:
            yield f"{label}: {_WORDS.get(key, key)} {_change(was, now)}"


def _change(old: Any, new: Any, hidden: bool = False) -> str:
    if hidden:
        told = [value if value is None or _is_reference(value) else _HIDDEN for value in (old, new)]
        return f"{_shown(told[0])} -> {_shown(told[1])}"
    return f"{_shown(old)} -> {_shown(new)}"


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("#{") and value.endswith("}")


def _shown(value: Any) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "(none)"
    # A value may hold line ends; a change is one line.
    text = value if isinstance(value, str) and value.isprintable() and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def _distance(old: Component, new: Component) -> str:
    parts = (float(new.get(axis, 0)) - float(old.get(axis, 0)) for axis in ("x", "y"))
    return "(" + ", ".join(f"{part:g}" for part in parts) + ")"


def _presence(old: Any, new: Any) -> str:
    return "added" if old is None else "removed" if new is None else "changed"


def _bundle(component: Component) -> str:
    bundle = component.get("bundle") or {}
    return ":".join(str(bundle.get(part, "?")) for part in ("artifact", "version"))


def _end(end: Component | None) -> Component:
    return {key: value for key, value in (end or {}).items() if key not in ("name", "comments")}


def _label(kind: str, component: Component) -> str:
    name = component.get("name") or component.get("label") or component["identifier"]
    ends = ""
    if kind == "connections":
        ends = f" ({component['source'].get('name')} -> {component['destination'].get('name')})"
        name = component.get("name") or "without a name"
    return f"{_KINDS[kind]}{' '.join(str(name).split())[:60]}{ends}"


def _called(kind: str, component: Component) -> str:
    label = _label(kind, component)
    short = str(component.get("type", "")).rsplit(".", 1)[-1]
    return f"{short} {component.get('name')!r}" if kind in ("processors", "controllerServices") else label


def _same_ids(old: Flow, new: Flow) -> Flow:
    """Give components of `new` that only differ in their identifier the one they have in `old`.

    A flow that was copied on a canvas has new identifiers; its components are still known by kind, type and name.
    """
    was, now = _known(old["flowContents"], ""), _known(new["flowContents"], "")
    ids = {identifier for identifier, _ in was.values()} & {identifier for identifier, _ in now.values()}
    pairs = {now[key][0]: was[key][0] for key in was.keys() & now.keys() if now[key][1] == was[key][1] == 1}
    pairs = {a: b for a, b in pairs.items() if a != b and a not in ids and b not in ids}
    return canonical(_replaced(new, pairs)) if pairs else new


def _known(group: Component, path: str) -> dict[tuple[str, ...], tuple[str, int]]:
    found: dict[tuple[str, ...], tuple[str, int]] = {}
    for kind in _KINDS:
        for c in group.get(kind) or ():
            ends = "|".join(str((c.get(end) or {}).get("name")) for end in ("source", "destination"))
            key = (path, kind, str(c.get("type", "")), str(c.get("name") or c.get("label") or ""), ends)
            found[key] = (c["identifier"], found[key][1] + 1 if key in found else 1)
    for inner in group.get("processGroups") or ():
        found |= _known(inner, f"{path}/{inner.get('name')}")
    return found


def _replaced(node: Any, pairs: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _replaced(value, pairs) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(item, pairs) for item in node]
    return pairs.get(node, node) if isinstance(node, str) else node
