"""Answers whose shape is known: the values of all nodes taken from the bytes at once, as columns.

A server that is asked for the same nodes again mostly answers with the same types in the same order, so with the same
bytes in the same places but for the values themselves. That is checked value by value, as the key of a value (mask and
type, OPC 10000-6, 5.2.2.17 and 5.2.2.16) says where the next one begins; an answer that differs is decoded value by
value (`readings.decode`), and its shape is learned when an answer of that length comes again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from otmirror.opcua import readings
from otmirror.opcua.readings import Reading
from otmirror.samples import EXACT_INTEGER

NEVER = -(2**63)
"""In a column of times: none."""
BOOLEAN = 1

_NUMBERS = {1: "u1", 2: "i1", 3: "u1", 4: "<i2", 5: "<u2", 6: "<i4", 7: "<u4", 8: "<i8", 9: "<u8", 10: "<f4", 11: "<f8"}
_WIDE = (8, 9)
_CASTS: dict[int, type] = dict.fromkeys(range(2, 10), int) | {0: float, BOOLEAN: bool, 10: float, 11: float}
_PARTS = ((2, "status", "<u4", 4), (4, "source", "<i8", 8), (16, "", "", 2), (8, "server", "<i8", 8), (32, "", "", 2))
"""What a mask's bits say follows the value: name, numpy's code and bytes; the picoseconds are skipped."""
_TICKS_TO_1970 = 116_444_736_000_000_000
_LAST_TICK = 2_650_467_743_990_000_000

_LENGTH = struct.Struct("<i")
_HEAD = 6
"""Bytes of a DataValue before a string's own: mask, type and length."""

_FEW = 16
"""Answers of fewer values are not worth it."""
_MOST_VALUES = 400_000
_MOST_OF_A_LENGTH = 4

_COLUMNS = {"value": np.float64, "status": np.uint32, "source": np.int64, "server": np.int64}

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


def _record(mask: int, kind: int) -> np.dtype[np.void]:
    names, formats, offsets = ["key", "value"], ["<u2", _NUMBERS[kind]], [0, 2]
    at = 2 + np.dtype(_NUMBERS[kind]).itemsize
    for bit, name, form, size in _PARTS:
        if mask & bit and name:
            names.append(name)
            formats.append(form)
            offsets.append(at)
        at += size if mask & bit else 0
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at})


def _tail(mask: int) -> tuple[Callable[[bytes, int], tuple[Any, ...]], tuple[int, ...]]:
    """How to unpack what follows a value, and where status, source and server are in it (-1: nowhere)."""
    codes = {"<u4": "I", "<i8": "q", "": "2x"}
    present = [(name, codes[form]) for bit, name, form, _ in _PARTS if mask & bit]
    packed = struct.Struct("<" + "".join(code for _, code in present))
    order = [name for name, _ in present if name]
    places = tuple(order.index(name) if name in order else -1 for name in ("status", "source", "server"))
    return packed.unpack_from, places


_TAILS = [_tail(mask) for mask in range(64)]
_RECORDS = {bytes((mask, kind)): _record(mask, kind) for kind in _NUMBERS for mask in range(64) if mask & 1}
"""By mask and type of a DataValue that holds one number: how it lies in the bytes."""


