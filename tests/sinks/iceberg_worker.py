"""A WriteIceberg in a process of its own, for tests that kill it or run several."""

from __future__ import annotations

import os

from batches import batch, line

from otmirror.clock import SystemClock
from otmirror.iceberg.config import Config
from otmirror.iceberg.maintenance import Options
from otmirror.iceberg.sink import IcebergSink
from otmirror.iceberg.upkeep import maintain

T0 = 1_700_000_000_000_000
ROWS = 20


def content(number: int) -> bytes:
    """Return batch `number`: ROWS samples over two days, and one line that is none."""
    day = 86_400_000_000
    return batch(*(line(f"t{n}", T0 + number + n % 2 * day, number) for n in range(ROWS)), f"broken {number}")


def deliver(warehouse: str, numbers: list[int], acknowledged: str, ready: object = None) -> None:
    """Write batches as a NiFi queue would: each until it is a success, which is then noted in a file."""
    sink = IcebergSink(Config(warehouse=warehouse), SystemClock())
    if ready is not None:
        ready.set()
    for number in numbers:
        for _ in range(50):
            output = sink.write(content(number), {})
            if output.relationship == "success":
                break
        else:
            raise SystemExit(f"batch {number}: {output}")
        with open(acknowledged, "ab", buffering=0) as file:
            os.write(file.fileno(), f"{number}\n".encode())


def clean(warehouse: str, counted: str, done: object, ready: object = None, forever: bool = False) -> None:
    """Maintain the tables again and again until `done`; the days each run rewrote are noted in a file.

    With `forever` only a kill ends it.
    """
    config = Config(warehouse=warehouse)
    if ready is not None:
        ready.set()
    while forever or not done.is_set():
        reports = maintain(config, Options(include_today=True), SystemClock())
        with open(counted, "ab", buffering=0) as file:
            os.write(file.fileno(), f"{sum(len(report.rewritten) for report in reports)}\n".encode())
