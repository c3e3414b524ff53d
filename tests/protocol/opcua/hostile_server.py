"""A hostile OPC UA server: what node-opcua answered, recorded, given again to whoever asks, most of it spoiled.

It answers each request with a recorded response of the same service, with the request's own id and this connection's
sequence numbers, so that a client with security policy None takes it for a server.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator

from hostile import damaged
from otmirror.witness.opcua import Framing, Witness
from otmirror.witness.relay import Link, Relay

_U32 = struct.Struct("<I")
_SEQUENCE = struct.Struct("<II")
_OPENING = 6
"""Requests until a session stands and has read what the server says of itself."""
_BEFORE_TOKEN = 32
"""Type, response header without diagnostics, and protocol version, before the ids of channel and token (5.5.2)."""
Chunks = list[bytes]
"""The frames of one message."""


class Recorder(Relay):
    """Keeps the bytes of each connection, by direction, as they came."""

    def __init__(self, port: int):
        self.kept: dict[tuple[int, bool], bytearray] = defaultdict(bytearray)
        super().__init__(("127.0.0.1", port), Witness())

    async def passing(self, link: Link, request: bool, data: bytes) -> bytes:
        self.kept[link.number, request] += data
        return await super().passing(link, request, data)


def frames(data: bytes) -> Iterator[bytes]:
    """Frames that are complete (OPC 10000-6, 7.1.2.2)."""
    at = 0
    while at + 8 <= len(data):
        (size,) = _U32.unpack_from(data, at + 4)
        yield bytes(data[at : at + size])
        at += size


def sequence_at(frame: bytes) -> int:
    """Where the sequence header is: behind the channel's id and the token's, or behind an OPN's three strings."""
    if frame[:3] != b"OPN":
        return 16
    at = 12
    for _ in range(3):
        at += 4 + max(0, struct.unpack_from("<i", frame, at)[0])
    return at


def request_id(frame: bytes) -> int:
    return int(_SEQUENCE.unpack_from(frame, sequence_at(frame))[1])


def service(frame: bytes) -> str:
    """The request's service, by the witness."""
    (message,) = Framing(request=True).feed(frame)
    return message.service


def recorded(relay: Recorder) -> dict[str, list[Chunks]]:
    """Answers by the service that asked for them, and by that and the request's size; HEL for the acknowledgement."""
    found: dict[str, list[Chunks]] = defaultdict(list)
    for (number, request), data in relay.kept.items():
        if not request:
            continue
        answers: dict[int, Chunks] = defaultdict(list)
        for frame in frames(relay.kept[number, False]):
            answers[0 if frame[:3] == b"ACK" else request_id(frame)].append(frame)
        for frame in frames(data):
            if frame[3:4] == b"F":
                chunks = answers.get(0 if frame[:3] == b"HEL" else request_id(frame))
                if chunks:
                    found[service(frame)].append(chunks)
                    found[f"{service(frame)} {len(frame)}"].append(chunks)
    return dict(found)


KINDS = (
    *("body",) * 12, *("damaged", "status", "of another service") * 2, "size", "type", "channel", "sequence",
    "request id", "cut short", "doubled", "reordered", "error", "again", "silent", "noise", "in pieces",
)  # fmt: skip


class HostileServer:
    """Gives recorded answers; spoils `early` of those while a session is opened, and `share` of the later ones."""

    def __init__(self, answers: dict[str, list[Chunks]], seed: str, early: float = 0.04, share: float = 0.8):
        self.answers, self.early, self.share = answers, early, share
        self.every = [chunks for group in answers.values() for chunks in group]
        self.chance = random.Random(seed)
        self.witness = Witness()
        self.spoiled = self.connections = 0
        self.kinds: Counter[str] = Counter()
        self.services: Counter[str] = Counter()
        self.last = "nothing"
        self.honest = False
        self.port = 0

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}"

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        talk = _Talk(self, writer)
        try:
            while True:
                head = await reader.readexactly(8)
                frame = head + await reader.readexactly(_U32.unpack_from(head, 4)[0] - 8)
                self.witness.take(number, True, frame)
                if frame[:3] == b"CLO" or not await talk.answer(frame):
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.witness.ended(number)
            writer.close()


