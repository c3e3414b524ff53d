"""Which OPC UA services cross a connection, read from its bytes by nothing that any client or server shares.

Frames, chunks and headers are those of OPC 10000-6, 6.7.2 and 7.1.2. With security policy None every message is named.
With another one, bodies cannot be read from outside: such messages are counted as unreadable, never taken for harmless.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from otmirror.witness.services import REQUESTS, RESPONSES

POLICY_NONE = b"http://opcfoundation.org/UA/SecurityPolicy#None"
GARBAGE, ENCRYPTED, ABORTED, CUT = "garbage", "encrypted", "aborted", "cut short"

_HEADER = 8
_TRANSPORT = (b"HEL", b"ACK", b"ERR", b"RHE")
_CHANNEL = (b"OPN", b"MSG", b"CLO")
_BODY = 64
"""Bytes of a message's beginning that are kept: enough for type id and response header."""
_MOST_OPN = 65536
"""Bytes kept of an OPN frame, whose security header holds certificate chains."""
_MOST_UNFINISHED = 64
_MOST_NAMES = 200
_WORD = struct.Struct("<I")


@dataclass(frozen=True)
class Message:
    """One complete message: `service` is its name, or `i=<number>` or `?` when it has none that is known.

    `at` is seconds since 1970, `size` the bytes of its frames, `result` a response's ServiceResult (OPC 10000-4, 7.33).
    HEL, ACK, ERR and RHE have no request id (0); what is in `unreadable` says why a message could not be named.
    """

    request: bool
    service: str
    request_id: int = 0
    size: int = 0
    result: int | None = None
    unreadable: str | None = None
    connection: int = 0
    at: float = 0.0


class Framing:
    """One direction of one connection: bytes in, messages out. Keeps a few kilobytes, however large the messages."""

    def __init__(self, request: bool):
        """Take whether these are the client's bytes."""
        self._request = request
        self._head = bytearray()
        self._size = self._seen = self._keep = 0
        self._unfinished: dict[int, tuple[bytes, int]] = {}
        self._encrypted = False
        self.garbled = False
        """Whether frames cannot be told apart any more; what comes after that is ignored."""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take the next bytes, cut anywhere, and yield the messages that are complete with them."""
        at = 0
        while not self.garbled:
            if not self._size:
                taken = data[at : at + _HEADER - len(self._head)]
                self._head += taken
                at += len(taken)
                if len(self._head) < _HEADER:
                    return
                self._begin()
                if self.garbled:
                    yield Message(self._request, "?", unreadable=GARBAGE)
                    return
            taken = data[at : at + self._size - self._seen]
            self._head += taken[: self._keep - len(self._head)]
            self._seen += len(taken)
            at += len(taken)
            if self._seen < self._size:
                return
            yield from self._end()
            self._head.clear()
            self._size = 0

    def finish(self) -> Iterator[Message]:
        """Yield what stays incomplete, once the connection has ended."""
        if not self.garbled and (self._head or self._unfinished):
            yield Message(self._request, "?", size=self._seen, unreadable=CUT)

    def _begin(self) -> None:
        kind, chunk = bytes(self._head[:3]), bytes(self._head[3:4])
        self._size, self._seen = _WORD.unpack_from(self._head, 4)[0], _HEADER
        known = kind in _TRANSPORT or kind in _CHANNEL
        self.garbled = not known or chunk not in (b"F", b"C", b"A") or self._size < _HEADER
        self.garbled |= chunk != b"F" and kind != b"MSG"
        self._keep = min(self._size, _MOST_OPN if kind == b"OPN" else _HEADER + 16 + _BODY)

    def _end(self) -> Iterator[Message]:
        kind, chunk = bytes(self._head[:3]), bytes(self._head[3:4])
        if kind in _TRANSPORT:
            code = _WORD.unpack_from(self._head, _HEADER)[0] if kind == b"ERR" and len(self._head) >= 12 else None
            yield Message(self._request, kind.decode(), size=self._size, result=code)
            return
        try:
            sequence = self._asymmetric() if kind == b"OPN" else 16
            if self._encrypted:
                yield Message(self._request, "?", size=self._size, unreadable=ENCRYPTED)
                return
            (number,) = _WORD.unpack_from(self._head, sequence + 4)
        except struct.error:
            yield Message(self._request, "?", size=self._size, unreadable=GARBAGE)
            return
        yield from self._join(number, chunk, bytes(self._head[sequence + 8 :][:_BODY]))

    def _join(self, number: int, chunk: bytes, body: bytes) -> Iterator[Message]:
        """Put a message's chunks together, as far as its beginning goes."""
        before, size = self._unfinished.pop(number, (b"", 0))
        body, size = (before + body)[:_BODY], size + self._size
        if chunk == b"A":
            yield Message(self._request, "?", number, size, unreadable=ABORTED)
        elif chunk == b"C":
            self._unfinished[number] = body, size
            if len(self._unfinished) > _MOST_UNFINISHED:
                oldest = next(iter(self._unfinished))
                yield Message(self._request, "?", oldest, self._unfinished.pop(oldest)[1], unreadable=CUT)
        else:
            name, result = named(body, self._request)
            yield Message(self._request, name, number, size, result, GARBAGE if name == "?" else None)

    def _asymmetric(self) -> int:
        """Note the security policy of an OPN frame and return where its sequence header begins (6.7.2.3)."""
        uri, at = _bytes(self._head, 12)
        self._encrypted = uri != POLICY_NONE
        for _ in range(2):
            _, at = _bytes(self._head, at)
        return at


