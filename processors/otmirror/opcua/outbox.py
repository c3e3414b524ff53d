"""One batch at a time from the loop's thread to any other, so that no more than that waits in memory."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from otmirror.opcua.readings import Reading

Row = tuple[int, Reading]
"""A tag's place in the tag list, and what was read of it."""


class Outbox:
    """Hands over batches: `put` waits on the loop until the batch before was taken, `take` never waits."""

    def __init__(self) -> None:
        self._rows: list[Row] | None = None
        self._lock = threading.Lock()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    async def put(self, rows: list[Row]) -> None:
        """Leave a batch as soon as there is room; cancelled before, nothing is left."""
        while True:
            with self._lock:
                if self._rows is None:
                    self._rows, self._waiting = rows, None
                    return
                event = asyncio.Event()
                self._waiting = asyncio.get_running_loop(), event
            await event.wait()

    def take(self) -> list[Row] | None:
        """Return the batch that is there, if one is; from any thread."""
        with self._lock:
            rows, self._rows = self._rows, None
            if rows is not None and self._waiting is not None:
                loop, event = self._waiting
                with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                    loop.call_soon_threadsafe(event.set)
        return rows
