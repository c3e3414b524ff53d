"""The Modbus reader: polls all devices on one grid of intervals and returns batches of samples."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any

import pyarrow as pa

from otmirror.attendance import AWAY_S, Attendance
from otmirror.clock import Clock, SystemClock
from otmirror.emission import EmissionFilter
from otmirror.loopthread import LoopThread
from otmirror.metrics.source import SourceFigures
from otmirror.modbus.address import resolve
from otmirror.modbus.config import ModbusConfig
from otmirror.modbus.decode import Point
from otmirror.modbus.device import Device, Readings
from otmirror.modbus.measures import Measures
from otmirror.notices import Notice, Notices
from otmirror.samples import table_from_columns
from otmirror.schedule import PollGrid
from otmirror.sequence import Sequence
from otmirror.status import STATUS, quality_of

NEAR_S = 0.1
"""A slot at most this far away is waited for; for a later one `read` returns at once."""
_GRACE_S = 0.5
_MARGIN_S = 5.0


class ModbusReader:
    """A source of samples (`otmirror.nifi.Source`): one batch a poll cycle, of all devices that answered in time.

    Devices are polled side by side. One that is still being read when the next cycle is due is left out of that
    cycle, which is counted in `overruns`, and what it gives is returned as soon as it is there. When nobody asks any
    more it closes its connections, as the reader of another node may have taken over.
    """

    def __init__(self, config: ModbusConfig, clock: Clock | None = None, away: float = AWAY_S):
        """Take checked settings and after how many seconds to leave; nothing is connected before the first `read`.

        Raises:
            ValueError: a tag's address is wrong (`taglist.load` with the address check finds these first).
        """
        self._config, self._clock = config, clock or SystemClock()
        self._notices = Notices(self._clock.monotonic)
        points = [Point(tag, resolve(tag, config.devices), config.order) for tag in config.tags]
        intervals = {point.tag.interval_ms or config.interval_ms for point in points}
        self._grid = PollGrid(intervals, self._clock.monotonic())
        self._filter = EmissionFilter(refresh=config.refresh, tags=config.tags)
        self._sequence = Sequence(self._clock)
        self.overruns = 0
        """Polls of a device that were left out because the one before was not over."""
        self._late: set[str] = set()
        self._running: dict[str, asyncio.Task[Readings]] = {}
        self._reading, self._closing = threading.Lock(), threading.Event()
        self.devices = {
            name: Device(
                name, config, [point for point in points if point.address.device == name],
                self._clock, self._notices, self._next_slot,
            )
            for name in config.devices
        }  # fmt: skip
        self._loop = LoopThread(f"modbus {config.source}")
        self._attendance = Attendance(f"modbus {config.source}", self._clock, self._leave, away)
        self._measures = Measures(config.source, self._clock, self.devices, self._attendance)

    def read(self) -> pa.Table | None:
        """Return the next batch, or None when nothing is due soon; bounded by the request timeout.

        Raises:
            TimeoutError: the poll did not end in time, which its own limits should have seen to.
        """
        with self._reading, self._attendance.call() as back:
            if back:
                self._sequence.restart()
            now = self._clock.monotonic()
            wait = self._grid.wait(now)
            if wait > NEAR_S:
                late = any(task.done() for task in self._running.values())
                return self._table(self._run(self._collect())) if late else None
            if self._closing.wait(wait):
                return None
            before = self._grid.overruns
            due = self._grid.due(self._clock.monotonic())
            if not back:
                self._measures.skipped(self._grid.overruns - before)
            return self._table(self._run(self._cycle(due)))

    @property
    def figures(self) -> SourceFigures:
        """What it counts."""
        return self._measures.figures

    def close(self) -> None:
        """Close all connections. May be called more than once, from any thread."""
        if not self._closing.is_set():
            self._closing.set()
            self._attendance.close()
            try:
                self._loop.run(self._shut(), _MARGIN_S)
            finally:
                self._loop.close()

    def notices(self) -> list[Notice]:
        """Return what the operator should be told since the last call."""
        return self._notices.take()

    def _leave(self) -> None:
        with self._reading:
            if self._attendance.away and not self._closing.is_set():
                self._loop.run(self._let_go(), _MARGIN_S)

    def _run(self, work: Coroutine[Any, Any, list[Readings]]) -> list[Readings]:
        if self._closing.is_set():
            work.close()
            return []
        try:
            return self._loop.run(work, self._config.timeout + _GRACE_S + _MARGIN_S)
        except CancelledError:
            if self._closing.is_set():
                return []
            raise

    def _next_slot(self) -> float:
        return self._grid.wait(self._clock.monotonic())

    def _table(self, batches: list[Readings]) -> pa.Table | None:
        points = [point for batch in batches for point in batch.points]
        if not points:
            return None
        values, texts, statuses = zip(*(r for batch in batches for r in batch.readings), strict=True)
        times = [time for batch in batches for time in batch.times]
        table = table_from_columns(
            tag=[point.tag.tag for point in points],
            ts=times,
            value=values,
            text=texts,
            type=[point.type for point in points],
            quality=list(map(quality_of, statuses)),
            status=statuses,
            unit=[point.tag.unit for point in points],
            ts_read=times,
            source=[self._config.source] * len(points),
        )
        self._measures.received(table, [(batch.device, len(batch.points)) for batch in batches])
        table = self._filter.new(table)
        numbers = pa.array(self._sequence.take(table.num_rows), pa.int64())
        return table.set_column(table.schema.get_field_index("seq"), "seq", numbers) if table.num_rows else None

    # -- on the loop

    async def _cycle(self, due: list[int]) -> list[Readings]:
        late = await self._collect()
        for name, device in self.devices.items():
            wanted = device.intervals.intersection(due)
            if wanted and name in self._running:
                self.overruns += 1
                self._measures.skipped(1, name)
                self._late.add(name)
            elif wanted:
                self._running[name] = asyncio.create_task(self._poll(device, wanted))
        if self._running:
            limit = min(self._config.timeout + _GRACE_S, max(NEAR_S / 2, self._next_slot()))
            await asyncio.wait(self._running.values(), timeout=limit)
        return late + await self._collect()

    async def _poll(self, device: Device, wanted: set[int]) -> Readings:
        try:
            return await device.poll(wanted)
        except Exception as error:
            message = f"{device.label}: unexpected {type(error).__name__}: {error}; its tags are bad in this cycle"
            self._notices.say("error", f"{device.label} unexpected", message)
            return device.all_bad(wanted, STATUS["BadUnexpectedError"])

    async def _collect(self) -> list[Readings]:
        """Return what is complete."""
        done = [name for name, task in self._running.items() if task.done()]
        for name in self._late.intersection(done):
            self._late.remove(name)
            self._tell_overrun(self.devices[name])
        return [self._running.pop(name).result() for name in done]

    def _tell_overrun(self, device: Device) -> None:
        if device.troubled():
            return  # waiting for what does not answer took the time, and that is told already
        self._notices.say(
            "warn", f"{device.label} overrun",
            f"{device.label} is still being read when its next cycle is due, which is left out: raise the poll"
            " interval, or read fewer tags of it",
        )  # fmt: skip

    async def _let_go(self) -> None:
        for device in self.devices.values():
            await device.close()

    async def _shut(self) -> None:
        for task in self._running.values():
            task.cancel()
        await self._let_go()
        await asyncio.sleep(0)  # lets the transports close their sockets before the loop ends
