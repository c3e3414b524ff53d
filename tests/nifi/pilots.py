"""A running pilot for a test, and what tests ask of it."""

from __future__ import annotations

import csv
import datetime
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otmirror.demo.stack import Stack
from otmirror.errors import UnavailableError
from otmirror.workspace import PROJECT, work

SLOWNESS = 3.0
RECORDINGS = PROJECT.parent / "shared" / "data" / "3w"


def recording(name: str) -> Path:
    """A real recording; skips when the data is not there."""
    file = RECORDINGS / name
    if not file.exists():
        pytest.skip(f"the recorded data is not there ({name} of the public 3W data set)")
    return file


def cells(file: Path) -> Iterator[tuple[str, int, float | None]]:
    """Every sensor cell of a recording, read with the standard library: sensor, µs since 1970, value or None."""
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            moment = datetime.datetime.fromisoformat(row.pop("timestamp")).replace(tzinfo=datetime.timezone.utc)
            ts = round(moment.timestamp() * 1_000_000)
            row.pop("class")
            for sensor, cell in row.items():
                yield sensor, ts, float(cell) if cell else None


@contextmanager
def pilot(
    folder: Path, plant: list[str], start: bool = True, begin: Callable[[Stack], object] = Stack.start, **options
) -> Iterator[Stack]:
    """A started pilot in a folder of its own; skips only when its servers cannot be had here."""
    stack = Stack(folder, plant, **options)
    with stack:
        try:
            begin(stack)
        except UnavailableError as error:
            if "Maven" in str(error) or "Java" in str(error) or "was not found" in str(error):
                pytest.skip(str(error))
            raise
        if start:
            stack.run()
        yield stack


def await_that(done: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until `done` is true; fail the test with `what` when it does not become so.

    `seconds` are those of an idle machine: one that is busy with something else gets `SLOWNESS` times as many.
    """
    end = time.monotonic() + SLOWNESS * seconds
    while not done():
        assert time.monotonic() < end, f"after {SLOWNESS * seconds:.0f} s: {what}"
        time.sleep(0.25)


def stored(stack: Stack) -> int:
    """Rows in ot.samples."""
    rows = stack.lakehouse.samples()
    return rows.num_rows if rows is not None else 0


def queued(stack: Stack, name: str) -> int:
    """FlowFiles waiting in a connection."""
    return next(queue.count for queue in stack.api.queues(stack.group) if queue.name == name)


def connected_to(pids: list[int], port: int) -> list[int]:
    """The processes among `pids` that hold a TCP connection to a local port (from /proc, Linux)."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[2].split(":")[1], 16) == port and fields[3] == "01":
            inodes.add(f"socket:[{fields[9]}]")
    found = []
    for pid in pids:
        try:
            links = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        except OSError:
            continue
        if links & inodes:
            found.append(pid)
    return found


def kill(pid: int) -> None:
    """SIGKILL a process of the stack."""
    os.kill(pid, signal.SIGKILL)


def folder(name: str) -> Path:
    """A folder for a stack's data, on the disk of the work folder (a temporary folder may be small)."""
    return work() / "tests" / name
