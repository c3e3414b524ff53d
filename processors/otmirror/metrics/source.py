"""What a source counts: samples by quality, bad tags, freshness."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from otmirror.metrics.definitions import QUALITIES
from otmirror.metrics.figures import Figures
from otmirror.status import BAD, GOOD, STATUS
from otmirror.taglist import array_tag

_LOST = pa.scalar(STATUS["BadDataLost"], pa.int64())
_CONNECTION = (
    "otmirror_source_connected", "otmirror_source_tags", "otmirror_source_tags_bad",
    "otmirror_buffer_samples", "otmirror_buffer_capacity_samples", "otmirror_buffer_left_seconds",
)  # fmt: skip


class SourceFigures(Figures):
    """Figures of a source, whose samples carry the name `source`."""

    def __init__(self, source: str, wall: Callable[[], float] = time.time):
        """Take the source's name and a clock in seconds since 1970."""
        super().__init__()
        self.source, self._wall = source, wall
        for quality in QUALITIES:
            self.add("otmirror_samples_read_total", 0, source=source, quality=quality)
        self.add("otmirror_read_batches_total", 0)
        self.add("otmirror_gaps_total", 0, source=source)
        self._conditions: dict[str, Condition] = {}

    def emitted(self, table: pa.Table) -> None:
        """Count a batch that leaves the source."""
        rows, source = table.num_rows, self.source
        quality, ts = table.column("quality"), table.column("ts")
        good = pc.sum(pc.equal(quality, GOOD)).as_py() or 0
        bad = 0 if good == rows else pc.sum(pc.equal(quality, BAD)).as_py() or 0
        for name, count in zip(QUALITIES, (good, rows - good - bad, bad), strict=True):
            if count:
                self.add("otmirror_samples_read_total", count, source=source, quality=name)
        self.add("otmirror_read_batches_total")
        if bad:
            lost = pc.sum(pc.equal(table.column("status"), _LOST)).as_py() or 0
            self.add("otmirror_gaps_total", lost, source=source)
            if lost:
                self.latest("otmirror_last_gap_timestamp_seconds", self._wall(), source=source)
            ts = ts.filter(pc.not_equal(quality, BAD))
        if (newest := pc.max(ts).as_py()) is not None:
            self.latest("otmirror_source_newest_sample_timestamp_seconds", newest / 1e6, source=source)

    def device(self, source: str, tags: int, writing: Iterable[str]) -> None:
        """Begin with a device: its label `source`, how many tags it has, what the guard would be asked to write."""
        self._conditions[source] = Condition(tags)
        self.add("otmirror_source_reconnects_total", 0, source=source)
        self.add("otmirror_polls_skipped_total", 0, source=source)
        for service in writing:
            self.add("otmirror_guard_refused_total", 0, source=source, service=service)

    def received(self, source: str, table: pa.Table) -> None:
        """Take what was read of a device, before anything of it is held back. Never raises."""
        with contextlib.suppress(Exception):
            if self._conditions[source].see(table):
                self.heard(source)

    def connected(self, source: str, connected: bool) -> None:
        """Set what is true now of a device that is being asked."""
        condition = self._conditions[source]
        self.put("otmirror_source_connected", float(connected), source=source)
        self.put("otmirror_source_tags", condition.tags, source=source)
        self.put("otmirror_source_tags_bad", condition.bad, source=source)

    def unchanged(self, source: str, at: float) -> None:
        """Note that a device said at a time (seconds since 1970) that nothing changed, unless all its tags are bad."""
        condition = self._conditions[source]
        if condition.bad < condition.tags:
            self.heard(source, at)

    def heard(self, source: str, at: float | None = None) -> None:
        """Note that a good value came, now or at a time in seconds since 1970."""
        self.latest("otmirror_source_last_good_timestamp_seconds", at or self._wall(), source=source)

    def sent(self, source: str, requests: Mapping[str, int], refused: Mapping[str, int]) -> None:
        """Take the totals that a guard keeps, by service."""
        for name, counts in (("otmirror_requests_total", requests), ("otmirror_guard_refused_total", refused)):
            for service, count in [*counts.items()]:
                self.at_least(name, count, source=source, service=service)

    def away(self) -> None:
        """Forget what is only true of a source that is being asked."""
        self.forget(*_CONNECTION)


class Condition:
    """Which tags of a source are bad, from what was read of them."""

    def __init__(self, tags: int):
        """Take how many tags the source has."""
        self.tags = tags
        self._bad: set[str] = set()

    @property
    def bad(self) -> int:
        """Tags whose newest value is bad; the elements of an array are one tag."""
        return len({array_tag(tag) or tag for tag in [*self._bad]})

    def see(self, table: pa.Table) -> bool:
        """Take what was read, all of it and in order; returns whether any of it is good."""
        # A gap says that values between two are lost, not that the tag is bad.
        lost = pc.equal(table.column("status"), _LOST)
        if pc.any(lost).as_py():
            table = table.filter(pc.invert(lost))
        quality = table.column("quality")
        is_bad = pc.equal(quality, BAD)
        bad = pc.sum(is_bad).as_py() or 0
        if bad or self._bad:
            self._change(table, is_bad, bad)
        return bad < table.num_rows and bool(pc.any(pc.equal(quality, GOOD)).as_py())

    def _change(self, table: pa.Table, is_bad: pa.ChunkedArray, bad: int) -> None:
        tags = table.column("tag")
        if bad < table.num_rows:
            # A good value may follow a bad one in the same batch.
            concerned = self._bad.union(tags.filter(is_bad).to_pylist())
            some = pc.is_in(tags, pa.array(concerned, pa.string()))
            tags, is_bad = tags.filter(some), is_bad.filter(some)
        newest = dict(zip(tags.to_pylist(), is_bad.to_pylist(), strict=True))
        now_bad = {tag for tag, state in newest.items() if state}
        self._bad = (self._bad - newest.keys()) | now_bad


class Filling:
    """How long until a buffer is full, at the rate of the time between two looks."""

    def __init__(self, capacity: int, monotonic: Callable[[], float]):
        """Take how much it holds and a clock in seconds."""
        self._capacity, self._monotonic = capacity, monotonic
        self._before: tuple[float, int] | None = None

    def left(self, held: int) -> float:
        """Return the seconds; infinite while it does not fill, 0 when it is full."""
        now, before = self._monotonic(), self._before
        self._before = (now, held)
        if held >= self._capacity:
            return 0.0
        if before is None or held <= before[1] or now <= before[0]:
            return float("inf")
        return (self._capacity - held) * (now - before[0]) / (held - before[1])
