"""Values, statuses and times, against what the server script says in its own language."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import pytest
from opcua_server import PLANT, Server, read_until, rows, tags

from otmirror.opcua.reader import OpcUaReader
from otmirror.taglist import Tag

Connect = Callable[..., OpcUaReader]

SOURCE_TIME = 1_772_600_767_123_456  # date -ud 2026-03-04T05:06:07 +%s, and 123456.7 us: the 100 ns are cut off
FLOAT_TENTH = struct.unpack("<f", struct.pack("<f", 0.1))[0]

# name: value, text, type
EXPECTED = {
    "Boolean": (1.0, None, "bool"),
    "SByte": (-128.0, None, "int8"),
    "Byte": (255.0, None, "uint8"),
    "Int16": (-32768.0, None, "int16"),
    "UInt16": (65535.0, None, "uint16"),
    "Int32": (-2147483648.0, None, "int32"),
    "UInt32": (4294967295.0, None, "uint32"),
    "Int64": (None, "9223372036854775807", "int64"),
    "UInt64": (None, "18446744073709551615", "uint64"),
    "SmallInt64": (-9007199254740992.0, None, "int64"),
    "Float": (FLOAT_TENTH, None, "float"),
    "Double": (0.1, None, "double"),
    "NaN": (None, "NaN", "double"),
    "Infinity": (None, "-Infinity", "float"),
    "String": (None, "Ventil ä ✓ 😀", "string"),
    "EmptyString": (None, "", "string"),
    "DateTime": (None, "2024-02-29T23:59:59.007000Z", "datetime"),
    "ByteString": (None, "AAH+/w==", "bytes"),
    "Guid": (None, "6b29fc40-ca47-1067-b31d-00dd010662da", "string"),
    "XmlElement": (None, "<a>1</a>", "string"),
    "NodeId": (None, "ns=1;s=x", "string"),
    "StatusCode": (None, "BadTimeout", "string"),
    "QualifiedName": (None, "1:q", "string"),
    "LocalizedText": (None, "Druck", "string"),
    "Structure": (None, '{"Low": -1.5, "High": 2.0}', "json"),
    "Int32Array": (None, "[1, -2, 3]", "json"),
    "StringArray": (None, '["a", "b"]', "json"),
    "EmptyArray": (None, "[]", "json"),
    "Matrix": (None, "[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]", "json"),
}


def test_values_of_every_type_arrive_exactly_with_the_devices_own_time(plant: Server, connect: Connect) -> None:
    before = time.time_ns() // 1000
    reader = connect(plant, tags(*(f"Type.{name}" for name in EXPECTED), unit="bar"), source="opcua:test")
    found = rows(reader.read())
    got = {name[5:]: (row["value"], row["text"], row["type"]) for name, row in found.items()}
    assert got == EXPECTED
    for row in found.values():
        assert (row["ts"], row["quality"], row["status"], row["unit"]) == (SOURCE_TIME, "good", 0, "bar")
        assert row["source"] == "opcua:test"
        assert before <= row["ts_server"] <= row["ts_read"] <= time.time_ns() // 1000
    numbers = [row["seq"] for row in found.values()]
    assert numbers == list(range(numbers[0], numbers[0] + len(EXPECTED)))


@pytest.mark.parametrize(
    ("name", "status", "quality", "value"),
    [
        ("GoodOverload", 0x002F0000, "good", 1.5),
        ("UncertainLastUsableValue", 0x40900000, "uncertain", 1.5),
        ("UncertainWithInfoBits", 0x40900480, "uncertain", 1.5),
        ("BadSensorFailure", 0x808C0000, "bad", None),
        ("BadNotConnected", 0x808A0000, "bad", None),
        ("NullGood", 0, "good", None),
    ],
)
def test_the_full_status_code_is_kept_and_a_bad_sample_has_no_value(
    plant: Server, connect: Connect, name: str, status: int, quality: str, value: float | None
) -> None:
    (row,) = rows(connect(plant, tags(f"Status.{name}", type="int16")).read()).values()
    assert (row["status"], row["quality"], row["value"], row["text"]) == (status, quality, value, None)
    assert row["ts"] == SOURCE_TIME
    assert row["type"] == ("double" if value is not None else "int16")


def test_addresses_by_number_guid_bytes_and_index(plant: Server, connect: Connect) -> None:
    index = plant.namespaces.index(PLANT)
    asked = [
        Tag("number", f"nsu={PLANT};i=7001"),
        Tag("bytes", f"ns={index};b=AQID"),
        Tag("guid", f"ns={index};g=6B29FC40-CA47-1067-B31D-00DD010662DA"),
        Tag("state", "i=2259"),
    ]
    found = rows(connect(plant, asked).read())
    assert {name: row["value"] for name, row in found.items()} == {"number": 7, "bytes": 8, "guid": 9, "state": 0}


def test_scale_and_offset_make_a_double_and_leave_booleans_alone(plant: Server, connect: Connect) -> None:
    found = rows(connect(plant, tags("Type.Int16", "Type.Boolean", "Type.String", scale=0.5, offset=1.0)).read())
    assert (found["Type.Int16"]["value"], found["Type.Int16"]["type"]) == (-16383.0, "double")
    assert (found["Type.Boolean"]["value"], found["Type.Boolean"]["type"]) == (1.0, "bool")
    assert found["Type.String"]["text"] == EXPECTED["String"][1]


def test_one_unknown_node_and_one_unknown_namespace_hide_nothing(plant: Server, connect: Connect) -> None:
    asked = [
        *tags("Type.Double", "Nope", "Setpoint"),
        Tag("lost", "nsu=urn:not:here;s=X"),
        Tag("lost2", "nsu=urn:not:here;i=1"),
    ]
    reader = connect(plant, asked)
    found = rows(reader.read())
    assert {name: row["status"] for name, row in found.items()} == {
        "Type.Double": 0, "Setpoint": 0, "Nope": 0x80340000, "lost": 0x80340000, "lost2": 0x80340000,
    }  # fmt: skip
    assert found["Setpoint"]["value"] == 42.0
    told = messages_of(reader)
    assert sum("'urn:not:here'" in message for message in told) == 1
    assert any("lost, lost2" in message and PLANT in message for message in told)
    assert any(f"Nope (nsu={PLANT};s=Nope) BadNodeIdUnknown" in message for message in told)
    read_until(reader, lambda samples: "Nope" in samples)
    assert messages_of(reader) == []


def messages_of(reader: OpcUaReader) -> list[str]:
    return [notice.message for notice in reader.notices()]


def test_what_did_not_change_is_not_emitted_again_unless_asked_for(plant: Server, connect: Connect) -> None:
    quiet = connect(plant, tags("Type.Double"))
    loud = connect(plant, tags("Type.Double"), emit_repeats=True, source="loud")
    assert len(rows(quiet.read())) == 1
    assert len(rows(loud.read())) == 1
    first = read_until(loud, lambda samples: True)["Type.Double"]
    second = read_until(loud, lambda samples: True)["Type.Double"]
    assert second["seq"] == first["seq"] + 1
    end = time.monotonic() + 0.35
    while time.monotonic() < end:
        assert quiet.read() is None


def test_each_tag_is_read_at_its_own_interval_on_a_fixed_grid(plant: Server, connect: Connect) -> None:
    slow, fast = tags("Type.Float", interval_ms=500), tags("Type.Double")
    reader = connect(plant, (*slow, *fast), emit_repeats=True)
    reads: dict[str, list[int]] = {"Type.Float": [], "Type.Double": []}
    while len(reads["Type.Double"]) < 11:  # 0.0 s, which also connects, to 1.0 s
        for name, row in rows(reader.read()).items():
            reads[name].append(row["ts_read"])
    assert len(reads["Type.Float"]) == 3
    # However long each read took, nine intervals after the second one it is 0.9 s later.
    assert abs(reads["Type.Double"][10] - reads["Type.Double"][1] - 900_000) < 90_000
