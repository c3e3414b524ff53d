"""What a sink counts: samples stored and rejected, how late they come, which tags are fresh in the store."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from otmirror.metrics.definitions import REASONS, RESULTS
from otmirror.metrics.figures import Figures
from otmirror.status import BAD, GOOD

FRESH, FRESH_COLD = "OTMIRROR_FRESH_SECONDS", "OTMIRROR_FRESH_COLD_SECONDS"
FRESH_S, FRESH_COLD_S = 90.0, 300.0
DAY_US = 86_400_000_000
MOST_TAGS = 1_000_000
MOST_AREAS = 50
"""Areas with a series of their own; the others are counted together as `other`."""
OTHER = "other"
LATELY = 16
"""Sets of tags whose places are remembered; a source gives the same ones again and again."""

_WORDS = (
    ("VictoriaMetrics answered", "refused"),
    ("older than the property Retention", "retention"),
    ("in the future", "future"),
    (" is longer than ", "label"),
    ("a time is outside", "time"),
    ("its text is no number", "number"),
    ("its value is", "number"),
)


def reason_word(reason: str) -> str:
    """Return the word of label `reason` for a reject's reason."""
    if reason.startswith(("not a sample", "a bad sample", "no Telegraf", "a Telegraf")):
        return "unreadable"
    return next((word for text, word in _WORDS if text in reason), "unreadable")


def area_of(tag: str) -> str:
    """Return a tag's area: its first two segments, its own name never among them; `other` when there is no slash."""
    return "/".join(tag.split("/")[:-1][:2]) or OTHER


def fresh_seconds(variable: str, default: float) -> float:
    """Return how old a tag's newest good sample may be; what is no positive number counts as not set."""
    try:
        value = float(os.environ.get(variable, ""))
    except ValueError:
        return default
    return value if value > 0 else default


class Coverage:
    """When each tag was last stored, and its newest good sample. Times are microseconds since 1970."""

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._areas: list[str] = []
        self._area = np.zeros(0, np.int64)
        self._stored = np.zeros(0, np.int64)
        self._good = np.zeros(0, np.int64)
        self._lately: dict[tuple[int, str, str], tuple[pa.Array, npt.NDArray[np.int64]]] = {}

    def see(self, tags: pa.ChunkedArray, ts: npt.NDArray[np.int64], good: npt.NDArray[np.bool_], now_us: int) -> None:
        """Take what was stored: tag, source time and whether the sample is good, a row each."""
        coded = tags.combine_chunks().dictionary_encode()
        if isinstance(coded, pa.ChunkedArray):
            coded = coded.combine_chunks()
        rows = self._places(coded.dictionary)[coded.indices.to_numpy()]
        if (rows < 0).any():
            known = rows >= 0
            rows, ts, good = rows[known], ts[known], good[known]
        self._stored[rows] = now_us
        np.maximum.at(self._good, rows[good], ts[good])

    def _places(self, names: pa.Array) -> npt.NDArray[np.int64]:
        """Return the places of distinct tags, -1 of one too many; batches of the same tags are looked up once."""
        key = (len(names), names[0].as_py(), names[-1].as_py())
        known = self._lately.get(key)
        if known is not None and known[0].equals(names):
            return known[1]
        tags = names.to_pylist()
        self._learn([tag for tag in tags if tag not in self._place])
        places = np.fromiter((self._place.get(tag, -1) for tag in tags), np.int64, len(tags))
        if len(self._lately) >= LATELY:
            self._lately.clear()
        self._lately[key] = (names, places)
        return places

    def counts(self, now_us: int, fresh_us: float) -> dict[str, tuple[int, int]]:
        """Return, for each area, the tags of the last 24 hours and the fresh ones among them."""
        alive = self._stored > now_us - DAY_US
        fresh = alive & (self._good >= now_us - fresh_us)
        size = len(self._areas)
        every = np.bincount(self._area[alive], minlength=size)
        young = np.bincount(self._area[fresh], minlength=size)
        return {area: (int(every[n]), int(young[n])) for n, area in enumerate(self._areas) if every[n]}

    def _learn(self, names: list[str]) -> None:
        names = names[: MOST_TAGS - len(self._place)]
        if not names:
            return
        areas = [self._number(area_of(name)) for name in names]
        self._area = np.append(self._area, areas)
        self._stored = np.append(self._stored, np.zeros(len(names), np.int64))
        self._good = np.append(self._good, np.zeros(len(names), np.int64))
        self._place.update(zip(names, range(len(self._place), len(self._place) + len(names)), strict=True))

    def _number(self, area: str) -> int:
        if area not in self._areas:
            if len(self._areas) >= MOST_AREAS:
                area = OTHER
            if area not in self._areas:
                self._areas.append(area)
        return self._areas.index(area)


class SinkFigures(Figures):
    """Figures of a sink."""

    def __init__(self, fresh: float, now_us: Callable[[], int] = lambda: time.time_ns() // 1000):
        """Take how young a fresh tag's newest sample is, in seconds, and a clock."""
        super().__init__()
        self._fresh_us, self._now_us = fresh * 1e6, now_us
        self._coverage = Coverage()
        self.add("otmirror_samples_stored_total", 0)
        for reason in REASONS:
            self.add("otmirror_samples_rejected_total", 0, reason=reason)
        for result in RESULTS:
            self.add("otmirror_batches_total", 0, result=result)
        self.observe_all("otmirror_store_lag_seconds", np.zeros(0))
        self.before(self._look)

    def took(self, relationship: str, seconds: float) -> None:
        """Count one FlowFile by where it went, and how long that took."""
        result = "stored" if relationship == "success" else relationship
        self.add("otmirror_batches_total", result=result if result in RESULTS else "failure")
        self.observe("otmirror_store_seconds", seconds)

    def stored(self, table: pa.Table) -> None:
        """Count samples that were just stored, by the columns tag, ts, quality and backfill of a batch."""
        now = self._now_us()
        self.latest("otmirror_store_last_success_timestamp_seconds", now / 1e6)
        if not table.num_rows:
            return
        self.add("otmirror_samples_stored_total", table.num_rows)
        ts: npt.NDArray[np.int64] = table.column("ts").cast(pa.int64()).to_numpy()
        quality = table.column("quality")
        live = ~table.column("backfill").to_numpy()
        self.observe_all("otmirror_store_lag_seconds", np.maximum(0.0, (now - ts[live]) / 1e6))
        sure = ts[pc.not_equal(quality, BAD).to_numpy()]
        if len(sure):
            self.latest("otmirror_store_newest_sample_timestamp_seconds", float(sure.max()) / 1e6)
        with self._lock:
            self._coverage.see(table.column("tag"), ts, pc.equal(quality, GOOD).to_numpy(), now)

    def rejected(self, reasons: Iterable[str]) -> None:
        """Count samples that cannot be stored, by the reasons of their rejects."""
        for word, count in Counter(map(reason_word, reasons)).items():
            self.add("otmirror_samples_rejected_total", count, reason=word)

    def _look(self) -> None:
        with self._lock:
            counts = self._coverage.counts(self._now_us(), self._fresh_us)
        self.replace("otmirror_store_tags", {area: tags for area, (tags, _) in counts.items()})
        self.replace("otmirror_store_tags_fresh", {area: fresh for area, (_, fresh) in counts.items()})
