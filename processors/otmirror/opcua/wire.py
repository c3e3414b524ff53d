"""The seam to asyncua's own channel: requests made of bytes that were encoded once, and answers as bytes.

asyncua encodes the nodes of a request anew each time and builds an object for each value of an answer, which is nearly
all of its cost. Session, secure channel, chunks and cryptography stay asyncua's. This leans on members of it that are
not public: `tests/protocol/opcua/test_opcua_readings.py` fails when another version has changed them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from asyncua import ua
from asyncua.common.utils import Buffer, wait_for
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import nodeid_from_binary, nodeid_to_binary, struct_from_binary, struct_to_binary
from asyncua.ua.uaerrors import UaError

from otmirror.opcua.address import node_id
from otmirror.opcua.faults import UndecodableError


class Service(NamedTuple):
    """A service whose requests are put together here: what the guard judges, and how both messages begin."""

    request: type
    kind: bytes
    answer: ua.NodeId


def _service(request: Any, answer: Any) -> Service:
    return Service(request, nodeid_to_binary(request().TypeId), answer().TypeId)


READ = _service(ua.ReadRequest, ua.ReadResponse)
BROWSE = _service(ua.BrowseRequest, ua.BrowseResponse)
BROWSE_NEXT = _service(ua.BrowseNextRequest, ua.BrowseNextResponse)
PUBLISH = _service(ua.PublishRequest, ua.PublishResponse)
REPUBLISH = _service(ua.RepublishRequest, ua.RepublishResponse)
CREATE_ITEMS = _service(ua.CreateMonitoredItemsRequest, ua.CreateMonitoredItemsResponse)
SERVICES = frozenset((READ, BROWSE, BROWSE_NEXT, PUBLISH, REPUBLISH, CREATE_ITEMS))
"""All there are: nothing else is sent as bytes."""

_READ_PARAMETERS = struct.Struct("<dii")
_ITEMS_PARAMETERS = struct.Struct("<Iii")
_ITEM = struct.Struct("<iId")
_QUEUE = struct.Struct("<I?")
_COUNT = struct.Struct("<i")
_ACKNOWLEDGE = struct.Struct("<II")
_FILTER = struct.Struct("<iId")

_NO_FILTER = b"\x00\x00\x00"
"""An ExtensionObject of the null node id without a body (OPC 10000-6, 5.2.2.15)."""
_FILTER_TYPE = nodeid_to_binary(node_id(ObjectIds.DataChangeFilter_Encoding_DefaultBinary))
ABSOLUTE, PERCENT = ua.DeadbandType.Absolute.value, ua.DeadbandType.Percent.value
_NO_VIEW = b"\x00\x00" + struct.pack("<qII", 0, 0, 0)
"""The null view, and no limit of references a node."""
_DIRECTION = struct.Struct("<i")
_MASKS = struct.Struct("<?II")
_RESULT_MASK = 1 | 4 | 8
"""Reference type, node class and browse name (OPC 10000-4, 5.9.2)."""
_WHOLE = struct.Struct("<IiHi")
"""AttributeId, no IndexRange, no DataEncoding."""


def node(wanted: ua.ReadValueId) -> bytes:
    """Return a node of a request as it goes over the wire (ReadValueId, OPC 10000-4, 7.29)."""
    encoded: bytes = struct_to_binary(wanted)
    return encoded


def attribute(node_id: bytes, number: int) -> bytes:
    """Return an attribute of an encoded node id as `node` does; the cheap way for many."""
    return node_id + _WHOLE.pack(number, -1, 0, -1)


def deadband_filter(kind: int, deadband: float) -> bytes:
    """Return a DataChangeFilter (OPC 10000-4, 7.22.2) that reports changes of status and, beyond the deadband, value.

    `kind` is `ABSOLUTE`, with a deadband in the node's own unit, or `PERCENT`, with one in percent of its EURange.
    """
    body = _FILTER.pack(ua.DataChangeTrigger.StatusValue.value, kind, deadband)
    return _FILTER_TYPE + b"\x01" + _COUNT.pack(len(body)) + body


def item(wanted: bytes, handle: int, sampling_ms: float, queue: int, chosen: bytes = b"") -> bytes:
    """Return one item of a CreateMonitoredItems request (OPC 10000-4, 5.13.2): reporting, the oldest discarded.

    Args:
        wanted: what `node` returned.
        handle: what notifications name the item by.
        sampling_ms: how often the server looks at the node; 0 as fast as it can, -1 the publishing interval.
        queue: how many values the server keeps between two notifications.
        chosen: what `deadband_filter` returned; nothing: every change of value or status is reported.
    """
    head = _ITEM.pack(ua.MonitoringMode.Reporting.value, handle, sampling_ms)
    return wanted + head + (chosen or _NO_FILTER) + _QUEUE.pack(queue, True)


def read_body(nodes: Sequence[bytes]) -> list[bytes]:
    """Return a Read's parameters: both timestamps, no value older than now (MaxAge 0)."""
    return [_READ_PARAMETERS.pack(0.0, ua.TimestampsToReturn.Both.value, len(nodes)), *nodes]


