"""WriteIceberg stores a batch once: with several writers, lost answers, and processes killed at any point."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path

import iceberg_worker
import pytest
import requests
from batches import batch, line
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from sqlalchemy import event
from sqlalchemy.engine import Engine

from otmirror.clock import SystemClock
from otmirror.iceberg.config import Config
from otmirror.iceberg.sink import IcebergSink

T0 = iceberg_worker.T0


def sink(folder):
    return IcebergSink(Config(warehouse=str(folder)), SystemClock())


def rows(folder, name="ot.samples"):
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    return catalog.load_table(name).scan().to_arrow().to_pylist()


def before_commits(writer, *actions):
    """Make the writer's next commits go through `actions`: each gets the real commit, and what to commit."""
    catalog = writer._catalog
    real, waiting = catalog.commit_table, list(actions)

    def commit(table, requirements, updates):
        action = waiting.pop(0) if waiting else None
        return action(real, table, requirements, updates) if action else real(table, requirements, updates)

    catalog.commit_table = commit


def primed(folder):
    """Return a writer that has its tables open."""
    writer = sink(folder)
    assert writer.write(batch(line("prime", T0, 0), "broken"), {}).relationship == "success"
    return writer


def test_another_writer_commits_the_same_batch_between_the_check_and_the_commit(tmp_path):
    ours, other = primed(tmp_path), sink(tmp_path)
    content = batch(line("t", T0, 1), line("u", T0, 1))

    def late(real, *args):
        assert "otmirror.iceberg.duplicate" not in other.write(content, {}).attributes
        return real(*args)

    before_commits(ours, late)
    output = ours.write(content, {})
    assert output.relationship == "success"
    assert output.attributes["otmirror.iceberg.duplicate"] == "true"
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["prime", "t", "u"]


def test_another_writer_commits_another_batch_between_the_check_and_the_commit(tmp_path):
    ours, other = primed(tmp_path), sink(tmp_path)

    def late(real, *args):
        other.write(batch(line("other", T0, 1)), {})
        return real(*args)

    before_commits(ours, late, late, late)
    output = ours.write(batch(line("ours", T0, 1)), {})
    assert output.relationship == "success"
    assert "otmirror.iceberg.duplicate" not in output.attributes
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["other", "ours", "prime"]


@pytest.mark.parametrize(
    "error", [CommitStateUnknownException("504"), requests.ReadTimeout("lost"), CommitFailedException("says so"),
              RuntimeError("any")],
)  # fmt: skip
def test_the_commit_landed_but_its_answer_was_lost(tmp_path, error):
    writer = primed(tmp_path)

    def lost(real, *args):
        real(*args)
        raise error

    before_commits(writer, lost)
    content = batch(line("t", T0, 1))
    output = writer.write(content, {})
    assert output.relationship == "success"
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["prime", "t"]
    assert sink(tmp_path).write(content, {}).attributes["otmirror.iceberg.duplicate"] == "true"


@pytest.mark.parametrize(
    "error", [CommitStateUnknownException("504"), requests.ConnectionError("Connection refused"), OSError(28, "full")]
)
def test_the_commit_did_not_land(tmp_path, error):
    writer = primed(tmp_path)

    def refuse(_real, *_args):
        raise error

    before_commits(writer, refuse)
    content = batch(line("t", T0, 1))
    assert writer.write(content, {}).relationship == "retry"
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["prime"]
    assert writer.write(content, {}).relationship == "success"
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["prime", "t"]


def test_a_fault_between_the_samples_and_their_rejects(tmp_path):
    writer = primed(tmp_path)

    def refuse(_real, *_args):
        raise OSError(28, "No space left on device")

    before_commits(writer, None, refuse)
    content = batch(line("t", T0, 1), "unreadable")
    output = writer.write(content, {})
    assert output.relationship == "retry"
    assert "No space left on device" in output.attributes["otmirror.error"]
    assert [row["line"] for row in rows(tmp_path, "ot.rejects")] == ["broken"]
    output = writer.write(content, {})
    assert output.relationship == "success"
    assert output.attributes["otmirror.iceberg.duplicate"] == "true"
    assert output.attributes["otmirror.rejects"] == "1"
    assert sorted(row["tag"] for row in rows(tmp_path)) == ["prime", "t"]
    assert sorted(row["line"] for row in rows(tmp_path, "ot.rejects")) == ["broken", "unreadable"]


def test_the_answer_was_lost_before_an_outage_longer_than_the_retention(tmp_path):
    clock, folder, aside = Time(), tmp_path / "w", tmp_path / "aside"
    writer = IcebergSink(Config(warehouse=str(folder), snapshot_retention=86400.0), clock)
    assert writer.write(batch(line("prime", T0, 0)), {}).relationship == "success"

    def lost(real, *args):
        real(*args)
        folder.rename(aside)
        folder.write_text("in the way")
        raise requests.ReadTimeout("lost")

    before_commits(writer, lost)
    content = batch(line("t", T0, 1))
    assert writer.write(content, {}).relationship == "retry"
    clock.shift = 62 * 3600
    assert writer.write(content, {}).relationship == "retry"
    folder.unlink()
    aside.rename(folder)
    for n in range(3):
        assert writer.write(batch(line("other", T0 + n, n)), {}).relationship == "success"
    clock.shift += 61 * 3600
    writer.write(batch(line("other", T0, 4)), {})
    assert writer.write(content, {}).attributes["otmirror.iceberg.duplicate"] == "true"
    assert snapshots(folder) == 6
    clock.shift += 2 * 3600
    writer.write(batch(line("other", T0, 5)), {})
    assert snapshots(folder) == 1


