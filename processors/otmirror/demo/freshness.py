"""How old a sample is when it can first be queried."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import requests


class HotFreshness:
    """Asks VictoriaMetrics for the newest sample of every tag, again and again, and notes each one's age in seconds.

    The resolution is the asking interval: an age is at most that much too long.
    """

    def __init__(self, url: str, interval: float = 0.2):
        """Take the server's base URL and the seconds between two questions."""
        self._url, self._interval = url, interval
        self._seen: dict[str, float] = {}
        self.ages: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="freshness", daemon=True)

    def start(self) -> None:
        """Begin asking in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _watch(self) -> None:
        session = requests.Session()
        query = {"query": "tlast_over_time(ot_value[20s])", "nocache": "1"}
        while not self._stop.wait(self._interval):
            try:
                answer = session.get(f"{self._url}/api/v1/query", params=query, timeout=5)
                self._note(answer.json(), time.time())
            except (requests.RequestException, ValueError):
                continue

    def _note(self, answer: dict[str, Any], now: float) -> None:
        first = not self._seen
        for series in answer.get("data", {}).get("result", ()):
            tag, newest = series["metric"].get("tag", ""), float(series["value"][1])
            if newest > self._seen.get(tag, 0.0):
                self._seen[tag] = newest
                if not first:
                    self.ages.append(now - newest)


def cold_ages(rows: pa.Table, commits: Mapping[str, int]) -> list[float]:
    """Return each row's age in seconds at the moment its snapshot was committed.

    Args:
        rows: ot.samples with `ts` in µs and `batch`.
        commits: batch id -> ms since 1970.
    """
    pairs = zip(rows.column("ts").to_pylist(), rows.column("batch").to_pylist(), strict=True)
    return [commits[batch] / 1e3 - ts / 1e6 for ts, batch in pairs if batch in commits]


def percentile(values: list[float], share: float) -> float | None:
    """Return the value below which `share` (0..1) of the values lie (nearest rank); None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
