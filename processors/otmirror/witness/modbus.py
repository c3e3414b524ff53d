"""Which Modbus function codes cross a TCP connection, read from its bytes without pymodbus.

A frame is the MBAP header (transaction, protocol 0, length, unit; Modbus messaging on TCP/IP 1.0b, 3.1.3), then the
function code; a code from 128 on in an answer is an exception, with its number behind it (application protocol 1.1b3,
4.1 and 7).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

from otmirror.witness.opcua import CUT, GARBAGE, Message, Witness

FUNCTIONS = {
    1: "Read Coils", 2: "Read Discrete Inputs", 3: "Read Holding Registers", 4: "Read Input Registers",
    5: "Write Single Coil", 6: "Write Single Register", 7: "Read Exception Status", 8: "Diagnostics",
    11: "Get Comm Event Counter", 12: "Get Comm Event Log", 15: "Write Multiple Coils",
    16: "Write Multiple Registers", 17: "Report Server ID", 20: "Read File Record", 21: "Write File Record",
    22: "Mask Write Register", 23: "Read/Write Multiple Registers", 24: "Read FIFO Queue",
    43: "Encapsulated Interface Transport",
}  # fmt: skip
"""Public function codes (application protocol 1.1b3, 5.1)."""

_HEADER = struct.Struct(">HHHB")
_KEPT = 9
"""Bytes of a frame that are kept: header, function code, exception code."""
_LEAST, _MOST = 2, 254
"""The length field counts unit and PDU, which has 1 to 253 bytes."""
_EXCEPTION = 0x80


def named(code: int) -> str:
    """Return a function code with its name, such as `3 Read Holding Registers`."""
    return f"{code} {FUNCTIONS.get(code, '(not public)')}"


class Framing:
    """One direction of one connection: bytes in, messages out. `service` is `named`, `result` an exception's number."""

    def __init__(self, request: bool):
        """Take whether these are the client's bytes."""
        self._request = request
        self._head = bytearray()
        self._size = self._seen = 0
        self.garbled = False
        """Whether frames cannot be told apart any more; what comes after that is ignored."""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take the next bytes, cut anywhere, and yield the messages that are complete with them."""
        at = 0
        while at < len(data) and not self.garbled:
            wanted = (self._size or _HEADER.size) - self._seen
            taken = data[at : at + wanted]
            self._head += taken[: max(0, _KEPT - len(self._head))]
            self._seen += len(taken)
            at += len(taken)
            if len(taken) < wanted:
                return
            if not self._size:
                _, protocol, length, _ = _HEADER.unpack_from(self._head)
                self._size = _HEADER.size - 1 + length
                if protocol or not _LEAST <= length <= _MOST:
                    self.garbled = True
                    yield Message(self._request, "?", unreadable=GARBAGE)
            else:
                yield self._message()
                self._head.clear()
                self._size = self._seen = 0

    def finish(self) -> Iterator[Message]:
        """Yield what stays incomplete, once the connection has ended."""
        if not self.garbled and self._seen:
            yield Message(self._request, "?", size=self._seen, unreadable=CUT)

    def _message(self) -> Message:
        transaction, code = _HEADER.unpack_from(self._head)[0], self._head[_HEADER.size]
        result = None
        if not self._request and code >= _EXCEPTION:
            code -= _EXCEPTION
            result = self._head[_HEADER.size + 1] if len(self._head) > _HEADER.size + 1 else None
        return Message(self._request, named(code), transaction, self._size, result)


class ModbusWitness(Witness):
    """Counts the messages of any number of connections by function code, and keeps the latest. Thread-safe."""

    framing = Framing

    @property
    def function_codes(self) -> Counter[int]:
        """Requests of the clients by function code."""
        return Counter({int(name.split()[0]): count for name, count in self.requests.items() if name[0].isdigit()})
