"""The sample: its columns, and the NDJSON that carries it from one processor to the next.

A batch of samples is a pyarrow Table with the columns of `SCHEMA`. On the wire it is one JSON object a line;
fields that say nothing (status 0, no unit) are left out. docs/sample.md has the meaning of each field.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from otmirror import ndjson
from otmirror.status import BAD

SCHEMA = pa.schema(
    [
        pa.field("tag", pa.string(), nullable=False),
        pa.field("ts", pa.int64(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("type", pa.string(), nullable=False),
        pa.field("quality", pa.string(), nullable=False),
        pa.field("status", pa.int64(), nullable=False),
        pa.field("unit", pa.string()),
        pa.field("ts_server", pa.int64()),
        pa.field("ts_read", pa.int64()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("seq", pa.int64()),
        pa.field("backfill", pa.bool_(), nullable=False),
    ]
)
"""Columns of a batch. Times are microseconds since 1970-01-01 UTC; `status` is an unsigned 32-bit code."""

COLUMNS: tuple[str, ...] = tuple(SCHEMA.names)

TYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float", "double", "string", "datetime", "bytes", "enum", "json",
)  # fmt: skip

EXACT_INTEGER = 2**53
"""Integers of a larger magnitude do not fit a double exactly: they travel as `text`, in decimal."""

MIME_TYPE = "application/x-ndjson"

_ABSENT: dict[str, Any] = {"status": 0, "backfill": False}
"""What a column that may not be null says where nothing is said."""

_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Time = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """One line as written; the field order is the order on the wire."""

    tag: _Name
    ts: _Time
    value: int | float | None
    type: Literal[
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float", "double", "string", "datetime", "bytes", "enum", "json",
    ]  # fmt: skip
    quality: Literal["good", "uncertain", "bad"]
    source: _Name
    text: str | None = None
    status: Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)] = 0
    unit: str | None = None
    ts_server: _Time | None = None
    ts_read: _Time | None = None
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    backfill: bool | None = False


_FIELDS = Line.__struct_fields__
_SHARED = ("type", "quality", "source", "unit")
"""The fields that many lines have in common, in their order."""
_ROWS_AT_ONCE = 50_000
"""Rows that become lines together: an array of strings holds 2 GB."""
_AT_ONCE = 200
"""Lines in a list."""
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a line can make msgspec raise; the last one by thousands of brackets inside each other."""


class Reject(msgspec.Struct, omit_defaults=True, gc=False):
    """A line that cannot be used: why, and the line itself (bytes that are no UTF-8 are escaped)."""

    reason: str
    line: str
    number: int | None = None
    """Its place in the batch, from 1."""


_reject_decoder = msgspec.json.Decoder(Reject)

Translator = Callable[[bytes, str], tuple[list[Line], list[Reject]]]
"""Takes a line that is no sample and the reason; returns the samples in it all the same, and what is refused of it."""


@dataclass
class Decoded:
    """What a batch's bytes held: the good lines as columns, the others with their reasons."""

    table: pa.Table
    rejects: list[Reject] = field(default_factory=list)


