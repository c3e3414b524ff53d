"""The seam to asyncua's own channel: read requests whose nodes were encoded once, and answers as bytes.

asyncua encodes the nodes of a request anew each time and builds an object for each value of an answer, which is nearly
all of its cost. Session, secure channel, chunks and cryptography stay asyncua's. This leans on members of it that are
not public: `tests/protocol/opcua/test_opcua_readings.py` fails when another version has changed them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer, wait_for
from asyncua.ua.ua_binary import nodeid_from_binary, nodeid_to_binary, struct_from_binary, struct_to_binary
from asyncua.ua.uaerrors import UaError

from otmirror.opcua.faults import UndecodableError

_READ = nodeid_to_binary(ua.ReadRequest().TypeId)
_READ_RESPONSE = ua.ReadResponse().TypeId
_PARAMETERS = struct.Struct("<dii")
_WHOLE = struct.Struct("<IiHi")
"""AttributeId, no IndexRange, no DataEncoding."""


def node(wanted: ua.ReadValueId) -> bytes:
    """Return a node of a read request as it goes over the wire (ReadValueId, OPC 10000-4, 7.29)."""
    encoded: bytes = struct_to_binary(wanted)
    return encoded


def attribute(node_id: bytes, number: int) -> bytes:
    """Return an attribute of an encoded node id as `node` does; the cheap way for many."""
    return node_id + _WHOLE.pack(number, -1, 0, -1)


async def read(protocol: Any, nodes: Sequence[bytes], timeout: float) -> bytes:
    """Send one Read request and return the answer from its results on.

    Asks for both timestamps and no value older than now (MaxAge 0). These bytes can be nothing but a Read.

    Args:
        protocol: asyncua's UASocketProtocol of an open session.
        nodes: what `node` returned.
        timeout: seconds to wait.

    Raises:
        UaStatusCodeError: the server refused the request as a whole.
        TimeoutError: there was no answer in time.
        ConnectionError: the connection is closed.
        UndecodableError: the answer is none to a Read.
    """
    future = _send(protocol, nodes, timeout)
    try:
        data: Buffer = await wait_for(future, timeout)
    except (asyncio.TimeoutError, UaError):
        raise
    except Exception:
        if protocol.transport is None:
            raise ConnectionError("Connection is closed") from None
        raise
    protocol.check_answer(data, " in response to ReadRequest")
    rest = data.copy()
    kind = nodeid_from_binary(rest)
    if kind != _READ_RESPONSE:
        raise UndecodableError(f"it is of type {kind.to_string()}")
    struct_from_binary(ua.ResponseHeader, rest).ServiceResult.check()
    found: bytes = rest.read(len(rest))
    return found


def _send(protocol: Any, nodes: Sequence[bytes], timeout: float) -> asyncio.Future[Buffer]:
    if protocol.transport is None:
        raise ConnectionError("Connection is not open")
    header = ua.RequestHeader()
    protocol._setup_request_header(header, timeout)
    parameters = _PARAMETERS.pack(0.0, ua.TimestampsToReturn.Both.value, len(nodes))
    request = b"".join((_READ, struct_to_binary(header), parameters, *nodes))
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
