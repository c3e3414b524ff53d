"""The witness's reading of frames: bytes put together by hand after OPC 10000-6, 6.7.2 and 7.1.2."""

from __future__ import annotations

import random
import struct

import pytest
from asyncua.ua.object_ids import ObjectIds

from otmirror.witness.opcua import ABORTED, CUT, ENCRYPTED, GARBAGE, Framing, Message, Witness, named
from otmirror.witness.services import REQUESTS, RESPONSES

NONE = b"http://opcfoundation.org/UA/SecurityPolicy#None"
BASIC = b"http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"


def frame(kind: bytes, chunk: bytes, rest: bytes) -> bytes:
    return kind + chunk + struct.pack("<I", 8 + len(rest)) + rest


def text(value: bytes | None) -> bytes:
    return struct.pack("<i", -1) if value is None else struct.pack("<i", len(value)) + value


def type_id(number: int) -> bytes:
    return struct.pack("<BBH", 1, 0, number)


def opn(number: int = 446, policy: bytes = NONE, request_id: int = 1) -> bytes:
    certificate = None if policy == NONE else bytes(5000)
    security = struct.pack("<I", 0) + text(policy) + text(certificate) + text(certificate and bytes(20))
    return frame(b"OPN", b"F", security + struct.pack("<II", 1, request_id) + type_id(number) + bytes(100))


def msg(body: bytes, request_id: int = 2, chunk: bytes = b"F", kind: bytes = b"MSG") -> bytes:
    return frame(kind, chunk, struct.pack("<IIII", 7, 9, 51, request_id) + body)


def response(number: int, result: int) -> bytes:
    return type_id(number) + struct.pack("<qII", 1, 5, result) + bytes(200)


HELLO = frame(b"HEL", b"F", struct.pack("<5I", 0, 65536, 65536, 0, 0) + text(b"opc.tcp://plc:4840"))
GOODBYE = msg(type_id(452) + bytes(60), 9, kind=b"CLO")
CONVERSATION = HELLO + opn() + msg(type_id(631) + bytes(300)) + msg(type_id(673) + bytes(9), 3) + GOODBYE
SERVICES = ["HEL", "OpenSecureChannel", "Read", "Write", "CloseSecureChannel"]


def seen(data: bytes, request: bool = True, piece: int = 1 << 20) -> list[Message]:
    framing = Framing(request)
    return [m for at in range(0, len(data), piece) for m in framing.feed(data[at : at + piece])] + [*framing.finish()]


@pytest.mark.parametrize("piece", [1, 2, 7, 8, 9, 100, 1 << 20])
def test_messages_are_named_wherever_the_bytes_are_cut(piece: int) -> None:
    found = seen(CONVERSATION, piece=piece)
    assert [m.service for m in found] == SERVICES
    assert [m.request_id for m in found] == [0, 1, 2, 3, 9]
    assert sum(m.size for m in found) == len(CONVERSATION)
    assert not any(m.unreadable for m in found)


def test_a_response_tells_its_result() -> None:
    data = (
        msg(response(634, 0))
        + msg(response(397, 0x800F0000), 3)
        + frame(b"ERR", b"F", struct.pack("<I", 0x80080000) + text(None))
    )
    assert [(m.service, m.result) for m in seen(data, request=False)] == [
        ("Read", 0), ("ServiceFault", 0x800F0000), ("ERR", 0x80080000),
    ]  # fmt: skip


def test_a_message_in_chunks_counts_once_even_when_its_type_is_torn() -> None:
    body = type_id(673) + bytes(40)
    data = (
        msg(body[:1], 5, b"C") + msg(type_id(631), 6) + msg(body[1:3], 5, b"C") + msg(b"", 5, b"C") + msg(body[3:], 5)
    )
    assert [(m.service, m.request_id) for m in seen(data)] == [("Read", 6), ("Write", 5)]


def test_an_aborted_message_and_one_cut_short_are_no_messages_to_a_server_either() -> None:
    data = msg(type_id(673), 5, b"C") + msg(b"", 5, b"A") + msg(type_id(631)) + msg(type_id(673))[:-1]
    assert [(m.service, m.unreadable) for m in seen(data)] == [("?", ABORTED), ("Read", None), ("?", CUT)]