def browse_body(nodes: Sequence[ua.NodeId], kind: ua.NodeId, inverse: bool) -> list[bytes]:
    """Return a Browse's parameters: references of a kind and its sub-types, as many as the server gives at once."""
    tail = _DIRECTION.pack(int(inverse)) + nodeid_to_binary(kind) + _MASKS.pack(True, 0, _RESULT_MASK)
    return [_NO_VIEW, _COUNT.pack(len(nodes)), *(nodeid_to_binary(node) + tail for node in nodes)]


def browse_next_body(points: Sequence[bytes]) -> list[bytes]:
    """Return a BrowseNext's parameters: go on where the continuation points say."""
    return [b"\x00", _COUNT.pack(len(points)), *(_COUNT.pack(len(point)) + point for point in points)]


def items_body(subscription: int, items: Sequence[bytes]) -> list[bytes]:
    """Return a CreateMonitoredItems' parameters, of what `item` returned: both timestamps."""
    return [_ITEMS_PARAMETERS.pack(subscription, ua.TimestampsToReturn.Both.value, len(items)), *items]


def publish_body(acknowledged: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return a Publish's parameters: what is acknowledged, each as subscription and sequence number."""
    return [_COUNT.pack(len(acknowledged)), *(_ACKNOWLEDGE.pack(*one) for one in acknowledged)]


def republish_body(subscription: int, sequence: int) -> list[bytes]:
    """Return a Republish's parameters."""
    return [_ACKNOWLEDGE.pack(subscription, sequence)]


async def exchange(protocol: Any, service: Service, body: Sequence[bytes], timeout: float, hint: float = -1.0) -> bytes:
    """Send one request and return the answer from behind its header on.

    Args:
        protocol: asyncua's UASocketProtocol of an open session.
        service: which one.
        body: the request's parameters.
        timeout: seconds to wait.
        hint: seconds the server is told that the client waits; 0: for ever; below 0: `timeout`.

    Raises:
        UaStatusCodeError: the server refused the request as a whole.
        TimeoutError: there was no answer in time.
        ConnectionError: the connection is closed.
        UndecodableError: the answer is not one to this request.
    """
    future = _send(protocol, service, body, timeout if hint < 0 else hint)
    try:
        data: Buffer = await wait_for(future, timeout)
    except (asyncio.TimeoutError, UaError):
        raise
    except Exception:
        if protocol.transport is None:
            raise ConnectionError("Connection is closed") from None
        raise
    protocol.check_answer(data, f" in response to {service.request.__name__}")
    rest = data.copy()
    kind = nodeid_from_binary(rest)
    if kind != service.answer:
        raise UndecodableError(f"it is of type {kind.to_string()}")
    struct_from_binary(ua.ResponseHeader, rest).ServiceResult.check()
    found: bytes = rest.read(len(rest))
    return found


def _send(protocol: Any, service: Service, body: Sequence[bytes], hint: float) -> asyncio.Future[Buffer]:
    if protocol.transport is None:
        raise ConnectionError("Connection is not open")
    header = ua.RequestHeader()
    protocol._setup_request_header(header, hint)
    request = b"".join((service.kind, struct_to_binary(header), *body))
    number = protocol._request_id + 1
    protocol.revolve_security_token()
    message = protocol._connection.message_to_binary(
        request, message_type=ua.MessageType.SecureMessage, request_id=number
    )
    protocol._request_id = number
    future: asyncio.Future[Buffer] = asyncio.get_running_loop().create_future()
    protocol._callbackmap[number] = future
    protocol.transport.write(message)
    return future
