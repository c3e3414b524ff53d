"""The witness's reading of Modbus TCP: bytes put together by hand after Modbus messaging on TCP/IP 1.0b, 3.1."""

from __future__ import annotations

import random
import struct

import pytest

from otmirror.witness.modbus import FUNCTIONS, Framing, ModbusWitness, named
from otmirror.witness.opcua import CUT, GARBAGE, Message


def frame(code: int, body: bytes = b"\x00\x00\x00\x01", transaction: int = 1, unit: int = 1) -> bytes:
    return struct.pack(">HHHBB", transaction, 0, 2 + len(body), unit, code) + body


CONVERSATION = frame(3) + frame(1, transaction=2) + frame(16, bytes(200), 3) + frame(7, b"", 4) + frame(99, b"x", 5)
NAMES = ["3 Read Holding Registers", "1 Read Coils", "16 Write Multiple Registers", "7 Read Exception Status"]


def seen(data: bytes, request: bool = True, piece: int = 1 << 20) -> list[Message]:
    framing = Framing(request)
    return [m for at in range(0, len(data), piece) for m in framing.feed(data[at : at + piece])] + [*framing.finish()]


@pytest.mark.parametrize("piece", [1, 2, 5, 6, 7, 8, 9, 100, 1 << 20])
def test_messages_are_named_wherever_the_bytes_are_cut(piece: int) -> None:
    found = seen(CONVERSATION, piece=piece)
    assert [m.service for m in found] == [*NAMES, "99 (not public)"]
    assert [m.request_id for m in found] == [1, 2, 3, 4, 5]
    assert sum(m.size for m in found) == len(CONVERSATION)
    assert not any(m.unreadable for m in found)


def test_an_exception_has_the_function_it_answers_and_its_number() -> None:
    (found,) = seen(frame(0x83, b"\x02"), request=False)
    assert (found.service, found.result) == ("3 Read Holding Registers", 2)
    (found,) = seen(frame(0x83, b""), request=False)
    assert (found.service, found.result) == ("3 Read Holding Registers", None)
    (found,) = seen(frame(0x83, b"\x02"))
    assert (found.service, found.result) == ("131 (not public)", None), "no request is an exception"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x01\x00\x01\x00\x06\x01\x03" + bytes(9), GARBAGE),  # protocol 1
        (b"\x00\x01\x00\x00\x00\x01\x01\x03", GARBAGE),  # no function code
        (b"\x00\x01\x00\x00\x00\xff\x01\x03" + bytes(300), GARBAGE),  # longer than a PDU can be
        (b"HELF\x30\x00\x00\x00" + bytes(40), GARBAGE),
        (frame(3)[:-1], CUT),
        (frame(3)[:3], CUT),
    ],
)
def test_what_is_no_modbus_is_told_once(data: bytes, reason: str) -> None:
    assert [m.unreadable for m in seen(frame(4) + data)] == [None, reason]


def test_what_cannot_be_read_is_never_taken_for_harmless() -> None:
    witness = ModbusWitness()
    witness.take(1, True, frame(3) + b"garbage in the place of a frame" + frame(6))
    witness.take(2, True, frame(6))
    reads = {named(code) for code in (1, 2, 3, 4)}
    assert witness.beyond(reads) == {"6 Write Single Register": 1, GARBAGE: 1}
    assert witness.function_codes == {3: 1, 6: 1}


def test_any_bytes_do_no_harm() -> None:
    chance = random.Random(20261129)
    for _ in range(2000):
        data = bytearray(CONVERSATION)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        framing = Framing(request=bool(chance.randrange(2)))
        while data:
            size = chance.randrange(1, 40)
            list(framing.feed(bytes(data[:size])))
            del data[:size]
            assert len(framing._head) <= 9
        list(framing.finish())


def test_the_names_are_those_of_the_specification() -> None:
    assert {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 24, 43} == set(FUNCTIONS)
