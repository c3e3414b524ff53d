"""Answers whose shape is known: the values of all nodes taken from the bytes at once, as columns.

A server that is asked for the same nodes again mostly answers with the same types in the same order, so with the same
bytes in the same places but for the values themselves. That is checked value by value, as the key of a value (mask and
type, OPC 10000-6, 5.2.2.17 and 5.2.2.16) says where the next one begins; an answer that differs is decoded value by
value (`readings.decode`), and its shape is learned when an answer of that length comes again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from otmirror.opcua import readings
from otmirror.opcua.columns import PARTS, RECORDS, Group, Readings, gathered
from otmirror.opcua.readings import Reading

_LENGTH = struct.Struct("<i")
_HEAD = 6
"""Bytes of a DataValue before a string's own: mask, type and length."""

_FEW = 16
"""Answers of fewer values are not worth it."""
_MOST_VALUES = 400_000
_MOST_OF_A_LENGTH = 4


def _tail(mask: int) -> tuple[Callable[[bytes, int], tuple[Any, ...]], tuple[int, ...]]:
    """How to unpack what follows a value, and where status, source and server are in it (-1: nowhere)."""
    codes = {"<u4": "I", "<i8": "q", "": "2x"}
    present = [(name, codes[form]) for bit, name, form, _ in PARTS if mask & bit]
    packed = struct.Struct("<" + "".join(code for _, code in present))
    order = [name for name, _ in present if name]
    places = tuple(order.index(name) if name in order else -1 for name in ("status", "source", "server"))
    return packed.unpack_from, places


_TAILS = [_tail(mask) for mask in range(64)]


class _Text:
    """A string: its place among all values, and what of its bytes has to be the same again."""

    def __init__(self, body: bytes, at: int, start: int, place: int):
        """Take a DataValue with a string at byte `at`, `start` bytes behind the first one."""
        (length,) = _LENGTH.unpack_from(body, at + 2)
        self.place, self.start = place, start
        self.size = _HEAD + length
        self.head = body[at : at + _HEAD]
        self.unpack, self.places = _TAILS[body[at] & 63]

    def taken(self, body: bytes, first: int) -> Reading | None:
        """Return what it holds now, or None when it is something else, or of another length."""
        at = first + self.start
        text = at + _HEAD
        behind = at + self.size
        if body[at:text] != self.head:
            return None
        told = self.unpack(body, behind)
        status, source, server = self.places
        return (
            body[text:behind].decode("utf-8", "surrogateescape"),
            readings.STRING,
            told[status] if status >= 0 else 0,
            readings.microseconds(told[source]) if source >= 0 else None,
            readings.microseconds(told[server]) if server >= 0 else None,
        )


class Shape:
    """Where the values of an answer are, and which."""

    def __init__(self, body: bytes, at: int, count: int):
        """Learn it from an answer with so many values, which begin at byte `at`.

        Raises:
            struct.error, IndexError, UndecodableError: the bytes are cut short or make no sense.
        """
        start, groups = at, dict[bytes, tuple[list[int], list[int]]]()
        self._rare: list[tuple[int, int, int]] = []
        self._texts: list[_Text] = []
        self._kinds = np.zeros(count, np.uint8)
        for place in range(count):
            key = body[at : at + 2]
            record = RECORDS.get(key)
            if record is None:
                _, end = readings.data_value(body, at)
                if key[1] == readings.STRING and key[0] & 1 and _LENGTH.unpack_from(body, at + 2)[0] >= 0:
                    self._texts.append(_Text(body, at, at - start, place))
                else:
                    self._rare.append((place, at - start, end - start))
                at = end
            else:
                places, offsets = groups.setdefault(key, ([], []))
                places.append(place)
                offsets.append(at - start)
                self._kinds[place] = key[1]
                at += record.itemsize
        if at > len(body):
            raise struct.error("cut short")
        self.count = count
        self._groups = [Group(key, RECORDS[key], *found) for key, found in groups.items()]
        self._kinds.setflags(write=False)

    def decode(self, body: bytes, at: int) -> Readings | None:
        """Return the values that begin at byte `at`, or None when they are not of this shape.

        Raises:
            struct.error, IndexError, UndecodableError: the bytes are cut short or make no sense.
        """
        content = np.frombuffer(body, np.uint8, offset=at)
        alone = len(self._groups) == 1 and not self._rare and not self._texts
        others: dict[int, Reading] = {}
        for text in self._texts:
            reading = text.taken(body, at)
            if reading is None:
                return None
            others[text.place] = reading
        for place, start, end in self._rare:
            others[place], after = readings.data_value(body, at + start)
            if after != at + end:
                return None
        return gathered(content, self._groups, self._kinds, others, alone)


class Shapes:
    """The shapes of a connection's answers, by the number of values and bytes."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], list[Shape]] = {}
        self._values = 0

    def decode(self, body: bytes) -> Sequence[Reading]:
        """Decode an array of DataValues that a message begins with: `readings.decode`, and faster the third time.

        Raises:
            UndecodableError: the bytes are cut short or make no sense. Nothing beyond their end is looked at.
        """
        count = int.from_bytes(body[:4], "little", signed=True)
        if count < _FEW or count > len(body):
            return readings.decode(body, 0)
        shapes = self._known.get((count, len(body)))
        for shape in shapes or ():
            found = _tried(shape, body)
            if found is not None:
                return found
        values = readings.decode(body, 0)
        if shapes is None:
            self._known[count, len(body)] = []
        elif len(shapes) < _MOST_OF_A_LENGTH:
            shapes.append(Shape(body, 4, count))
        self._values += count
        if self._values > _MOST_VALUES:
            self._known.clear()
            self._values = 0
        return values


def _tried(shape: Shape, body: bytes) -> Readings | None:
    try:
        return shape.decode(body, 4)
    except Exception:  # readings.decode says what is wrong
        return None
