"""Values of an answer as columns, taken from its bytes at once (OPC 10000-6, 5.2.2.17 and 5.2.2.16)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
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
PARTS = ((2, "status", "<u4", 4), (4, "source", "<i8", 8), (16, "", "", 2), (8, "server", "<i8", 8), (32, "", "", 2))
"""What a mask's bits say follows the value: name, numpy's code and bytes; the picoseconds are skipped."""
_COLUMNS = {"value": np.float64, "status": np.uint32, "source": np.int64, "server": np.int64}
_TICKS_TO_1970 = 116_444_736_000_000_000
_LAST_TICK = 2_650_467_743_990_000_000

Bytes = npt.NDArray[np.uint8]
_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Records = npt.NDArray[np.void]


def _record(mask: int, kind: int, behind: int) -> np.dtype[np.void]:
    names, formats, offsets = ["key", "value"], ["<u2", _NUMBERS[kind]], [behind, behind + 2]
    at = behind + 2 + np.dtype(_NUMBERS[kind]).itemsize
    for bit, name, form, size in PARTS:
        if mask & bit and name:
            names.append(name)
            formats.append(form)
            offsets.append(at)
        at += size if mask & bit else 0
    if behind:
        names.append("handle")
        formats.append("<u4")
        offsets.append(0)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at})


def _records(behind: int = 0) -> dict[bytes, np.dtype[np.void]]:
    return {bytes((mask, kind)): _record(mask, kind, behind) for kind in _NUMBERS for mask in range(64) if mask & 1}


RECORDS = _records()
"""By mask and type of a DataValue that holds one number: how it lies in the bytes."""
_HANDLE = 4
_UINT32 = struct.Struct("<I")
_FEW = 16
"""Fewer values are decoded one by one: columns have a price of their own."""
_ITEM_RECORDS = _records(_HANDLE)
"""The same behind the handle of a monitored item (UInt32)."""


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

    @property
    def all_good(self) -> bool:
        """Whether all statuses are 0."""
        plain = self.statuses is None or not self.statuses.any()
        return plain and not any(reading[2] for reading in self.others.values())

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


class Group:
    """The values of one key, which is mask and type: where they are in the bytes, and their places among all values."""

    def __init__(self, key: bytes, record: np.dtype[np.void], places: npt.ArrayLike, offsets: npt.ArrayLike):
        """Take how one of them lies in the bytes, and where each begins."""
        self.record, self.key = record, int.from_bytes(key, "little")
        self.boolean, self.wide = key[1] == BOOLEAN, key[1] in _WIDE
        self.columns = [name for name in record.names or () if name in _COLUMNS]
        self.places, self.offsets = np.asarray(places), np.asarray(offsets)

    def taken(self, content: Bytes, alone: bool) -> _Records | None:
        """Return the values' records, or None where other keys lie in their places.

        `alone`: they lie side by side from the first byte on.
        """
        size = self.record.itemsize
        if alone:
            found = content[: size * len(self.places)].view(self.record)
        else:
            windows = np.lib.stride_tricks.as_strided(content, (len(content) - size + 1, size), (1, 1))
            found = windows[self.offsets].view(self.record).ravel()
        return found if (found["key"] == self.key).all() else None

    def column(self, name: str, found: _Records) -> npt.NDArray[Any]:
        """Return one of `columns`."""
        return found[name] != 0 if self.boolean and name == "value" else found[name]


def gathered(
    content: Bytes, groups: Sequence[Group], kinds: npt.NDArray[np.uint8], others: dict[int, Reading], alone: bool
) -> Readings | None:
    """Return the values of groups as columns, or None where other keys lie in their places."""
    columns: dict[str, npt.NDArray[Any]] = {}
    for group in groups:
        found = group.taken(content, alone)
        if found is None:
            return None
        if group.wide:
            others.update(_too_wide(found, group.places))
        for name in group.columns:
            if alone:
                columns[name] = group.column(name, found).astype(_COLUMNS[name])
            else:
                if name not in columns:
                    columns[name] = np.zeros(len(kinds), _COLUMNS[name])
                columns[name][group.places] = group.column(name, found)
    if "value" not in columns:
        columns["value"] = np.zeros(len(kinds))
    answer = Readings(columns["value"], kinds, others)
    answer.statuses = columns.get("status")
    answer.sources, answer.servers = (_microseconds(columns.get(name)) for name in ("source", "server"))
    return answer


def items(body: bytes, at: int, count: int) -> tuple[list[int], Sequence[Reading], int]:
    """Decode MonitoredItemNotifications (OPC 10000-4, 7.25.2) that begin at byte `at`.

    Returns their handles, their values and where they end.

    Raises:
        struct.error, IndexError, UndecodableError: the bytes are cut short or make no sense.
    """
    if count < _FEW:
        handles, few = [], []
        for _ in range(count):
            (handle,) = _UINT32.unpack_from(body, at)
            reading, at = readings.one(body, at + _HANDLE)
            handles.append(handle)
            few.append(reading)
        return handles, few, at
    content = np.frombuffer(body, np.uint8, offset=at)
    key = body[at + _HANDLE : at + _HANDLE + 2]
    record = _ITEM_RECORDS.get(key)
    if record is not None and count * record.itemsize <= len(content):
        group = Group(key, record, np.arange(count), ())
        found = group.taken(content, True)
        if found is not None:
            answer = gathered(content, [group], np.full(count, key[1], np.uint8), {}, True)
            assert answer is not None
            return found["handle"].tolist(), answer, at + count * record.itemsize
    return _walked(body, at, count)


def _walked(body: bytes, at: int, count: int) -> tuple[list[int], Readings, int]:
    start, get = at, _ITEM_RECORDS.get
    keys, offsets, others = bytearray(), [], dict[int, Reading]()
    for place in range(count):
        offsets.append(at - start)
        key = body[at + _HANDLE : at + _HANDLE + 2]
        size = _ITEM_SIZES.get(key)
        if size is None:
            others[place], at = readings.data_value(body, at + _HANDLE)
            key = b"\0\0"
        else:
            at += size
        keys += key
    if at > len(body):
        raise IndexError
    content, starts = np.frombuffer(body, np.uint8, offset=start), np.array(offsets, np.int64)
    of_each = np.frombuffer(keys, "<u2")
    groups = []
    for number in np.unique(of_each).tolist():
        key = number.to_bytes(2, "little")
        if (record := get(key)) is not None:
            places = np.flatnonzero(of_each == number)
            groups.append(Group(key, record, places, starts[places]))
    kinds = (of_each >> 8).astype(np.uint8)
    answer = gathered(content, groups, kinds, others, False)
    assert answer is not None
    windows = np.lib.stride_tricks.as_strided(content, (len(content) - _HANDLE + 1, _HANDLE), (1, 1))
    return windows[starts].view("<u4").ravel().tolist(), answer, at


_ITEM_SIZES = {key: record.itemsize for key, record in _ITEM_RECORDS.items()}


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
