"""The only way to a Modbus device: a client that can read and nothing else.

This is the one module that imports pymodbus's client. Function codes off the allow-list are refused in the hook
pymodbus calls with every PDU before it makes a frame of it, so that nothing of them reaches the socket.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusIOException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from otmirror import refusals
from otmirror.errors import ReadOnlyError, UnavailableError

READ_REQUESTS: dict[str, type[ModbusPDU]] = {
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
}
ALLOWED = frozenset({1, 2, 3, 4})
"""Read Coils, Read Discrete Inputs, Read Holding Registers, Read Input Registers."""

_NEVER = 1 << 62

# Every fault reaches the operator as a notice; pymodbus would log each one a second time, once a request.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class NotConnectedError(UnavailableError):
    """The device cannot be reached; the message says why."""


class ConnectionLostError(UnavailableError):
    """The connection ended, or was ended because what came over it cannot be trusted."""


class NoAnswerError(UnavailableError):
    """The unit did not answer in time."""


class DeviceExceptionError(UnavailableError):
    """The unit answered with an exception; `code` is its number."""

    def __init__(self, code: int):
        self.code = code
        super().__init__(f"Modbus exception {code}")


def _end_on_nonsense(context: Any) -> None:
    """Let an answer that pymodbus cannot decode end the connection.

    It would leave that to asyncio, which ends the connection too, and writes a traceback into the log for each one.
    """
    receive: Callable[..., int] = context.callback_data

    def received(data: bytes, addr: Any = None) -> int:
        try:
            return receive(data, addr=addr)
        except Exception:  # what a device can make pymodbus raise is not its interface
            if context.transport is not None:
                context.transport.abort()
            return len(data)

    context.callback_data = received


def _reason(error: OSError) -> str:
    # asyncio's own text repeats the address and leaves out what the matter is.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


class GuardedClient:
    """One TCP connection to one device, for reading only, one request at a time.

    A late answer is never taken for that of a later request: transaction id, unit, function code and length must
    all be those of the request (pymodbus alone accepts any answer with transaction id 0), ids start anew only with
    a new connection, and a connection that holds part of an unexpected answer is closed.
    """

    def __init__(self, host: str, port: int, units: Collection[int], timeout: float):
        """Take the device's address, the units that may be asked, and the seconds to wait for an answer."""
        self.host, self.port, self._units, self._timeout = host, port, frozenset(units), timeout
        self.sent: Counter[int] = Counter()
        """Requests sent, by function code."""
        self.refused: Counter[int] = Counter()
        """Requests refused before a byte left, by function code."""
        self.connections = 0
        """Connections that were made."""
        self._client: AsyncModbusTcpClient | None = None
        self._waiting = False

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as this end knows."""
        return self._client is not None and self._client.connected

    async def connect(self) -> None:
        """Open a new connection; bounded by the timeout.

        Raises:
            NotConnectedError: refused, unreachable, unknown host, or no answer.
        """
        self.close()
        client = AsyncModbusTcpClient(
            self.host, port=self.port, timeout=self._timeout, retries=0, reconnect_delay=0,
            trace_pdu=self._check, trace_connect=self._connection_changed,
        )  # fmt: skip
        client.set_max_no_responses(_NEVER)
        # The default of one frame drops everything when a late answer and the awaited one arrive together.
        client.ctx.max_buffer_size = 1 << 16
        _end_on_nonsense(client.ctx)
        try:
            # client.connect() would do the same, but keep the reason to itself.
            await asyncio.wait_for(client.ctx.call_create(), self._timeout)
        except (asyncio.TimeoutError, TimeoutError):
            raise NotConnectedError(f"no answer within {self._timeout:g} s") from None
        except OSError as error:
            raise NotConnectedError(_reason(error)) from None
        self._client = client
        self.connections += 1

    async def read(self, unit: int, table: str, offset: int, count: int) -> Sequence[int]:
        """Read `count` registers (0..65535) or bits (0, 1) of a table from `offset` on.

        Raises:
            NoAnswerError: the unit did not answer in time.
            DeviceExceptionError: it answered with an exception.
            ConnectionLostError: the connection is gone.
            ReadOnlyError: the unit is not one of the declared ones.
        """
        answer = await self.request(READ_REQUESTS[table](address=offset, count=count, dev_id=unit))
        if answer.function_code > 0x80:
            raise DeviceExceptionError(answer.exception_code)
        if table in ("coil", "discrete"):
            if len(answer.bits) == (count + 7) // 8 * 8:
                return answer.bits[:count]
        elif len(answer.registers) == count:
            return answer.registers
        self.close()
        raise ConnectionLostError(f"unit {unit} answered with another number of values than asked for")

    async def request(self, pdu: ModbusPDU) -> ModbusPDU:
        """Send one PDU and return the answer to it, which may be an exception response.

        Raises:
            ReadOnlyError: the PDU is not on the allow-list; nothing was sent.
            NoAnswerError: no answer in time.
            ConnectionLostError: there is no connection, it ended, or the answer does not belong to the request.
        """
        client = self._client
        if client is None or not client.connected:
            raise ConnectionLostError("not connected")
        if client.ctx.recv_buffer:
            # Part of an answer nobody waits for any more: the rest would be read as the start of the next one.
            self.close()
            raise ConnectionLostError("part of a late answer was left on the connection")
        self._waiting = True
        try:
            answer: ModbusPDU = await client.execute(False, pdu)
        except ModbusIOException:
            raise NoAnswerError(f"unit {pdu.dev_id} did not answer within {self._timeout:g} s") from None
        except ConnectionException:
            raise ConnectionLostError("the device closed the connection") from None
        finally:
            self._waiting = False
        wanted = (pdu.transaction_id, pdu.dev_id, pdu.function_code)
        if (answer.transaction_id, answer.dev_id, answer.function_code & 0x7F) != wanted:
            self.close()
            raise ConnectionLostError(f"unit {pdu.dev_id}: an answer came that belongs to no request")
        return answer

    def close(self) -> None:
        """Close the connection. May be called more than once."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _check(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        """Let pass what may be sent; called by pymodbus before it makes a frame of a PDU."""
        if sending:
            code = pdu.function_code
            if code not in ALLOWED or pdu.dev_id not in self._units:
                self.refused[code] += 1
                where = f"function code {code} to unit {pdu.dev_id}"
                refusals.report("modbus", f"{self.host}:{self.port}", where, self.refused[code])
                raise ReadOnlyError(
                    f"refused function code {code} to unit {pdu.dev_id} of {self.host}:{self.port}: only reads"
                    f" (1 to 4) of units {sorted(self._units)} are allowed; nothing was sent"
                )
            self.sent[code] += 1
        return pdu

    def _connection_changed(self, connected: bool) -> None:
        """End the wait for an answer as soon as the connection is gone; pymodbus would sit out the timeout."""
        if not connected and self._waiting and self._client is not None:
            answer: asyncio.Future[Any] = self._client.ctx.response_future
            if not answer.done():
                answer.set_exception(ConnectionException("closed"))
