"""The upkeep of a table: each sample once, few files a day, no more snapshots and files than are needed.

Safe beside writers and readers: a day is replaced in one commit that takes away exactly the files that were read, and
nothing is removed that a snapshot refers to or that is young.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.table import Table

from otmirror.clock import Clock
from otmirror.errors import MistakesError, UnavailableError
from otmirror.iceberg import days, orphans
from otmirror.iceberg.chunks import CHUNK_ROWS
from otmirror.iceberg.config import DAY
from otmirror.iceberg.days import Day
from otmirror.iceberg.ledger import KEY as BATCH
from otmirror.iceberg.ledger import outdated
from otmirror.iceberg.rewrite import Rewrite, duplicates
from otmirror.iceberg.schema import Layout
from otmirror.iceberg.writer import watched

ATTEMPTS = 5
"""How often a day is tried before it is left for the next run."""
HOUR = 3600.0


class StoppedError(UnavailableError):
    """The work was asked to stop; what is done is done, the rest is left for the next run."""


@dataclass(frozen=True)
class Options:
    """What to do; times in seconds."""

    retention: float = DAY
    """Snapshots replaced longer ago than this are expired; 0: none."""
    orphan_age: float = DAY
    """Files younger than this are never removed."""
    include_today: bool = False
    """Rewrite days that are not over, too."""
    many: int = 500
    """Files that make a day that is not over be rewritten all the same."""
    dry_run: bool = False
    """Only say what would be done."""
    chunk_rows: int = CHUNK_ROWS
    """Rows held in memory."""
    budget: float | None = None
    """After this no further day is begun."""

    def __post_init__(self) -> None:
        """Refuse what is dangerous.

        Raises:
            MistakesError: with every mistake.
        """
        problems = []
        if 0 < self.retention < HOUR:
            problems.append("snapshots: kept for less than 1 hour; a batch that comes again would be stored twice")
        if self.orphan_age < HOUR:
            problems.append("files that nothing refers to: removed at an age of less than 1 hour; a commit may be "
                            "under way with them")  # fmt: skip
        if self.chunk_rows < 1 or self.many < 2:
            problems.append("chunk rows: at least 1; files of an open day: at least 2")
        if problems:
            raise MistakesError(problems)


@dataclass
class Count:
    """What a table's current snapshot has."""

    rows: int = 0
    files: int = 0
    bytes: int = 0
    snapshots: int = 0
    days: int = 0
    small: int = 0


@dataclass
class Report:
    """What was found and done; with a dry run, what would be done."""

    table: str
    before: Count = field(default_factory=Count)
    after: Count = field(default_factory=Count)
    rewritten: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    """Days that need work and were left, with the reason."""
    duplicates: int = 0
    expired: int = 0
    removed: int = 0
    removed_bytes: int = 0
    orphans: list[str] = field(default_factory=list)
    """With a dry run: locations of the files that would be removed."""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def count(table: Table) -> Count:
    """Count what the table's current snapshot has, from its manifests."""
    found = days.all_days(table)
    return Count(
        rows=sum(day.rows for day in found),
        files=sum(len(day.tasks) for day in found),
        bytes=sum(day.bytes for day in found),
        snapshots=len(table.metadata.snapshots),
        days=len(found),
        small=sum(day.small for day in found),
    )


