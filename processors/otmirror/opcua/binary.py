"""The built-in types decoded from their bytes (OPC 10000-6, 5.2.2), strictly.

Nothing outside the bytes given is looked at; what a length or count announces has to be there before anything is made
of it, so that memory and time stay in proportion to the bytes received. Structures stay closed: an ExtensionObject
keeps its body as bytes (`structures` opens it).

Every reader takes the bytes, the place of its value and how deep it is inside others, and returns the value and the
place behind it. What is wrong raises UndecodableError, struct.error or IndexError.
"""

from __future__ import annotations

import datetime
import struct
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from asyncua import ua

from otmirror.opcua.faults import UndecodableError

Reader = Callable[[bytes, int, int], tuple[Any, int]]

DEEPEST = 100
"""Values inside values; decoders have to take 100 (OPC 10000-6, 5.1.12)."""

FIXED_TYPES = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
"""Codes of the numbers and Boolean for `struct`, by built-in type."""
EXTENSION_OBJECT, VARIANT, BYTE_STRING = 22, 24, 15
XML_BODY = 2
"""What an ExtensionObject's `Encoding` says when its body is XML."""

_TICKS_TO_LAST = 2_650_467_743_990_000_000
_1601 = datetime.datetime(1601, 1, 1, tzinfo=datetime.timezone.utc)
_LAST = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.timezone.utc)

_INT32 = struct.Struct("<i")
_UINT32 = struct.Struct("<I")
_UINT16 = struct.Struct("<H")
_INT64 = struct.Struct("<q")
_FOUR_BYTE_ID = struct.Struct("<BH")
_NUMERIC_ID = struct.Struct("<HI")
_IS_ARRAY, _HAS_DIMENSIONS, _TYPE = 0x80, 0x40, 0x3F
_NOTHING = ua.Variant()


def _number(code: str) -> Reader:
    packed = struct.Struct("<" + code)

    def read(body: bytes, at: int, _: int) -> tuple[Any, int]:
        return packed.unpack_from(body, at)[0], at + packed.size

    return read


def octets(body: bytes, at: int, _: int = 0) -> tuple[bytes | None, int]:
    """Read a ByteString; None for the null one."""
    (length,) = _INT32.unpack_from(body, at)
    at += 4
    if length < 0:
        return None, at
    if length > len(body) - at:
        raise UndecodableError(f"{length} bytes announced where {len(body) - at} are left")
    return body[at : at + length], at + length


def text(body: bytes, at: int, _: int = 0) -> tuple[str | None, int]:
    """Read a String; bytes that are no UTF-8 become lone surrogates."""
    found, at = octets(body, at)
    return None if found is None else found.decode("utf-8", "surrogateescape"), at


def _xml(body: bytes, at: int, _: int) -> tuple[ua.XmlElement, int]:
    found, at = text(body, at)
    return ua.XmlElement(found or ""), at  # type: ignore[arg-type]