def named(body: bytes, request: bool) -> tuple[str, int | None]:
    """Return the name of the message with this body, and the ServiceResult when it is a response.

    The body begins with the NodeId of the message's type (OPC 10000-6, 5.2.2.9), of which only numbers in namespace 0
    name anything; then come a response's timestamp, request handle and ServiceResult.
    """
    kind, length = _type(body)
    if kind is None:
        return "?", None
    name = (REQUESTS if request else RESPONSES).get(kind, f"i={kind}")
    if request or len(body) < length + 16:
        return name, None
    return name, _WORD.unpack_from(body, length + 12)[0]


def _type(body: bytes) -> tuple[int | None, int]:
    for form, layout in ((0, "<xB"), (1, "<xBH"), (2, "<xHI")):
        if body[:1] == bytes([form]) and len(body) >= struct.calcsize(layout):
            *space, number = struct.unpack_from(layout, body)
            return (None if any(space) else number), struct.calcsize(layout)
    return None, 0


def _bytes(data: bytearray, at: int) -> tuple[bytes, int]:
    """Return a String or ByteString and where it ends; a length of -1 is null."""
    (length,) = struct.unpack_from("<i", data, at)
    end = at + 4 + max(0, length)
    if end > len(data):
        raise struct.error("cut short")
    return bytes(data[at + 4 : end]), end


class Frames(Protocol):
    """One direction of one connection in some protocol, as `Framing` for OPC UA."""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take the next bytes and yield the messages that are complete with them."""

    def finish(self) -> Iterator[Message]:
        """Yield what stays incomplete."""


class Witness:
    """Counts the messages of any number of connections by name, and keeps the latest. Thread-safe."""

    framing: Callable[[bool], Frames] = Framing
    """What makes messages of bytes; another protocol has another one."""

    def __init__(self, keep: int = 10_000, now: Callable[[], float] = time.time):
        """Take how many messages to keep, and a clock in seconds since 1970."""
        self._now = now
        self._lock = threading.Lock()
        self._framings: dict[tuple[int, bool], Frames] = {}
        self._latest: deque[Message] = deque(maxlen=keep)
        self._counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        self._transport: Counter[str] = Counter()
        self._unreadable: Counter[str] = Counter()
        self._results: Counter[int] = Counter()
        self._bytes: Counter[bool] = Counter()

    def take(self, connection: int, request: bool, data: bytes) -> None:
        """Take bytes of a connection: the client's when `request`, else the server's."""
        with self._lock:
            self._bytes[request] += len(data)
            framing = self._framings.get((connection, request))
            if framing is None:
                framing = self._framings[connection, request] = type(self).framing(request)
            self._note(connection, framing.feed(data))

    def ended(self, connection: int) -> None:
        """Note that a connection has ended."""
        with self._lock:
            for request in (True, False):
                framing = self._framings.pop((connection, request), None)
                if framing is not None:
                    self._note(connection, framing.finish())

    def _note(self, connection: int, messages: Iterable[Message]) -> None:
        for message in messages:
            self._latest.append(replace(message, connection=connection, at=self._now()))
            if message.unreadable:
                self._unreadable[message.unreadable] += message.request
                continue
            known = message.service.encode() in _TRANSPORT
            counts = self._transport if known else self._counts[message.request]
            counts[message.service if message.service in counts or len(counts) < _MOST_NAMES else "others"] += 1
            if message.result and (message.result in self._results or len(self._results) < _MOST_NAMES):
                self._results[message.result] += 1

    @property
    def messages(self) -> list[Message]:
        """The latest messages, oldest first."""
        with self._lock:
            return list(self._latest)

    @property
    def requests(self) -> Counter[str]:
        """Requests of the clients by service, with OpenSecureChannel and CloseSecureChannel."""
        with self._lock:
            return Counter(self._counts[True])

    @property
    def responses(self) -> Counter[str]:
        """Responses of the servers by service, with ServiceFault."""
        with self._lock:
            return Counter(self._counts[False])

    @property
    def transport(self) -> Counter[str]:
        """Messages below the services, of both sides: HEL, ACK, ERR, RHE."""
        with self._lock:
            return Counter(self._transport)

    @property
    def results(self) -> Counter[int]:
        """Bad ServiceResults, and the errors of ERR messages, by status code."""
        with self._lock:
            return Counter(self._results)

    @property
    def unreadable(self) -> Counter[str]:
        """Messages of the clients that could not be named, by reason; empty when everything was seen."""
        with self._lock:
            return +self._unreadable

    @property
    def transferred(self) -> tuple[int, int]:
        """Bytes from the clients and from the servers."""
        with self._lock:
            return self._bytes[True], self._bytes[False]

    def beyond(self, allowed: Iterable[str]) -> Counter[str]:
        """Return the requests that are not allowed, by name, and those that could not be read, by reason.

        A message that never became complete is none to a server either, so `cut short` and `aborted` are left out.
        """
        known = {*allowed, "OpenSecureChannel", "CloseSecureChannel"}
        found = Counter({name: count for name, count in self.requests.items() if name not in known})
        return found + Counter({why: n for why, n in self.unreadable.items() if why in (GARBAGE, ENCRYPTED)})
