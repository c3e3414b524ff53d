"""Quality and status codes.

A status is an OPC UA StatusCode (OPC 10000-4, 7.39): 32 bits, the top two are the severity. Codes that come
from elsewhere (Modbus exceptions, timeouts) are mapped to the StatusCode that says the same.
"""

from __future__ import annotations

GOOD, UNCERTAIN, BAD = "good", "uncertain", "bad"
QUALITIES = (BAD, UNCERTAIN, GOOD)
"""Index = the number stored in the time-series database: 0 bad, 1 uncertain, 2 good."""

# OPC 10000-6, annex A.2 (the StatusCode table), the ones this library gives itself.
STATUS = {
    "Good": 0x00000000,
    "BadUnexpectedError": 0x80010000,
    "BadCommunicationError": 0x80050000,
    "BadDecodingError": 0x80070000,
    "BadTimeout": 0x800A0000,
    "BadServerNotConnected": 0x800D0000,
    "BadNoCommunication": 0x80310000,
    "BadNodeIdInvalid": 0x80330000,
    "BadNodeIdUnknown": 0x80340000,
    "BadOutOfRange": 0x803C0000,
    "BadNotReadable": 0x803A0000,
    "BadNotSupported": 0x803D0000,
    "BadTypeMismatch": 0x80740000,
    "BadConfigurationError": 0x80890000,
    "BadDeviceFailure": 0x808B0000,
    "BadSensorFailure": 0x808C0000,
    "BadNoData": 0x809B0000,
    "BadDataLost": 0x809D0000,
    "BadResourceUnavailable": 0x80040000,
    "BadInvalidArgument": 0x80AB0000,
    "UncertainLastUsableValue": 0x40900000,
}

# Modbus application protocol 1.1b3, section 7: exception code -> StatusCode.
MODBUS_EXCEPTION = {
    1: STATUS["BadNotSupported"],  # illegal function
    2: STATUS["BadNodeIdUnknown"],  # illegal data address
    3: STATUS["BadInvalidArgument"],  # illegal data value
    4: STATUS["BadDeviceFailure"],  # server device failure
    5: STATUS["BadResourceUnavailable"],  # acknowledge: still working on it
    6: STATUS["BadResourceUnavailable"],  # server device busy
    8: STATUS["BadDeviceFailure"],  # memory parity error
    10: STATUS["BadNoCommunication"],  # gateway path unavailable
    11: STATUS["BadTimeout"],  # gateway target device failed to respond
}


def quality_of(status: int) -> str:
    """Return `good`, `uncertain` or `bad` for a StatusCode: severity bits 31-30 are 00, 01, 10 (11 is bad)."""
    return (GOOD, UNCERTAIN, BAD, BAD)[(status >> 30) & 3]
