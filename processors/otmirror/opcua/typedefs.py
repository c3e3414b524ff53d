"""What a server's data types come down to, asked with Browse and Read only, and only for the types that tags have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import nodeid_to_binary

from otmirror.opcua import structures, wire
from otmirror.opcua.binary import EXTENSION_OBJECT, VARIANT
from otmirror.opcua.chunks import ChunkReader
from otmirror.opcua.faults import ServiceFaultError, UndecodableError
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.readings import RARE, Reading, bad
from otmirror.opcua.references import Reference
from otmirror.opcua.structures import Field, Layout, Structures
from otmirror.status import BAD, STATUS, quality_of

BROWSED_AT_ONCE = 500
"""Nodes a Browse request; halved where the server calls that too much."""
_DEEPEST = 16
"""Super-types above a type, structures inside a structure."""
_BASES = frozenset(range(1, 30))
"""The built-in types, the abstract numbers (26 to 28) and Enumeration (29): OPC 10000-6, 5.1.2."""
ENUMERATION = 29
_SUBTYPED = (3, 4)
_UNION = (2, 4)
_WITH_OPTIONAL = 1


async def read_all(client: GuardedClient, wanted: Sequence[bytes]) -> list[Reading]:
    """Read attributes encoded by `wire.attribute`; one that cannot be read is a bad reading.

    Raises:
        ConnectionLostError: the connection cannot be used any more.
    """
    found: list[Reading] = [bad(STATUS["BadUnexpectedError"])] * len(wanted)

    def deliver(start: int, values: Sequence[Reading]) -> None:
        found[start : start + len(values)] = values

    with contextlib.suppress(ServiceFaultError, UndecodableError):  # nearly everything fails: it stays unknown
        await ChunkReader(client.read_values, client.limits.nodes_per_read).read(wanted, deliver)
    return found


async def browse_all(
    client: GuardedClient, nodes: Sequence[ua.NodeId], kind: int, inverse: bool = False
) -> list[list[Reference]]:
    """Browse nodes as `GuardedClient.browse` does, in requests the server accepts; none of a node that it refuses.

    Raises:
        ConnectionLostError: the connection cannot be used any more.
    """
    found: list[list[Reference]] = []
    at_once = most = min(BROWSED_AT_ONCE, client.limits.nodes_per_browse)
    while len(found) < len(nodes):
        part = nodes[len(found) : len(found) + most]
        try:
            found += await client.browse(part, kind, inverse)
        except (ServiceFaultError, UndecodableError):
            if len(part) > 1:
                most = len(part) // 2
            else:
                found.append([])
                most = at_once
    return found


def value_in(reading: Reading) -> Any:
    """Return what was read: asyncua's object, a plain number or text; None when it is bad."""
    value, kind, status, *_ = reading
    if status and quality_of(status) == BAD:
        return None
    return value.Value if kind == RARE and value is not None else value


class DataTypes:
    """The data types of one connection, each asked for once."""

    def __init__(self, client: GuardedClient):
        """Take a client that is connected."""
        self._client = client
        self._above: dict[ua.NodeId, ua.NodeId | None] = {}
        self._definitions: dict[ua.NodeId, dict[str, Any] | None] = {}

    def base(self, kind: ua.NodeId) -> int | None:
        """Return the number of the built-in type, abstract number or Enumeration a data type is a kind of, if known."""
        at: ua.NodeId | None = kind
        for _ in range(_DEEPEST):
            if at is None:
                return None
            if not at.NamespaceIndex and at.Identifier in _BASES:
                return int(at.Identifier)
            at = self._above.get(at)
        return None

    async def learn(self, kinds: Iterable[ua.NodeId]) -> None:
        """Look the super-types of data types up until they are known.

        Raises:
            ConnectionLostError: the connection cannot be used any more.
        """
        asked = {kind for kind in kinds if kind not in self._above and self.base(kind) is None}
        for _ in range(_DEEPEST):
            if not asked:
                return
            these = list(asked)
            found = await browse_all(self._client, these, ObjectIds.HasSubtype, inverse=True)
            for kind, references in zip(these, found, strict=True):
                self._above[kind] = references[0].node if references else None
            above = (self._above[kind] for kind in these)
            asked = {kind for kind in above if kind is not None and kind not in self._above and self.base(kind) is None}

    async def definitions(self, kinds: Iterable[ua.NodeId]) -> dict[ua.NodeId, dict[str, Any] | None]:
        """Return the DataTypeDefinition of data types (OPC 10000-3, 8.47) as its fields; None where there is none.

        Raises:
            ConnectionLostError: the connection cannot be used any more.
        """
        asked = [kind for kind in dict.fromkeys(kinds) if kind not in self._definitions]
        wanted = [wire.attribute(nodeid_to_binary(kind), AttributeIds.DataTypeDefinition) for kind in asked]
        for kind, reading in zip(asked, await read_all(self._client, wanted), strict=True):
            self._definitions[kind] = opened(value_in(reading))
        return {kind: self._definitions[kind] for kind in kinds}


