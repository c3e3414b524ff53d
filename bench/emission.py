"""What EmissionFilter costs a row: all rows new, all of them repeats, and with deadbands.

Every case runs in rounds, the versions in turn, and gives the minimum, median and maximum of the rounds in microseconds
of CPU time a row; `quiet` is per call. With --before the version of another commit is measured beside the present one.

    python bench/emission.py
    python bench/emission.py --before v2026.10.0 --tags 10000 --rounds 15
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from otmirror import emission, samples
from otmirror.taglist import Tag
from otmirror.workspace import PROJECT

SECOND = 1_000_000
BATCHES = 10
"""Batches a round; a round begins with a new filter that has seen every tag once."""


def batch(tags: list[str], at: int, ts: int, move: float) -> pa.Table:
    """One sample a tag; `move` of the tags changes far, the others hardly."""
    far = round(len(tags) * move)
    return samples.table_from_columns(
        tag=tags, ts=[ts] * len(tags), ts_server=[ts] * len(tags), ts_read=[at] * len(tags),
        value=[float(n + (1000 + at % 7 if n < far else at % 11 / 100)) for n in range(len(tags))],
        type=["double"] * len(tags), quality=["good"] * len(tags), unit=["bar"] * len(tags), source=["s"] * len(tags),
    )  # fmt: skip


def cases(tags: list[str]) -> dict[str, tuple[list[pa.Table], bool]]:
    """Batches by case, the first one to begin with, and whether the tags have a deadband."""
    start = 1_700_000_000 * SECOND

    def run(moving: bool, move: float) -> list[pa.Table]:
        times = range(start, start + BATCHES * SECOND + 1, SECOND)
        return [batch(tags, at, at if moving else start, move if at % 2 else 1 - move) for at in times]

    return {
        "all new": (run(True, 0.0), False),
        "all repeats": ([batch(tags, start + n * SECOND, start, 0.0).set_column(
            2, samples.SCHEMA.field(2), pa.array([1.0] * len(tags))) for n in range(BATCHES + 1)], False),
        "deadband, all held": (run(True, 0.0), True),
        "deadband, 1 in 10 moves": ([batch(tags, start + n * SECOND, start + n * SECOND, n % 2 / 10)
            for n in range(BATCHES + 1)], True),
        "deadband, all move": ([batch(tags, start + n * SECOND, start + n * SECOND, n % 2) for n in range(BATCHES + 1)],
            True),
    }  # fmt: skip


def before(commit: str) -> ModuleType:
    """The module as it was in a commit."""
    text = subprocess.run(
        ["git", "show", f"{commit}:processors/otmirror/emission.py"],
        cwd=PROJECT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "emission_before.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location("emission_before", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return module


def round_of(make: Callable[[], Any], batches: list[pa.Table]) -> float:
    """CPU microseconds a row."""
    found = make()
    found.new(batches[0])
    start = time.process_time()
    for table in batches[1:]:
        found.new(table)
    return (time.process_time() - start) * 1e6 / sum(table.num_rows for table in batches[1:])


def spread(values: list[float]) -> str:
    return f"{min(values):7.3f} {statistics.median(values):7.3f} {max(values):7.3f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tags", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--before", metavar="COMMIT", help="measure that commit's filter as well")
    args = parser.parse_args()
    tags = [f"acme/north/pad{n // 80}/well{n // 8}/sensor{n % 8}" for n in range(args.tags)]
    versions = {"before": before(args.before)} if args.before else {}
    versions["now"] = emission
    print(f"{platform.machine()}, Python {platform.python_version()}, pyarrow {pa.__version__}")
    print(f"{args.tags} tags a batch, {BATCHES} batches a round, {args.rounds} rounds")
    print(f"{'us a row':<34}{'min':>7} {'median':>7} {'max':>7}")
    for case, (batches, has_deadband) in cases(tags).items():
        bands = dict.fromkeys(tags, 5.0) if has_deadband else {}
        times: dict[str, list[float]] = {name: [] for name in versions}
        for _ in range(args.rounds):
            for name, module in versions.items():
                times[name].append(round_of(lambda m=module: m.EmissionFilter(bands, 60.0), batches))
        for name, found in times.items():
            print(f"{case:<26}{name:<8}{spread(found)}")
    ours = emission.EmissionFilter(refresh=60.0, tags=[Tag(tag, "-", exc_max_ms=50_000) for tag in tags])
    ours.new(batch(tags, 0, 0, 0.0))
    calls = []
    for n in range(args.rounds):
        start = time.process_time()
        ours.quiet(n * SECOND)
        calls.append((time.process_time() - start) * 1e6)
    print(f"{'quiet, us a call':<26}{'now':<8}{spread(calls)}")


if __name__ == "__main__":
    main()
