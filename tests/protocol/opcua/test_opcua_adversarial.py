"""Bodies of every type, arrays and structures: as asyncua reads them, and damaged in any way without any harm."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import math
import random
import struct
import time
import tracemalloc
import uuid
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_to_binary, variant_from_binary, variant_to_binary

from otmirror.opcua import binary, references
from otmirror.opcua.binary import variant
from otmirror.opcua.decode import Batch, Forms, decode, plain
from otmirror.opcua.elements import Elements
from otmirror.opcua.faults import UndecodableError
from otmirror.opcua.readings import RARE
from otmirror.opcua.readings import decode as decode_values
from otmirror.opcua.structures import Field, Layout, Structures, standard, standard_type
from otmirror.taglist import Tag

SEED = 20261128
TAG = Tag("x", "i=1")
UTC = datetime.timezone.utc
T = ua.VariantType
NUMBERS = {
    T.SByte: "b", T.Byte: "B", T.Int16: "h", T.UInt16: "H", T.Int32: "i", T.UInt32: "I", T.Int64: "q", T.UInt64: "Q",
    T.Float: "f", T.Double: "d",
}  # fmt: skip


def number(chance: random.Random, kind: ua.VariantType) -> Any:
    code = NUMBERS[kind]
    if code in "fd":
        return struct.unpack(
            "<" + code, struct.pack("<" + code, chance.choice([math.inf, -0.0, chance.uniform(-9, 9)]))
        )[0]
    return struct.unpack("<" + code, chance.randbytes(struct.calcsize(code)))[0]


def word(chance: random.Random) -> str:
    return chance.choice(["", "Pumpe l\u00e4uft", "x" * chance.randrange(200), "\U0001f600"])


def moment(chance: random.Random) -> datetime.datetime:
    return datetime.datetime(1601, 1, 1, tzinfo=UTC) + datetime.timedelta(microseconds=chance.randrange(10**17))


def a_range(chance: random.Random) -> ua.Range:
    return ua.Range(Low=chance.uniform(-9, 9), High=chance.uniform(0, 99))


STRUCTURES: list[Callable[[random.Random], Any]] = [
    a_range,
    lambda chance: ua.EUInformation(word(chance), chance.randrange(9), ua.LocalizedText(word(chance), "de")),
    lambda chance: ua.Argument(word(chance), ua.NodeId(11), -1, [1, 2], ua.LocalizedText(word(chance))),
    lambda chance: ua.EnumValueType(chance.getrandbits(62), ua.LocalizedText("a"), ua.LocalizedText(word(chance))),
    lambda chance: ua.ServerStatusDataType(moment(chance), moment(chance), ua.ServerState.Test,
                                           ua.BuildInfo(word(chance), "b", "c"), 5, ua.LocalizedText(word(chance))),
    lambda chance: ua.AxisInformation(ua.EUInformation("u"), a_range(chance), ua.LocalizedText("t"),
                                      ua.AxisScaleEnumeration.Log, [1.5, 2.5][: chance.randrange(3)]),
    lambda chance: ua.StructureDefinition(ua.NodeId(5, 2), ua.NodeId(22), ua.StructureType.Union,
                                          [ua.StructureField(word(chance)) for _ in range(chance.randrange(4))]),
]  # fmt: skip

SCALARS: dict[ua.VariantType, Callable[[random.Random], Any]] = {
    **{kind: (lambda chance, kind=kind: number(chance, kind)) for kind in NUMBERS},
    T.Boolean: lambda chance: chance.random() < 0.5,
    T.String: word,
    T.DateTime: moment,
    T.Guid: lambda chance: uuid.UUID(int=chance.getrandbits(128)),
    T.ByteString: lambda chance: chance.randbytes(chance.randrange(40)),
    T.XmlElement: lambda chance: ua.XmlElement("<a/>"),
    T.NodeId: lambda chance: chance.choice([ua.NodeId(5), ua.NodeId(500, 3), ua.NodeId(70000, 300), ua.NodeId("n", 2),
                                            ua.NodeId(b"n", 2), ua.NodeId(uuid.UUID(int=7), 2)]),
    T.ExpandedNodeId: lambda chance: ua.ExpandedNodeId("n", 0, ua.NodeIdType.String, "urn:x", 3),
    T.StatusCode: lambda chance: ua.StatusCode(chance.choice([0, 0x80310000, 0x40900480])),
    T.QualifiedName: lambda chance: ua.QualifiedName(word(chance), 3),
    T.LocalizedText: lambda chance: ua.LocalizedText(word(chance), chance.choice([None, "de"])),
    T.ExtensionObject: lambda chance: chance.choice(STRUCTURES)(chance),
    T.DataValue: lambda chance: ua.DataValue(ua.Variant(number(chance, T.Int16), T.Int16), ua.StatusCode(0),
                                             SourceTimestamp=moment(chance)),
}  # fmt: skip


def some_variant(chance: random.Random) -> ua.Variant:
    kind = chance.choice(list(SCALARS))
    made = SCALARS[kind]
    form = chance.random()
    if form < 0.5:
        return ua.Variant(made(chance), kind)
    if form < 0.8:
        return ua.Variant([made(chance) for _ in range(chance.randrange(5))], kind, is_array=True)
    rows, columns = chance.randrange(1, 4), chance.randrange(1, 4)
    flat = [made(chance) for _ in range(rows * columns)]
    return ua.Variant(flat, kind, [rows, columns], True)


def shown(value: Any) -> Any:
    """The JSON of a value, of asyncua's objects by their fields: what docs/sample.md says, written a second time."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [shown(one) for one in value]
    if isinstance(value, ua.Variant):
        return shown(value.Value)
    if is_dataclass(value) and type(value).__name__ not in ("NodeId", "QualifiedName", "LocalizedText", "StatusCode",
                                                            "ExpandedNodeId", "XmlElement", "DataValue"):  # fmt: skip
        return {field.name: shown(getattr(value, field.name)) for field in fields(value)}
    return plain(value, Structures())


