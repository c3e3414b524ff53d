"""Values of a read, decoded straight from the bytes of the server's answer (OPC 10000-6, 5.2.2.17 and 5.2.2.16).

Numbers, booleans and strings are unpacked here; whatever else a node may hold is read by `binary` into asyncua's
objects. Building these for every value costs some twenty times as much.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from asyncua import ua

from otmirror.opcua import binary
from otmirror.opcua.binary import FIXED_TYPES
from otmirror.opcua.faults import UndecodableError

Reading = tuple[Any, int, int, "int | None", "int | None"]
"""Value, its built-in type's number, status code, source and server timestamp (microseconds since 1970, UTC).

With type `RARE` the value is asyncua's Variant; structures in it are ExtensionObjects whose bodies are still bytes.
"""

RARE = -1
STRING = 12

_VALUE, _STATUS, _SOURCE, _SERVER, _SOURCE_PICO, _SERVER_PICO = 1, 2, 4, 8, 16, 32
_KNOWN = 63

_TICKS_TO_1970 = 116_444_736_000_000_000
_LAST_TICK = 2_650_467_743_990_000_000
"""9999-12-31 23:59:59; from there on, and up to 0, it is no valid time (OPC 10000-6, 5.2.2.5)."""

_INT32 = struct.Struct("<i")

_Layout = tuple[Callable[[bytes, int], tuple[Any, ...]], int, int, int, int, int]
"""How to unpack, bytes, type, and where status, source and server timestamp are among what is unpacked (0: nowhere)."""


def _layout(kind: int, mask: int, value: str) -> _Layout:
    form, places = _forms(mask, value)
    packed = struct.Struct("<" + form)
    return packed.unpack_from, packed.size, kind, places[0], places[1], places[2]


def _forms(mask: int, value: str) -> tuple[str, list[int]]:
    """Picoseconds are skipped: a microsecond is the finest a sample has."""
    form, places, count = value, [0, 0, 0], 1
    for bit, code, place in ((_STATUS, "I", 0), (_SOURCE, "q", 1), (_SOURCE_PICO, "2x", -1), (_SERVER, "q", 2),
                             (_SERVER_PICO, "2x", -1)):  # fmt: skip
        if mask & bit:
            form += code
            if place >= 0:
                places[place] = count
                count += 1
    return form, places


_LAYOUTS = {
    bytes((mask, kind)): _layout(kind, mask, "2x" + code)
    for kind, code in FIXED_TYPES.items()
    for mask in range(_KNOWN + 1)
    if mask & _VALUE
}
_TAILS = [_layout(RARE, mask, "0s") for mask in range(_KNOWN + 1)]


def microseconds(ticks: int) -> int | None:
    """Return microseconds since 1970 of a DateTime, 100 ns ticks since 1601, cut; None where that is no valid time."""
    return (ticks - _TICKS_TO_1970) // 10 if 0 < ticks < _LAST_TICK else None


def bad(status: int) -> Reading:
    """Return the reading of a node whose request failed as a whole."""
    return None, 0, status, None, None


def decode(body: bytes, at: int) -> list[Reading]:
    """Decode an array of DataValues that begins at byte `at` of a message.

    Raises:
        UndecodableError: the bytes are cut short or make no sense. Nothing beyond their end is looked at.
    """
    try:
        return _decode(body, at)
    except (struct.error, IndexError):
        raise UndecodableError("the answer is cut short") from None
    except UndecodableError:
        raise
    except Exception as error:  # whatever asyncua's objects say to values they do not like
        raise UndecodableError(f"{type(error).__name__}: {error}") from None


def _decode(body: bytes, at: int) -> list[Reading]:
    (count,) = _INT32.unpack_from(body, at)
    at += 4
    if count > len(body) - at:
        raise UndecodableError(f"{count} values announced in {len(body) - at} bytes")
    found: list[Reading] = []
    layouts, add, first, last = _LAYOUTS, found.append, _TICKS_TO_1970, _LAST_TICK
    for _ in range(count):
        layout = layouts.get(body[at : at + 2])
        if layout is None:
            reading, at = data_value(body, at)
            add(reading)
            continue
        unpack, size, kind, status, source, server = layout
        told = unpack(body, at)
        at += size
        if server == 2 and source == 1:  # what nearly all servers send: value, both times, no status for good
            value, earlier, later = told
            if first < earlier < last and first < later < last:
                add((value, kind, 0, (earlier - first) // 10, (later - first) // 10))
                continue
        earlier, later = told[source] if source else 0, told[server] if server else 0
        add((
            told[0],
            kind,
            told[status] if status else 0,
            (earlier - first) // 10 if 0 < earlier < last else None,
            (later - first) // 10 if 0 < later < last else None,
        ))  # fmt: skip
    return found


def one(body: bytes, at: int) -> tuple[Reading, int]:
    """Decode one DataValue as `decode` does; returns it and where the next one begins.

    Raises:
        struct.error, IndexError, UndecodableError: the bytes are cut short or make no sense.
    """
    layout = _LAYOUTS.get(body[at : at + 2])
    if layout is None:
        return data_value(body, at)
    unpack, size, kind, status, source, server = layout
    told = unpack(body, at)
    return (
        told[0],
        kind,
        told[status] if status else 0,
        microseconds(told[source]) if source else None,
        microseconds(told[server]) if server else None,
    ), at + size


def data_value(body: bytes, at: int) -> tuple[Reading, int]:
    """Decode one DataValue, of whatever type; returns it and where the next one begins.

    Raises:
        struct.error, IndexError, UndecodableError: the bytes are cut short or make no sense.
    """
    mask = body[at]
    value, kind, at = None, 0, at + 1
    if mask & _VALUE:
        value, kind, at = _variant(body, at)
    unpack, size, _, status, source, server = _TAILS[mask & _KNOWN]
    told = unpack(body, at)
    return (
        value,
        kind,
        told[status] if status else 0,
        microseconds(told[source]) if source else None,
        microseconds(told[server]) if server else None,
    ), at + size


def _variant(body: bytes, at: int) -> tuple[Any, int, int]:
    encoding = body[at]
    if encoding == STRING:
        (length,) = _INT32.unpack_from(body, at + 1)
        start = at + 5
        if length < 0:
            return None, STRING, start
        if length > len(body) - start:
            raise UndecodableError(f"a string of {length} bytes where {len(body) - start} are left")
        return body[start : start + length].decode("utf-8", "surrogateescape"), STRING, start + length
    variant, at = binary.variant(body, at)
    return (variant, RARE, at) if encoding else (None, 0, at)


def of(value: ua.DataValue) -> Reading:
    """Return the reading of a DataValue that asyncua decoded or that was made by hand."""
    status = 0 if value.StatusCode is None else int(value.StatusCode.value)
    source, server = (
        None if time is None else microseconds(ua.datetime_to_win_epoch(time))
        for time in (value.SourceTimestamp, value.ServerTimestamp)
    )
    return value.Value, RARE, status, source, server
