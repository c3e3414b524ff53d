"""What an OPC UA source counts, beside its samples: connections, requests, the buffer of its subscriptions."""

from __future__ import annotations

import math

from otmirror.clock import Clock
from otmirror.metrics.definitions import EXPIRY
from otmirror.metrics.source import Filling, SourceFigures
from otmirror.opcua.allowlist import ReadOnlyGuard
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.reports import Reports

_QUEUE_LEFT = "otmirror_server_queue_left_seconds"
_WRITING = ("Write", "Call")
"""Services whose refusals are there as 0 from the start, so that the first one is seen as a step."""


class Measures:
    """Fills a reader's figures with what its parts know."""

    def __init__(self, config: OpcUaConfig, clock: Clock, guard: ReadOnlyGuard, reports: Reports):
        """Take the parts that know; each answer's time is noted from now on."""
        source = self._source = config.source
        self.figures = SourceFigures(source, lambda: clock.now_us() / 1e6)
        self._config, self._clock, self._guard, self._reports = config, clock, guard, reports
        self._filling = Filling(config.buffer, clock.monotonic)
        self._connections = 0
        self.figures.device(source, len(config.tags), _WRITING)
        guard.took = lambda seconds: self.figures.observe("otmirror_request_seconds", seconds, source=source)

    def connected(self, client: GuardedClient) -> None:
        """Count a connection that was made, and note its certificates."""
        if self._connections:
            self.figures.add("otmirror_source_reconnects_total", source=self._source)
        self._connections += 1
        self.figures.replace(EXPIRY, dict(client.expiries))

    def skipped(self, polls: int) -> None:
        """Count polls that were left out."""
        self.figures.add("otmirror_polls_skipped_total", polls, source=self._source)

    def look(self, here: bool, connected: bool, gone: float | None = None) -> None:
        """Set what is true now: whether anybody asks, whether there is a session, for how long nobody has asked."""
        figures, source = self.figures, self._source
        figures.sent(source, self._guard.sent, self._guard.refused)
        if not here:
            figures.away()
            if gone is not None and (queued := self._reports.queued_seconds) < math.inf:
                figures.put(_QUEUE_LEFT, max(0.0, queued - gone), source=source)
            return
        figures.forget(_QUEUE_LEFT)
        figures.connected(source, connected)
        held, heard = self._reports.waiting, self._reports.heard
        figures.put("otmirror_buffer_samples", held, source=source)
        figures.put("otmirror_buffer_capacity_samples", self._config.buffer, source=source)
        figures.put("otmirror_buffer_left_seconds", self._filling.left(held), source=source)
        if connected and heard is not None:
            ago = self._clock.monotonic() - heard
            figures.unchanged(source, self._clock.now_us() / 1e6 - ago)
