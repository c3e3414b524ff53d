"""DataValues to columns (OPC 10000-6, 5.2.2.17), without losing a bit of value, status or time."""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import pyarrow as pa
from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from otmirror import samples
from otmirror.opcua.readings import RARE, STRING, Reading
from otmirror.status import BAD, GOOD, STATUS, quality_of
from otmirror.taglist import Tag

_V = ua.VariantType
_NUMBERS = {
    _V.Boolean: "bool", _V.SByte: "int8", _V.Byte: "uint8", _V.Int16: "int16", _V.UInt16: "uint16",
    _V.Int32: "int32", _V.UInt32: "uint32", _V.Int64: "int64", _V.UInt64: "uint64",
    _V.Float: "float", _V.Double: "double",
}  # fmt: skip
_TEXTS: dict[ua.VariantType, tuple[str, Callable[[Any], str | None]]] = {
    _V.String: ("string", str),
    _V.DateTime: ("datetime", lambda value: iso(value)),
    _V.ByteString: ("bytes", lambda value: base64.b64encode(value).decode()),
    _V.Guid: ("string", str),
    _V.XmlElement: ("string", lambda value: value if isinstance(value, str) else value.Value),
    _V.NodeId: ("string", lambda value: value.to_string()),
    _V.ExpandedNodeId: ("string", lambda value: value.to_string()),
    _V.StatusCode: ("string", lambda value: value.name),
    _V.QualifiedName: ("string", lambda value: value.to_string()),
    _V.LocalizedText: ("string", lambda value: value.Text),
}

_NAMES = {kind.value: name for kind, name in _NUMBERS.items()}
_BOOLEAN = _V.Boolean.value

Scalar = tuple["float | None", "str | None", str]
"""value, text and type of a sample."""


class Batch:
    """Gathers the samples of one read cycle as columns."""

    def __init__(self, source: str):
        """Take the source's name."""
        self._source = source
        self._rows: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, tag: Tag, reading: Reading, ts_read: int) -> int:
        """Add what was read of a tag at `ts_read` (microseconds) and return its status code."""
        value, kind, status, ts_source, ts_server = reading
        quality = quality_of(status) if status else GOOD
        if quality == BAD:
            scalar = _nothing(tag)
        else:
            try:
                scalar = decode(value, tag) if kind == RARE else plain_scalar(value, kind, tag)
            except Exception:  # whatever one value holds, the others must not suffer
                status, quality, scalar = STATUS["BadDecodingError"], BAD, _nothing(tag)
        ts = ts_source if ts_source is not None else ts_server if ts_server is not None else ts_read
        self._rows.append((tag.tag, ts, *scalar, quality, status, tag.unit, ts_server, ts_read))
        return status

    def add_bad(self, tag: Tag, status: int, now: int) -> None:
        """Add a bad sample of a tag that could not be read at `now` (microseconds)."""
        self._rows.append((tag.tag, now, *_nothing(tag), BAD, status, tag.unit, None, now))

    def table(self, backfill: bool = False) -> pa.Table:
        """Return the samples in the order they were added; their sequence numbers are still to come.

        `backfill` says that they come from history.
        """
        names = ("tag", "ts", "value", "text", "type", "quality", "status", "unit", "ts_server", "ts_read")
        columns: dict[str, Sequence[Any]] = dict(zip(names, zip(*self._rows, strict=True), strict=True))
        count = len(self._rows)
        return samples.table_from_columns(**columns, source=[self._source] * count, backfill=[backfill] * count)


def _nothing(tag: Tag) -> Scalar:
    return None, None, tag.type or "double"


def decode(variant: ua.Variant | None, tag: Tag) -> Scalar:
    """Return value, text and type of what a tag's node holds, with the tag's scale and offset applied.

    The type is the one read, whatever the tag declares; the declared one stands in where nothing was read.
    Arrays and structures become JSON text.
    """
    if variant is None or variant.Value is None:
        return _nothing(tag)
    kind, value = variant.VariantType, variant.Value
    if variant.is_array or isinstance(value, list) or (kind not in _NUMBERS and kind not in _TEXTS):
        return None, _clean(json.dumps(plain(value), ensure_ascii=False, allow_nan=False)), "json"
    if kind in _TEXTS:
        name, convert = _TEXTS[kind]
        text = convert(value)
        return None, None if text is None else _clean(text), name
    return plain_scalar(value, kind.value, tag)


def type_name(data_type: ua.NodeId) -> str | None:
    """Return the type of a sample for one of the built-in data types (OPC 10000-6, 5.1.2), else None.

    An enumeration's values are Int32 (OPC 10000-3, 8.14); a structure becomes `json`.
    """
    if data_type.NamespaceIndex or not isinstance(data_type.Identifier, int):
        return None
    if data_type.Identifier == ObjectIds.Enumeration:
        return "int32"
    if data_type.Identifier == ObjectIds.Structure:
        return "json"
    known = {kind.value: name for kind, name in _NUMBERS.items()} | {kind.value: n for kind, (n, _) in _TEXTS.items()}
    return known.get(data_type.Identifier)


def plain_scalar(value: Any, kind: int, tag: Tag) -> Scalar:
    """Return value, text and type of a number, boolean or string of built-in type `kind`."""
    if value is None:
        return _nothing(tag)
    if kind == STRING:
        return None, _clean(value), "string"
    if kind == _BOOLEAN or (tag.scale == 1.0 and tag.offset == 0.0):
        if type(value) is float and math.isfinite(value):
            return value, None, _NAMES[kind]
        return *samples.split_value(value), _NAMES[kind]
    return *samples.split_value(float(value) * tag.scale + tag.offset), "double"


def iso(time: datetime.datetime) -> str:
    """Return ISO 8601 in UTC with microseconds, such as `2026-01-02T03:04:05.000006Z`."""
    return time.astimezone(datetime.timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def plain(value: Any) -> Any:
    """Return what JSON can hold: bytes as base64, times as ISO 8601, structures as objects, NaN as text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else samples.split_value(value)[1]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        return iso(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, ua.StatusCode):
        return value.name
    if isinstance(value, ua.LocalizedText):
        return value.Text
    if isinstance(value, (ua.NodeId, ua.QualifiedName)):
        return value.to_string()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.name != "Encoding"}
    return str(value)


def _clean(text: str) -> str:
    """Replace bytes that are no UTF-8, which asyncua keeps as lone surrogates: no JSON can hold them."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