class _Talk:
    """One connection's state: its channel, its numbers, what was held back."""

    def __init__(self, server: HostileServer, writer: asyncio.StreamWriter):
        self.server, self.writer = server, writer
        self.channel = self.token = self.number = self.asked = 0
        self.held: bytes = b""

    async def answer(self, frame: bytes) -> bool:
        server, chance = self.server, self.server.chance
        name = service(frame)
        alike = server.answers.get(f"{name} {len(frame)}") or server.answers.get(name)
        chunks = chance.choice(alike or server.answers["Read"])
        data = b"".join(self._ours(chunk, frame) for chunk in chunks)
        self.asked += 1
        opening = self.asked <= _OPENING
        goes_on = True
        if not server.honest and chance.random() < (server.early if opening else server.share):
            kind = chance.choice(KINDS)
            server.spoiled += 1
            server.kinds[kind] += 1
            server.services[name] += 1
            data, goes_on = self.spoil(kind, data)
            server.last = f"{kind} of {name}: {data[:4000].hex()}"
        pieces = [data[n : n + 7] for n in range(0, len(data), 7)] if server.last.startswith("in pieces") else [data]
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
        return goes_on

    def _ours(self, chunk: bytes, request: bytes) -> bytes:
        """The chunk with this connection's channel and numbers, for the request's id."""
        found = bytearray(chunk)
        if chunk[:3] == b"ACK":
            return chunk
        if chunk[:3] == b"OPN":
            (self.channel,) = _U32.unpack_from(chunk, 8)
            at = sequence_at(chunk) + 8 + _BEFORE_TOKEN
            channel, self.token = struct.unpack_from("<II", chunk, at)
            assert channel == self.channel, "node-opcua's response header has another length"
        else:
            struct.pack_into("<II", found, 8, self.channel, self.token)
        self.number += 1
        wanted = request_id(request) if request[:3] != b"HEL" else 0
        _SEQUENCE.pack_into(found, sequence_at(chunk), self.number, wanted)
        return bytes(found)

    def spoil(self, kind: str, data: bytes) -> tuple[bytes, bool]:
        """What is sent, and whether the connection goes on."""
        chance, server = self.server.chance, self.server
        at = sequence_at(data) if data[:3] in (b"MSG", b"OPN") else 8
        if kind == "damaged":
            return damaged(chance, data), True
        if kind == "body":  # the frame's size is right again: what is inside has to be looked at
            return _framed(data[: at + 8] + damaged(chance, data[at + 8 :])), True
        if kind == "size":
            size = chance.choice((0, 1, 7, 8, 9, 12, 23, 24, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1))
            return data[:4] + _U32.pack(size) + data[8:], True
        if kind == "type":
            return chance.choice(
                (b"MSGC", b"MSGA", b"OPNF", b"CLOF", b"ACKF", b"HELF", b"RHEF", b"XYZF", b"MSGX")
            ) + data[4:], True
        if kind == "channel":
            where = chance.choice((8, 12))
            return data[:where] + _U32.pack(chance.choice((0, 1, 2**32 - 1, chance.getrandbits(32)))) + data[
                where + 4 :
            ], True
        if kind == "sequence":
            return data[:at] + _U32.pack(chance.choice((0, 1, 2**32 - 1, self.number + 7))) + data[at + 4 :], True
        if kind == "request id":
            return data[: at + 4] + _U32.pack(chance.choice((0, 1, 2, 2**32 - 1, self.number))) + data[at + 8 :], True
        if kind == "cut short":
            return data[: chance.randrange(len(data))], chance.random() < 0.5
        if kind == "doubled":
            return data * chance.randrange(2, 5), True
        if kind == "reordered":
            before, self.held = self.held, data
            return (data + before if chance.random() < 0.5 and before else before), True
        if kind == "of another service":
            other = chance.choice(server.every)[0]
            return _framed(data[: at + 8] + other[sequence_at(other) + 8 if other[:3] != b"ACK" else 8 :]), True
        if kind == "status":  # of the response header (OPC 10000-4, 7.33): behind type, timestamp and handle
            code = chance.choice(
                (0x80000000, 0x80250000, 0x80270000, 0x80110000, 0xFFFFFFFF, 0x40000000, chance.getrandbits(32))
            )
            return data[: at + 24] + _U32.pack(code) + data[at + 28 :], True
        if kind == "error":
            reason = chance.randbytes(chance.randrange(300))
            return _framed(
                b"ERRF____"
                + struct.pack("<Ii", chance.choice((0x80820000, 0, chance.getrandbits(32))), len(reason))
                + reason
            ), chance.random() < 0.5
        if kind == "again":
            return data + b"".join(
                self._ours(chunk, data) for chunk in chance.choice(server.every)[:1] if chunk[:3] == b"MSG"
            ), True
        if kind == "silent":
            return b"", True
        if kind == "in pieces":
            return data, True
        return chance.randbytes(chance.randrange(1, 3000)), chance.random() < 0.5  # noise


def _framed(data: bytes) -> bytes:
    return data[:4] + _U32.pack(len(data)) + data[8:]
