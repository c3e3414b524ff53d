"""Hand-computed bytes: what the wire has, and what the value has to be."""

import struct

import pytest

from otmirror.modbus.address import resolve
from otmirror.modbus.decode import Block, Point
from otmirror.taglist import Tag

ONE = {"plc": ("h", 502)}
BAD_SENSOR_FAILURE, BAD_DECODING_ERROR = 0x808C0000, 0x80070000


def decode(hex_, type, order="ABCD", address=None, **more):
    raw = bytes.fromhex(hex_)
    registers = [raw[i] << 8 | raw[i + 1] for i in range(0, len(raw), 2)]
    tag = Tag("t", address or "1:holding:10", type, order=order, **more)
    return Point(tag, resolve(tag, ONE), "ABCD").decode(Block(10, registers))


@pytest.mark.parametrize(
    ("hex_", "type", "order", "value"),
    [
        ("ff85", "int16", "ABCD", -123.0),
        ("ff85", "int16", "CDAB", -123.0),
        ("85ff", "int16", "BADC", -123.0),
        ("85ff", "int16", "DCBA", -123.0),
        ("ff85", "uint16", "ABCD", 65413.0),
        ("12345678", "uint32", "ABCD", float(0x12345678)),
        ("56781234", "uint32", "CDAB", float(0x12345678)),
        ("34127856", "uint32", "BADC", float(0x12345678)),
        ("78563412", "uint32", "DCBA", float(0x12345678)),
        ("fffffffe", "int32", "ABCD", -2.0),
        # 123.456 as float32 is 42F6E979.
        ("42f6e979", "float", "ABCD", 123.45600128173828),
        ("e97942f6", "float", "CDAB", 123.45600128173828),
        ("f64279e9", "float", "BADC", 123.45600128173828),
        ("79e9f642", "float", "DCBA", 123.45600128173828),
        # 1.5 as float64 is 3FF8000000000000; -0.1 is BFB999999999999A.
        ("bfb999999999999a", "double", "ABCD", -0.1),
        ("999a99999999bfb9", "double", "CDAB", -0.1),
        ("b9bf999999999a99", "double", "BADC", -0.1),
        ("9a9999999999b9bf", "double", "DCBA", -0.1),
        ("0000000000000102", "uint64", "ABCD", 258.0),
        ("0102000000000000", "uint64", "CDAB", 258.0),
    ],
)
def test_numbers(hex_, type, order, value):
    assert decode(hex_, type, order) == (value, None, 0)


def test_64_bit_integers_are_exact():
    assert decode("ffffffffffffffff", "uint64") == (None, "18446744073709551615", 0)
    assert decode("8000000000000000", "int64") == (None, "-9223372036854775808", 0)
    assert decode("0020000000000001", "int64") == (None, "9007199254740993", 0)
    assert decode("0020000000000000", "int64") == (9007199254740992.0, None, 0)


@pytest.mark.parametrize(
    ("hex_", "type"), [("7fc00000", "float"), ("ffa00001", "float"), ("7ff8000000000000", "double")]
)
def test_nan_means_the_sensor_gave_nothing(hex_, type):
    assert decode(hex_, type) == (None, None, BAD_SENSOR_FAILURE)
    assert decode(hex_, type, scale=2.0) == (None, None, BAD_SENSOR_FAILURE)


def test_infinity_is_text():
    assert decode("7f800000", "float") == (None, "Infinity", 0)
    assert decode("ff800000", "float") == (None, "-Infinity", 0)
    assert decode("7fefffffffffffff", "double", scale=10.0) == (None, "Infinity", 0)


@pytest.mark.parametrize("bit", range(16))
def test_bits_of_a_register(bit):
    address = f"1:holding:10:{bit}"
    assert decode(f"{1 << bit:04x}", "bool", address=address) == (1.0, None, 0)
    assert decode(f"{0xFFFF ^ 1 << bit:04x}", "bool", address=address) == (0.0, None, 0)


def test_a_bit_counts_in_the_register_as_its_byte_order_makes_it():
    assert decode("0100", "bool", "DCBA", "1:holding:10:0") == (1.0, None, 0)
    assert decode("0100", "bool", "CDAB", "1:holding:10:8") == (1.0, None, 0)


@pytest.mark.parametrize(
    ("hex_", "order", "text"),
    [
        ("50542d31303100002020", "ABCD", "PT-101"),
        ("50542d31303100002020", "CDAB", "PT-101"),
        ("5450312d313000002020", "BADC", "PT-101"),
        ("5450312d313000002020", "DCBA", "PT-101"),
        ("00000000000000000000", "ABCD", ""),
        ("c2b04300000000000000", "ABCD", "\u00b0C"),
    ],
)
def test_strings(hex_, order, text):
    assert decode(hex_, "string", order, "1:holding:10:5") == (None, text, 0)


def test_bytes_that_are_no_text():
    assert decode("ff80", "string", address="1:holding:10:1") == (None, None, BAD_DECODING_ERROR)


def test_scale_and_offset():
    tag = Tag("t", "1:holding:10", "int16", scale=0.5, offset=100.0)
    point = Point(tag, resolve(tag, ONE), "ABCD")
    assert point.decode(Block(10, [200])) == (200.0, None, 0)
    assert point.type == "double"


def test_the_type_column():
    for type, address in [
        ("int16", "1:holding:0"),
        ("float", "1:holding:0"),
        ("bool", "1:holding:0:1"),
        (None, "1:coil:0"),
    ]:
        tag = Tag("t", address, type)
        assert Point(tag, resolve(tag, ONE), "ABCD").type == (type or "bool")


def test_the_default_order_counts_unless_the_tag_has_its_own():
    registers = list(struct.unpack(">2H", bytes.fromhex("e97942f6")))
    for tag, default in [
        (Tag("t", "1:holding:0", "float"), "CDAB"),
        (Tag("t", "1:holding:0", "float", order="CDAB"), "DCBA"),
    ]:
        assert Point(tag, resolve(tag, ONE), default).decode(Block(0, registers))[0] == 123.45600128173828