def test_what_is_encrypted_is_not_taken_for_harmless() -> None:
    witness = Witness()
    witness.take(1, True, HELLO + opn(policy=BASIC) + msg(bytes(range(64))))
    witness.take(2, True, HELLO + opn() + msg(type_id(631)))
    assert witness.unreadable == {ENCRYPTED: 2}
    assert witness.requests == {"OpenSecureChannel": 1, "Read": 1}
    assert witness.beyond(["Read"]) == {ENCRYPTED: 2}


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"MSGF\x07\x00\x00\x00", b"MSGX\x20\x00\x00\x00", b"OPNC\x40\x00\x00\x00"],
)
def test_garbage_ends_the_reading_of_a_connection_and_is_told(garbage: bytes) -> None:
    witness = Witness()
    witness.take(1, True, msg(type_id(631)) + garbage + msg(type_id(631)))
    witness.take(2, True, msg(type_id(527)))
    assert witness.requests == {"Read": 1, "Browse": 1}
    assert witness.unreadable == witness.beyond(["Read", "Browse"]) == {GARBAGE: 1}
    assert witness.transferred == (len(garbage) + 3 * len(msg(type_id(631))), 0)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"\x00\x77", "i=119"),
        (struct.pack("<BBH", 1, 0, 673), "Write"),
        (struct.pack("<BHI", 2, 0, 673), "Write"),
        (struct.pack("<BBH", 1, 0, 64999), "i=64999"),
        (struct.pack("<BBH", 1, 3, 631), "?"),
        (struct.pack("<BH", 3, 0) + text(b"Read"), "?"),
        (b"\x01\x00\x77", "?"),
        (b"", "?"),
    ],
)
def test_names_of_type_ids(body: bytes, name: str) -> None:
    assert named(body, True)[0] == name


def test_a_response_sent_as_a_request_is_no_request_that_is_known() -> None:
    assert named(type_id(634), True)[0] == "i=634"


def test_the_names_are_those_of_the_published_ids() -> None:
    """asyncua's list is generated from the specification's NodeIds.csv."""
    for table, suffix in ((REQUESTS, "Request"), (RESPONSES, "Response")):
        for number, name in table.items():
            names = {f"{name}{suffix}{kind}_Encoding_DefaultBinary" for kind in ("", "Type")} | {
                "ServiceFault_Encoding_DefaultBinary"
            }
            assert number in {getattr(ObjectIds, one, None) for one in names}, name
    services = {
        name.removesuffix("Request_Encoding_DefaultBinary")
        for name in vars(ObjectIds)
        if name.endswith("Request_Encoding_DefaultBinary")
    } - {"CallMethod", "MonitoredItemCreate", "MonitoredItemModify"}  # parts of requests
    assert services <= set(REQUESTS.values())


def test_any_bytes_at_all_are_survived_within_bounds() -> None:
    chance = random.Random(20261125)
    witness = Witness(keep=50)
    for connection in range(300):
        data = bytearray(CONVERSATION if connection % 2 else chance.randbytes(200))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        while data:
            piece = chance.randrange(1, 60)
            witness.take(connection, connection % 3 > 0, bytes(data[:piece]))
            del data[:piece]
        witness.ended(connection)
    assert len(witness.messages) == 50
    assert witness.requests["Read"] > 10


def test_endless_chunks_and_endless_types_take_no_memory() -> None:
    framing, witness = Framing(True), Witness(keep=10)
    for number in range(5000):
        list(framing.feed(msg(bytes(1000), number, b"C")))
        witness.take(1, True, msg(struct.pack("<BHI", 2, 0, 100_000 + number)))
    assert len(framing._unfinished) <= 64
    assert len(witness.requests) <= 201
    assert sum(witness.requests.values()) == 5000
    huge = b"MSGF" + struct.pack("<I", 0xFFFFFFFF)
    list(framing.feed(huge))
    for _ in range(20):
        assert list(framing.feed(bytes(1 << 20))) == []
    assert len(framing._head) < 1000