def table_from_columns(**columns: Any) -> pa.Table:
    """Build a batch from columns by name; absent nullable columns become null, absent `status` 0, `backfill` False.

    Raises:
        pyarrow.ArrowInvalid: a column does not convert, or lengths differ.
        KeyError: a column that may not be null is missing.
    """
    rows = len(columns["tag"])
    arrays = []
    for spec in SCHEMA:
        values = columns.get(spec.name)
        if values is None:
            if spec.name in _ABSENT:
                values = [_ABSENT[spec.name]] * rows
            elif not spec.nullable:
                raise KeyError(spec.name)
            else:
                arrays.append(pa.nulls(rows, spec.type))
                continue
        arrays.append(values if isinstance(values, pa.Array) else pa.array(values, spec.type))
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def split_value(value: object) -> tuple[float | None, str | None]:
    """Split one scalar into the `value` and `text` columns, without loss.

    Numbers and booleans become a float; integers beyond 2**53 and numbers JSON cannot write (NaN, Infinity)
    become text; strings are text; None is neither.
    """
    if value is None:
        return None, None
    if isinstance(value, (bool, int)):
        if -EXACT_INTEGER <= value <= EXACT_INTEGER:
            return float(value), None
        return None, str(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return value, None
        return None, "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return None, str(value)


def encode(table: pa.Table) -> bytes:
    """Write a batch as NDJSON.

    Raises:
        ValueError: a `value` is NaN or infinite; `split_value` turns those into text.
    """
    finite = pc.all(pc.is_finite(table.column("value"))).as_py()
    if finite is False:
        raise ValueError("a sample's value is NaN or infinite: JSON has no such number, put it into text")
    starts = range(0, table.num_rows, _ROWS_AT_ONCE)
    return b"".join(_encoded(table.slice(start, _ROWS_AT_ONCE).combine_chunks()) for start in starts)


def _encoded(table: pa.Table) -> bytes:
    odd = pc.or_(pc.is_valid(table.column("text")), pc.not_equal(table.column("status"), 0)).combine_chunks()
    lines = None if 4 * odd.true_count > table.num_rows else ndjson.lines(table, _SHARED, _encoder.encode)
    if lines is None:
        return _written_lines(_lines(table))
    if odd.true_count:
        others = [_encoder.encode(line).decode() + "\n" for line in _lines(table.filter(odd))]
        lines = pc.replace_with_mask(lines, odd, pa.array(others, pa.string()))
    return ndjson.content(lines)


def _written_lines(lines: Iterable[Any]) -> bytes:
    """Write lines, some at a time.

    As lists, as msgspec 0.22 never lets go of an iterator nor of all that it refers to; short ones, as the memory of
    one is still in the cache when the next one takes it.
    """
    rest = iter(lines)
    parts = iter(lambda: list(itertools.islice(rest, _AT_ONCE)), [])
    return b"".join(map(_encoder.encode_lines, parts))


def _lines(table: pa.Table) -> Iterable[Line]:
    return map(Line, *(_objects(table.column(name)) for name in _FIELDS))


def _objects(column: pa.ChunkedArray) -> Iterable[Any]:
    """Return a column's values; one that is the same all through is not built up."""
    if column.null_count == len(column):
        return itertools.repeat(None, len(column))
    if ndjson.is_same(column):
        return itertools.repeat(column[0].as_py(), len(column))
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    # numpy makes Python's numbers several times as fast.
    values: list[Any] = column.to_numpy().tolist() if number and not column.null_count else column.to_pylist()
    return values


def decode(content: bytes, translate: Translator | None = None) -> Decoded:
    """Read NDJSON. A line that cannot be read never hides its neighbours: it is returned with its reason.

    `translate` gets the lines that are no samples, and may know their format.
    """
    try:
        lines: Sequence[Line] = _decoder.decode_lines(content)
        rejects: list[Reject] = []
        if any(map(_contradiction, lines)):
            lines, rejects = _decode_each(content, translate)
    except UNREADABLE:
        lines, rejects = _decode_each(content, translate)
    return Decoded(_to_table(lines), rejects)


def _decode_each(content: bytes, translate: Translator | None) -> tuple[list[Line], list[Reject]]:
    lines: list[Line] = []
    rejects: list[Reject] = []
    for number, raw in enumerate(content.split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            line = _decoder.decode(raw)
            reason = _contradiction(line)
        except UNREADABLE as error:
            reason = f"not a sample: {_why(error)}"
            if translate:
                found, refused = translate(raw, reason)
                lines += found
                rejects += [Reject(reject.reason, reject.line, number) for reject in refused]
                continue
        if reason:
            rejects.append(Reject(reason, raw.decode("utf-8", "backslashreplace"), number))
        else:
            lines.append(line)
    return lines, rejects


def _why(error: Exception) -> str:
    return "its brackets are nested too deeply" if isinstance(error, RecursionError) else str(error)


def _contradiction(line: Line) -> str | None:
    if line.quality == BAD and line.value is not None:
        return "a bad sample carries a value: its value has to be null"
    return None


def _to_table(lines: Sequence[Line]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [getattr(line, name) for line in lines] for name in COLUMNS}
    for index, value in enumerate(columns["value"]):
        if type(value) is int and not -EXACT_INTEGER <= value <= EXACT_INTEGER:
            columns["value"][index] = None
            if columns["text"][index] is None:
                columns["text"][index] = str(value)
    columns["backfill"] = [flag is True for flag in columns["backfill"]]
    return table_from_columns(**columns)


def encode_rejects(rejects: Iterable[Reject]) -> bytes:
    """Write rejects as NDJSON: `{"reason": ..., "line": ..., "number": ...}` a line."""
    return _written_lines(rejects)


def decode_rejects(content: bytes) -> list[Reject]:
    """Read what `encode_rejects` wrote; a line that is something else is itself returned as a reject."""
    rejects = []
    for raw in content.split(b"\n"):
        if raw.strip():
            try:
                rejects.append(_reject_decoder.decode(raw))
            except UNREADABLE as error:
                rejects.append(Reject(f"not a reject: {_why(error)}", raw.decode("utf-8", "backslashreplace")))
    return rejects


def batch_id(content: bytes) -> str:
    """Return the batch's id: a digest of its content (BLAKE2b, 128 bits, hex).

    The same samples always have the same id, however often they are delivered, merged again or replayed.
    """
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def batch_attributes(table: pa.Table, content: bytes) -> dict[str, str]:
    """Return the FlowFile attributes of a batch (eight; all values are strings)."""
    times = table.column("ts")
    return {
        "otmirror.content": "samples",
        "otmirror.source": table.column("source")[0].as_py() if table.num_rows else "",
        "otmirror.batch": batch_id(content),
        "otmirror.samples": str(table.num_rows),
        "otmirror.bad": str(pc.sum(pc.equal(table.column("quality"), pa.scalar(BAD))).as_py() or 0),
        "otmirror.ts.first": _written(pc.min(times).as_py()),
        "otmirror.ts.last": _written(pc.max(times).as_py()),
        "mime.type": MIME_TYPE,
    }


def _written(number: int | None) -> str:
    return "" if number is None else str(number)
