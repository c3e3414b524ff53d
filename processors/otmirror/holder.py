"""What keeps a processor's source or sink from one call of NiFi's to the next, and its metrics file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from otmirror.metrics.figures import Figures
from otmirror.metrics.meter import Meter, meter_for
from otmirror.notices import Notices

FAULT = "fault"
"""Key of the notice of what is wrong before there is an object that could say so itself."""


class Part(Protocol):
    """What a holder keeps: it counts."""

    @property
    def figures(self) -> Figures:
        """What it counted."""


C = TypeVar("C", bound=Part)


class Holder(Generic[C]):
    """Keeps the one object that does a processor's work, made on first use.

    NiFi replaces a Python process that died and does not call onScheduled again, so whatever a call needs is made
    when it is missing.
    """

    def __init__(self, make: Callable[[Any], C], close: Callable[[C], None], owner: Any = None):
        """Take how to build the object from a NiFi context, how to end it, and the processor, for its metrics file."""
        self._make, self._close, self._owner = make, close, owner
        self._held: C | None = None
        self._meter: Meter | None = None
        self._metered = False
        self._lock = threading.Lock()
        self.notices = Notices(time.monotonic)
        """What is wrong before there is an object that could say so itself."""

    def get(self, context: Any) -> C:
        """Return the object, built from `context` if there is none."""
        with self._lock:
            if self._held is None:
                self._held = self._make(context)
                self._watch(self._held)
            return self._held

    @property
    def meter(self) -> Meter | None:
        """What keeps the metrics file; None when there is to be none."""
        # NiFi gives a processor its id only after it was made.
        if not self._metered and self._owner is not None:
            self._meter = meter_for(type(self._owner).__name__, self._owner.identifier)
            self._metered = True
        return self._meter

    def reset(self) -> None:
        """End the object, and the metrics file's heartbeat; the next `get` builds a new one."""
        self.notices.clear(FAULT)
        self.drop()
        if self.meter is not None:
            self.meter.stop()

    def drop(self) -> None:
        """End the object as `reset` does, but remember which fault was told, and keep the metrics file."""
        with self._lock:
            held, self._held = self._held, None
            if held is not None:
                self._watch(None)
        if held is not None:
            self._close(held)

    def fault(self) -> None:
        """Count a call that ended in an error notice."""
        if self.meter is not None:
            self.meter.fault()

    def _watch(self, held: C | None) -> None:
        if self.meter is not None:
            self.meter.watch(held.figures if held is not None else None)
            self.meter.start()
