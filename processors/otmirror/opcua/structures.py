"""Structures opened field by field (OPC 10000-6, 5.2.6 to 5.2.8), by definitions that belong to one connection.

asyncua can make classes out of a server's definitions, but registers them for the whole process under node ids with
namespace indices, where those of two servers clash. Here a definition is data, kept in a `Structures` per connection.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from enum import Enum, IntFlag
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import get_safe_type_hints
from asyncua.ua.uatypes import type_allow_subclass, type_from_list, type_from_optional, type_is_list, type_is_optional

from otmirror.opcua import binary
from otmirror.opcua.binary import EXTENSION_OBJECT, READERS
from otmirror.opcua.faults import UndecodableError

_UINT32 = struct.Struct("<I")
_INT32 = 6
_MOST_UNKNOWN = 1000


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its built-in type's number or the structure it holds, and how many dimensions it has (0: scalar)."""

    name: str
    type: int | Layout
    dimensions: int = 0
    optional: bool = False


@dataclass(slots=True, eq=False)
class Layout:
    """The fields of a structure in their order; of a `union` only one is there, of an `optional` one some may lack.

    A structure may hold itself: a layout is made first and filled afterwards.
    """

    fields: tuple[Field, ...] = ()
    union: bool = False
    optional: bool = False


class Structures:
    """What is known about the encodings of structures: the standard ones, and what the server told."""

    def __init__(self, layouts: Mapping[ua.NodeId, Layout] | None = None):
        """Take the layouts of a server's structures by the node ids of their binary encodings."""
        self._layouts = dict(layouts or {})
        self._given_up: set[ua.NodeId] = set()
        self.unknown: set[ua.NodeId] = set()
        """Encodings met that nothing is known about and that nobody has asked the server for yet."""

    @property
    def count(self) -> int:
        """How many encodings of the server's own are known."""
        return len(self._layouts)

    def add(self, layouts: Mapping[ua.NodeId, Layout], asked: Collection[ua.NodeId] = ()) -> None:
        """Take more layouts of the server's structures, and which encodings it was asked for: these only once."""
        self._layouts.update(layouts)
        self._given_up.update(asked)
        self.unknown.difference_update(layouts, asked)

    def knows(self, encoding: ua.NodeId) -> bool:
        """Whether structures of this encoding can be opened."""
        return encoding in self._layouts or standard(encoding) is not None

    def fields_of(self, closed: ua.ExtensionObject) -> dict[str, Any] | None:
        """Return a structure's fields by name, structures in variants still closed; None when it cannot be opened.

        Raises:
            UndecodableError: the body is not what the definition says.
        """
        if closed.Body is None or closed.Encoding == binary.XML_BODY:
            return None
        layout = self._layouts.get(closed.TypeId) or standard(closed.TypeId)
        if layout is None:
            if closed.TypeId not in self._given_up and len(self.unknown) < _MOST_UNKNOWN:
                self.unknown.add(closed.TypeId)
            return None
        try:
            found, _ = _Opening(closed.Body).structure(layout, 0, 0)
        except (struct.error, IndexError):
            raise UndecodableError(f"the body of a {closed.TypeId.to_string()} is cut short") from None
        return found  # bytes behind the fields known are those of a newer definition


