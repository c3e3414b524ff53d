"""How old a sample is when it can first be queried."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import pyarrow as pa

from otmirror.demo.stores import export
from otmirror.embedded.loopback import session
from otmirror.errors import UnavailableError

WINDOW = 15.0
"""Seconds back from now in which new samples are looked for; an older one is not counted."""


class HotFreshness:
    """Asks VictoriaMetrics for its newest samples again and again, and notes each one's age when it first shows up.

    The resolution is the asking interval: an age is at most that much too long. Samples that were there at the first
    answer do not count.
    """

    def __init__(self, url: str, interval: float = 0.25):
        """Take the server's base URL and the seconds between two questions."""
        self._url, self._interval = url, interval
        self._seen: set[tuple[str, int]] = set()
        self.ages: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="freshness", daemon=True)

    def start(self) -> None:
        """Begin asking in the background. May be called more than once."""
        if not self._thread.is_alive() and not self._stop.is_set():
            self._thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _watch(self) -> None:
        asking, first = session(self._url), True
        while not self._stop.wait(self._interval):
            try:
                newest = list(export(self._url, "ot_value", time.time() - WINDOW, asking))
            except UnavailableError:
                continue
            now = time.time()
            for series in newest:
                new = {(series.metric["tag"], ts) for ts in series.timestamps} - self._seen
                self._seen |= new
                if not first:
                    self.ages += [now - ts / 1000 for _, ts in new]
            first = False


def cold_ages(rows: pa.Table, commits: Mapping[str, int], since: int = 0) -> list[float]:
    """Return each row's age in seconds at the moment its snapshot was committed.

    Args:
        rows: ot.samples with `ts` in µs and `batch`.
        commits: batch id -> ms since 1970.
        since: µs since 1970; older rows do not count.
    """
    pairs = zip(rows.column("ts").to_pylist(), rows.column("batch").to_pylist(), strict=True)
    return [commits[batch] / 1e3 - ts / 1e6 for ts, batch in pairs if batch in commits and ts >= since]


def percentile(values: list[float], share: float) -> float | None:
    """Return the value below which `share` (0..1) of the values lie (nearest rank); None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
