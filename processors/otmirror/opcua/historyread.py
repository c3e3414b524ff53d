"""HistoryRead of raw values, as bytes (OPC 10000-4, 5.11.3; OPC 10000-11, 6.5.3): requests, and answers node by node.

asyncua encodes the request. The answer is taken apart here: its values go through the decoder of the polls, and what
cannot be decoded of one node costs that node only.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from asyncua import ua
from asyncua.common.utils import Buffer, NotEnoughData
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary

from otmirror.opcua import readings
from otmirror.opcua.faults import CODES, UndecodableError
from otmirror.opcua.readings import Reading

_RESPONSE = ua.HistoryReadResponse().TypeId
_UINT32, _INT32 = struct.Struct("<I"), struct.Struct("<i")
_ATTRIBUTE = struct.Struct("<IiHi")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


@dataclass(frozen=True)
class Page:
    """What an answer has of one node: a status code, values in the server's order, where to go on (None: no more)."""

    status: int
    values: list[Reading] = field(default_factory=list)
    point: bytes | None = None


def access_level(node: bytes) -> bytes:
    """Return the request for a node's AccessLevel (OPC 10000-3, 8.57), given the one for its value."""
    return _id(node)[1] + _ATTRIBUTE.pack(AttributeIds.AccessLevel.value, -1, 0, -1)


def request(
    nodes: Sequence[bytes], start_us: int, end_us: int, values: int, points: Sequence[bytes | None], release: bool
) -> ua.HistoryReadRequest:
    """Return a request for raw values from `start_us` on and before `end_us`, at most `values` a node, no bounds.

    Args:
        nodes: What `wire.node` returned.
        start_us: Microseconds since 1970, UTC, by the values' source timestamps.
        end_us: The same.
        values: The most values of a node; the server keeps the rest for `points`.
        points: Where to go on, one a node; empty at the beginning.
        release: Whether the points are only given back (no value is read then).
    """
    start, end = (_EPOCH + datetime.timedelta(microseconds=us) for us in (start_us, end_us))
    asked = ua.HistoryReadRequest()
    asked.Parameters = ua.HistoryReadParameters(
        HistoryReadDetails=ua.ReadRawModifiedDetails(
            IsReadModified=False, StartTime=start, EndTime=end, NumValuesPerNode=ua.Counter(values), ReturnBounds=False
        ),
        TimestampsToReturn=ua.TimestampsToReturn.Both,
        ReleaseContinuationPoints=release,
        NodesToRead=[
            ua.HistoryReadValueId(NodeId=_id(node)[0], ContinuationPoint=point)
            for node, point in zip(nodes, points or [None] * len(nodes), strict=True)
        ],
    )
    return asked


def _id(node: bytes) -> tuple[ua.NodeId, bytes]:
    """Return the node id, as an object and as bytes, that an encoded ReadValueId begins with."""
    rest = Buffer(node)
    found = nodeid_from_binary(rest)
    return found, node[: rest.cur_pos]


def answer(data: Buffer, nodes: int) -> list[Page]:
    """Take the answer to a request for so many nodes apart.

    Raises:
        UaStatusCodeError: the server refused the request as a whole.
        UndecodableError: the answer is none to a HistoryRead, or is cut short.
    """
    rest = data.copy()
    kind = nodeid_from_binary(rest)
    if kind != _RESPONSE:
        raise UndecodableError(f"it is of type {kind.to_string()}")
    struct_from_binary(ua.ResponseHeader, rest).ServiceResult.check()
    body: bytes = rest.read(len(rest))
    try:
        return _pages(body, nodes)
    except (struct.error, IndexError, NotEnoughData):
        raise UndecodableError("the answer is cut short") from None


def _pages(body: bytes, nodes: int) -> list[Page]:
    (count,) = _INT32.unpack_from(body, 0)
    if count != nodes:
        raise UndecodableError(f"the server answered for {count} nodes to a request for {nodes}")
    pages, at = [], 4
    for _ in range(count):
        (status,) = _UINT32.unpack_from(body, at)
        point, at = _bytes(body, at + 4)
        history, at = _extension_object(body, at)
        try:
            values = readings.decode(history, 0) if history else []
        except UndecodableError:
            status, values = CODES.BadDecodingError, []
        pages.append(Page(status, values, point or None))
    return pages


def _extension_object(body: bytes, at: int) -> tuple[bytes | None, int]:
    """Return an ExtensionObject's content, None where it has none, and where the next field begins.

    Both things that can be there, HistoryData and HistoryModifiedData, begin with an array of DataValues
    (OPC 10000-11, 6.6.2 and 6.6.3).
    """
    rest = Buffer(body, at)
    nodeid_from_binary(rest)
    at = rest.cur_pos
    return _bytes(body, at + 1) if body[at] else (None, at + 1)


def _bytes(body: bytes, at: int) -> tuple[bytes | None, int]:
    (length,) = _INT32.unpack_from(body, at)
    if length < 0:
        return None, at + 4
    if length > len(body) - at - 4:
        raise IndexError
    return body[at + 4 : at + 4 + length], at + 4 + length
