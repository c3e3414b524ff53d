"""DataValues to columns (OPC 10000-6, 5.2.2.17), without losing a bit of value, status or time."""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import pyarrow as pa
from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from otmirror import samples
from otmirror.opcua import blocks
from otmirror.opcua.binary import XML_BODY
from otmirror.opcua.blocks import COLUMNS, Order, TagBlock, Taken
from otmirror.opcua.columns import Readings
from otmirror.opcua.elements import Elements
from otmirror.opcua.readings import RARE, STRING, Reading
from otmirror.opcua.structures import Structures
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
    _V.StatusCode: ("string", lambda value: status_text(value)),
    _V.QualifiedName: ("string", lambda value: value.to_string()),
    _V.LocalizedText: ("string", lambda value: value.Text),
}

_NAMES = {kind.value: name for kind, name in _NUMBERS.items()}
_BOOLEAN = _V.Boolean.value
_REALS = frozenset((_V.Float.value, _V.Double.value))

Scalar = tuple["float | None", "str | None", str]
"""value, text and type of a sample."""


@dataclass(frozen=True, slots=True)
class Forms:
    """How values become samples, beyond their types.

    `states` has the names of the values of enumerations, and of the 0 and 1 of booleans, by tag. With `elements` an
    array becomes a sample an element, unless its tag is declared as `json`; it remembers what arrays had. With
    `nan_is_bad` a NaN is a bad sample (BadSensorFailure, as over Modbus), and so is an infinity (BadOutOfRange).
    """

    states: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    structures: Structures = field(default_factory=Structures)
    elements: Elements | None = None
    nan_is_bad: bool = False

    def apart(self) -> Forms:
        """Return the same for values of another time: what arrays had then says nothing about what they have now."""
        return self if self.elements is None else replace(self, elements=Elements())


