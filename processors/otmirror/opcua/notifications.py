"""Answers to Publish, Republish and CreateMonitoredItems, decoded straight from their bytes.

Layouts: OPC 10000-4, 5.14.5, 5.14.6, 5.13.2, 7.25 and 7.26; encoding: OPC 10000-6, 5.2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from asyncua.common.utils import Buffer
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import nodeid_from_binary

from otmirror.opcua.columns import items
from otmirror.opcua.faults import UndecodableError
from otmirror.opcua.readings import Reading

T = TypeVar("T")

_HEAD = struct.Struct("<I")
_COUNT = struct.Struct("<i")
_MESSAGE = struct.Struct("<Iqi")
_RESULT = struct.Struct("<IIdI")
_BODY_AS_BYTES = 1
_NO_BODY = 0

_DATA_CHANGE = ObjectIds.DataChangeNotification_Encoding_DefaultBinary
_STATUS_CHANGE = ObjectIds.StatusChangeNotification_Encoding_DefaultBinary

OVERFLOW = 0x480
"""InfoType DataValue with the Overflow bit: values before this one were lost (OPC 10000-4, 7.39.1)."""
_INFO = 0xC80


class Message(NamedTuple):
    """A NotificationMessage: values by their items' handles, and a status when the server ends the subscription.

    A message without values and status is a keep-alive: its number is the next one's to come (OPC 10000-4, 7.26).
    """

    sequence: int
    handles: list[int]
    readings: Sequence[Reading]
    ended: int | None

    @property
    def keep_alive(self) -> bool:
        """Whether it tells nothing but that the subscription lives."""
        return not self.handles and self.ended is None


class Published(NamedTuple):
    """An answer to Publish."""

    subscription: int
    available: list[int]
    """Sequence numbers the server could send again."""
    more: bool
    message: Message
    results: list[int]
    """A status for each acknowledgement of the request."""


class ItemResult(NamedTuple):
    """What became of one item to create. Intervals are milliseconds."""

    status: int
    item: int
    sampling_ms: float
    queue: int


def overflowed(status: int) -> bool:
    """Whether a value's status says that the server dropped values before it."""
    return status & _INFO == OVERFLOW


def published(body: bytes) -> Published:
    """Decode an answer to Publish, from behind its header on.

    Raises:
        UndecodableError: the bytes are cut short or make no sense. Nothing beyond their end is looked at.
    """
    return _whole(_published, body)


def republished(body: bytes) -> Message:
    """Decode an answer to Republish, from behind its header on.

    Raises:
        UndecodableError: the bytes are cut short or make no sense.
    """
    return _whole(lambda data: _message(data, 0)[0], body)


def item_results(body: bytes) -> list[ItemResult]:
    """Decode an answer to CreateMonitoredItems, from behind its header on.

    Raises:
        UndecodableError: the bytes are cut short or make no sense.
    """
    return _whole(_item_results, body)


def _whole(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except (struct.error, IndexError):
        raise UndecodableError("the answer is cut short") from None
    except UndecodableError:
        raise
    except Exception as error:  # whatever asyncua's decoder makes of bytes that are none of a value
        raise UndecodableError(f"{type(error).__name__}: {error}") from None


def _published(body: bytes) -> Published:
    (subscription,) = _HEAD.unpack_from(body, 0)
    available, at = _numbers(body, 4)
    more = bool(body[at])
    message, at = _message(body, at + 1)
    results, at = _numbers(body, at)
    return Published(subscription, available, more, message, results)


def _numbers(body: bytes, at: int) -> tuple[list[int], int]:
    count = _counted(body, at, 4)
    return list(struct.unpack_from(f"<{count}I", body, at + 4)), at + 4 + 4 * count


def _counted(body: bytes, at: int, least: int) -> int:
    """Return an array's length (-1 is a null array), which has to fit the rest at `least` bytes an element."""
    (count,) = _COUNT.unpack_from(body, at)
    if count * least > len(body) - at:
        raise UndecodableError(f"{count} elements announced in {len(body) - at} bytes")
    return max(0, int(count))


def _message(body: bytes, at: int) -> tuple[Message, int]:
    sequence, _time, _count = _MESSAGE.unpack_from(body, at)
    parts = _counted(body, at + 12, 3)
    at += _MESSAGE.size
    handles: list[int] = []
    readings: Sequence[Reading] = []
    ended: int | None = None
    for _ in range(parts):
        kind, start, end = _extension(body, at)
        if kind == _DATA_CHANGE:
            found, values = _items(body, start, end)
            handles, readings = (handles + found, [*readings, *values]) if handles else (found, values)
        elif kind == _STATUS_CHANGE:
            (ended,) = _HEAD.unpack_from(body, start)
        at = end
    return Message(sequence, handles, readings, ended), at


def _extension(body: bytes, at: int) -> tuple[Any, int, int]:
    """Return an ExtensionObject's type id in namespace 0 (else None) and where its body begins and ends."""
    rest = Buffer(body, at)
    kind = nodeid_from_binary(rest)
    at = rest.cur_pos
    known = kind.Identifier if kind.NamespaceIndex == 0 else None
    if body[at] == _NO_BODY:
        return known, at + 1, at + 1
    (length,) = _COUNT.unpack_from(body, at + 1)
    start = at + 5
    if length < 0 or length > len(body) - start:
        raise UndecodableError(f"an object of {length} bytes where {len(body) - start} are left")
    if body[at] != _BODY_AS_BYTES:
        known = None
    return known, start, start + length


def _items(body: bytes, at: int, end: int) -> tuple[list[int], Sequence[Reading]]:
    count = _counted(body, at, 5)
    if not count:
        return [], []
    handles, values, at = items(body, at + 4, count)
    if at > end:
        raise UndecodableError("a notification is longer than it says")
    return handles, values


def _item_results(body: bytes) -> list[ItemResult]:
    count = _counted(body, 0, 23)
    at, found = 4, []
    for _ in range(count):
        status, item, sampling, queue = _RESULT.unpack_from(body, at)
        _, _, at = _extension(body, at + _RESULT.size)
        found.append(ItemResult(status, item, sampling, queue))
    return found
