"""Values decoded from bytes: against asyncua's own decoder, against bytes made from the specification, cut short and
flipped; and the seam to asyncua's channel, against a real server."""

from __future__ import annotations

import math
import random
import struct
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from opcua_server import PLANT, Server

from otmirror.loopthread import LoopThread
from otmirror.opcua import readings, wire
from otmirror.opcua.address import value_of
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.faults import ServiceFaultError, UndecodableError
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.readings import RARE, decode
from otmirror.opcua.structures import Structures
from otmirror.taglist import Tag

SEED = 20261124
TICKS_1970 = 116_444_736_000_000_000
# Type numbers and Python's codes for them: OPC 10000-6, table 1, and 5.2.2.
NUMBERS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}


def array(*values: bytes) -> bytes:
    return struct.pack("<i", len(values)) + b"".join(values)


def data_value(mask: int, variant: bytes, status: int = 0, source: int = 0, server: int = 0) -> bytes:
    """One DataValue in the order of OPC 10000-6, 5.2.2.17: each picoseconds field follows its timestamp."""
    parts = [bytes([mask])]
    parts += [variant] if mask & 1 else []
    parts += [struct.pack("<I", status)] if mask & 2 else []
    parts += [struct.pack("<q", source)] if mask & 4 else []
    parts += [struct.pack("<H", 11)] if mask & 16 else []
    parts += [struct.pack("<q", server)] if mask & 8 else []
    parts += [struct.pack("<H", 22)] if mask & 32 else []
    return b"".join(parts)


def number(chance: random.Random, kind: int) -> Any:
    code = NUMBERS[kind]
    if code == "?":
        return chance.random() < 0.5
    if code in "fd":
        exact = struct.pack("<" + code, chance.choice([0.0, -0.0, math.inf, -math.inf, chance.uniform(-1e9, 1e9)]))
        return struct.unpack("<" + code, exact)[0]
    bits = 8 * struct.calcsize("<" + code)
    low = -(1 << (bits - 1)) if code.islower() else 0
    return chance.choice([low, low + (1 << bits) - 1, chance.randrange(low, low + (1 << bits))])


@pytest.mark.parametrize("mask", range(64))
def test_every_mask_and_number_as_the_specification_writes_it(mask: int) -> None:
    chance = random.Random(SEED + mask)
    made, expected = [], []
    for kind, code in NUMBERS.items():
        value = number(chance, kind)
        status, source, server = (chance.choice([0, 0x80310000, 0x40000000]), chance.randrange(10**6) * 10**11,
                                  TICKS_1970 + chance.randrange(-(10**17), 10**17))  # fmt: skip
        made.append(data_value(mask, bytes([kind]) + struct.pack("<" + code, value), status, source, server))
        expected.append((
            value if mask & 1 else None,
            kind if mask & 1 else 0,
            status if mask & 2 else 0,
            (source - TICKS_1970) // 10 if mask & 4 and source > 0 else None,
            (server - TICKS_1970) // 10 if mask & 8 else None,
        ))  # fmt: skip
    assert decode(b"before" + array(*made), 6) == expected


def some_variant(chance: random.Random) -> ua.Variant:
    kind = ua.VariantType(chance.choice([*NUMBERS, *range(12, 22)]))
    values: dict[int, Any] = {
        12: chance.choice(["", "Pump läuft", "x" * 300, None]), 13: ua.win_epoch_to_datetime(TICKS_1970 + 12345670),
        14: ua.uuid.UUID(int=chance.getrandbits(128)) if hasattr(ua, "uuid") else None,
        15: chance.choice([b"", b"\x00\xff", None]), 16: ua.XmlElement("<a/>"), 17: ua.NodeId("n", 3),
        18: ua.ExpandedNodeId("n", 3), 19: ua.StatusCode(ua.UInt32(0x80310000)), 20: ua.QualifiedName("q", 1),
        21: ua.LocalizedText("text", "en"),
    }  # fmt: skip
    one = number(chance, kind.value) if kind.value in NUMBERS else values[kind.value]
    if kind.value in NUMBERS and chance.random() < 0.3:
        return ua.Variant([number(chance, kind.value) for _ in range(chance.randrange(4))], kind, is_array=True)
    if one is None and kind.value not in (12, 15):
        return ua.Variant()
    return ua.Variant(one, kind)


def told_apart(reading: readings.Reading) -> tuple[Any, ...]:
    value, kind, *rest = reading
    if kind == RARE:
        return repr(value.Value), value.VariantType.value if value.Value is not None else 0, *rest
    return repr(value), kind if value is not None else 0, *rest