class Batch:
    """Gathers the samples of one read cycle as columns."""

    def __init__(self, source: str, forms: Forms | None = None):
        """Take the source's name and how values become samples."""
        self._source = source
        self._forms = forms or Forms()
        self._special = bool(self._forms.states or self._forms.nan_is_bad)
        self._rows: list[tuple[Any, ...]] = []
        self._taken: list[Taken] = []
        self._order = Order()
        self._odd = 0

    def __len__(self) -> int:
        return len(self._rows) + sum(map(len, self._taken)) - self._odd

    @property
    def states(self) -> Mapping[str, Mapping[int, str]]:
        """Names of states, by tag: for `ReadPlan.block_of`."""
        return self._forms.states

    def extend(self, block: TagBlock, readings: Sequence[Reading], ts_read: int) -> dict[int, int]:
        """Add what was read of tags, as `add` does one by one; returns their status codes but 0, by place."""
        if not isinstance(readings, Readings):
            told = [self.add(block.tag(place), reading, ts_read) for place, reading in enumerate(readings)]
            return {place: status for place, status in enumerate(told) if status}
        block.mark(self._forms.states)
        taken, before = block.taken(readings, ts_read), len(self._rows)
        statuses, counts = {}, []
        for place in taken.odd:
            rows = len(self._rows)
            if status := self.add(block.tag(place), readings.one(place), ts_read):
                statuses[place] = status
            counts.append(len(self._rows) - rows)
        self._order.add(taken, before, counts)
        self._taken.append(taken)
        self._odd += len(taken.odd)
        return statuses

    def add(self, tag: Tag, reading: Reading, ts_read: int) -> int:
        """Add what was read of a tag at `ts_read` (microseconds) and return its status code."""
        value, kind, status, ts_source, ts_server = reading
        quality = quality_of(status) if status else GOOD
        ts = ts_source if ts_source is not None else ts_server if ts_server is not None else ts_read
        if quality == BAD:
            return self._add_bad(tag, status, ts, ts_server, ts_read)
        try:
            if kind == RARE:
                if self._forms.elements is not None and tag.type != "json" and _is_array(value):
                    return self._add_elements(tag, value, (ts, quality, status, ts_server, ts_read))
                scalar = decode(value, tag, self._forms.structures)
            else:
                scalar = plain_scalar(value, kind, tag)
            if self._special:
                scalar = self._named(scalar, tag)
                if self._forms.nan_is_bad and scalar[1] in _NO_NUMBERS and scalar[2] in _REAL_NAMES:
                    return self._add_bad(tag, _NO_NUMBERS[scalar[1] or ""], ts, ts_server, ts_read)
        except Exception:  # whatever one value holds, the others must not suffer
            return self._add_bad(tag, STATUS["BadDecodingError"], ts, ts_server, ts_read)
        self._rows.append((tag.tag, ts, *scalar, quality, status, tag.unit, ts_server, ts_read))
        return status

    def add_bad(self, tag: Tag, status: int, now: int) -> None:
        """Add a bad sample of a tag that could not be read at `now` (microseconds)."""
        self._add_bad(tag, status, now, None, now)

    def _add_bad(self, tag: Tag, status: int, ts: int, ts_server: int | None, ts_read: int) -> int:
        """Add a bad sample of a tag, or of each element that it had when it was an array."""
        names = (self._forms.elements.had(tag.tag) if self._forms.elements else None) or (tag.tag,)
        for name in names:
            self._rows.append((name, ts, *_nothing(tag), BAD, status, tag.unit, ts_server, ts_read))
        return status

    def _add_elements(self, tag: Tag, variant: ua.Variant, told: tuple[int, str, int, int | None, int]) -> int:
        """Add a sample of each element of an array; of one without elements, one of the tag itself (`[]`)."""
        assert self._forms.elements is not None
        ts, quality, status, ts_server, ts_read = told
        values, names, gone = self._forms.elements.of(tag.tag, variant.Value)
        rows: list[tuple[Any, ...]] = []
        for name, value in zip(names, values, strict=True):
            scalar = self._named(_element(value, variant.VariantType, tag, self._forms.structures), tag)
            bad = _NO_NUMBERS.get(scalar[1] or "") if self._forms.nan_is_bad and scalar[2] in _REAL_NAMES else None
            if bad is None:
                rows.append((name, ts, *scalar, quality, status, tag.unit, ts_server, ts_read))
            else:
                rows.append((name, ts, None, None, scalar[2], BAD, bad, tag.unit, ts_server, ts_read))
        if not values:
            rows.append((tag.tag, ts, None, "[]", "json", quality, status, tag.unit, ts_server, ts_read))
        for name in gone:
            rows.append((name, ts, *_nothing(tag), BAD, STATUS["BadNoData"], tag.unit, ts_server, ts_read))
        self._rows += rows
        return status

    def _named(self, scalar: Scalar, tag: Tag) -> Scalar:
        """Add the name of a state to its number; not where a scale has made it another number."""
        states = self._forms.states.get(tag.tag)
        value, _, kind = scalar
        if not states or value is None or tag.scale != 1.0 or tag.offset != 0.0:
            return scalar
        named = states.get(int(value)) if value.is_integer() else None
        return value, named or None, kind if kind == "bool" else "enum"

    def table(self, backfill: bool = False) -> pa.Table:
        """Return the samples in the order they were added; their sequence numbers are still to come.

        `backfill` says that they come from history.
        """
        count = len(self)
        found = blocks.columns(self._taken) if self._taken else []
        if self._rows or not found:
            rows = [pa.array(values, samples.SCHEMA.field(name).type)
                    for name, values in zip(COLUMNS, zip(*self._rows, strict=True), strict=True)]  # fmt: skip
            self._order.rows(len(self._rows))
            places = self._order.places() if found else None
            found = [pa.concat_arrays(both).take(places) for both in zip(found, rows, strict=True)] if found else rows
        columns = dict(zip(COLUMNS, found, strict=True))
        return samples.table_from_columns(
            **columns, source=pa.repeat(self._source, count), backfill=pa.repeat(backfill, count)
        )


def _nothing(tag: Tag) -> Scalar:
    return None, None, tag.type or "double"


_NO_NUMBERS: dict[str | None, int] = {
    "NaN": STATUS["BadSensorFailure"], "Infinity": STATUS["BadOutOfRange"], "-Infinity": STATUS["BadOutOfRange"],
}  # fmt: skip
_REAL_NAMES = ("float", "double")


def _is_array(variant: Any) -> bool:
    return isinstance(variant, ua.Variant) and isinstance(variant.Value, list)