class Readings(Sequence[Reading]):
    """What an answer held, in the order of its nodes: columns, and as a sequence one `Reading` a value.

    `values` are floats (0 where the value is in `others`), `kinds` the built-in types, `statuses` None when all are 0;
    `sources` and `servers` are microseconds since 1970 or `NEVER`, and None when there are none. `others` has the whole
    reading, by place, of what is no number that a double holds exactly.
    """

    def __init__(self, values: _Floats, kinds: npt.NDArray[np.uint8], others: dict[int, Reading]):
        """Take the columns that there always are."""
        self.values, self.kinds, self.others = values, kinds, others
        self.statuses: npt.NDArray[np.uint32] | None = None
        self.sources: _Ints | None = None
        self.servers: _Ints | None = None
        self._all: list[Reading] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> Reading: ...
    @overload
    def __getitem__(self, place: slice) -> list[Reading]: ...
    def __getitem__(self, place: int | slice) -> Reading | list[Reading]:
        return self._rows()[place]

    def __iter__(self) -> Iterator[Reading]:
        return iter(self._rows())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._rows() == list(other)

    __hash__ = None  # type: ignore[assignment]

    def one(self, place: int) -> Reading:
        """Return the reading at a place, without making all of them."""
        found = self.others.get(place)
        if found is not None:
            return found
        kind = int(self.kinds[place])
        source, server = (None if one is None or one[place] == NEVER else int(one[place])
                          for one in (self.sources, self.servers))  # fmt: skip
        status = 0 if self.statuses is None else int(self.statuses[place])
        return _CASTS[kind](self.values[place]), kind, status, source, server

    def _rows(self) -> list[Reading]:
        if self._all is None:
            count, kinds = len(self), self.kinds.tolist()
            values = [_CASTS[kind](value) for kind, value in zip(kinds, self.values.tolist(), strict=True)]
            statuses = [0] * count if self.statuses is None else self.statuses.tolist()
            self._all = list(zip(values, kinds, statuses, self._times(self.sources), self._times(self.servers),
                                 strict=True))  # fmt: skip
            for place, reading in self.others.items():
                self._all[place] = reading
        return self._all

    def _times(self, column: _Ints | None) -> list[int | None]:
        if column is None:
            return [None] * len(self)
        return [None if time == NEVER else time for time in column.tolist()]


class _Group:
    """The values of one key: where they are in the bytes, and their places among all values."""

    def __init__(self, key: bytes, places: list[int], offsets: list[int]):
        self.record = _RECORDS[key]
        self.columns = (self.record.names or ())[1:]
        self.key, self.wide = int.from_bytes(key, "little"), key[1] in _WIDE
        self.boolean = key[1] == BOOLEAN
        self.places, self.offsets = np.array(places), np.array(offsets)

    def taken(self, content: npt.NDArray[np.uint8], alone: bool) -> npt.NDArray[np.void] | None:
        """Return the values' records, or None where other keys lie in their places."""
        size = self.record.itemsize
        if alone:
            found = content[: size * len(self.places)].view(self.record)
        else:
            windows = np.lib.stride_tricks.as_strided(content, (len(content) - size + 1, size), (1, 1))
            found = windows[self.offsets].view(self.record).ravel()
        return found if (found["key"] == self.key).all() else None


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
            record = _RECORDS.get(key)
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
        self._groups = [_Group(key, *found) for key, found in groups.items()]
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
        columns: dict[str, npt.NDArray[Any]] = {}
        for group in self._groups:
            found = group.taken(content, alone)
            if found is None:
                return None
            if group.wide:
                others.update(_too_wide(found, group.places))
            for name in group.columns:
                part = found[name] != 0 if group.boolean and name == "value" else found[name]
                if alone:
                    columns[name] = part.astype(_COLUMNS[name])
                else:
                    if name not in columns:
                        columns[name] = np.zeros(self.count, _COLUMNS[name])
                    columns[name][group.places] = part
        if "value" not in columns:
            columns["value"] = np.zeros(self.count)
        answer = Readings(columns["value"], self._kinds, others)
        answer.statuses = columns.get("status")
        answer.sources, answer.servers = (_microseconds(columns.get(name)) for name in ("source", "server"))
        return answer


def _too_wide(found: npt.NDArray[np.void], places: _Ints) -> dict[int, Reading]:
    """Return the readings of integers that a double may not hold exactly."""
    values = found["value"]
    wide = np.flatnonzero((values > EXACT_INTEGER) | (values < -EXACT_INTEGER if values.dtype.kind == "i" else False))
    names = found.dtype.names or ()
    rows: dict[int, Reading] = {}
    for one in wide.tolist():
        kind = int(found["key"][one]) >> 8
        status = int(found["status"][one]) if "status" in names else 0
        source, server = (
            readings.microseconds(int(found[name][one])) if name in names else None for name in ("source", "server")
        )
        rows[int(places[one])] = (int(values[one]), kind, status, source, server)
    return rows


def _microseconds(ticks: _Ints | None) -> _Ints | None:
    """Return `readings.microseconds` of each, with `NEVER` for None."""
    if ticks is None or not len(ticks):
        return None
    times = (ticks - _TICKS_TO_1970) // 10
    if ticks.min() <= 0 or ticks.max() >= _LAST_TICK:
        times[(ticks <= 0) | (ticks >= _LAST_TICK)] = NEVER
    return times


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