def _time(body: bytes, at: int, _: int) -> tuple[datetime.datetime, int]:
    """Read a DateTime; before 1601 and after 9999 are the earliest and latest time (OPC 10000-6, 5.2.2.5)."""
    (ticks,) = _INT64.unpack_from(body, at)
    if ticks >= _TICKS_TO_LAST:
        return _LAST, at + 8
    return _1601 + datetime.timedelta(microseconds=max(ticks, 0) // 10), at + 8


def _guid(body: bytes, at: int, _: int) -> tuple[uuid.UUID, int]:
    return uuid.UUID(bytes_le=_exactly(body, at, 16)), at + 16


def _exactly(body: bytes, at: int, count: int) -> bytes:
    found = body[at : at + count]
    if len(found) < count:
        raise IndexError
    return found


def node(body: bytes, at: int, _: int = 0) -> tuple[ua.NodeId, int]:
    """Read a NodeId or ExpandedNodeId (OPC 10000-6, 5.2.2.9)."""
    encoding = body[at]
    at += 1
    kind = ua.NodeIdType(encoding & _TYPE)
    identifier: Any
    index = 0
    if kind == ua.NodeIdType.TwoByte:
        identifier, at = body[at], at + 1
    elif kind == ua.NodeIdType.FourByte:
        index, identifier = _FOUR_BYTE_ID.unpack_from(body, at)
        at += 3
    elif kind == ua.NodeIdType.Numeric:
        index, identifier = _NUMERIC_ID.unpack_from(body, at)
        at += 6
    else:
        (index,) = _UINT16.unpack_from(body, at)
        identifier, at = _IDENTIFIERS[kind](body, at + 2, 0)
        if identifier is None:
            identifier = "" if kind == ua.NodeIdType.String else b""
    uri: str | None = None
    server: int | None = None
    if encoding & 0x80:
        uri, at = text(body, at)
    if encoding & 0x40:
        (server,), at = _UINT32.unpack_from(body, at), at + 4
    if uri is None and server is None:
        return ua.NodeId(identifier, index, kind), at  # type: ignore[arg-type]
    return ua.ExpandedNodeId(identifier, index, kind, uri, server), at  # type: ignore[arg-type]


_IDENTIFIERS: dict[ua.NodeIdType, Reader] = {
    ua.NodeIdType.String: text,
    ua.NodeIdType.Guid: _guid,
    ua.NodeIdType.ByteString: octets,
}


def _status(body: bytes, at: int, _: int) -> tuple[ua.StatusCode, int]:
    return ua.StatusCode(_UINT32.unpack_from(body, at)[0]), at + 4


def qualified_name(body: bytes, at: int, _: int = 0) -> tuple[ua.QualifiedName, int]:
    """Read a QualifiedName."""
    (index,) = _UINT16.unpack_from(body, at)
    name, at = text(body, at + 2)
    return ua.QualifiedName(name, index), at


def localized_text(body: bytes, at: int, _: int = 0) -> tuple[ua.LocalizedText, int]:
    """Read a LocalizedText."""
    mask = body[at]
    at += 1
    locale = told = None
    if mask & 1:
        locale, at = text(body, at)
    if mask & 2:
        told, at = text(body, at)
    return ua.LocalizedText(told, locale), at


def extension_object(body: bytes, at: int, _: int = 0) -> tuple[ua.ExtensionObject, int]:
    """Read an ExtensionObject, leaving its body closed (OPC 10000-6, 5.2.2.15)."""
    kind, at = node(body, at)
    encoding, at = body[at], at + 1
    inside: bytes | None = None
    if encoding:
        inside, at = octets(body, at)
    found = ua.ExtensionObject(ua.NodeId(kind.Identifier, kind.NamespaceIndex), inside)  # type: ignore[arg-type]
    object.__setattr__(found, "Encoding", encoding)
    return found, at


_DATA_VALUE = (
    (1, "Value", VARIANT), (2, "StatusCode", 19), (4, "SourceTimestamp", 13), (16, "SourcePicoseconds", 5),
    (8, "ServerTimestamp", 13), (32, "ServerPicoseconds", 5),
)  # fmt: skip
_DIAGNOSTICS = (
    (1, "SymbolicId", 6), (2, "NamespaceURI", 6), (8, "Locale", 6), (4, "LocalizedText", 6), (16, "AdditionalInfo", 12),
    (32, "InnerStatusCode", 19), (64, "InnerDiagnosticInfo", 25),
)  # fmt: skip


def _masked(body: bytes, at: int, depth: int, members: Sequence[tuple[int, str, int]]) -> tuple[dict[str, Any], int]:
    mask, at = body[at], at + 1
    found: dict[str, Any] = {}
    for bit, name, kind in members:
        if mask & bit:
            found[name], at = READERS[kind](body, at, depth + 1)
    return found, at


def _data_value(body: bytes, at: int, depth: int) -> tuple[ua.DataValue, int]:
    found, at = _masked(body, at, depth, _DATA_VALUE)
    return ua.DataValue(**{"StatusCode": None} | found), at


def _diagnostics(body: bytes, at: int, depth: int) -> tuple[ua.DiagnosticInfo, int]:
    _not_too_deep(depth)
    found, at = _masked(body, at, depth, _DIAGNOSTICS)
    return ua.DiagnosticInfo(**found), at


def _not_too_deep(depth: int) -> None:
    if depth > DEEPEST:
        raise UndecodableError(f"values inside values, more than {DEEPEST} deep")


def variant(body: bytes, at: int, depth: int = 0) -> tuple[ua.Variant, int]:
    """Read a Variant; the value of a matrix is lists of lists (OPC 10000-6, 5.2.2.16).

    Raises:
        UndecodableError: its dimensions do not match the number of its elements, or it is of no known type.
    """
    _not_too_deep(depth)
    encoding, at = body[at], at + 1
    kind = encoding & _TYPE
    if kind > 25:  # to be read as ByteStrings, up to 31
        if kind > 31:
            raise UndecodableError(f"there is no built-in type {kind}")
        kind = BYTE_STRING
    if not encoding & _IS_ARRAY:
        if not kind:
            return _NOTHING, at
        value, at = READERS[kind](body, at, depth + 1)
        if encoding & _HAS_DIMENSIONS:
            _, at = array(6, body, at, depth)
        if isinstance(value, ua.Variant):  # not allowed, but harmless
            return value, at
        return ua.Variant(value, ua.VariantType(kind), is_array=False), at
    elements, at = array(kind, body, at, depth + 1)
    dimensions = None
    if encoding & _HAS_DIMENSIONS:
        dimensions, at = array(6, body, at, depth)
        elements = elements and shaped(elements, dimensions or ())
    return ua.Variant(elements, ua.VariantType(kind), dimensions, True), at


def array(kind: int, body: bytes, at: int, depth: int) -> tuple[list[Any] | None, int]:
    """Read a one-dimensional array of a built-in type; None for the null one."""
    (count,) = _INT32.unpack_from(body, at)
    at += 4
    if count < 0:
        return None, at
    code = FIXED_TYPES.get(kind)
    if code is not None:
        found = list(struct.unpack_from(f"<{count}{code}", body, at))
        return found, at + count * struct.calcsize(code)
    if count > (len(body) - at if kind else 0):  # each takes a byte at least; of nothing there can be no array
        raise UndecodableError(f"an array of {count} elements in {len(body) - at} bytes")
    read = READERS[kind] if kind else variant
    found = []
    for _ in range(count):
        element, at = read(body, at, depth)
        found.append(element)
    return found, at


def shaped(flat: list[Any], dimensions: Sequence[int]) -> list[Any]:
    """Return elements as lists of lists; the last dimension runs fastest.

    Raises:
        UndecodableError: the dimensions do not match the number of elements.
    """
    if len(dimensions) < 2:
        return flat
    total = 1
    for size in dimensions:
        total *= max(size, 0)
        if not 0 < total <= len(flat):
            break
    if total != len(flat) or len(dimensions) > DEEPEST:
        raise UndecodableError(f"dimensions {list(dimensions[:5])} for {len(flat)} elements")
    for size in reversed(dimensions[1:]):
        flat = [flat[start : start + size] for start in range(0, len(flat), size)]
    return flat


READERS: dict[int, Reader] = {kind: _number(code) for kind, code in FIXED_TYPES.items()} | {
    12: text, 13: _time, 14: _guid, 15: octets, 16: _xml, 17: node, 18: node, 19: _status, 20: qualified_name,
    21: localized_text, 22: extension_object, 23: _data_value, 24: variant, 25: _diagnostics,
}  # fmt: skip
"""How to read a value of each built-in type, by its number (OPC 10000-6, 5.1.2)."""
