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
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from otmirror import emission, samples
from otmirror.taglist import Tag
from otmirror.workspace import PROJECT

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
BATCHES = 10
"""Batches a round; a round begins with a new filter that has seen every tag once."""


def batch(tags: list[str], at: int, ts: int, values: list[float]) -> pa.Table:
    """One sample a tag, read at `at`."""
    return samples.table_from_columns(
        tag=tags, ts=[ts] * len(tags), ts_server=[ts] * len(tags), ts_read=[at] * len(tags), value=values,
        type=["double"] * len(tags), quality=["good"] * len(tags), unit=["bar"] * len(tags), source=["s"] * len(tags),
    )  # fmt: skip


def moving(tags: list[str], share: int) -> list[pa.Table]:
    """Batches a second apart; one tag of `share` (0: none) moves by 1000, the others by less than 1."""
    found = []
    for n in range(BATCHES + 1):
        values = [i + n / 20 + (1000.0 * n if share and (i + n) % share == 0 else 0.0) for i in range(len(tags))]
        found.append(batch(tags, START + n * SECOND, START + n * SECOND, values))
    return found


def cases(tags: list[str]) -> dict[str, tuple[list[pa.Table], float | None]]:
    """Batches by case, the first one to begin with, and the tags' deadband."""
    still = [batch(tags, START + n * SECOND, START, [1.0] * len(tags)) for n in range(BATCHES + 1)]
    return {
        "all new": (moving(tags, 0), None),
        "all repeats": (still, None),
        "deadband, all held": (moving(tags, 0), 5.0),
        "deadband, 1 of 20 moves": (moving(tags, 20), 5.0),
        "deadband, all move": (moving(tags, 1), 5.0),
    }


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
    for case, (batches, deadband) in cases(tags).items():
        bands = {} if deadband is None else dict.fromkeys(tags, deadband)
        times: dict[str, list[float]] = {name: [] for name in versions}
        for _ in range(args.rounds):
            for name, module in versions.items():
                times[name].append(round_of(partial(module.EmissionFilter, bands, 60.0), batches))
        for name, found in times.items():
            print(f"{case:<26}{name:<8}{spread(found)}")
    ours = emission.EmissionFilter(refresh=60.0, tags=[Tag(tag, "-", exc_max_ms=50_000) for tag in tags])
    ours.new(batch(tags, 0, 0, [0.0] * len(tags)))
    calls = []
    for n in range(args.rounds):
        start = time.process_time()
        ours.quiet(n * SECOND)
        calls.append((time.process_time() - start) * 1e6)
    print(f"{'quiet, us a call':<26}{'now':<8}{spread(calls)}")


if __name__ == "__main__":
    main()
