"""What a server says about the variables behind tags: unit, range, type, the names of states, access rights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import nodeid_to_binary

from otmirror.opcua import typedefs, wire
from otmirror.opcua.binary import EXTENSION_OBJECT, VARIANT
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.readings import RARE
from otmirror.opcua.structures import Structures
from otmirror.opcua.typedefs import DataTypes, opened, read_all, value_in
from otmirror.taglist import Tag

_ATTRIBUTES = (AttributeIds.DataType, AttributeIds.ValueRank, AttributeIds.UserAccessLevel, AttributeIds.Historizing)
_UNIT, _RANGE, _STRINGS, _VALUES = "EngineeringUnits", "EURange", "EnumStrings", "EnumValues"
_FALSE, _TRUE = "FalseState", "TrueState"
_PROPERTIES = frozenset((_UNIT, _RANGE, _STRINGS, _VALUES, _FALSE, _TRUE))
"""OPC 10000-8, 5.3.2 and 5.3.3; a data type has EnumStrings or EnumValues too (OPC 10000-3, 5.8.3)."""
_CURRENT_WRITE = 2
_BOOLEAN = 1
_NAMES = {
    1: "bool", 2: "int8", 3: "uint8", 4: "int16", 5: "uint16", 6: "int32", 7: "uint32", 8: "int64", 9: "uint64",
    10: "float", 11: "double", 12: "string", 13: "datetime", 14: "string", 15: "bytes", 16: "string", 17: "string",
    18: "string", 19: "string", 20: "string", 21: "string", 22: "json", 23: "json", 25: "json", 29: "enum",
}  # fmt: skip
"""Types of samples by data type (OPC 10000-6, 5.1.2); none for an abstract one."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What a server says about a variable; whatever it does not say, or refuses to, is None or False.

    `enum` has the names of a state's numbers, 0 and 1 for a Boolean. `type` is what a sample of it, or of an element
    of it where it is an `array`, is of. `low` and `high` are the EURange, in `unit`. `access_level` is what this user
    may do, bits as in OPC 10000-3, 8.57.
    """

    data_type: ua.NodeId | None = None
    type: str | None = None
    array: bool = False
    enum: dict[int, str] | None = None
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    historizing: bool = False
    access_level: int | None = None

    @property
    def writable(self) -> bool:
        """Whether this user may write it."""
        return self.access_level is not None and bool(self.access_level & _CURRENT_WRITE)


_UNKNOWN = Meta()


async def describe(
    client: GuardedClient, nodes: Sequence[ua.NodeId | None], types: DataTypes | None = None
) -> list[Meta]:
    """Return what the server says about variables, in their order; nothing about None.

    Four attributes of each are read, its properties are browsed for, and those that say something are read; what their
    data types are is asked once a type. A node that cannot be described hides no other.

    Raises:
        ConnectionLostError: the connection cannot be used any more.
    """
    types = types or DataTypes(client)
    these = [node for node in nodes if node is not None]
    encoded = [nodeid_to_binary(node) for node in these]
    told = await read_all(client, [wire.attribute(node, number) for node in encoded for number in _ATTRIBUTES])
    attributes = [value_in(reading) for reading in told]
    kinds = {kind for kind in attributes[::4] if isinstance(kind, ua.NodeId)}
    await types.learn(kinds)
    names = await _names_of(client, types, kinds)
    found = [
        _meta(attributes[4 * n : 4 * n + 4], properties, types, names)
        for n, properties in enumerate(await _properties(client, these))
    ]
    described = iter(found)
    return [_UNKNOWN if node is None else next(described) for node in nodes]


async def structures_of(
    client: GuardedClient, nodes: Sequence[ua.NodeId | None], metas: Sequence[Meta], types: DataTypes | None = None
) -> Structures:
    """Return how to open the structures that these variables hold, now or by their data types.

    The values of variables with structures or of an abstract type are read for the encodings they are in.

    Raises:
        ConnectionLostError: the connection cannot be used any more.
    """
    types, known = types or DataTypes(client), Structures()
    kinds = {meta.data_type for meta in metas if meta.data_type is not None}
    await types.learn(kinds)
    closed = {kind for kind in kinds if types.base(kind) == EXTENSION_OBJECT}
    open_ended = closed | {kind for kind in kinds if types.base(kind) in (None, VARIANT)}
    if not open_ended:
        return known
    asked = [node for node, meta in zip(nodes, metas, strict=True) if node is not None and meta.data_type in open_ended]
    values = [wire.attribute(nodeid_to_binary(node), AttributeIds.Value) for node in asked]
    met = {one for value, kind, *_ in await read_all(client, values) if kind == RARE for one in encodings_in(value)}
    await typedefs.load(client, types, known, closed, met)
    return known


async def learn_unknown(client: GuardedClient, known: Structures, types: DataTypes | None = None) -> int:
    """Look up the encodings met since that `known` has no layout of; return of how many there is one now.

    Raises:
        ConnectionLostError: the connection cannot be used any more.
    """
    before = known.count
    if known.unknown:
        await typedefs.load(client, types or DataTypes(client), known, (), set(known.unknown))
    return known.count - before


def encodings_in(value: Any) -> set[ua.NodeId]:
    """Return the encodings of the closed structures in a value."""
    if isinstance(value, ua.ExtensionObject):
        return {value.TypeId} if value.Body is not None else set()
    if isinstance(value, list):
        return {one for element in value for one in encodings_in(element)}
    if isinstance(value, (ua.Variant, ua.DataValue)):
        return encodings_in(value.Value)
    return set()


async def _properties(client: GuardedClient, nodes: Sequence[ua.NodeId]) -> list[dict[str, Any]]:
    """Return the values of each node's properties that say something about it, by name."""
    references = await typedefs.browse_all(client, nodes, ObjectIds.HasProperty)
    asked: list[tuple[int, str, bytes]] = []
    for n, these in enumerate(references):
        for reference in these:
            if reference.name in _PROPERTIES and not reference.namespace and reference.node is not None:
                where = wire.attribute(nodeid_to_binary(reference.node), AttributeIds.Value)
                asked.append((n, reference.name, where))
    found: list[dict[str, Any]] = [{} for _ in nodes]
    for (n, name, _), reading in zip(asked, await read_all(client, [node for *_, node in asked]), strict=True):
        found[n][name] = value_in(reading)
    return found