def test_random_values_are_what_asyncua_decodes() -> None:
    """Without picoseconds: asyncua expects these after both timestamps, the specification after each."""
    chance = random.Random(SEED)
    for _ in range(2000):
        given = ua.DataValue(
            some_variant(chance),
            StatusCode=ua.StatusCode(ua.UInt32(chance.choice([0, 0x80310000]))),
            SourceTimestamp=chance.choice([None, ua.win_epoch_to_datetime(TICKS_1970 + chance.randrange(10**17))]),
            ServerTimestamp=chance.choice([None, ua.win_epoch_to_datetime(TICKS_1970 + chance.randrange(10**17))]),
        )
        body = struct_to_binary(given)
        again = struct_from_binary(ua.DataValue, Buffer(body))
        (found,) = decode(array(body), 0)
        assert told_apart(found) == told_apart(readings.of(again)), given


def some_body(chance: random.Random) -> bytes:
    values = [
        ua.DataValue(some_variant(chance), SourceTimestamp=ua.win_epoch_to_datetime(TICKS_1970)) for _ in range(6)
    ]
    return array(*(struct_to_binary(value) for value in values))


def test_a_body_cut_at_any_byte_is_refused() -> None:
    body = some_body(random.Random(SEED))
    assert len(decode(body, 0)) == 6
    for end in range(len(body)):
        with pytest.raises(UndecodableError):
            decode(body[:end], 0)


def test_flipped_bytes_give_values_or_a_refusal_and_nothing_else() -> None:
    chance = random.Random(SEED)
    refused = 0
    for _ in range(3000):
        body = bytearray(some_body(chance))
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        try:
            assert len(decode(bytes(body), 0)) <= len(body)
        except UndecodableError:
            refused += 1
    assert 0 < refused < 3000


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("<i", 2**31 - 1),
        array(data_value(1, b"\x0c" + struct.pack("<i", 2**31 - 1))),
        array(data_value(1, b"\x8b" + struct.pack("<i", 2**31 - 1))),
        array(data_value(1, b"\x80" + struct.pack("<i", 2**31 - 1))),
        array(data_value(1, b"\xc6" + struct.pack("<iiiii", 1, 7, 2, 2**30, 2**30))),
    ],
)
def test_lengths_that_promise_more_than_there_is(body: bytes) -> None:
    with pytest.raises(UndecodableError):
        decode(body, 0)


@pytest.mark.parametrize("ticks", [0, -1, 2_650_467_743_990_000_000, 2**63 - 1, -(2**63)])
def test_times_that_are_none(ticks: int) -> None:
    body = array(data_value(13, b"\x01\x01", source=ticks, server=ticks))
    assert decode(body, 0) == [(True, 1, 0, None, None)]


@pytest.fixture
def guarded(plant: Server) -> Any:
    client, loop = GuardedClient(OpcUaConfig(plant.url, (Tag("a", "i=2259"),))), LoopThread("readings test")
    loop.run(client.connect(), 10)
    yield client, lambda work: loop.run(work, 10)
    loop.run(client.close(), 10)
    loop.close()


def test_the_seam_reads_what_asyncua_reads_and_the_guard_counts_it(plant: Server, guarded: Any) -> None:
    client, run = guarded
    index = plant.namespaces.index(PLANT)
    nodes = [
        value_of(ua.NodeId(2259)), value_of(ua.NodeId(2255)), value_of(ua.NodeId("Setpoint", index)),
        value_of(ua.NodeId("is not there", index)), value_of(ua.NodeId(2256)),
    ]  # fmt: skip
    before = client.sent["Read"]
    found = run(client.read_values([wire.node(node) for node in nodes]))
    assert client.sent["Read"] == before + 1
    expected = [readings.of(value) for value in run(client.read(nodes))]
    assert [told_apart(reading)[:2] for reading in found[:4]] == [told_apart(reading)[:2] for reading in expected[:4]]
    assert found[2][0] == plant.do("setpoint")
    assert found[3][2] == 0x80340000  # BadNodeIdUnknown
    assert Structures().fields_of(found[4][0].Value)["State"] == ua.ServerState.Running


def test_a_fault_and_an_answer_to_another_question_are_told(guarded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, run = guarded
    with pytest.raises(ServiceFaultError) as fault:
        run(client.read_values([]))
    assert fault.value.code == 0x800F0000  # BadNothingToDo
    assert client.alive
    monkeypatch.setattr(wire, "READ", wire.READ._replace(answer=ua.NodeId(1)))
    monkeypatch.setattr(wire, "SERVICES", [*wire.SERVICES, wire.READ])
    with pytest.raises(UndecodableError, match="it is of type"):
        run(client.read_values([wire.node(value_of(ua.NodeId(2259)))]))