def test_every_type_as_asyncua_reads_it() -> None:
    chance = random.Random(SEED)
    met = set()
    for _ in range(4000):
        given = some_variant(chance)
        body = variant_to_binary(given)
        theirs = variant_from_binary(Buffer(body))
        ours, end = variant(b"??" + body, 2)
        assert end == len(body) + 2
        assert ours.VariantType == theirs.VariantType
        assert plain(ours, Structures()) == shown(theirs), given
        met.add((given.VariantType, given.is_array))
    assert len(met) == 2 * len(SCALARS)


def test_every_standard_structure_has_a_layout() -> None:
    """But for those that asyncua itself cannot make sense of."""
    kinds = {kind: encoding for encoding, kind in ua.extension_objects_by_typeid.items()}
    without = {kind.__name__ for kind, encoding in kinds.items() if standard(encoding) is None}
    assert without <= {"AliasCategoryUpdateDataType", "AliasUpdateDataType"}
    assert standard(ua.NodeId(ua.ObjectIds.Range_Encoding_DefaultBinary, 1)) is None
    assert standard_type(ua.NodeId(ua.ObjectIds.Range)) is standard(ua.NodeId(886))


def bodies(chance: random.Random) -> bytes:
    values = [
        struct_to_binary(ua.DataValue(some_variant(chance), SourceTimestamp=moment(chance)))
        for _ in range(chance.randrange(1, 5))
    ]
    return struct.pack("<i", len(values)) + b"".join(values)


def damaged(chance: random.Random, body: bytes) -> bytes:
    """Flipped, cut, doubled, or with a length that is far too large or negative written over it."""
    found = bytearray(body)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(found) + 1)
        way = chance.randrange(5)
        if way == 0 and found:
            found[at % len(found)] = chance.randrange(256)
        elif way == 1:
            del found[at:]
        elif way == 2:
            found[at:at] = found[at : at + chance.randrange(40)]
        elif way == 3:
            found[at : at + 4] = struct.pack("<i", chance.choice([2**31 - 1, -1, -(2**31), -5, 2**24, 0]))
        else:
            found[at:at] = chance.randbytes(chance.randrange(8))
    return bytes(found)


def test_ten_thousand_damaged_bodies_do_no_harm() -> None:
    chance = random.Random(SEED)
    forms = Forms(structures=Structures(), elements=Elements())
    refused = longest = 0.0
    for _ in range(10_000):
        body = damaged(chance, bodies(chance))
        started = time.process_time()
        try:
            found = decode_values(body, 0)
        except UndecodableError:
            refused += 1
            continue
        finally:
            longest = max(longest, time.process_time() - started)
        batch = Batch("s", forms)
        for reading in found:
            batch.add(TAG, reading, 1)  # never raises: what makes no sense is BadDecodingError
        assert not found or batch.table().num_rows >= len(found)
    assert 1000 < refused < 9900
    assert longest < 1.0


def i32(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}i", *numbers)


def data_value(encoded: bytes) -> bytes:
    return struct.pack("<i", 1) + b"\x01" + encoded


