"""Reports each new row to the monitored items of the plant's OPC UA server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from otmirror.plant.pacing import Metronome
from otmirror.plant.queues import Report, Service

SHORTEST_S, LONGEST_S = 0.05, 1.0
"""Time between two rounds: of faster rows some are left out, and of slower ones a fault shows within a second."""

_MARGIN_S = 0.001
"""What a row is waited for on top, so that it is there for sure."""

_AT_ONCE = 100
"""Items after which others get their turn."""

_LOG = logging.getLogger(__name__)


class Sampler:
    """A task that gives every monitored item of the plant's sensors its present value; without any it only waits."""

    def __init__(self, service: Service, sensors: Mapping[Any, Callable[[], Any]], metronome: Metronome):
        """Take who knows the items, what makes the DataValue of a node, and what says when rows change."""
        self._service, self._sensors, self._metronome = service, sensors, metronome
        self._task: asyncio.Task[None] | None = None
        self._failed: set[Any] = set()

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End the task."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            begin = loop.time()
            await self._round(begin)
            now = loop.time()
            row = now + min(self._metronome.wait() + _MARGIN_S, LONGEST_S)
            # Whoever reads or publishes gets as much time as the items.
            due = max(due + SHORTEST_S, row, now + (now - begin))
            await asyncio.sleep(due - now)

    async def _round(self, now: float) -> None:
        for count, (node, report) in enumerate(self._service.due(now), 1):
            if node in self._sensors:
                await self._report(node, report)
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _report(self, node: Any, report: Report) -> None:
        try:
            await report(self._sensors[node]())
        except Exception:
            # Once a variable: it would be said with each row.
            if node not in self._failed:
                self._failed.add(node)
                _LOG.exception("%s cannot be reported to a subscription", node)
