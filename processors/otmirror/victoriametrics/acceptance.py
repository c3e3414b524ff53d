"""What the server dropped behind a 204: a look at its own counters now and then.

VictoriaMetrics answers 204 also for samples it does not store; it only counts them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from otmirror.errors import UnavailableError
from otmirror.notices import Notices
from otmirror.victoriametrics.client import Client, ServerMetrics

EVERY = 30.0
"""Seconds between two looks."""

_RETENTION = re.compile(r"(\d+(?:\.\d+)?)(|h|d|w|M|y)")
_SECONDS = {"h": 3600, "d": 86400, "w": 604800, "M": 31 * 86400, "": 31 * 86400, "y": 365 * 86400}


class Acceptance:
    """Compares the server's drop counters from look to look. Never fails a batch."""

    def __init__(self, client: Client, notices: Notices, monotonic: Callable[[], float], retention: float):
        """`retention` is what the sink was told, in seconds."""
        self._client, self._notices, self._monotonic = client, notices, monotonic
        self._retention = retention
        self._next = float("-inf")
        self._before: dict[str, int] | None = None
        self._problem: str | None = None

    def begin(self) -> None:
        """Take the counters as they are before the first samples are sent; not every time."""
        self._problem = None
        if self._before is None and (metrics := self._ask()):
            self._before = metrics.dropped
            self._compare_flags(metrics)

    def look(self) -> None:
        """Look, unless the last look was less than `EVERY` ago. Call it after samples were accepted."""
        if metrics := self._ask():
            self._notices.clear("metrics")
            if self._before is None:
                self._compare_flags(metrics)
            else:
                self._compare_counters(self._before, metrics.dropped)
            self._before = metrics.dropped
        if self._problem:
            # Only here: where the samples are not accepted either, that is what the operator has to hear.
            self._notices.say(
                "warn", "metrics",
                f"{self._problem}; samples the server drops silently will not be noticed. "
                "Let this client read /metrics, or set Check Acceptance to false",
            )  # fmt: skip

    def _ask(self) -> ServerMetrics | None:
        """Read the metrics; None when it is too early, or when they cannot be read."""
        if self._monotonic() < self._next:
            return None
        try:
            return self._client.metrics()
        except UnavailableError as error:
            self._problem = str(error)
            return None
        finally:
            self._next = self._monotonic() + EVERY

    def _compare_counters(self, before: dict[str, int], after: dict[str, int]) -> None:
        for reason, count in after.items():
            # A counter that fell belongs to a server that started again.
            more = count - before.get(reason, 0) if count >= before.get(reason, 0) else count
            if more:
                self._notices.say(
                    "warn", f"dropped {reason}",
                    f"VictoriaMetrics dropped {more} samples, reason {reason}, since the last look "
                    f"({count} since its start). The counter is the server's: they may be another client's",
                )  # fmt: skip

    def _compare_flags(self, metrics: ServerMetrics) -> None:
        flag = metrics.flags.get("retentionPeriod", "")
        match = _RETENTION.fullmatch(flag)
        if match and float(match[1]) * _SECONDS[match[2]] != self._retention:
            self._notices.say(
                "warn", "retention",
                f"the server runs with -retentionPeriod={flag} but the property Retention says "
                f"{self._retention / 86400:g} days: set it to the same, or samples are dropped silently",
            )  # fmt: skip
        if metrics.flags.get("dedup.minScrapeInterval") == "0s":
            self._notices.say(
                "warn", "dedup",
                "the server runs without -dedup.minScrapeInterval=1ms: samples sent again after a fault are "
                "stored twice",
            )  # fmt: skip