def opened(value: Any) -> dict[str, Any] | None:
    """Return the fields of one of the standard structures, None when it is none."""
    try:
        return Structures().fields_of(value) if isinstance(value, ua.ExtensionObject) else None
    except UndecodableError:
        return None


async def load(
    client: GuardedClient,
    types: DataTypes,
    known: Structures,
    kinds: Iterable[ua.NodeId],
    encodings: Iterable[ua.NodeId],
) -> None:
    """Add to `known` the structures of these data types and these encodings, and those inside them.

    Raises:
        ConnectionLostError: the connection cannot be used any more.
    """
    unknown = [one for one in encodings if not known.knows(one)]
    by_encoding = await _types_of(client, unknown)
    found: dict[ua.NodeId, dict[str, Any]] = {}
    asked = {*kinds, *by_encoding.values()}
    for _ in range(_DEEPEST):
        asked = {kind for kind in asked if kind not in found and not _is_known(kind)}
        await types.learn(asked)
        asked = {kind for kind in asked if types.base(kind) == EXTENSION_OBJECT}
        if not asked:
            break
        defined = await types.definitions(asked)
        told = {kind: one for kind, one in defined.items() if one and "StructureType" in one}
        found |= told
        asked = {field["DataType"] for one in told.values() for field in one["Fields"] or ()}
        asked |= {one["BaseDataType"] for one in told.values()}
    layouts = _layouts(found, types)
    ready = {one: layouts[kind] for one, kind in by_encoding.items() if kind in layouts}
    ready |= {found[kind]["DefaultEncodingId"]: layout for kind, layout in layouts.items()}
    known.add({encoding: layout for encoding, layout in ready.items() if encoding.Identifier}, unknown)


def _is_known(kind: ua.NodeId) -> bool:
    return structures.standard_type(kind) is not None or (not kind.NamespaceIndex and kind.Identifier in _BASES)


async def _types_of(client: GuardedClient, encodings: Sequence[ua.NodeId]) -> dict[ua.NodeId, ua.NodeId]:
    """Return the data types that these encodings are of."""
    found = await browse_all(client, encodings, ObjectIds.HasEncoding, inverse=True)
    named = {one: references[0].node for one, references in zip(encodings, found, strict=True) if references}
    return {one: kind for one, kind in named.items() if kind is not None}


def _layouts(found: dict[ua.NodeId, dict[str, Any]], types: DataTypes) -> dict[ua.NodeId, Layout]:
    """Return the layouts of structures by data type; those that hold what is not known are left out."""
    layouts = {kind: Layout() for kind in found}
    while True:
        unclear = [kind for kind, layout in layouts.items() if not _fill(layout, kind, found, layouts, types)]
        if not unclear:
            return layouts
        for kind in unclear:
            del layouts[kind]


def _fill(
    layout: Layout, kind: ua.NodeId, found: dict[ua.NodeId, dict[str, Any]], layouts: dict[ua.NodeId, Layout],
    types: DataTypes,
) -> bool:  # fmt: skip
    """Fill a layout by its definition (OPC 10000-3, 8.48); False when the type of a field is not known."""
    shape = found[kind]["StructureType"]
    fields = []
    for told in _all_fields(kind, found):
        inner = _field_type(told["DataType"], layouts, types)
        if inner is None:
            return False
        if shape in _SUBTYPED and told["IsOptional"] and isinstance(inner, Layout):  # here: a sub-type may be there
            inner = EXTENSION_OBJECT
        elif shape in _SUBTYPED and told["IsOptional"]:
            inner = inner if inner == EXTENSION_OBJECT else VARIANT
        rank = told["ValueRank"]
        optional = shape == _WITH_OPTIONAL and bool(told["IsOptional"])
        fields.append(Field(told["Name"] or "", inner, max(rank, 0) if rank else 1, optional))
    layout.fields, layout.union, layout.optional = tuple(fields), shape in _UNION, shape == _WITH_OPTIONAL
    return True


def _all_fields(kind: ua.NodeId, found: dict[ua.NodeId, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a structure's fields; those it inherits come first, and many servers leave them out."""
    fields: list[dict[str, Any]] = []
    for _ in range(_DEEPEST):
        if kind not in found:
            break
        have = {field["Name"] for field in fields}
        fields = [field for field in found[kind]["Fields"] or () if field["Name"] not in have] + fields
        kind = found[kind]["BaseDataType"]
    return fields


def _field_type(kind: ua.NodeId, layouts: dict[ua.NodeId, Layout], types: DataTypes) -> int | Layout | None:
    if kind in layouts:
        return layouts[kind]
    known = structures.standard_type(kind)
    if known is not None:
        return known
    base = types.base(kind)
    if base == EXTENSION_OBJECT:
        return EXTENSION_OBJECT if not kind.NamespaceIndex and kind.Identifier == EXTENSION_OBJECT else None
    if base in (26, 27, 28):  # a field of an abstract type holds a Variant (OPC 10000-6, 5.2.6)
        return VARIANT
    return int(ua.VariantType.Int32) if base == ENUMERATION else base


def is_enumeration(types: DataTypes, kind: ua.NodeId | None) -> bool:
    """Whether a data type is an enumeration, as far as is known."""
    return kind is not None and types.base(kind) == ENUMERATION