def decode(variant: ua.Variant | None, tag: Tag, structures: Structures) -> Scalar:
    """Return value, text and type of what a tag's node holds, with the tag's scale and offset applied.

    The type is the one read, whatever the tag declares; the declared one stands in where nothing was read.
    Arrays and structures become JSON text, structures by what is known of them.
    """
    if variant is None or variant.VariantType == _V.Null:
        return _nothing(tag)
    if variant.is_array or isinstance(variant.Value, list):
        if variant.Value is None:
            return None, None, "json"
        return None, _json(variant.Value, structures), "json"
    return _element(variant.Value, variant.VariantType, tag, structures)


def _element(value: Any, kind: ua.VariantType, tag: Tag, structures: Structures) -> Scalar:
    """Return value, text and type of a scalar, or of one element of an array."""
    if isinstance(value, ua.Variant):
        return decode(value, tag, structures)
    if value is None or (isinstance(value, ua.ExtensionObject) and not value.TypeId.Identifier):
        return None, None, _TEXTS[kind][0] if kind in _TEXTS else "json"
    if kind not in _NUMBERS and kind not in _TEXTS:
        return None, _json(value, structures), "json"
    if kind in _TEXTS:
        name, convert = _TEXTS[kind]
        text = convert(value)
        return None, None if text is None else _clean(text), name
    return plain_scalar(value, kind.value, tag)


def _json(value: Any, structures: Structures) -> str:
    """Return JSON text. Lists of plain numbers and texts, which may be long, need no look at each element."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps(plain(value, structures), ensure_ascii=False, allow_nan=False)
    return _clean(text)


def plain_scalar(value: Any, kind: int, tag: Tag) -> Scalar:
    """Return value, text and type of a number, boolean or string of built-in type `kind`."""
    if kind == STRING:
        return None, None if value is None else _clean(value), "string"
    if value is None:
        return _nothing(tag)
    if kind == _BOOLEAN or (tag.scale == 1.0 and tag.offset == 0.0):
        if type(value) is float and math.isfinite(value):
            return value, None, _NAMES[kind]
        return *samples.split_value(value), _NAMES[kind]
    return *samples.split_value(float(value) * tag.scale + tag.offset), "double"


def iso(time: datetime.datetime) -> str:
    """Return ISO 8601 in UTC with microseconds, such as `2026-01-02T03:04:05.000006Z`."""
    return time.astimezone(datetime.timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def status_text(code: ua.StatusCode) -> str:
    """Return a status code's name, or its number where that says more, such as `0x40900480` for one with info bits."""
    name: str = code.name
    return name if getattr(StatusCodes, name, None) == code.value else f"0x{code.value:08X}"


def plain(value: Any, structures: Structures) -> Any:
    """Return what JSON can hold: bytes as base64, times as ISO 8601, structures as objects, NaN as text.

    A structure that nothing is known about is `{"TypeId": ..., "Body": ...}` with its bytes in base64, or XML.
    """
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else samples.split_value(value)[1]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        return iso(value)
    if isinstance(value, (list, tuple)):
        return [plain(item, structures) for item in value]
    if isinstance(value, dict):
        return {name: plain(item, structures) for name, item in value.items()}
    if isinstance(value, ua.Variant):
        return plain(value.Value, structures)
    if isinstance(value, ua.ExtensionObject):
        return _opened(value, structures)
    if isinstance(value, ua.StatusCode):
        return status_text(value)
    if isinstance(value, ua.LocalizedText):
        return value.Text
    if isinstance(value, ua.XmlElement):
        return value.Value
    if isinstance(value, (ua.NodeId, ua.QualifiedName)):
        return value.to_string()
    if is_dataclass(value):
        told = ((one.name, getattr(value, one.name)) for one in fields(value) if one.name != "Encoding")
        return {name: plain(item, structures) for name, item in told if item is not None}
    return str(value)


def _opened(closed: ua.ExtensionObject, structures: Structures) -> Any:
    if not closed.TypeId.Identifier:
        return None
    told = structures.fields_of(closed)
    if told is not None:
        return plain(told, structures)
    body = closed.Body
    text = body.decode("utf-8", "replace") if body and closed.Encoding == XML_BODY else plain(body, structures)
    return {"TypeId": closed.TypeId.to_string(), "Body": text}


def _clean(text: str) -> str:
    """Replace bytes that are no UTF-8, which asyncua keeps as lone surrogates: no JSON can hold them."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
