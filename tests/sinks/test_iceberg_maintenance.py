"""Maintenance of the tables: each sample once and nothing lost, whoever else writes."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from batches import batch, line
from lakehouse import DAY, T0, Later, before_backfill, job, maintain, open_table, rows, sink, us, write
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField, StringType, TimestamptzType

from harness import Runner
from otmirror.clock import SystemClock
from otmirror.errors import UnavailableError
from otmirror.iceberg import rewrite, upkeep, views
from otmirror.iceberg.catalog import open_catalog
from otmirror.iceberg.config import Config
from otmirror.iceberg.maintenance import ATTEMPTS, Maintenance, Options
from otmirror.iceberg.rewrite import Rewrite
from otmirror.iceberg.schema import SAMPLES
from otmirror.iceberg.sink import IcebergSink

MAINTENANCE = {"otmirror.content": "maintenance"}


class Redelivered:
    """Messages as brokers deliver them: a fifth twice, in another order, merged into batches in another way."""

    def __init__(self, seed, messages=60):
        self.random, self.sent = random.Random(seed), []
        for number in range(messages):
            at = T0 + (number % 3) * DAY + number
            self.sent.append([
                {"tag": f"t{tag}", "ts": at, "value": number + tag / 10, "source": f"plc{tag % 2}", "ts_read": at + 5,
                 "seq": number * 10 + tag}
                for tag in range(7)
            ])  # fmt: skip
        again = self.random.sample(self.sent, messages // 5)
        self.delivered = [*self.sent, *again]
        self.random.shuffle(self.delivered)

    def batches(self):
        waiting = list(self.delivered)
        while waiting:
            count = self.random.randint(1, 4)
            part, waiting = waiting[:count], waiting[count:]
            yield [line(**sample) for message in part for sample in message]

    def expected(self):
        return {(s["tag"], s["ts"], s["source"], s["value"], s["seq"]) for message in self.sent for s in message}


def found(listed):
    return Counter((row["tag"], us(row["ts"]), row["source"], row["value"], row["seq"]) for row in listed)


@pytest.mark.parametrize(("seed", "chunk_rows"), [(1, 500_000), (2, 20)])
def test_redelivered_messages_are_shown_once_and_then_stored_once(tmp_path, seed, chunk_rows):
    feed = Redelivered(seed)
    delivered = [tuple(lines) for lines in feed.batches()]
    for lines in delivered:
        write(tmp_path, *lines)
    expected = feed.expected()
    # A batch of the very same content is recognised at once.
    repeats = sum(len(lines) for lines in set(delivered)) - len(expected)
    assert repeats > 7 * 8
    assert len(rows(tmp_path)) == len(expected) + repeats
    samples = open_table(tmp_path).scan().to_arrow()
    connection = duckdb.connect()
    connection.register("samples", samples)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(views.statement("duckdb", "samples", "samples_once"))
    shown = connection.sql("SELECT * FROM samples_once").to_arrow_table()
    assert shown.column_names == samples.column_names
    assert found(shown.to_pylist()) == Counter(expected)
    report = maintain(tmp_path, chunk_rows=chunk_rows)
    assert report.duplicates == repeats
    assert (report.before.rows, report.after.rows) == (len(expected) + repeats, len(expected))
    assert sorted(report.rewritten) == ["2023-11-14", "2023-11-15", "2023-11-16"]
    assert report.after.files == report.after.days == 3
    stored = rows(tmp_path)
    assert found(stored) == Counter(expected)
    # The table keeps the very rows the view shows, with the batch each came with first.
    shown_rows = {tuple(str(v) for v in row.values()) for row in shown.to_pylist()}
    assert {tuple(str(v) for v in row.values()) for row in stored} == shown_rows
    before = open_table(tmp_path).metadata_location
    again = maintain(tmp_path, chunk_rows=chunk_rows)
    assert (again.rewritten, again.duplicates, again.expired, again.removed) == ([], 0, 0, 0)
    assert open_table(tmp_path).metadata_location == before


def test_the_earliest_is_kept_and_other_sources_and_times_stay(tmp_path):
    write(tmp_path, line("t", T0, 2, ts_read=T0 + 9, seq=5), line("t", T0, 7, source="other"), line("t", T0 + 1, 8))
    write(tmp_path, line("t", T0, 1, ts_read=T0 + 3, seq=6), line("t", T0, 7, ts_read=None, seq=1))
    write(tmp_path, line("t", T0, 3, ts_read=T0 + 3, seq=4), line("t", T0, 4, ts_read=T0 + 3))
    assert maintain(tmp_path).duplicates == 4
    assert sorted((r["source"], us(r["ts"]) - T0, r["value"], r["seq"]) for r in rows(tmp_path)) == [
        ("other", 0, 7, None), ("test", 0, 3, 4), ("test", 1, 8, None),
    ]  # fmt: skip


def test_duplicates_within_a_single_file(tmp_path):
    write(tmp_path, line("t", T0, 1, seq=1), line("t", T0, 1, seq=1), line("u", T0, 1))
    write(tmp_path, line("far", T0 + 9 * DAY, 1))
    report = maintain(tmp_path)
    assert (report.duplicates, report.rewritten) == (1, ["2023-11-14"])
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["far", "t", "u"]


def test_a_day_that_is_not_over_is_left_unless_asked_for_or_crowded(tmp_path):
    now = time.time_ns() // 1000
    for n in range(3):
        write(tmp_path, line("t", now, 1, seq=n))
    assert maintain(tmp_path).rewritten == []
    assert len(rows(tmp_path)) == 3
    assert len(maintain(tmp_path, many=2).rewritten) == 1
    assert [row["seq"] for row in rows(tmp_path)] == [0]
    write(tmp_path, line("t", now, 1, seq=9))
    assert maintain(tmp_path, include_today=True).duplicates == 1


def test_rows_appended_between_read_and_commit_stay(tmp_path, monkeypatch):
    """The danger of an overwrite by filter: it takes away files it never read."""
    for n in range(3):
        write(tmp_path, line("t", T0, 1, seq=n), line(f"u{n}", T0, n))
    real = Rewrite.commit

    def late(self):
        write(tmp_path, line("late", T0, 1), line("t", T0, 1, seq=77))
        real(self)

    monkeypatch.setattr(Rewrite, "commit", late)
    assert maintain(tmp_path).duplicates == 2
    monkeypatch.undo()
    assert sorted((row["tag"], row["seq"]) for row in rows(tmp_path) if row["tag"][0] != "u") == [
        ("late", None), ("t", 0), ("t", 77),
    ]  # fmt: skip
    assert len(rows(tmp_path)) == 6
    assert maintain(tmp_path).duplicates == 1
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["late", "t", "u0", "u1", "u2"]


def test_rows_appended_while_the_commit_is_sent_stay(tmp_path):
    """The commit loses against an append, and pyiceberg bases it on the new snapshot."""
    for n in range(3):
        write(tmp_path, line("t", T0, 1, seq=n))
    run, waiting = job(tmp_path), [1, 2, 3]
    catalog = run._table.catalog
    real = catalog.commit_table

    def commit(*arguments):
        if waiting:
            write(tmp_path, line(f"late{waiting.pop()}", T0, 1))
        return real(*arguments)

    catalog.commit_table = commit
    report = run.run()
    assert (report.duplicates, report.left, waiting) == (2, {}, [])
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["late1", "late2", "late3", "t"]


def test_two_runs_over_the_same_day(tmp_path, monkeypatch):
    for n in range(4):
        write(tmp_path, line("t", T0, 1, seq=n), line(f"u{n}", T0, n))
    real = Rewrite.commit

    def faster(self):
        monkeypatch.setattr(Rewrite, "commit", real)
        assert maintain(tmp_path).duplicates == 3
        real(self)

    monkeypatch.setattr(Rewrite, "commit", faster)
    report = maintain(tmp_path)
    assert (report.duplicates, report.rewritten, report.left) == (0, [], {})
    assert "others were faster" in report.notes[0]
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["t", "u0", "u1", "u2", "u3"]
    data = {path.name for path in (tmp_path / "ot/samples/data").rglob("once-*.parquet")}
    assert data == {Path(file).name for file in open_table(tmp_path).inspect.files()["file_path"].to_pylist()}


def test_a_day_that_others_keep_changing_is_left_and_named(tmp_path):
    for n in range(3):
        write(tmp_path, line("t", T0, 1, seq=n))
    with open_table(tmp_path).transaction() as change:
        change.set_properties({"commit.retry.num-retries": "0"})
    run, tries = job(tmp_path), []

    def commit(*_):
        tries.append(1)
        raise CommitFailedException("somebody else")

    run._table.catalog.commit_table = commit
    report = run.run()
    assert len(tries) == ATTEMPTS
    assert report.left == {"2023-11-14": f"others changed its files {ATTEMPTS} times while it was rewritten"}
    assert (report.rewritten, report.duplicates) == ([], 0)
    assert len(rows(tmp_path)) == 3
    assert not list(tmp_path.rglob("once-*"))
    assert maintain(tmp_path).duplicates == 2


def test_batches_are_recognised_after_maintenance(tmp_path):
    content = [batch(line("t", T0, 1, seq=n)) for n in range(4)]
    writer = sink(tmp_path)
    for data in content:
        assert writer.write(data, {}).relationship == "success"
    assert maintain(tmp_path).duplicates == 3
    for one in (writer, sink(tmp_path)):
        for data in content:
            assert one.write(data, {}).attributes["otmirror.iceberg.duplicate"] == "true"
    assert len(rows(tmp_path)) == 1


def test_rows_that_cannot_be_read_leave_everything_as_it_is(tmp_path):
    for n in range(3):
        write(tmp_path, line("t", T0, n))
    victim = next((tmp_path / "ot/samples/data").rglob("*.parquet"))
    kept = victim.read_bytes()
    for damage in (lambda: victim.write_bytes(kept[: len(kept) // 2]), victim.unlink):
        before = open_table(tmp_path).metadata_location
        damage()
        with pytest.raises(UnavailableError, match=victim.name):
            maintain(tmp_path)
        assert open_table(tmp_path).metadata_location == before
        output = sink(tmp_path).write(b"", MAINTENANCE)
        assert output.relationship == "retry"
        assert victim.name in output.attributes["otmirror.error"]
        victim.write_bytes(kept)
    assert maintain(tmp_path).after.rows == 1


def test_a_day_of_which_rows_are_missing_is_not_replaced(tmp_path, monkeypatch):
    for n in range(3):
        write(tmp_path, line(f"t{n}", T0, n))
    real = rewrite.chunks
    monkeypatch.setattr(rewrite, "chunks", lambda *given: (chunk.slice(1) for chunk in real(*given)))
    with pytest.raises(UnavailableError, match="day 2023-11-14: 2 rows were read, there should be 3"):
        maintain(tmp_path)
    assert len(rows(tmp_path)) == 3
    assert not list(tmp_path.rglob("once-*"))


def test_a_maintenance_flowfile(tmp_path):
    assert sink(tmp_path).write(b"", MAINTENANCE).attributes["otmirror.iceberg.files.before"] == "0"
    writer = sink(tmp_path)
    for n in range(5):
        writer.write(batch(line("t", T0, 1, seq=n), f"broken {n}"), {})
    output = writer.write(b"", {**MAINTENANCE, "otmirror.error": "earlier"})
    assert (output.relationship, output.contents) == ("success", None)
    told = output.attributes
    # The rejects are of today: left as they are.
    assert (told["otmirror.iceberg.duplicates.removed"], told["otmirror.iceberg.days.left"]) == ("4", "0")
    assert (told["otmirror.iceberg.files.before"], told["otmirror.iceberg.files.after"]) == ("10", "6")
    assert float(told["otmirror.iceberg.seconds"]) > 0
    assert told["otmirror.error"] == ""
    assert writer.write(batch(line("t", T0, 1, seq=0), "broken 0"), {}).attributes["otmirror.iceberg.duplicate"]


def test_a_maintenance_flowfile_through_the_processor(tmp_path):
    runner = Runner("WriteIceberg", warehouse=str(tmp_path))
    for n in range(3):
        assert runner.transform(batch(line("t", T0, 1, seq=n))).relationship == "success"
    result = runner.transform(b"", **MAINTENANCE)
    assert (result.relationship, result.contents) == ("success", None)
    assert result.attributes["otmirror.iceberg.duplicates.removed"] == "2"
    assert [row["seq"] for row in rows(tmp_path)] == [0]
    assert runner.log.said() == []
    runner.stop()


def test_rejects_are_merged_but_each_is_kept(tmp_path):
    now = time.time_ns() // 1000
    for n in range(4):
        sink(tmp_path).write(batch("the same broken line", line("t", now, n)), {})
    reports = upkeep.maintain(Config(warehouse=str(tmp_path)), Options(), Later(24))
    rejects = next(report for report in reports if report.table == "ot.rejects")
    assert (rejects.duplicates, rejects.before.files, rejects.after.files) == (0, 4, 1)
    assert [row["line"] for row in rows(tmp_path, "ot.rejects")] == ["the same broken line"] * 4


def test_batches_go_on_beside_a_maintenance_in_the_same_sink(tmp_path, monkeypatch):
    writer = sink(tmp_path)
    for n in range(3):
        writer.write(batch(line("t", T0, 1, seq=n)), {})
    real, told = Rewrite.commit, []

    def busy(self):
        told.append(writer.write(batch(line("meanwhile", T0, 1)), {}).relationship)
        told.append(writer.write(b"", MAINTENANCE).attributes["otmirror.error"])
        real(self)

    monkeypatch.setattr(Rewrite, "commit", busy)
    assert writer.write(b"", MAINTENANCE).relationship == "success"
    assert told == ["success", "maintenance is under way already"]
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["meanwhile", "t"]


def test_a_table_with_other_partitions_is_left_and_said_so(tmp_path):
    catalog = load_catalog(
        "otmirror", type="sql", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}"
    )
    catalog.create_namespace("ot")
    catalog.create_table("ot.samples", Schema(
        NestedField(1, "tag", StringType(), required=True), NestedField(2, "ts", TimestamptzType(), required=True)
    ))  # fmt: skip
    for n in range(2):
        write(tmp_path, line("t", T0, 1, seq=n))
    output = sink(tmp_path).write(b"", MAINTENANCE)
    assert output.relationship == "failure"
    assert output.attributes["otmirror.error"] == (
        "table ot.samples is not partitioned by day of ts; it was left as it is"
    )
    assert len(rows(tmp_path)) == 2


def test_columns_of_somebody_else_are_kept(tmp_path):
    write(tmp_path, line("t", T0, 1, seq=0))
    with open_table(tmp_path).update_schema() as change:
        change.add_column("remark", StringType())
    write(tmp_path, line("t", T0, 1, seq=1), line("u", T0, 1))
    table = open_table(tmp_path)
    extra = table.scan(row_filter="tag = 'u'").to_arrow()
    place = extra.schema.get_field_index("remark")
    table.append(extra.set_column(place, extra.schema.field(place), pa.array(["mine"], extra.schema.field(place).type)))
    assert maintain(tmp_path).duplicates == 2
    assert {(r["tag"], r["seq"], r["remark"]) for r in rows(tmp_path)} == {("t", 0, None), ("u", None, "mine")}


@pytest.mark.parametrize("chunk_rows", [500_000, 2])
def test_what_was_backfilled_is_still_told_after_maintenance_also_in_an_older_table(tmp_path, chunk_rows):
    """The live row of a sample is the earlier one: it counts, not the one from history."""
    before_backfill(tmp_path)
    write(tmp_path, line("t", T0, 1, ts_read=T0 + 1), line("t", T0 + 5, 2, ts_read=T0 + 90, backfill=True))
    write(tmp_path, line("t", T0, 1, ts_read=T0 + 99, backfill=True), line("u", T0, 1, backfill=True))
    shown = duckdb.connect()
    shown.register("samples", open_table(tmp_path).scan().to_arrow())
    view = shown.sql(views.query("duckdb", "samples"))
    expected = {("old", 0, None), ("t", 0, False), ("t", 5, True), ("u", 0, True)}
    assert {(r["tag"], us(r["ts"]) - T0, r["backfill"]) for r in view.to_arrow_table().to_pylist()} == expected
    assert maintain(tmp_path, chunk_rows=chunk_rows).duplicates == 1
    assert {(r["tag"], us(r["ts"]) - T0, r["backfill"]) for r in rows(tmp_path)} == expected


def test_maintenance_and_view_in_a_real_rest_catalog():
    uri = os.environ.get("OTMIRROR_TEST_ICEBERG_REST")
    if not uri:
        pytest.skip("needs an Iceberg REST catalog: set OTMIRROR_TEST_ICEBERG_REST to its URL")
    config = Config(catalog_type="rest", uri=uri, namespace=f"ot_{uuid.uuid4().hex[:8]}")
    writer = IcebergSink(config, SystemClock())
    contents = [batch(line("t", T0, 1, seq=n), line(f"u{n}", T0 + n % 2 * DAY, n)) for n in range(6)]
    for content in contents:
        assert writer.write(content, {}).relationship == "success"
    catalog = open_catalog(config)
    assert views.create(catalog, config)
    assert not views.create(catalog, config)
    late = batch(line("late", T0, 1))
    run = Maintenance(catalog.load_table(f"{config.namespace}.samples"), SAMPLES, Options(), SystemClock())
    real, waiting = catalog.commit_table, [late]

    def commit(*arguments):
        if waiting:
            assert writer.write(waiting.pop(), {}).relationship == "success"
        return real(*arguments)

    catalog.commit_table = commit
    assert (run.run().duplicates, waiting) == (5, [])
    found = catalog.load_table(f"{config.namespace}.samples").scan().to_arrow()["tag"].to_pylist()
    assert sorted(found) == ["late", "t", *(f"u{n}" for n in range(6))]
    for content in (*contents, late):
        assert writer.write(content, {}).attributes["otmirror.iceberg.duplicate"] == "true"
