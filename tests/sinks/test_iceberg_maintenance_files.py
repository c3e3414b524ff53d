"""Maintenance expires snapshots and removes files; what anybody needs stays."""

from __future__ import annotations

import os
import time

from batches import batch, line
from lakehouse import T0, Later, aged, files_of, job, maintain, needed, open_table, rows, sink, write

from otmirror.iceberg import orphans


class Dated:
    """Gives pyiceberg's new snapshots times in the past."""

    def __init__(self, monkeypatch):
        self.hours_ago = 0.0
        real = time.time
        fake = type("time", (), {"time": lambda _: real() - self.hours_ago * 3600})()
        monkeypatch.setattr("pyiceberg.table.snapshots.time", fake)

    def __call__(self, hours_ago):
        self.hours_ago = hours_ago


def test_old_snapshots_go_and_only_files_that_nothing_needs(tmp_path, monkeypatch):
    dated = Dated(monkeypatch)
    contents = [batch(line("t", T0, 1, seq=n), line(f"u{n}", T0, n)) for n in range(6)]
    for hours, content in zip((90, 80, 70, 60, 2, 1.5), contents, strict=True):
        dated(hours)
        assert sink(tmp_path).write(content, {}).relationship == "success"
    dated(0)
    stray = tmp_path / "ot/samples/data/ts_day=2023-11-14/00000-0-stray.parquet"
    stray.write_bytes(b"of a commit that did not land")
    note = tmp_path / "ot/samples/data/README.txt"
    note.write_text("not Iceberg's")
    aged(tmp_path, 48)
    pinned = open_table(tmp_path).metadata.snapshots[3].snapshot_id  # current until 2 hours ago
    planned = maintain(tmp_path, dry_run=True)
    everything = files_of(tmp_path)
    assert (planned.duplicates, planned.expired, planned.rewritten) == (5, 3, ["2023-11-14"])
    assert f"file://{stray}" in planned.orphans
    assert files_of(tmp_path) == everything
    report = maintain(tmp_path)
    assert (report.duplicates, report.expired) == (5, 3)
    assert report.removed >= 4
    left = files_of(tmp_path)
    assert needed(tmp_path) <= left
    assert everything - left == everything - needed(tmp_path) - {"README.txt"}
    assert not stray.exists()
    assert note.exists()
    old = open_table(tmp_path).scan(snapshot_id=pinned).to_arrow()
    assert sorted(old["tag"].to_pylist()) == ["t"] * 4 + ["u0", "u1", "u2", "u3"]
    # What expired is no longer recognised, what did not is.
    marks = [sink(tmp_path).write(content, {}).attributes.get("otmirror.iceberg.duplicate") for content in contents]
    assert marks == [None, None, None, "true", "true", "true"]


def test_young_files_stay(tmp_path):
    write(tmp_path, line("t", T0, 1))
    stray = tmp_path / "ot/samples/metadata/snap-1-0-stray.avro"
    stray.write_bytes(b"of a commit under way")
    assert maintain(tmp_path, orphan_age=3600.0).removed == 0
    assert stray.exists()
    os.utime(stray, (time.time() - 3500,) * 2)
    assert maintain(tmp_path, orphan_age=3600.0).removed == 0
    os.utime(stray, (time.time() - 3700,) * 2)
    assert maintain(tmp_path, orphan_age=3600.0).removed == 1
    assert not stray.exists()


def test_the_batches_of_the_last_hour_of_writing_stay_known(tmp_path, monkeypatch):
    """The last batch may be one whose answer was lost; its writer comes again when it is back."""
    dated = Dated(monkeypatch)
    contents = [batch(line(f"t{n}", T0, n)) for n in range(3)]
    for hours, content in zip((100, 99, 72), contents, strict=True):
        dated(hours)
        assert sink(tmp_path).write(content, {}).relationship == "success"
    dated(71)
    first = maintain(tmp_path, Later(-71))
    assert (first.duplicates, first.expired) == (0, 1)
    dated(0)
    assert maintain(tmp_path).expired == 0
    assert sink(tmp_path).write(contents[2], {}).attributes.get("otmirror.iceberg.duplicate") == "true"
    assert sink(tmp_path).write(contents[0], {}).attributes.get("otmirror.iceberg.duplicate") is None


def test_a_file_that_becomes_part_of_the_table_while_it_is_looked_for_stays(tmp_path, monkeypatch):
    """What is committed between the listing and the deletion counts: the table is looked at after the listing."""
    write(tmp_path, line("t", T0, 1))
    real = orphans._listed

    def listed(table):
        write(tmp_path, line("late", T0, 1))
        aged(tmp_path, 48)
        yield from real(table)

    monkeypatch.setattr(orphans, "_listed", listed)
    run = job(tmp_path)
    run._remove()
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["late", "t"]