class _Opening:
    """Reads one body. Elements are counted, as those of an empty structure take no bytes."""

    def __init__(self, body: bytes):
        self._body = body
        self._elements = len(body)

    def structure(self, layout: Layout, at: int, depth: int) -> tuple[dict[str, Any], int]:
        if depth > binary.DEEPEST:
            raise UndecodableError(f"structures inside structures, more than {binary.DEEPEST} deep")
        mask, bit = 0, 1
        if layout.union or layout.optional:
            (mask,) = _UINT32.unpack_from(self._body, at)
            at += 4
        if layout.union:
            if not mask:
                return {}, at
            chosen = layout.fields[mask - 1]
            value, at = self._field(chosen, at, depth)
            return {chosen.name: value}, at
        found: dict[str, Any] = {}
        for field in layout.fields:
            if field.optional:
                missing, bit = not mask & bit, bit << 1
                if missing:
                    continue
            found[field.name], at = self._field(field, at, depth)
        return found, at

    def _field(self, field: Field, at: int, depth: int) -> tuple[Any, int]:
        if field.dimensions < 1:
            return self._one(field.type, at, depth)
        sizes: list[int] = []
        if field.dimensions > 1:  # the sizes, and then the elements without their count
            sizes, at = self._array(_INT32, at, depth)
        if not sizes:
            return self._array(field.type, at, depth)
        count = 1
        for size in sizes:
            count *= max(size, 0)
            self._count(count)
        elements = []
        for _ in range(count):
            element, at = self._one(field.type, at, depth)
            elements.append(element)
        return binary.shaped(elements, sizes) if count else elements, at

    def _one(self, kind: int | Layout, at: int, depth: int) -> tuple[Any, int]:
        if isinstance(kind, Layout):
            return self.structure(kind, at, depth + 1)
        return READERS[kind](self._body, at, depth + 1)

    def _array(self, kind: int | Layout, at: int, depth: int) -> tuple[Any, int]:
        if not isinstance(kind, Layout):
            return binary.array(kind, self._body, at, depth + 1)
        (count,) = struct.unpack_from("<i", self._body, at)
        at += 4
        if count < 0:
            return None, at
        self._count(count)
        self._elements -= count
        found = []
        for _ in range(count):
            element, at = self.structure(kind, at, depth + 1)
            found.append(element)
        return found, at

    def _count(self, count: int) -> None:
        if count > self._elements:
            raise UndecodableError(f"{count} elements announced in {len(self._body)} bytes")


def standard(encoding: ua.NodeId) -> Layout | None:
    """Return the layout of a structure of the standard namespace, by its binary encoding."""
    kind = None if encoding.NamespaceIndex else ua.extension_objects_by_typeid.get(encoding)
    return None if kind is None else _of_class(kind)


def standard_type(data_type: ua.NodeId) -> Layout | None:
    """Return the layout of a structure of the standard namespace, by its data type."""
    kind = None if data_type.NamespaceIndex else _standard_types().get(data_type)
    return None if kind is None else _of_class(kind)


@functools.cache
def _standard_types() -> dict[ua.NodeId, Any]:
    kinds = ((kind, getattr(kind, "data_type", None)) for kind in set(ua.extension_objects_by_typeid.values()))
    return {data_type: kind for kind, data_type in kinds if data_type is not None and not data_type.NamespaceIndex}


@functools.cache
def _of_class(kind: Any) -> Layout | None:
    """Return the layout of one of asyncua's dataclasses; None where it holds what is not known here."""
    try:
        hints = get_safe_type_hints(kind, {"ua": ua})
        found = [_of_hint(field.name, hints[field.name]) for field in fields(kind) if field.name != "Encoding"]
    except (AttributeError, TypeError, KeyError, RecursionError):
        return None
    if issubclass(kind, ua.UaUnion) or None in found:
        return None
    return Layout(tuple(field for field in found if field), optional=any(field.optional for field in found if field))


def _of_hint(name: str, hint: Any) -> Field | None:
    optional = type_is_optional(hint)
    if optional:
        hint = type_from_optional(hint)
    array = type_is_list(hint)
    if array:
        hint = type_from_list(hint)
    if type_allow_subclass(hint):
        return Field(name, EXTENSION_OBJECT, int(array), optional)
    inner = _of_type(hint)
    return None if inner is None else Field(name, inner, int(array), optional)


def _of_type(hint: Any) -> int | Layout | None:
    if issubclass(hint, IntFlag) and hasattr(hint, "datatype"):
        return int(ua.VariantType[hint.datatype()])
    if issubclass(hint, Enum):
        return int(ua.VariantType.UInt32) if issubclass(hint, IntFlag) else _INT32
    if hint.__name__ in ua.VariantType.__members__:
        return int(ua.VariantType[hint.__name__])
    if hint.__name__ == "CharArray":
        return int(ua.VariantType.String)
    return _of_class(hint)