def announced(kind: int, count: int, rest: bytes = b"") -> bytes:
    return bytes([0x80 | kind]) + struct.pack("<i", count) + rest


NESTED = bytes([0x80 | 24])  # an array of variants
MANY = 2**31 - 1
BOMBS = {
    **{f"array of type {kind}": announced(kind, MANY) for kind in range(64)},
    "arrays of nothing": announced(24, 1000, announced(0, MANY) * 1000),
    "arrays of nothing, few": announced(24, 1000, announced(0, 999) * 1000),
    "variants in variants": b"".join([NESTED + struct.pack("<i", 1)] * 5000) + b"\x01\x01",
    "a variant in a variant": b"\x18" * 5000 + b"\x01\x01",
    "data values in data values": b"\x17\x01" * 5000,
    "diagnostics in diagnostics": b"\x19" + b"\x40" * 5000,
    "a million dimensions": b"\xc6" + i32(1, 7, 10**6) + i32(1) * 10**6,
    "huge dimensions": b"\xc6" + i32(1, 7, 10**5) + i32(MANY) * 10**5,
    "dimensions of nothing": b"\xc6" + struct.pack("<i", 0) + struct.pack("<iiii", 3, 0, MANY, MANY),
    "negative dimensions": b"\xc6" + struct.pack("<ii", 1, 7) + struct.pack("<iii", 2, -1, -1),
    "dimensions that do not match": b"\xc6" + struct.pack("<iii", 2, 7, 8) + struct.pack("<iii", 2, 3, 1),
    "a negative length": b"\x0f" + struct.pack("<i", -5),
    "a structure without end": b"\x16\x00\x05\x01" + struct.pack("<i", MANY),
    "a node id of no known kind": b"\x11\x06\x00",
}  # fmt: skip
ALLOWED = {"dimensions of nothing": ([], True), "a negative length": (None, False)}


@pytest.mark.parametrize("name", BOMBS)
def test_what_promises_too_much_costs_nothing(name: str) -> None:
    body = data_value(BOMBS[name])
    tracemalloc.start()
    started = time.process_time()
    try:
        if name in ALLOWED:
            ((found, kind, *_),) = decode_values(body, 0)
            assert (found.Value, found.is_array, kind) == (*ALLOWED[name], RARE)
        else:
            with pytest.raises(UndecodableError):
                decode_values(body, 0)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(body) + 500_000
        assert time.process_time() - started < 2
    finally:
        tracemalloc.stop()


POINT = Layout((Field("X", 11), Field("Y", 11)))
EMPTY = Layout()
SHAPES = Layout((
    Field("Points", POINT, 1), Field("Nothings", EMPTY, 1), Field("Matrix", 6, 2), Field("Any", 24), Field("Name", 12),
    Field("Closed", 22),
))  # fmt: skip
CHOICE = Layout((Field("A", 6), Field("B", 12)), union=True)
SPARSE = Layout((Field("A", 6, 0, True), Field("B", 6), Field("C", 12, 0, True)), optional=True)
CYCLE = Layout(optional=True)
CYCLE.fields = (Field("N", 6), Field("Next", CYCLE, 0, True))
KIND = ua.NodeId(1, 5)


def closed(body: bytes | None) -> ua.ExtensionObject:
    return ua.ExtensionObject(KIND, body)


def opened(layout: Layout, body: bytes) -> Any:
    return Structures({KIND: layout}).fields_of(closed(body))


def test_shapes_of_structures_as_the_specification_writes_them() -> None:
    """OPC 10000-6, 5.2.5 to 5.2.8: a matrix is its sizes and then its elements, without their count."""
    body = (
        i32(2) + struct.pack("<4d", 1, 2, 3, 4) + i32(3) + i32(2, 2, 3) + i32(1, 2, 3, 4, 5, 6)
        + b"\x06" + i32(9) + i32(1) + b"n" + b"\x00\x00\x00"
    )  # fmt: skip
    found = opened(SHAPES, body + b"fields of a newer definition")
    assert plain(found, Structures()) == {
        "Points": [{"X": 1.0, "Y": 2.0}, {"X": 3.0, "Y": 4.0}], "Nothings": [{}, {}, {}],
        "Matrix": [[1, 2, 3], [4, 5, 6]], "Any": 9, "Name": "n", "Closed": None,
    }  # fmt: skip
    assert opened(CHOICE, i32(0)) == {}
    assert opened(CHOICE, i32(1, 7)) == {"A": 7}
    assert opened(CHOICE, i32(2, 1) + b"w") == {"B": "w"}
    assert opened(SPARSE, i32(0, 8)) == {"B": 8}
    assert opened(SPARSE, i32(1, 7, 8)) == {"A": 7, "B": 8}
    assert opened(SPARSE, i32(2, 8, 1) + b"c") == {"B": 8, "C": "c"}
    assert opened(CYCLE, i32(1, 1, 1, 2, 0, 3)) == {"N": 1, "Next": {"N": 2, "Next": {"N": 3}}}
    assert Structures({KIND: POINT}).fields_of(closed(None)) is None


