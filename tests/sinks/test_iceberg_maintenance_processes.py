"""Maintenance beside other processes, and killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from multiprocessing import forkserver

import iceberg_worker
import pytest
from lakehouse import aged, files_of, maintain, needed, rows, sink


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["iceberg_worker"])
    with pytest.MonkeyPatch.context() as patch:
        # Python 3.11's fork server does not look into sys.path for what it imports beforehand.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return context


def each_once(folder, count):
    stored = Counter(row["value"] for row in rows(folder))
    assert stored == {float(number): iceberg_worker.ROWS for number in range(count)}
    rejects = Counter(row["line"] for row in rows(folder, "ot.rejects"))
    assert rejects == {f"broken {number}": 1 for number in range(count)}


def test_processes_that_write_beside_two_that_maintain(tmp_path, processes):
    folder, done = tmp_path / "w", processes.Event()
    sink(folder).write(iceberg_worker.content(0), {})
    writers = [
        processes.Process(target=iceberg_worker.deliver, args=(str(folder), numbers, str(tmp_path / f"a{n}")))
        for n, numbers in enumerate([list(range(24)), list(range(12, 36))])
    ]
    cleaners = [
        processes.Process(target=iceberg_worker.clean, args=(str(folder), str(tmp_path / f"c{n}"), done))
        for n in range(2)
    ]
    for process in [*writers, *cleaners]:
        process.start()
    for process in writers:
        process.join(60)
    done.set()
    for process in cleaners:
        process.join(60)
    assert [process.exitcode for process in [*writers, *cleaners]] == [0] * 4
    rewritten = sum(int(n) for name in ("c0", "c1") for n in (tmp_path / name).read_text().split())
    assert rewritten >= 2
    each_once(folder, 36)
    assert maintain(folder).after.files == 2
    each_once(folder, 36)


def killed_while_maintaining(folder, processes, seed, kills):
    """Kill maintenance at random moments, with new small files before each run; return how many were killed."""
    delay, killed = random.Random(seed), 0
    for number in range(kills):
        for n in range(3):
            sink(folder).write(iceberg_worker.content(3 * number + n), {})
        done, ready = processes.Event(), processes.Event()
        process = processes.Process(
            target=iceberg_worker.clean, args=(str(folder), str(folder) + ".cleaned", done, ready, True)
        )
        process.start()
        assert ready.wait(30)
        time.sleep(delay.uniform(0.0, 0.3))
        done.set()
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.join(60)
        each_once(folder, 3 * number + 3)
    return killed


def test_maintenance_killed_at_random_points(tmp_path, processes):
    folder, kills = tmp_path / "w", 12
    assert killed_while_maintaining(folder, processes, 11, kills) > kills // 2
    report = maintain(folder)
    assert report.after.files == 2
    assert report.left == {}
    each_once(folder, 3 * kills)
    aged(folder, 48)
    maintain(folder)
    assert files_of(folder) == needed(folder)
    each_once(folder, 3 * kills)
