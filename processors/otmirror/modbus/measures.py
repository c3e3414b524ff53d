"""What a Modbus source counts, device by device, beside its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pyarrow as pa

from otmirror.attendance import Attendance
from otmirror.clock import Clock
from otmirror.metrics.source import SourceFigures
from otmirror.modbus.device import Device

_WRITING = ("5", "6", "15", "16")
"""Function codes whose refusals are there as 0 from the start, so that the first one is seen as a step."""


class Measures:
    """Fills a reader's figures with what its devices know.

    Label `source` is the source's name where there is one device, else the name, a slash and the device's.
    """

    def __init__(self, source: str, clock: Clock, devices: Mapping[str, Device], attendance: Attendance):
        """Take the parts that know; each answer's time is noted from now on."""
        self.figures = SourceFigures(source, lambda: clock.now_us() / 1e6)
        self._source, self._devices, self._attendance = source, devices, attendance
        self._labels = {name: source if len(devices) == 1 else f"{source}/{name}" for name in devices}
        for name, device in devices.items():
            tags = sum(len(group.points) for unit in device.units for group in unit.groups)
            self.figures.device(self._labels[name], tags, _WRITING)
            device.took = self._timer(self._labels[name])
        self.figures.before(self._look)

    def skipped(self, polls: int, device: str | None = None) -> None:
        """Count polls that were left out, of a device or (None) of all."""
        for label in self._labels.values() if device is None else (self._labels[device],):
            self.figures.add("otmirror_polls_skipped_total", polls, source=label)

    def received(self, table: pa.Table, devices: Iterable[tuple[str, int]]) -> None:
        """Take what was read: the rows of each device in order."""
        at = 0
        for device, rows in devices:
            if rows:
                self.figures.received(self._labels[device], table.slice(at, rows))
            at += rows

    def _timer(self, label: str) -> Callable[[float], None]:
        return lambda seconds: self.figures.observe("otmirror_request_seconds", seconds, source=label)

    def _look(self) -> None:
        figures = self.figures
        for name, device in self._devices.items():
            label, client = self._labels[name], device.client
            figures.sent(label, _named(client.sent), _named(client.refused))
            figures.at_least("otmirror_source_reconnects_total", max(0, client.connections - 1), source=label)
        if not self._attendance.here:
            figures.away()
            return
        for name, device in self._devices.items():
            figures.connected(self._labels[name], device.client.connected)


def _named(counts: Mapping[int, int]) -> dict[str, int]:
    return {str(code): count for code, count in [*counts.items()]}