class Maintenance:
    """One run over one table. Any number of writers, readers and other runs may be at work beside it."""

    def __init__(
        self, table: Table, layout: Layout, options: Options, clock: Clock, say: Callable[[str], None] = lambda _: None
    ):
        """Take the table; `say` is told what is going on and may raise StoppedError to end the run."""
        self._table, self._layout, self._options, self._clock = watched(table), layout, options, clock
        self._say = say
        self.report = Report(".".join(table.name()))

    def run(self) -> Report:
        """Rewrite days, expire snapshots, remove files.

        Raises:
            MismatchError: the table is not partitioned as its layout says.
            StoppedError: from `say`.
            Exception: whatever pyiceberg, the catalog or the storage raise; what is done so far is in `report`, and
                the next run goes on from there.
        """
        started = self._clock.monotonic()
        self._table.refresh()
        days.check(self._table.metadata, self.report.table, self._layout)
        self.report.before = count(self._table)
        try:
            self._rewrite(started)
            self._expire()
            self._remove()
        finally:
            self.report.seconds = self._clock.monotonic() - started
        self._table.refresh()
        self.report.after = count(self._table)
        self.report.seconds = self._clock.monotonic() - started
        return self.report

    def _rewrite(self, started: float) -> None:
        today = self._clock.now_us() // 86_400_000_000
        # The worst first: a run may have no time for all.
        found = sorted(days.all_days(self._table), key=lambda day: -len(day.tasks))
        for place, day in enumerate(found, 1):
            self._say(f"{self.report.table}: day {day.name}, {place} of {len(found)}, {len(day.tasks)} files")
            if day.number >= today and not self._options.include_today and len(day.tasks) <= self._options.many:
                continue
            if self._options.budget is not None and self._clock.monotonic() - started > self._options.budget:
                if not day.rewritten and len(day.tasks) > 1:
                    self.report.left[day.name] = "the time for this run is over"
                continue
            self._one(day)

    def _one(self, day: Day) -> None:
        """Rewrite a day if it needs it, again from the start when others were in the way."""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._table.refresh()
                day = days.one_day(self._table, self._layout, day.number)
            repeated = 0 if day.scattered else duplicates(self._table, day, self._layout, self._options.chunk_rows)
            if not (day.scattered or repeated):
                return
            if self._options.dry_run:
                self.report.rewritten.append(day.name)
                self.report.duplicates += duplicates(self._table, day, self._layout, self._options.chunk_rows)
                return
            if self._replaced(day):
                return
        self.report.left[day.name] = f"others changed its files {ATTEMPTS} times while it was rewritten"

    def _replaced(self, day: Day) -> bool:
        rewrite = Rewrite(self._table, day, self._layout)
        try:
            rewrite.write(self._options.chunk_rows, lambda: self._say(f"{self.report.table}: day {day.name}"))
        except BaseException:
            rewrite.discard()
            raise
        try:
            rewrite.commit()
        except (CommitFailedException, ValidationException) as error:
            rewrite.discard()
            self.report.notes.append(f"day {day.name}: others were faster ({' '.join(str(error).split())[:120]})")
            return False
        self.report.rewritten.append(day.name)
        self.report.duplicates += rewrite.rows_in - rewrite.rows_out
        return True

    def _expire(self) -> None:
        if not self._options.retention:
            return
        for attempt in range(ATTEMPTS):
            self._table.refresh()
            old = outdated(self._table.metadata, self._expire_before_us())
            self.report.expired = len(old)
            if not old or self._options.dry_run:
                return
            self._say(f"{self.report.table}: expiring {len(old)} snapshots")
            try:
                self._table.maintenance.expire_snapshots().by_ids(old).commit()
                return
            except CommitFailedException:
                self.report.expired = 0
                time.sleep(0.1 * 2**attempt)
        self.report.notes.append("snapshots were not expired: others kept changing the table")

    def _expire_before_us(self) -> int:
        """Keep the batches of the last hour of writing known, however long ago that was.

        The last one may be a batch whose writer went down before it had the answer, and comes again with it.
        """
        batches = [s.timestamp_ms * 1000 for s in self._table.metadata.snapshots if s.summary and s.summary[BATCH]]
        before = self._clock.now_us() - int(self._options.retention * 1e6)
        return min([before, *([max(batches) - int(HOUR * 1e6)] if batches else [])])

    def _remove(self) -> None:
        self._say(f"{self.report.table}: looking for files that nothing refers to")
        found = orphans.orphans(self._table, self._clock.now_us() / 1e6 - self._options.orphan_age)
        if self._options.dry_run:
            self.report.orphans = sorted(file.location for file in found)
            self.report.removed, self.report.removed_bytes = len(found), sum(file.size for file in found)
            return
        self.report.removed = orphans.remove(self._table, found)
        self.report.removed_bytes = sum(file.size for file in found)
        if self.report.removed < len(found):
            self.report.notes.append(f"{len(found) - self.report.removed} files could not be removed")
