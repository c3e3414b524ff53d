"""One batch into Iceberg: its samples in one commit, what cannot be read in another, each exactly once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence

import pyarrow as pa
from pyiceberg.catalog import Catalog

from otmirror import samples
from otmirror.clock import Clock
from otmirror.errors import ConfigError, MirrorError
from otmirror.iceberg.catalog import TEMPORARY, explain, hidden, open_catalog
from otmirror.iceberg.config import Config
from otmirror.iceberg.maintenance import Options, Report, StoppedError
from otmirror.iceberg.schema import REJECTS, SAMPLES, Layout, reject_rows, sample_rows
from otmirror.iceberg.upkeep import maintain
from otmirror.iceberg.writer import Commit, MismatchError, TableWriter
from otmirror.metrics.sink import FRESH_COLD, FRESH_COLD_S, SinkFigures, fresh_seconds
from otmirror.nifi import Output
from otmirror.notices import Notice, Notices
from otmirror.telegraf.decoder import TelegrafDecoder
from otmirror.tlsfiles import Expiry

EXPIRE_EVERY = 3600.0
"""Seconds between two clean-ups of a table's snapshots."""
EXPIRE_FIRST = 600.0
"""Seconds before the first: what waited while this process was down has come again by then, and is recognised."""
CLOSE_WAIT = 5.0
"""Seconds to wait for a batch that is being stored; it may hang for as long as the catalog's driver lets it."""
TELL_DUPLICATES_EVERY = 600.0
MAINTENANCE_BUDGET = 600.0
"""Seconds after which a maintenance FlowFile begins no further day; the next one goes on."""

ATTRIBUTES = ("otmirror.content", "otmirror.rejected.by", "otmirror.error")
"""The FlowFile attributes `write` looks at."""


