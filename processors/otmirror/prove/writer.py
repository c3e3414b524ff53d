"""Another client, which can write: it shows that a device would take a write, and whether it took one.

It is no part of the bundle and shares no client with it: its own frames on its own socket, and only to this machine.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any

from asyncua import ua as asyncua_ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, struct_to_binary

from otmirror.errors import ConfigError, UnavailableError

# asyncua's annotations ask for its wire types (UInt32) where it takes plain numbers and strings.
ua: Any = asyncua_ua
_TIMEOUT = 5.0
_NONE = b"http://opcfoundation.org/UA/SecurityPolicy#None"


def _connect(host: str, port: int) -> socket.socket:
    if not ipaddress.ip_address(host).is_loopback:
        raise ConfigError(f"{host} is not this machine: the proof writes to stand-ins on loopback only")
    return socket.create_connection((host, port), _TIMEOUT)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise UnavailableError("the stand-in closed the connection")
        data += piece
    return data


def modbus(address: tuple[str, int], function: int, body: bytes, unit: int = 1) -> bytes:
    """Send one Modbus request and return what follows the function code in its answer.

    Raises:
        UnavailableError: the device answered with an exception, or closed the connection.
    """
    with _connect(*address) as connection:
        connection.sendall(struct.pack(">HHHBB", 1, 0, 2 + len(body), unit, function) + body)
        _, _, length, _, code = struct.unpack(">HHHBB", _exactly(connection, 8))
        answer = _exactly(connection, length - 2)
    if code != function:
        raise UnavailableError(f"the device answered function code {function} with exception {answer[0]}")
    return answer


def _text(value: bytes | None) -> bytes:
    return struct.pack("<i", -1) if value is None else struct.pack("<i", len(value)) + value


class OpcUaWriter:
    """A session without security on a stand-in, for small messages: one chunk each (OPC 10000-6, 6.7.2 and 7.1.2)."""

    def __init__(self, host: str, port: int):
        """Connect and open a session.

        Raises:
            ConfigError: the host is another machine.
            UnavailableError: the server does not answer as it should.
        """
        self._socket = _connect(host, port)
        self._channel = self._token = self._number = 0
        self._session = ua.NodeId()
        url = f"opc.tcp://{host}:{port}".encode()
        self._socket.sendall(b"HELF" + struct.pack("<I5I", 32 + len(url), 0, 65536, 65536, 0, 0) + _text(url))
        self._frame()
        channel = ua.OpenSecureChannelParameters(SecurityMode=ua.MessageSecurityMode.None_, RequestedLifetime=60_000)
        opened = self.ask(ua.OpenSecureChannelRequest(Parameters=channel), ua.OpenSecureChannelResponse)
        token = opened.Parameters.SecurityToken
        self._channel, self._token = token.ChannelId, token.TokenId
        session = ua.CreateSessionParameters(
            EndpointUrl=url.decode(),
            SessionName="another client",
            RequestedSessionTimeout=60_000.0,
            ClientNonce=bytes(32),
        )
        created = self.ask(ua.CreateSessionRequest(Parameters=session), ua.CreateSessionResponse)
        self._session = created.Parameters.AuthenticationToken
        tokens = (t for e in created.Parameters.ServerEndpoints for t in e.UserIdentityTokens)
        anonymous = next((t.PolicyId for t in tokens if t.TokenType == ua.UserTokenType.Anonymous), "")
        user = ua.AnonymousIdentityToken(PolicyId=anonymous)
        self.ask(ua.ActivateSessionRequest(Parameters=ua.ActivateSessionParameters(UserIdentityToken=user)),
                 ua.ActivateSessionResponse)  # fmt: skip

    def write(self, node: Any, value: float) -> None:
        """Write a Double.

        Raises:
            UnavailableError: the server refuses.
        """
        item = ua.WriteValue(
            NodeId=node, AttributeId=ua.AttributeIds.Value, Value=ua.DataValue(ua.Variant(value, ua.VariantType.Double))
        )
        request = ua.WriteRequest(Parameters=ua.WriteParameters(NodesToWrite=[item]))
        (status,) = self.ask(request, ua.WriteResponse).Results
        if not status.is_good():
            raise UnavailableError(f"the stand-in refuses a write: {status.name}")

    def read(self, node: Any) -> Any:
        """Return a node's value."""
        item = ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value)
        request = ua.ReadRequest(Parameters=ua.ReadParameters(NodesToRead=[item]))
        (found,) = self.ask(request, ua.ReadResponse).Results
        return found.Value.Value

    def ask(self, request: Any, answer: Any) -> Any:
        """Send a request and return its answer.

        Raises:
            UnavailableError: the server answers with something else.
        """
        self._number += 1
        request.RequestHeader.AuthenticationToken = self._session
        request.RequestHeader.RequestHandle = self._number
        request.RequestHeader.TimeoutHint = 5000
        opening = isinstance(request, ua.OpenSecureChannelRequest)
        security = _text(_NONE) + _text(None) + _text(None) if opening else struct.pack("<I", self._token)
        head = struct.pack("<I", self._channel) + security + struct.pack("<II", self._number, self._number)
        body = head + struct_to_binary(request)
        self._socket.sendall((b"OPNF" if opening else b"MSGF") + struct.pack("<I", 8 + len(body)) + body)
        data = Buffer(self._frame())
        data.skip(4)
        for _ in range(3 if opening else 0):
            data.skip(max(0, struct.unpack("<i", data.read(4))[0]))
        data.skip(8 if opening else 12)
        kind = nodeid_from_binary(data.copy())
        if kind != answer().TypeId:
            raise UnavailableError(f"the stand-in answered {type(request).__name__} with {kind.to_string()}")
        found: Any = struct_from_binary(answer, data)
        found.ResponseHeader.ServiceResult.check()
        return found

    def _frame(self) -> bytes:
        head = _exactly(self._socket, 8)
        rest = _exactly(self._socket, struct.unpack("<I", head[4:])[0] - 8)
        if head[:3] == b"ERR":
            raise UnavailableError(f"the stand-in answered with error 0x{struct.unpack('<I', rest[:4])[0]:08X}")
        return rest

    def close(self) -> None:
        """End the session and the connection."""
        try:
            self.ask(ua.CloseSessionRequest(DeleteSubscriptions=True), ua.CloseSessionResponse)
        finally:
            self._socket.close()
