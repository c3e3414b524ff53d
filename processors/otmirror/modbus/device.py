"""One Modbus device: its connection, its units, and what to do when one of them does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from otmirror.backoff import Backoff
from otmirror.clock import Clock
from otmirror.modbus.config import ModbusConfig
from otmirror.modbus.decode import Block, Point, Reading
from otmirror.modbus.guard import (
    ConnectionLostError,
    DeviceExceptionError,
    GuardedClient,
    NoAnswerError,
    NotConnectedError,
)
from otmirror.modbus.plan import Request
from otmirror.modbus.unit import Group, Quarantine, Unit, units_of
from otmirror.notices import Notices
from otmirror.status import MODBUS_EXCEPTION, STATUS

QUARANTINE_S = 60.0
"""How long a tag with an illegal address is left alone before it is asked again."""
EXTRA_REQUESTS = 64
"""Requests a cycle may add to find illegal addresses and to ask them again."""
STALE_AFTER = 3
"""Requests in a row without an answer after which the next one goes over a new connection."""

_ILLEGAL = (2, 3)  # illegal data address, illegal data value (here: the quantity)
_TARGET_SILENT = 11  # gateway target device failed to respond
_NAMES = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "server device failure",
    5: "acknowledge", 6: "server device busy", 8: "memory parity error", 10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}  # fmt: skip


class Readings:
    """Samples in the making, as columns. Times are microseconds since 1970-01-01 UTC."""

    def __init__(self, device: str = "") -> None:
        """Take the name of the device they are of."""
        self.device = device
        self.points: list[Point] = []
        self.times: list[int] = []
        self.readings: list[Reading] = []

    def good(self, block: Block, points: Iterable[Point], now_us: int) -> None:
        """Add what a block holds of some tags."""
        for point in points:
            self.add(point, point.decode(block), now_us)

    def bad(self, points: Iterable[Point], status: int, now_us: int) -> None:
        """Add a bad sample of each tag."""
        for point in points:
            self.add(point, (None, None, status), now_us)

    def add(self, point: Point, reading: Reading, now_us: int) -> None:
        """Add one sample."""
        self.points.append(point)
        self.times.append(now_us)
        self.readings.append(reading)


class Device:
    """Polls the units of one device over one connection, one request at a time.

    A unit that does not answer is demoted: its tags are bad at once, without being asked, while one request after
    a growing delay finds out whether it answers again. A device that cannot be reached is treated in the same way
    as a whole. Both happen between polls, so that nobody waits for them.
    """

    def __init__(
        self,
        name: str,
        config: ModbusConfig,
        points: Sequence[Point],
        clock: Clock,
        notices: Notices,
        next_slot: Callable[[], float],
    ):
        """`next_slot` returns the seconds until the next poll is due."""
        self.host, self.port = config.devices[name]
        self.name = name
        self.label = f"Modbus device {name}" + ("" if ":" in name else f" ({self.host}:{self.port})")
        self.units = units_of(config, points)
        self.client = GuardedClient(self.host, self.port, [unit.number for unit in self.units], config.timeout)
        self.intervals = {group.interval_ms for unit in self.units for group in unit.groups}
        self._config, self._clock, self._notices, self._next_slot = config, clock, notices, next_slot
        self._backoff = Backoff(config.reconnect_first, config.reconnect_longest)
        self._retry_at: float | None = None
        """When to connect again (monotonic seconds); None unless the device is given up for now."""
        self._unanswered = 0
        self._proven = False  # whether the present connection has brought an answer
        self._free_at = 0.0
        self._extra = 0
        self.took: Callable[[float], object] = lambda seconds: None
        """Told how long each request took, in seconds."""
        self._asking = asyncio.Lock()
        self._polled = asyncio.Event()
        self._recovery: asyncio.Task[None] | None = None

    async def poll(self, intervals_ms: Iterable[int]) -> Readings:
        """Read the tags of the given intervals: exactly one sample, good or bad, a tag."""
        readings, due = Readings(self.name), set(intervals_ms)
        async with self._asking:
            self._extra = EXTRA_REQUESTS
            for unit in self.units:
                for group in unit.groups:
                    if group.interval_ms in due:
                        await self._poll_group(unit, group, readings)
                self._tell_codes(unit)
        self._polled.set()
        self._polled.clear()
        if self.troubled() and (self._recovery is None or self._recovery.done()):
            self._recovery = asyncio.create_task(self._recover())
        return readings

    def all_bad(self, intervals_ms: Iterable[int], status: int) -> Readings:
        """Return a bad sample of each tag of the given intervals."""
        readings, due = Readings(self.name), set(intervals_ms)
        for group in (group for unit in self.units for group in unit.groups if group.interval_ms in due):
            readings.bad(group.points, status, self._clock.now_us())
        return readings

    async def close(self) -> None:
        """End the connection."""
        if self._recovery is not None:
            self._recovery.cancel()
        self.client.close()

    # -- reading

    async def _poll_group(self, unit: Unit, group: Group, readings: Readings) -> None:
        quarantined = list(group.quarantine.items())
        codes: set[int] = set()
        for request in tuple(group.requests):
            status, code = await self._read(unit, group, request, readings)
            if code in _ILLEGAL:
                await self._bisect(unit, group, request, status, readings)
                continue
            if status:
                readings.bad(request.spans, status, self._clock.now_us())
            if code is not None:
                codes.add(code)
        if self._retry_at is None and unit.fault is None:
            group.codes = codes
        await self._poll_quarantined(unit, group, quarantined, readings)

    async def _read(
        self, unit: Unit, group: Group, request: Request[Point], readings: Readings
    ) -> tuple[int, int | None]:
        """Ask one request and add its good samples; return the status and exception code (0, None when good)."""
        if self._retry_at is not None:
            return STATUS["BadNoCommunication"], None
        if unit.fault is not None:
            return unit.fault, None
        try:
            content = await self._exchange(unit, group.table, request)
        except NotConnectedError as error:
            self._give_up(str(error))
            return STATUS["BadNoCommunication"], None
        except NoAnswerError:
            limit = f"{self._config.timeout:g} s"
            advice = "check its number in the tag list, or raise Request Timeout"
            self._demote(unit, STATUS["BadTimeout"], f"does not answer within {limit}: {advice}")
            self._unanswered += 1
            if self._unanswered >= STALE_AFTER:
                self._unanswered = 0
                self.client.close()
            return STATUS["BadTimeout"], None
        except ConnectionLostError as error:
            self._demote(unit, STATUS["BadCommunicationError"], f"cannot be read: {error}")
            return STATUS["BadCommunicationError"], None
        except DeviceExceptionError as error:
            return self._refused(unit, error.code), error.code
        self._answered(unit)
        readings.good(Block(request.offset, content), request.spans, self._clock.now_us())
        return 0, None

    async def _exchange(self, unit: Unit, table: str, request: Request[Point]) -> Sequence[int]:
        """Ask one request; once more, on a new connection, when one that has worked is lost (reading is harmless)."""
        proven = self._proven
        try:
            return await self._send(unit, table, request)
        except ConnectionLostError:
            if not proven:
                raise
        return await self._send(unit, table, request)

    async def _send(self, unit: Unit, table: str, request: Request[Point]) -> Sequence[int]:
        if not self.client.connected:
            self._proven = False
            await self.client.connect()
        pause = self._free_at - self._clock.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        began = time.monotonic()
        try:
            return await self.client.read(unit.number, table, request.offset, request.count)
        finally:
            self.took(time.monotonic() - began)
            self._free_at = self._clock.monotonic() + self._config.pause_ms / 1000

    def _refused(self, unit: Unit, code: int) -> int:
        status = MODBUS_EXCEPTION.get(code, STATUS["BadUnexpectedError"])
        self._unanswered, self._proven = 0, True
        if code == _TARGET_SILENT:
            self._demote(unit, status, "does not answer its gateway")
        else:
            self._answered(unit)
        return status

    # -- illegal addresses

    async def _bisect(self, unit: Unit, group: Group, request: Request[Point], status: int, readings: Readings) -> None:
        """Ask ever smaller parts of a request the unit calls illegal, and remember which tags are to blame."""
        kept: list[Request[Point]] = []
        illegal: dict[Point, int] = {}
        faultless = True
        parts = [(request, status, True)]  # a part, its status, and whether the unit calls it illegal
        while parts:
            part, answer, refused = parts.pop()
            if refused and len(part.spans) > 1 and self._extra > 0:
                for half in group.halves(part):
                    self._extra -= 1
                    half_answer, code = await self._read(unit, group, half, readings)
                    parts.append((half, half_answer, code in _ILLEGAL))
                continue
            if refused and len(part.spans) == 1:
                illegal[part.spans[0]] = answer
            else:
                kept.append(part)
                faultless = faultless and (refused or not answer)
            if answer:
                readings.bad(part.spans, answer, self._clock.now_us())
        if illegal or faultless:
            group.learn(request, kept, illegal, self._clock.monotonic() + QUARANTINE_S)
            self._tell_illegal(unit)

    async def _poll_quarantined(
        self, unit: Unit, group: Group, quarantined: list[tuple[Point, Quarantine]], readings: Readings
    ) -> None:
        """Ask tags with an illegal address alone, rarely; in between they are bad."""
        legal: list[Point] = []
        for point, (retry_at, status) in quarantined:
            code: int | None = None
            if self._retry_at is not None or unit.fault is not None:
                status = unit.fault or STATUS["BadNoCommunication"]
            elif retry_at <= self._clock.monotonic() and self._extra > 0:
                self._extra -= 1
                status, code = await self._read(unit, group, group.split([point])[0], readings)
            if status:
                readings.bad([point], status, self._clock.now_us())
            else:
                legal.append(point)
            if code in _ILLEGAL:
                group.quarantine[point] = (self._clock.monotonic() + QUARANTINE_S, status)
        if legal:
            group.readmit(legal)
            self._tell_illegal(unit)

    # -- faults and recovery

    def _demote(self, unit: Unit, status: int, what: str) -> None:
        unit.fault = status
        unit.retry_at = self._clock.monotonic() + unit.backoff.failed(self._clock.monotonic())
        self._notices.say(
            "warn", self._key(unit), f"{self.label}: unit {unit.number} {what}; its tags are bad until it answers"
        )

    def _answered(self, unit: Unit) -> None:
        self._unanswered, self._proven = 0, True
        self._backoff.succeeded()
        unit.fault = None
        unit.backoff.succeeded()
        self._notices.clear(self._key(), f"{self.label} answers again")
        self._notices.clear(self._key(unit), f"{self.label}: unit {unit.number} answers again")

    def _give_up(self, why: str) -> None:
        """Stop asking the device for now; its units are not to blame."""
        self.client.close()
        self._retry_at = self._clock.monotonic() + self._backoff.failed(self._clock.monotonic())
        for unit in self.units:
            unit.fault = None
        self._notices.say(
            "error", self._key(),
            f"{self.label} cannot be reached ({why}): its tags are bad; check Devices and the network. It is tried"
            " again by itself",
        )  # fmt: skip

    def troubled(self) -> bool:
        """Return whether the device or a unit of it is left alone for now because it did not answer."""
        return self._retry_at is not None or any(unit.fault is not None for unit in self.units)

    async def _recover(self) -> None:
        """Find out, after growing delays, whether what does not answer answers again."""
        while self.troubled():
            if self._retry_at is not None:
                await self._sleep_until(self._retry_at)
                await self._reconnect()
                continue
            unit = min((u for u in self.units if u.fault is not None), key=lambda unit: unit.retry_at)
            await self._sleep_until(unit.retry_at)
            await self._room_for_probe()
            async with self._asking:
                if unit.fault is not None and self._retry_at is None:
                    await self._probe(unit)

    async def _sleep_until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - self._clock.monotonic()))

    async def _reconnect(self) -> None:
        try:
            await self.client.connect()
        except NotConnectedError as error:
            self._give_up(str(error))
        else:
            self._retry_at = None

    async def _room_for_probe(self) -> None:
        """Wait, when the next poll is near, until it is over: a probe may occupy the connection for its timeout."""
        slack = self._next_slot()
        if slack < self._config.timeout:
            with suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._polled.wait(), slack + self._config.timeout)

    async def _probe(self, unit: Unit) -> None:
        """Ask one request of a demoted unit; its samples are not delivered, as it was not due."""
        status, unit.fault = unit.fault, None
        group, request = unit.probe()
        await self._read(unit, group, request, Readings())
        if self._retry_at is None and unit.fault is not None:
            unit.fault = status

    # -- notices

    def _key(self, unit: Unit | None = None, topic: str = "") -> str:
        return f"{self.label} {unit.number if unit else ''} {topic}"

    def _tell_codes(self, unit: Unit) -> None:
        """Say which exceptions a unit answers with, and when that is over."""
        codes = set().union(*(group.codes for group in unit.groups)) - {_TARGET_SILENT}
        where = f"{self.label}: unit {unit.number}"
        for code in codes:
            name = f"exception {code} ({_NAMES.get(code, 'unknown')})"
            self._notices.say("warn", self._key(unit, f"code {code}"), f"{where} answers with {name}")
        for code in unit.codes - codes:
            over = f"{where} no longer answers with exception {code}"
            self._notices.clear(self._key(unit, f"code {code}"), over)
        unit.codes = codes

    def _tell_illegal(self, unit: Unit) -> None:
        tags = unit.illegal()
        where = f"{self.label}: unit {unit.number}"
        if not tags:
            self._notices.clear(self._key(unit, "illegal"), f"{where} accepts the addresses of all tags again")
            return
        shown = ", ".join(tags[:10]) + (f" and {len(tags) - 10} more" if len(tags) > 10 else "")
        self._notices.say(
            "warn", self._key(unit, "illegal"),
            f"{where} calls the address of {len(tags)} tag(s) illegal: {shown}; correct the tag list. They are asked"
            f" again every {QUARANTINE_S:g} s, the others are read as usual",
        )  # fmt: skip