class IcebergSink:
    """Writes batches of samples and of rejects. Thread-safe; one batch at a time."""

    def __init__(self, config: Config, clock: Clock):
        """Nothing is opened yet."""
        self._config, self._clock = config, clock
        self._telegraf = TelegrafDecoder(config.telegraf_tag, config.telegraf_source)
        self._notices = Notices(clock.monotonic)
        self._expiry = Expiry(clock)
        self.figures = SinkFigures(fresh_seconds(FRESH_COLD, FRESH_COLD_S), clock.now_us)
        """What it counts."""
        for name in ("otmirror_iceberg_commit_conflicts_total", "otmirror_iceberg_duplicate_batches_total"):
            self.figures.add(name, 0)
        self._writers: dict[str, TableWriter] = {}
        self._catalog: Catalog | None = None
        self._next_expiry: dict[str, float] = {}
        self._failing_since: float | None = None
        self._no_expiry_before = float("-inf")
        self._duplicates, self._tell_duplicates = 0, float("-inf")
        self._lock, self._maintaining, self._stop = threading.Lock(), threading.Lock(), threading.Event()

    def close(self) -> None:
        """Let go of the catalog; the next batch opens it again. A batch being stored is waited for a short time."""
        self._stop.set()
        if self._lock.acquire(timeout=CLOSE_WAIT):
            try:
                self._drop()
            finally:
                self._lock.release()

    def notices(self) -> list[Notice]:
        """Return what the operator should be told since the last call."""
        return self._notices.take()

    def hide(self, text: str) -> str:
        """Return `text` with the secrets masked."""
        return hidden(text, self._config)

    def write(self, content: bytes, attributes: Mapping[str, str]) -> Output:
        """Store one FlowFile of samples, or of rejects when attribute `otmirror.content` says so.

        With `maintenance` there the FlowFile's content does not matter: the tables are looked after.

        Returns relationship `success`, `retry` (the catalog or storage cannot take it now; what was stored is
        recognised next time) or `failure` (a table cannot take our rows).
        """
        if attributes.get("otmirror.content") == "maintenance":
            return self._maintain(attributes)
        batch = samples.batch_id(content)
        with self._lock:
            self._expiry.look(self._config.tls, self._notices, self.figures)
            try:
                told = self._store(content, batch, attributes)
            except (MirrorError, *TEMPORARY) as error:
                return self._failed(error)
            except Exception:
                self._drop()
                raise
            self._recovered()
            if "otmirror.iceberg.duplicate" in told:
                self._count_duplicate(told)
            self._notices.clear("unavailable", "the Iceberg catalog and warehouse take batches again")
        if "otmirror.error" in attributes:
            told["otmirror.error"] = ""
        return Output("success", told, None)

    def _maintain(self, attributes: Mapping[str, str]) -> Output:
        """Look after the tables, over a catalog connection of its own, so that batches go on beside it."""
        if not self._maintaining.acquire(blocking=False):
            return Output("retry", {"otmirror.error": "maintenance is under way already"}, None)
        try:
            self._stop.clear()
            options = Options(retention=self._config.snapshot_retention, budget=MAINTENANCE_BUDGET)
            reports = maintain(self._config, options, self._clock, self._say_on)
        except MirrorError as error:
            mismatch = isinstance(error, MismatchError)
            self._notices.say("error" if mismatch else "warn", "maintenance", str(error))
            return Output("failure" if mismatch else "retry", {"otmirror.error": str(error)}, None)
        finally:
            self._maintaining.release()
        self._notices.clear("maintenance", "maintenance of the Iceberg tables works again")
        for report in reports:
            for day, reason in report.left.items():
                self._notices.say("info", "left", f"table {report.table}: day {day} was left: {reason}")
        told = maintained(reports)
        if "otmirror.error" in attributes:
            told["otmirror.error"] = ""
        return Output("success", told, None)

    def _say_on(self, _: str) -> None:
        if self._stop.is_set():
            raise StoppedError("the maintenance was stopped; what it did stays done")

    def _failed(self, error: Exception) -> Output:
        self._drop()
        message = str(error) if isinstance(error, MirrorError) else explain(error, self._config)
        told = {"otmirror.error": message}
        if isinstance(error, MismatchError):
            self._notices.say("error", "mismatch", message)
            return Output("failure", told, None)
        if self._failing_since is None:
            self._failing_since = self._clock.monotonic()
        level = "error" if isinstance(error, ConfigError) else "warn"
        self._notices.say(level, "unavailable", message)
        return Output("retry", told, None)

    def _recovered(self) -> None:
        """After an outage, keep the snapshots for as long again.

        One of them may hold a batch whose commit was not answered; it has to be recognised when it comes again.
        """
        if self._failing_since is not None:
            now = self._clock.monotonic()
            wait = max(EXPIRE_FIRST, now - self._failing_since)
            self._no_expiry_before = max(self._no_expiry_before, now + wait)
            self._failing_since = None

    def _count_duplicate(self, told: Mapping[str, str]) -> None:
        self._duplicates += 1
        self.figures.add("otmirror_iceberg_duplicate_batches_total")
        now = self._clock.monotonic()
        if now < self._tell_duplicates:
            return
        self._tell_duplicates = now + TELL_DUPLICATES_EVERY
        table, batch = told["otmirror.iceberg.table"], told["otmirror.batch"]
        self._notices.say(
            "info", "duplicates",
            f"batches that were stored already and so were not stored again, since the start: {self._duplicates}; "
            f"the last is {batch} in table {table}",
        )  # fmt: skip

    def _store(self, content: bytes, batch: str, attributes: Mapping[str, str]) -> dict[str, str]:
        config, told = self._config, {"otmirror.batch": batch}
        if attributes.get("otmirror.content") == "rejects":
            origin = attributes.get("otmirror.rejected.by") or "victoriametrics"
            rejects = samples.decode_rejects(content)
        else:
            origin = "iceberg"
            decoded = samples.decode(content, self._telegraf)
            rows, odd = sample_rows(decoded.table, batch)
            rejects = decoded.rejects + odd
            if rows.num_rows:
                told |= self._append(config.samples_table, SAMPLES, rows, batch)
        if rejects:
            rows = reject_rows(rejects, batch, origin, self._clock.now_us())
            where = self._append(config.rejects_table, REJECTS, rows, batch)
            told = {**where, **told, "otmirror.rejects": str(len(rejects))}
            if origin == "iceberg" and "otmirror.iceberg.duplicate" not in where:
                self.figures.rejected(reject.reason for reject in rejects)
        return told

    def _append(self, table: str, layout: Layout, rows: pa.Table, batch: str) -> dict[str, str]:
        writer = self._writer(table, layout)
        began = self._clock.monotonic()
        commit = writer.append(rows, batch)
        self._count(writer, commit, rows, self._clock.monotonic() - began)
        self._expire(writer)
        return _told(writer, rows, commit)

    def _lost(self) -> None:
        """Count at once: the attempts that follow may take long."""
        self.figures.add("otmirror_iceberg_commit_conflicts_total")
        self.figures.latest("otmirror_iceberg_last_conflict_timestamp_seconds", self._clock.now_us() / 1e6)

    def _count(self, writer: TableWriter, commit: Commit, rows: pa.Table, seconds: float) -> None:
        figures = self.figures
        with contextlib.suppress(Exception):
            for name, count in (("snapshots", writer.snapshots), ("data_files", writer.data_files)):
                figures.put(f"otmirror_iceberg_{name}", count, table=writer.name)
            if commit.duplicate:
                return
            figures.observe("otmirror_iceberg_commit_seconds", seconds)
            if writer.name == f"{self._config.namespace}.{self._config.samples_table}":
                figures.stored(rows)

    def _writer(self, table: str, layout: Layout) -> TableWriter:
        if table not in self._writers:
            if self._catalog is None:
                self._catalog = open_catalog(self._config)
            self._writers[table] = TableWriter(self._catalog, f"{self._config.namespace}.{table}", layout, self._lost)
        return self._writers[table]

    def _expire(self, writer: TableWriter) -> None:
        """Expire old snapshots now and then; what goes wrong with it is told and costs no batch."""
        keep, now = self._config.snapshot_retention, self._clock.monotonic()
        due = max(self._next_expiry.setdefault(writer.name, now + EXPIRE_FIRST), self._no_expiry_before)
        if not keep or self._failing_since is not None or now < due:
            return
        self._next_expiry[writer.name] = now + EXPIRE_EVERY
        try:
            writer.expire(self._clock.now_us() - int(keep * 1e6))
        except Exception as error:
            message = explain(error, self._config)
            self._notices.say("warn", "expire", f"snapshots of table {writer.name} were not expired: {message}")

    def _drop(self) -> None:
        """Forget catalog and tables, so that a repaired neighbour is met afresh."""
        self._writers.clear()
        catalog, self._catalog = self._catalog, None
        if catalog is not None:
            catalog.close()


def _told(writer: TableWriter, rows: pa.Table, commit: Commit) -> dict[str, str]:
    told = {
        "otmirror.iceberg.table": writer.name,
        "otmirror.iceberg.snapshot": str(commit.snapshot),
        "otmirror.iceberg.rows": str(rows.num_rows),
    }
    if commit.duplicate:
        told["otmirror.iceberg.duplicate"] = "true"
    return told


def maintained(reports: Sequence[Report]) -> dict[str, str]:
    """Return what maintenance did as FlowFile attributes, all tables together."""
    return {
        "otmirror.iceberg.duplicates.removed": str(sum(report.duplicates for report in reports)),
        "otmirror.iceberg.files.before": str(sum(report.before.files for report in reports)),
        "otmirror.iceberg.files.after": str(sum(report.after.files for report in reports)),
        "otmirror.iceberg.files.removed": str(sum(report.removed for report in reports)),
        "otmirror.iceberg.days.left": str(sum(len(report.left) for report in reports)),
        "otmirror.iceberg.seconds": f"{sum(report.seconds for report in reports):.1f}",
    }
