"""Faults that are switched on and off while the plant runs, by a file: what a drill does to a device."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wrong with the OPC UA server's values.

    Attributes:
        clock_s: seconds by which its source timestamps are ahead (negative: behind).
        bad: sensors (names without the well) that give BadSensorFailure.
    """

    clock_s: float = 0.0
    bad: frozenset[str] = frozenset()


NONE = Faults()


class FaultFile:
    """The faults in a JSON file, read again whenever it changed; none while there is no file, or no readable one."""

    def __init__(self, file: Path | None):
        """Take the file; None: no faults ever."""
        self._file, self._seen, self._now = file, 0, NONE

    def current(self) -> Faults:
        """Return what is wrong now."""
        if self._file is None:
            return NONE
        try:
            changed = self._file.stat().st_mtime_ns
            if changed != self._seen:
                self._now, self._seen = msgspec.json.decode(self._file.read_bytes(), type=Faults), changed
        except (OSError, msgspec.MsgspecError):
            self._now, self._seen = NONE, 0
        return self._now
