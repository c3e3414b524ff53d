"""What NiFi's components look like: their properties and relationships, without a NiFi at hand.

Stock components come from nifi-conf/components/<version>.json, the project's own from their Python files, read as text.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import otmirror
from otmirror.errors import ConfigError
from otmirror.workspace import PROJECT

NIFI = "2.3.0"
OWN = ("ReadOpcUaTags", "PollModbusReadOnly", "ToVictoriaMetrics", "WriteIceberg")


@dataclass(frozen=True)
class Property:
    """One property of a component; `depends` are conditions that all have to hold: name -> values, none = any."""

    name: str
    values: tuple[str, ...] = ()
    required: bool = False
    sensitive: bool = False
    default: str | None = None
    service: str | None = None
    depends: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Type:
    """One type of component. `input` is required, allowed or forbidden; `provides` are the APIs of a service."""

    name: str
    group: str
    artifact: str
    version: str
    properties: Mapping[str, Property]
    relationships: frozenset[str] = frozenset()
    input: str = "allowed"
    dynamic: bool = False
    routes_by_property: bool = False
    """Whether each dynamic property is a relationship (RouteOnAttribute)."""
    provides: frozenset[str] = field(default_factory=frozenset)


def catalogue(version: str = NIFI) -> dict[str, Type]:
    """Return every type a flow may use by its full name.

    Raises:
        ConfigError: there is no list for that version of NiFi, or a file of a processor cannot be read.
    """
    path = PROJECT / "nifi-conf" / "components" / f"{version}.json"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"component list {path}: {error.strerror}") from None
    known = {name: _stock(name, entry, listed["nifi"]) for name, entry in listed["types"].items()}
    return known | {name: own(PROJECT / "processors" / f"{name}.py") for name in OWN}


def _stock(name: str, entry: dict[str, Any], version: str) -> Type:
    group, artifact = entry["bundle"].split(":")
    properties = {
        key: Property(
            key,
            tuple(told.get("values", ())),
            told.get("required", False),
            told.get("sensitive", False),
            told.get("default"),
            told.get("service"),
            tuple((on, tuple(values)) for on, values in told.get("depends", {}).items()),
        )
        for key, told in entry["properties"].items()
    }
    return Type(
        name,
        group,
        artifact,
        version,
        properties,
        frozenset(entry.get("relationships", ())),
        entry.get("input", "allowed"),
        entry.get("dynamic", False),
        entry.get("routesByProperty", False),
        frozenset(entry.get("provides", ())),
    )


def own(path: Path) -> Type:
    """Return the type a Python processor's file declares, read as text, because NiFi's Python side is not at hand.

    Raises:
        ConfigError: the file cannot be read or holds no processor class.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        raise ConfigError(f"processor {path}: {error}") from None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == path.stem:
            return _declared(node)
    raise ConfigError(f"processor {path}: it has no class {path.stem}")


def _declared(node: ast.ClassDef) -> Type:
    # A property may depend on one declared before it, by the name of the class attribute.
    attributes: dict[str, Property] = {}
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            call = statement.value
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "PropertyDescriptor":
                attributes[statement.targets[0].id] = _descriptor(call, attributes)
    source = any(getattr(base, "id", "") == "FlowFileSource" for base in node.bases)
    named = [
        str(ast.literal_eval(call.args[0]))
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Relationship"
    ]
    # NiFi's Java side adds these itself.
    given = {"success"} if source else {"original", "failure"} | ({"success"} if not named else set())
    return Type(
        node.name,
        "org.apache.nifi",
        "python-extensions",
        otmirror.__version__,
        {p.name: p for p in attributes.values()},
        frozenset(named) | given,
        "forbidden" if source else "required",
    )


def _descriptor(call: ast.Call, known: Mapping[str, Property]) -> Property:
    words = {word.arg: word.value for word in call.keywords if word.arg}

    def literal(name: str, default: Any) -> Any:
        return ast.literal_eval(words[name]) if name in words else default

    depends = []
    for item in getattr(words.get("dependencies"), "elts", ()):
        on, *values = item.args
        depends.append((known[on.id].name, tuple(str(ast.literal_eval(value)) for value in values)))
    return Property(
        literal("name", ""),
        tuple(literal("allowable_values", ())),
        literal("required", False),
        literal("sensitive", False),
        literal("default_value", None),
        None,
        tuple(depends),
    )
