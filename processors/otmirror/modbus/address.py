"""Where a tag lives in a Modbus device, as written in a tag list.

`[<device>/]<unit>:<table>:<offset>[:<bit>|<length>]`, offset 0-based as on the wire (Modbus application protocol
1.1b3, section 4.4), or `[<device>/]<unit>:<number>[:<bit>|<length>]` in the 1-based notation of manuals, where
the first of five or six digits names the table: 0 coil, 1 discrete, 3 input, 4 holding.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from otmirror.taglist import AddressCheck, Tag

BIT_TABLES = ("coil", "discrete")
TABLES = ("coil", "discrete", "input", "holding")
REGISTERS = {
    "bool": 1, "int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float": 2, "int64": 4, "uint64": 4, "double": 4,
}  # fmt: skip
"""Registers a value of each type takes; a string takes as many as its address says."""
ADDRESSES = 65536
"""Addresses of one table."""

_NOTATION = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_FORM = "write [device/]unit:table:offset[:bit or length], such as 1:holding:100, or 1:40101"
_WHOLE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Address:
    """A checked address: `count` registers (or one bit of a bit table) from `offset` on.

    `bit` is the place of a bool inside its register, 0 = least significant.
    """

    device: str
    unit: int
    table: str
    offset: int
    count: int
    bit: int | None = None


def resolve(tag: Tag, devices: Collection[str]) -> Address:
    """Return where a tag lives; `devices` are the names of the configured ones.

    Raises:
        ValueError: what is wrong with the tag's address or type, and what to write instead.
    """
    device, slash, rest = tag.address.rpartition("/")
    device = _device(device if slash else None, devices)
    parts = rest.lower().split(":")
    unit = _unit(parts[0])
    table, offset, extra = _place(tag.address, parts[1:])
    if len(extra) > 1:
        raise ValueError(f"{tag.address!r} has too many parts: {_FORM}")
    count, bit = _extent(tag, table, extra[0] if extra else None)
    if offset + count > ADDRESSES:
        raise ValueError(
            f"{count} register(s) from offset {offset} pass the end of the table: its last offset is 65535"
        )
    _check_scaling(tag)
    return Address(device, unit, table, offset, count, bit)


def checker(devices: Collection[str], max_registers: int) -> AddressCheck:
    """Return the check of a tag's address for `taglist.load`."""

    def check(tag: Tag) -> str | None:
        try:
            address = resolve(tag, devices)
        except ValueError as error:
            return str(error)
        if address.table not in BIT_TABLES and address.count > max_registers:
            return (
                f"takes {address.count} registers, but a request may ask for {max_registers} only:"
                " raise Max Registers Per Request"
            )
        return None

    return check


def _device(name: str | None, devices: Collection[str]) -> str:
    if name is None:
        if len(devices) == 1:
            return next(iter(devices))
        raise ValueError(f"names no device: write one of {', '.join(devices)} and a slash in front")
    if name not in devices:
        raise ValueError(f"device {name!r} is not declared; declared: {', '.join(devices)}")
    return name


def _unit(text: str) -> int:
    if not _WHOLE.fullmatch(text) or int(text) > 255:
        raise ValueError(f"{text!r} is not a unit (0 to 255): {_FORM}")
    return int(text)


def _place(address: str, parts: list[str]) -> tuple[str, int, list[str]]:
    """Return table, offset and what follows them."""
    if parts and parts[0] in TABLES:
        if len(parts) < 2 or not _WHOLE.fullmatch(parts[1]):
            raise ValueError(f"{address!r} has no whole number as its offset: {_FORM}")
        return parts[0], _offset(int(parts[1])), parts[2:]
    if parts and _WHOLE.fullmatch(parts[0]):
        return *_manual_number(parts[0]), parts[1:]
    named = f"table {parts[0]!r} is none of {', '.join(TABLES)}" if parts else f"{address!r} has no table"
    raise ValueError(f"{named}: {_FORM}")


def _offset(offset: int) -> int:
    if offset >= ADDRESSES:
        raise ValueError(f"offset {offset} is beyond 65535")
    return offset


def _manual_number(digits: str) -> tuple[str, int]:
    table = _NOTATION.get(digits[0])
    if len(digits) not in (5, 6) or table is None:
        raise ValueError(
            f"{digits!r} is not a number such as 40001 or 400001 (five or six digits, the first 0, 1, 3 or 4)"
        )
    number = int(digits[1:])
    if not 1 <= number <= ADDRESSES:
        raise ValueError(f"{digits!r}: numbers of this notation run from {digits[0]}0001 to {digits[0]}65536")
    return table, number - 1


def _extent(tag: Tag, table: str, extra: str | None) -> tuple[int, int | None]:
    """Return how many registers (or bits) the tag takes, and its bit."""
    if table in BIT_TABLES:
        if tag.type not in (None, "bool"):
            raise ValueError(f"a {table} is a bool, not {tag.type}")
        if extra is not None:
            raise ValueError(f"a {table} has neither bit nor length: leave out ':{extra}'")
        return 1, None
    known = ", ".join([*REGISTERS, "string"])
    if tag.type is None:
        raise ValueError(f"the type is empty: a register needs one of {known}")
    if tag.type == "string":
        return _number(extra, 1, 125, "a string needs its number of registers (1 to 125)"), None
    if tag.type not in REGISTERS:
        raise ValueError(f"type {tag.type} cannot be read over Modbus; use one of {known}")
    if tag.type == "bool":
        return 1, _number(extra, 0, 15, "a bool in a register needs its bit (0 to 15)")
    if extra is not None:
        raise ValueError(f"a {tag.type} has neither bit nor length: leave out ':{extra}'")
    return REGISTERS[tag.type], None


def _number(text: str | None, low: int, high: int, need: str) -> int:
    if text is None or not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
        shown = "" if text is None else f", not {text!r}"
        raise ValueError(f"{need} as the last part of its address{shown}")
    return int(text)


def _check_scaling(tag: Tag) -> None:
    scaled = tag.scale != 1.0 or tag.offset != 0.0
    if scaled and tag.type in (None, "bool", "string"):
        raise ValueError(f"scale and offset do not apply to a {tag.type or 'bool'}: leave them empty")
