"""WriteIceberg stores a batch once: with several writers, lost answers, and processes killed at any point."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
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