@pytest.mark.parametrize(
    ("layout", "body"),
    [
        (CHOICE, i32(3, 0)),
        (CHOICE, i32(2, MANY)),
        (CYCLE, i32(1, 1) * 5000),
        (POINT, b"\x00" * 15),
        (SHAPES, i32(MANY)),
        (SHAPES, i32(0, MANY)),
        (SHAPES, i32(0, 0, 2, MANY, MANY)),
        (SHAPES, i32(0, 0, 3, 0, MANY, MANY) + b"\xff"),
        (Layout((Field("A", Layout((Field("B", EMPTY, 1),)), 1),)), i32(1000) + i32(4000) * 1000),
        (Layout((Field("A", EMPTY, 2),)), i32(2, 65536, 65536)),
    ],
)
def test_structures_that_promise_too_much(layout: Layout, body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UndecodableError):
            opened(layout, body)
        assert tracemalloc.get_traced_memory()[1] < 300 * len(body) + 500_000
    finally:
        tracemalloc.stop()


def test_damaged_structures_do_no_harm() -> None:
    chance = random.Random(SEED)
    layouts = itertools.cycle([SHAPES, CHOICE, SPARSE, CYCLE, POINT])
    whole = i32(2) + struct.pack("<4d", 1, 2, 3, 4) + i32(3) + i32(2, 2, 3) + i32(1, 2, 3, 4, 5, 6) + b"\x06" + i32(9)
    for _ in range(3000):
        batch = Batch("s", Forms(structures=Structures({KIND: next(layouts)})))
        batch.add(TAG, (ua.Variant(closed(damaged(chance, whole)), T.ExtensionObject), RARE, 0, 1, 1), 1)
        (row,) = batch.table().to_pylist()
        assert row["status"] in (0, 0x80070000)
        assert (row["text"] is None) == (row["status"] != 0)


def test_a_structure_in_xml_is_its_text() -> None:
    given = b"\x16\x00\x05\x02" + i32(4) + b"<a/>"
    found, _ = variant(given, 0)
    value = decode(found, TAG, Structures())
    assert value == (None, '{"TypeId": "i=5", "Body": "<a/>"}', "json")
    assert decode(variant(b"\x16\x00\x05\x00", 0)[0], TAG, Structures())[1] == '{"TypeId": "i=5", "Body": null}'


def test_reserved_types_are_read_as_byte_strings() -> None:
    """OPC 10000-6, 5.2.2.16: 26 to 31."""
    found, end = variant(b"\x1f" + i32(2) + b"ab", 0)
    assert (found.Value, found.VariantType, end) == (b"ab", T.ByteString, 7)
    with pytest.raises(UndecodableError):
        binary.variant(b"\x20" + i32(2) + b"ab", 0)


def test_a_damaged_answer_to_browse_does_no_harm() -> None:
    chance = random.Random(SEED)
    one = ua.ReferenceDescription(ua.NodeId(46), True, ua.ExpandedNodeId("n", 2), ua.QualifiedName("EURange"),
                                  ua.LocalizedText("x"), ua.NodeClass.Variable, ua.ExpandedNodeId(68))  # fmt: skip
    results = [ua.BrowseResult(ua.StatusCode(0), b"more", [one, one]), ua.BrowseResult(ua.StatusCode(0x80340000))]
    body = i32(2) + b"".join(struct_to_binary(result) for result in results)
    first, second = references.decode(body, 2)
    assert (first.point, first.references[0].name, first.references[0].node) == (b"more", "EURange", ua.NodeId("n", 2))
    assert (first.references[1].kind, second.status, second.references) == (ua.NodeId(46), 0x80340000, [])
    for end in range(len(body)):
        with pytest.raises(UndecodableError):
            references.decode(body[:end], 2)
    for _ in range(3000):
        with contextlib.suppress(UndecodableError):
            assert len(references.decode(damaged(chance, body), 2)) == 2
