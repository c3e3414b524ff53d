"""Rows of a batch to lines of JSON, a column at a time.

For rows without `text` and with `status` 0, as most are. What comes out is what msgspec writes of the same row, but for
the exponents of numbers (`1e+16`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_MOST_SHARED = 1024
_QUOTE, _BACKSLASH, _SPACE = 0x22, 0x5C, 0x20
_POWERS = pa.array([10.0**power for power in range(30)])
_EXPONENT = _POWERS[pc.index(pc.match_substring(_POWERS.cast(pa.string()), "e"), True).as_py()].as_py()
"""From here on pyarrow writes a number with an exponent (1e10 in 26.0)."""

Dumps = Callable[[Any], bytes]
"""Writes one value as JSON."""


def lines(table: pa.Table, shared: Sequence[str], dumps: Dumps) -> pa.StringArray | None:
    """Return each row's line with its end; None when the columns `shared` differ too much to be worth it.

    `table` has the columns of a batch, each in one chunk; its columns `text` and `status` are not written. `shared`
    names columns that many rows have in common, in the order of the wire.
    """
    common = _shared(table, shared, dumps)
    if common is None:
        return None
    parts = [
        '{"tag":', *_strings(table.column("tag").combine_chunks(), dumps),
        ',"ts":', table.column("ts").combine_chunks().cast(pa.string()),
        ',"value":', *_numbers(table.column("value").combine_chunks()),
        common, *_integers(table, "ts_server"), *_integers(table, "ts_read"), *_integers(table, "seq"),
        *_flag(table, "backfill"), "}\n",
    ]  # fmt: skip
    return pc.binary_join_element_wise(*_fewer(parts), "")


def _fewer(parts: Sequence[str | pa.StringArray]) -> list[str | pa.StringArray]:
    """Return the parts with neighbours that are the same in each row made one."""
    fewer: list[str | pa.StringArray] = []
    for part in parts:
        if isinstance(part, str) and fewer and isinstance(fewer[-1], str):
            fewer[-1] += part
        else:
            fewer.append(part)
    return fewer


def is_same(column: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether a column has one value, not null, all through; an empty one has none."""
    return bool(len(column) and not column.null_count and pc.all(pc.equal(column, column[0])).as_py())


def content(lines: pa.StringArray) -> bytes:
    """Return the lines one after the other."""
    return _octets(lines).tobytes()


def _octets(column: pa.StringArray) -> npt.NDArray[np.uint8]:
    """Return the bytes of all strings, one after the other (Arrow's layout of binary columns)."""
    _, offsets, values = column.buffers()
    if not len(column) or values is None:
        return np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(values, np.uint8)[ends[0] : ends[-1]]


def _strings(column: pa.StringArray, dumps: Dumps) -> list[Any]:
    """Return strings as JSON. Those without a character that JSON escapes need quotes only (RFC 8259, 7)."""
    octets = _octets(column)
    if ((octets < _SPACE) | (octets == _QUOTE) | (octets == _BACKSLASH)).any():
        return [pa.array([dumps(text).decode() for text in column.to_pylist()], pa.string())]
    return ['"', column, '"']


def _numbers(column: pa.DoubleArray) -> list[Any]:
    written = column.cast(pa.string())
    numbers = column.to_numpy(zero_copy_only=False)
    whole = (np.floor(numbers) == numbers) & (np.abs(numbers) < _EXPONENT)
    if whole.all():
        return [written, ".0"]
    if whole.any():
        # As msgspec has it: a reader who takes a column's type from its first line then sees no integer.
        mask = pa.array(whole)
        written = pc.replace_with_mask(written, mask, pc.binary_join_element_wise(written.filter(mask), ".0", ""))
    return [pc.fill_null(written, "null") if column.null_count else written]


def _integers(table: pa.Table, name: str) -> list[Any]:
    column = table.column(name).combine_chunks()
    if column.null_count == len(column):
        return []
    key = f',"{name}":'
    if not column.null_count:
        return [f"{key}{column[0].as_py()}"] if is_same(column) else [key, column.cast(pa.string())]
    return [pc.fill_null(pc.binary_join_element_wise(key, column.cast(pa.string()), ""), "")]


def _flag(table: pa.Table, name: str) -> list[Any]:
    column = table.column(name).combine_chunks()
    key = f',"{name}":true'
    if column.true_count in (0, len(column)):
        return [key] if column.true_count else []
    return [pc.if_else(column, key, "")]


def _shared(table: pa.Table, names: Sequence[str], dumps: Dumps) -> str | pa.StringArray | None:
    """Return each row's JSON of the columns `names`, from the comma before the first name on."""
    codes, count, values = np.zeros(table.num_rows, np.int64), 1, []
    for name in names:
        column = table.column(name).combine_chunks()
        if is_same(column):
            values.append([column[0].as_py()])
            continue
        coded = column.dictionary_encode(null_encoding="encode")
        found = coded.dictionary.to_pylist()
        codes = codes * len(found) + coded.indices.to_numpy()
        count *= len(found)
        values.append(found)
        if count > _MOST_SHARED:
            return None
    texts = [
        "".join(
            f',"{name}":{dumps(value).decode()}' for name, value in zip(names, one, strict=True) if value is not None
        )
        for one in itertools.product(*values)
    ]
    return texts[0] if count == 1 else pa.array(texts, pa.string()).take(pa.array(codes))
