"""From registers to values: type, byte order, scale and offset of a tag."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property

from otmirror.modbus.address import BIT_TABLES, Address
from otmirror.samples import split_value
from otmirror.status import STATUS
from otmirror.taglist import Tag

Reading = tuple[float | None, str | None, int]
"""Value, text and status of one sample."""

_CODES = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float": "f", "double": "d",
}  # fmt: skip
_SWAPPED = ("CDAB", "BADC")
_LITTLE = ("CDAB", "DCBA")
_BYTES_SWAPPED = ("BADC", "DCBA")


class Block:
    """The content of one response: registers, or bits, from `offset` on."""

    def __init__(self, offset: int, content: Sequence[int]):
        """Take the registers (0..65535) or bits as the response has them."""
        self.offset, self.content = offset, content

    @cached_property
    def wire(self) -> bytes:
        """Registers as they came over the wire: high byte first."""
        return struct.pack(f">{len(self.content)}H", *self.content)

    @cached_property
    def swapped(self) -> bytes:
        """Registers with their two bytes exchanged."""
        return struct.pack(f"<{len(self.content)}H", *self.content)


class Point:
    """One tag and how its value is taken from a block.

    The four byte orders are two switches: the bytes of each register exchanged or not, and then the whole read
    big or little endian. CDAB (words exchanged) is little endian on exchanged bytes, BADC big endian on them.
    """

    def __init__(self, tag: Tag, address: Address, default_order: str):
        """Take a tag, its checked address, and the byte order it has when it declares none."""
        self.tag, self.address = tag, address
        self.offset, self.count = address.offset, address.count
        order = tag.order or default_order
        kind = "bool" if address.table in BIT_TABLES else tag.type
        code = _CODES.get(kind or "", "H")
        self._codec = struct.Struct(("<" if order in _LITTLE else ">") + code)
        self._swap = order in (_BYTES_SWAPPED if kind == "string" else _SWAPPED)
        self._scaled = tag.scale != 1.0 or tag.offset != 0.0
        self._coil = address.table in BIT_TABLES
        self._text = kind == "string"
        self.type = "double" if self._scaled else (kind or "bool")

    def decode(self, block: Block) -> Reading:
        """Return the tag's value in a block that holds all of its registers."""
        place = self.offset - block.offset
        if self._coil:
            return float(block.content[place]), None, 0
        buffer = block.swapped if self._swap else block.wire
        if self._text:
            return _decode_text(buffer[2 * place : 2 * (place + self.count)])
        raw = self._codec.unpack_from(buffer, 2 * place)[0]
        if self.address.bit is not None:
            return float(raw >> self.address.bit & 1), None, 0
        if raw != raw:
            return None, None, STATUS["BadSensorFailure"]  # NaN is the field's sign for a sensor that gives nothing
        value, text = split_value(raw * self.tag.scale + self.tag.offset if self._scaled else raw)
        return value, text, 0


def _decode_text(raw: bytes) -> Reading:
    """Return a string up to its trailing NULs and blanks."""
    try:
        return None, raw.rstrip(b"\0 ").decode("utf-8"), 0
    except UnicodeDecodeError:
        return None, None, STATUS["BadDecodingError"]