class Time(SystemClock):
    shift = 0

    def now_us(self):
        return super().now_us() + self.shift * 1_000_000

    def monotonic(self):
        return super().monotonic() + self.shift


def snapshots(folder):
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{folder}/catalog.db")
    return len(catalog.load_table("ot.samples").metadata.snapshots)


def test_batches_that_come_twice_are_told_now_and_then(tmp_path):
    clock = Time()
    writer = IcebergSink(Config(warehouse=str(tmp_path)), clock)
    content = batch(line("t", T0, 1))
    for _ in range(4):
        writer.write(content, {})
    (notice,) = writer.notices()
    assert notice.level == "info"
    assert "not stored again, since the start: 1;" in notice.message
    assert "in table ot.samples" in notice.message
    clock.shift = 601
    writer.write(content, {})
    (notice,) = writer.notices()
    assert "since the start: 4;" in notice.message


def test_closing_does_not_wait_for_a_catalog_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr("otmirror.iceberg.sink.CLOSE_WAIT", 0.1)
    writer, hanging, over = primed(tmp_path), threading.Event(), threading.Event()

    def hang(real, *args):
        hanging.set()
        assert over.wait(30)
        return real(*args)

    before_commits(writer, hang)
    outputs = []
    thread = threading.Thread(target=lambda: outputs.append(writer.write(batch(line("t", T0, 1)), {})))
    thread.start()
    assert hanging.wait(30)
    writer.close()
    over.set()
    thread.join(30)
    assert [output.relationship for output in outputs] == ["success"]


def test_everything_is_on_disk_before_the_catalog_points_to_it(tmp_path, monkeypatch):
    synced, commits, real, lock = {}, [], os.fsync, threading.Lock()

    def fsync(handle):
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        with lock:  # data files are written by several threads
            state = sorted(os.listdir(path)) if path.is_dir() else path.stat().st_size
            real(handle)
            synced[path] = state

    def check(connection):
        commits.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())
        for path in folder.rglob("*"):
            if path.is_dir() or not path.name.startswith("catalog.db"):
                assert synced[path] == (sorted(os.listdir(path)) if path.is_dir() else path.stat().st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    folder = tmp_path / "new" / "w"
    writer = sink(folder)
    event.listen(Engine, "commit", check)
    try:
        for n in range(3):
            lines = [line("t", T0 + day * 86_400_000_000, n) for day in range(3)]
            assert writer.write(batch(*lines, f"broken {n}"), {}).relationship == "success"
    finally:
        event.remove(Engine, "commit", check)
    assert len(commits) >= 8
    assert set(commits) == {3}  # EXTRA
    assert "new" in synced[tmp_path]
    assert "w" in synced[tmp_path / "new"]
    assert len(rows(folder)) == 9


@pytest.mark.parametrize("damage", [lambda path: path.write_text(""), lambda path: path.write_bytes(b'{"a\xff'),
                                    lambda path: path.write_text("{}"), lambda path: path.unlink()])  # fmt: skip
def test_a_damaged_metadata_file_is_named_and_the_batch_waits(tmp_path, damage):
    writer = primed(tmp_path)
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{tmp_path}/catalog.db")
    path = Path(catalog.load_table("ot.samples").metadata_location.removeprefix("file://"))
    kept = path.read_bytes()
    damage(path)
    for affected in (writer, sink(tmp_path)):
        output = affected.write(batch(line("t", T0, 1)), {})
        assert output.relationship == "retry"
        message = output.attributes["otmirror.error"]
        assert f"table ot.samples: its metadata file file://{path} is missing or damaged" in message
    path.write_bytes(kept)
    assert writer.write(batch(line("t", T0, 1)), {}).relationship == "success"


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["iceberg_worker"])
    with pytest.MonkeyPatch.context() as patch:
        # Python 3.11's fork server does not look into sys.path for what it imports beforehand.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return context


def each_once(folder: Path, count: int) -> None:
    found = Counter(row["value"] for row in rows(folder))
    assert found == {float(number): iceberg_worker.ROWS for number in range(count)}
    assert Counter(row["line"] for row in rows(folder, "ot.rejects")) == {
        f"broken {number}": 1 for number in range(count)
    }


def test_four_processes_with_the_same_batches(tmp_path, processes):
    rounds = []
    for seed in range(4):
        numbers = list(range(8))
        random.Random(seed).shuffle(numbers)
        rounds.append([*numbers, *numbers[:2]])
    running = [
        processes.Process(target=iceberg_worker.deliver, args=(str(tmp_path / "w"), numbers, str(tmp_path / f"a{n}")))
        for n, numbers in enumerate(rounds)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
    assert [process.exitcode for process in running] == [0] * 4
    each_once(tmp_path / "w", 8)


def test_a_process_killed_at_random_points(tmp_path, processes):
    count, random_delay = 40, random.Random(7)
    acknowledged = tmp_path / "acknowledged"
    acknowledged.touch()
    kills = 0
    while True:
        done = {int(number) for number in acknowledged.read_text().split()}
        # The last acknowledged batch comes again too: its acknowledgement may be lost in a crash.
        again = [number for number in range(count) if number not in done or number == max(done)]
        ready = processes.Event()
        process = processes.Process(
            target=iceberg_worker.deliver, args=(str(tmp_path / "w"), again, str(acknowledged), ready)
        )
        process.start()
        assert ready.wait(30)
        if kills < 10:
            time.sleep(random_delay.uniform(0.0, 0.25))
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
        process.join(60)
        if process.exitcode == 0:
            break
    assert kills >= 5
    each_once(tmp_path / "w", count)
