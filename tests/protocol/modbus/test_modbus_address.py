import pytest

from otmirror.modbus.address import Address, checker, resolve
from otmirror.taglist import Tag, TagListError, parse

ONE = {"plc": ("h", 502)}
TWO = {"north": ("h", 502), "south": ("i", 502)}


def tag(address, type=None, **more):
    return Tag("t", address, type, **more)


@pytest.mark.parametrize(
    ("address", "type", "expected"),
    [
        ("1:holding:100", "float", Address("plc", 1, "holding", 100, 2)),
        ("1:HOLDING:100", "uint16", Address("plc", 1, "holding", 100, 1)),
        ("247:input:0", "int64", Address("plc", 247, "input", 0, 4)),
        ("1:coil:9", None, Address("plc", 1, "coil", 9, 1)),
        ("1:discrete:65535", "bool", Address("plc", 1, "discrete", 65535, 1)),
        ("1:holding:7:15", "bool", Address("plc", 1, "holding", 7, 1, 15)),
        ("1:holding:7:12", "string", Address("plc", 1, "holding", 7, 12)),
        ("plc/1:holding:3", "int16", Address("plc", 1, "holding", 3, 1)),
        # The manuals' notation counts from 1: 40001 is the first holding register.
        ("1:40001", "int16", Address("plc", 1, "holding", 0, 1)),
        ("1:49999", "int16", Address("plc", 1, "holding", 9998, 1)),
        ("1:400001", "int16", Address("plc", 1, "holding", 0, 1)),
        ("1:465536", "int16", Address("plc", 1, "holding", 65535, 1)),
        ("1:30101", "float", Address("plc", 1, "input", 100, 2)),
        ("1:10001", None, Address("plc", 1, "discrete", 0, 1)),
        ("1:00001", None, Address("plc", 1, "coil", 0, 1)),
        ("1:40010:3", "bool", Address("plc", 1, "holding", 9, 1, 3)),
        ("1:holding:65532", "double", Address("plc", 1, "holding", 65532, 4)),
    ],
)
def test_addresses_of_one_device(address, type, expected):
    assert resolve(tag(address, type), ONE) == expected


def test_a_device_is_named_when_there_are_several():
    assert resolve(tag("south/2:coil:0"), TWO).device == "south"
    with pytest.raises(ValueError, match="names no device: write one of north, south"):
        resolve(tag("2:coil:0"), TWO)
    with pytest.raises(ValueError, match="'east' is not declared; declared: north, south"):
        resolve(tag("east/2:coil:0"), TWO)


@pytest.mark.parametrize(
    ("address", "type", "message"),
    [
        ("", "int16", "not a unit"),
        ("x:holding:1", "int16", "'x' is not a unit"),
        ("256:holding:1", "int16", "not a unit"),
        ("-1:holding:1", "int16", "not a unit"),
        ("1", "int16", "has no table"),
        ("1:registers:1", "int16", "'registers' is none of coil, discrete, input, holding"),
        ("1:holding", "int16", "no whole number as its offset"),
        ("1:holding:x", "int16", "no whole number as its offset"),
        ("1:holding:-1", "int16", "no whole number as its offset"),
        ("1:holding:65536", "int16", "offset 65536 is beyond 65535"),
        ("1:holding:65535", "float", "pass the end of the table"),
        ("1:holding:65533", "double", "pass the end of the table"),
        ("1:465536", "float", "pass the end of the table"),
        ("1:40000", "int16", "run from 40001 to 465536"),
        ("1:465537", "int16", "run from 40001 to 465536"),
        ("1:20001", "int16", "not a number such as 40001"),
        ("1:4001", "int16", "not a number such as 40001"),
        ("1:holding:1", None, "the type is empty"),
        ("1:holding:1", "int8", "type int8 cannot be read over Modbus"),
        ("1:holding:1", "bool", "needs its bit"),
        ("1:holding:1:16", "bool", "needs its bit .0 to 15. as the last part of its address, not '16'"),
        ("1:holding:1", "string", "needs its number of registers"),
        ("1:holding:1:0", "string", "needs its number of registers"),
        ("1:holding:1:126", "string", "needs its number of registers"),
        ("1:holding:1:2", "int16", "leave out ':2'"),
        ("1:coil:1:2", None, "leave out ':2'"),
        ("1:coil:1", "int16", "a coil is a bool"),
        ("1:holding:1:2:3", "bool", "too many parts"),
        ("1:\u0661:1", "int16", "table"),
    ],
)
def test_what_is_wrong_is_said(address, type, message):
    with pytest.raises(ValueError, match=message):
        resolve(tag(address, type), ONE)


@pytest.mark.parametrize(
    ("address", "type"), [("1:coil:0", None), ("1:holding:0:1", "bool"), ("1:holding:0:4", "string")]
)
def test_only_numbers_are_scaled(address, type):
    with pytest.raises(ValueError, match="do not apply"):
        resolve(tag(address, type, scale=2.0), ONE)


def test_all_mistakes_of_a_list_come_at_once_with_their_lines():
    rows = "tag,address,type\na,north/1:holding:1,int16\nb,1:holding:1,int16\nc,north/1:holding:1,\nd,west/1:coil:1,\n"
    with pytest.raises(TagListError) as caught:
        parse(rows, check=checker(TWO, 125))
    assert [problem.line for problem in caught.value.problems] == [3, 4, 5]


def test_a_tag_longer_than_a_request_may_be():
    with pytest.raises(TagListError, match="takes 4 registers, but a request may ask for 2 only"):
        parse("tag,address,type\na,1:holding:1,double\n", check=checker(ONE, 2))
