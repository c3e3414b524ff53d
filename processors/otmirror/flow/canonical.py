"""The form a flow has in a file: the one NiFi's Git flow registry clients write, so that a change is a small diff.

Source of the rules: NiFi's AbstractGitFlowRegistryClient (the root group has a fixed id and position) and
JacksonFlowSnapshotSerializer (nulls and instance ids dropped, keys sorted, components by identifier, sets of words
by word, Jackson's default pretty printer). The newline at the end is ours.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from otmirror.errors import ConfigError

ROOT_ID = "flow-contents-group"
_INSTANCE_ONLY = frozenset({"instanceIdentifier", "instanceGroupId"})
# Lists whose order has a meaning; all other lists of words are sets.
_ORDERED = frozenset({"prioritizers", "inheritedParameterContexts"})
_REFERENCES = frozenset({"groupIdentifier", "groupId"})
_TYPED = ("processors", "controllerServices")

Flow = dict[str, Any]


def load(path: Path) -> Flow:
    """Return a flow file's content.

    Raises:
        ConfigError: the file cannot be read or is no flow definition; the message names file and line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"flow {path}: {error.strerror}") from None
    return loads(content, str(path))


def loads(content: bytes, name: str) -> Flow:
    """Return the flow in a JSON text; `name` says in messages where it comes from.

    Raises:
        ConfigError: it is no flow definition; the message names the line.
    """
    try:
        flow = json.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"flow {name}: not JSON: {error}") from None
    if not isinstance(flow, dict) or not isinstance(flow.get("flowContents"), dict):
        raise ConfigError(f"flow {name}: no flow definition (it has no flowContents)")
    return flow


def canonical(flow: Flow) -> Flow:
    """Return the same flow in canonical order, without what belongs to one NiFi only."""
    contents = flow["flowContents"]
    replaced = _replace_root(flow, contents.get("identifier"))
    replaced["flowContents"].update(identifier=ROOT_ID, position={"x": 0.0, "y": 0.0})
    replaced["flowContents"].pop("groupIdentifier", None)
    ordered: Flow = _normal(replaced, "")
    return ordered


def dumps(flow: Flow) -> str:
    """Return the text of a flow in canonical form."""
    return _written(canonical(flow), 0) + "\n"


def keep_local(exported: Flow, file: Flow, missing: Collection[str] = ()) -> Flow:
    """Return `exported` with what one NiFi sets for itself as `file` has it: the flow's name, parameter values.

    A parameter the file does not have keeps its exported value.

    Args:
        exported: as NiFi gives it.
        file: as it was before.
        missing: identifiers of processors and services whose type this NiFi does not have. NiFi leaves most of
            their properties out of an export, so they stay as `file` has them; only their position is taken over.
    """
    result: Flow = json.loads(json.dumps(exported))
    name = file["flowContents"].get("name")
    if name:
        result["flowContents"]["name"] = name
    for context_name, context in (result.get("parameterContexts") or {}).items():
        known = (file.get("parameterContexts") or {}).get(context_name) or {}
        values = {p["name"]: p.get("value") for p in known.get("parameters") or ()}
        for parameter in context.get("parameters") or ():
            if parameter["name"] in values:
                parameter["value"] = values[parameter["name"]]
    _keep_missing(result["flowContents"], _components(file["flowContents"]), frozenset(missing))
    return result


def _components(group: Flow) -> Flow:
    """Return the processors and services of a group and of those inside it by identifier."""
    found = {c["identifier"]: c for kind in _TYPED for c in group.get(kind) or ()}
    for inner in group.get("processGroups") or ():
        found |= _components(inner)
    return found


def _keep_missing(group: Flow, known: Flow, missing: frozenset[str]) -> None:
    for kind in _TYPED:
        for component in group.get(kind) or ():
            name = component["identifier"]
            if name in missing and name in known:
                position = {"position": component["position"]} if "position" in component else {}
                parent = {"groupIdentifier": component.get("groupIdentifier")}
                kept = {**known[name], **position, **parent}
                component.clear()
                component.update(kept)
    for inner in group.get("processGroups") or ():
        _keep_missing(inner, known, missing)


def _replace_root(node: Any, root: str | None) -> Any:
    if isinstance(node, dict):
        return {
            key: ROOT_ID if key in _REFERENCES and value == root else _replace_root(value, root)
            for key, value in node.items()
        }
    return [_replace_root(item, root) for item in node] if isinstance(node, list) else node


def _normal(node: Any, name: str) -> Any:
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if v is not None and k not in _INSTANCE_ONLY}
        return {key: _normal(kept[key], key) for key in sorted(kept)}
    if not isinstance(node, list):
        return node
    items = [_normal(item, "") for item in node]
    if name in _ORDERED:
        return items
    ranks = [rank for rank in map(_rank, items) if rank is not None]
    if len(ranks) < len(items):
        return items
    return [item for _, item in sorted(zip(ranks, items, strict=True), key=lambda pair: pair[0])]


def _rank(item: Any) -> str | None:
    """Return what a list is sorted by: identifier, parameter name, a service API's type, or the word itself.

    None: its order stays.
    """
    if isinstance(item, dict):
        found = item.get("identifier", item.get("name", item.get("type")))
        return found if isinstance(found, str) else None
    return item if isinstance(item, str) else None


def _written(node: Any, depth: int) -> str:
    """Return JSON as Jackson's DefaultPrettyPrinter lays it out."""
    if isinstance(node, dict):
        if not node:
            return "{ }"
        inner = "  " * (depth + 1)
        lines = (f"{inner}{_word(key)} : {_written(value, depth + 1)}" for key, value in node.items())
        return "{\n" + ",\n".join(lines) + "\n" + "  " * depth + "}"
    if isinstance(node, list):
        return "[ " + ", ".join(_written(item, depth) for item in node) + " ]" if node else "[ ]"
    return _word(node)


def _word(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