async def _names_of(
    client: GuardedClient, types: DataTypes, kinds: Iterable[ua.NodeId]
) -> dict[ua.NodeId, dict[int, str]]:
    """Return the names of the values of those data types that are enumerations."""
    these = [kind for kind in kinds if typedefs.is_enumeration(types, kind)]
    if not these:
        return {}
    definitions = await types.definitions(these)
    properties = await _properties(client, these)
    found = {kind: _defined(definitions[kind]) or _named(told) for kind, told in zip(these, properties, strict=True)}
    return {kind: names for kind, names in found.items() if names}


def _defined(definition: Mapping[str, Any] | None) -> dict[int, str]:
    """Return the names in an EnumDefinition (OPC 10000-3, 8.50)."""
    fields = (definition or {}).get("Fields") or ()
    return {f["Value"]: _text(f["DisplayName"]) or f["Name"] or "" for f in fields if "Value" in f}


def _named(properties: Mapping[str, Any]) -> dict[int, str]:
    """Return the names in a variable's or data type's EnumValues or EnumStrings."""
    values, strings = properties.get(_VALUES), properties.get(_STRINGS)
    if isinstance(values, list):
        told = [fields for fields in map(opened, values) if fields and "Value" in fields]
        return {fields["Value"]: _text(fields["DisplayName"]) or "" for fields in told}
    return {n: _text(one) or "" for n, one in enumerate(strings)} if isinstance(strings, list) else {}


def _text(value: Any) -> str | None:
    return (value.Text or None) if isinstance(value, ua.LocalizedText) else None


def _meta(
    attributes: Sequence[Any],
    properties: Mapping[str, Any],
    types: DataTypes,
    names: Mapping[ua.NodeId, dict[int, str]],
) -> Meta:
    kind, rank, access, historizing = attributes
    base = types.base(kind) if isinstance(kind, ua.NodeId) else None
    states = _named(properties) or names.get(kind)
    if base == _BOOLEAN:
        off, on = _text(properties.get(_FALSE)), _text(properties.get(_TRUE))
        states = {0: off or "", 1: on or ""} if off or on else None
    limits, unit = opened(properties.get(_RANGE)) or {}, opened(properties.get(_UNIT)) or {}
    named = _NAMES.get(base or 0)
    return Meta(
        data_type=kind if isinstance(kind, ua.NodeId) else None,
        type="enum" if states and base != _BOOLEAN else named,
        array=isinstance(rank, int) and rank >= 0,
        enum=states or None,
        unit=_text(unit.get("DisplayName")),
        low=limits.get("Low"),
        high=limits.get("High"),
        historizing=historizing is True,
        access_level=access if isinstance(access, int) else None,
    )


def completed(tags: Sequence[Tag], metas: Sequence[Meta]) -> list[Tag]:
    """Return tags with the server's unit and type where the tag list has none; its own always win."""
    return [
        tag
        if (tag.unit or not meta.unit) and (tag.type or not meta.type or meta.array)
        else replace(tag, unit=tag.unit or meta.unit, type=tag.type or (None if meta.array else _scaled(tag, meta)))
        for tag, meta in zip(tags, metas, strict=True)
    ]


def _scaled(tag: Tag, meta: Meta) -> str | None:
    as_it_is = (tag.scale, tag.offset) == (1.0, 0.0) or meta.type in ("bool", "string", "datetime", "bytes", "json")
    return meta.type if as_it_is else "double"


def writable_notice(tags: Sequence[Tag], metas: Sequence[Meta]) -> str | None:
    """Return what to tell the operator when this session's user may write tags, else None."""
    names = [tag.tag for tag, meta in zip(tags, metas, strict=True) if meta.writable]
    if not names:
        return None
    shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return (
        f"the account may write {len(names)} of {len(tags)} tags ({shown}); nothing here ever writes, but a read-only "
        "account is better"
    )
