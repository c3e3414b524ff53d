"""`otmirror compare` on a day of many tags: the incumbent's CSV export against the Iceberg table.

Both sides are made first, in a folder that is removed in the end: the left one a CSV file (tag, time, value, quality),
the right one a table as WriteIceberg makes it. Of the right side's tags a half has the same times, a half has them
0.2 s later (another scan), a tenth is thinned by a deadband, and in one tag of a hundred a fault is put in, in turn:
missing hour, +3 s, 0.5 % gain, frozen. The comparison runs in a process of its own; its time and its peak memory are
printed.

    python bench/compare.py
    python bench/compare.py --tags 10000 --every 60
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from otmirror.iceberg.catalog import open_catalog
from otmirror.iceberg.config import Config
from otmirror.iceberg.schema import PROPERTIES, SAMPLES

DAY = "2026-11-24"
START = int(np.datetime64(DAY, "us").astype(np.int64))
SECOND = 1_000_000
GROUP = 200
"""Tags made at a time."""


def signals(rng: np.random.Generator, tags: int, count: int) -> np.ndarray:
    """Values of (tags, count): drifts with noise, in turn fast and slow ones, to five digits."""
    time_ = np.linspace(0, 60, count)
    level = rng.uniform(5, 500, (tags, 1))
    drift = np.sin(time_ * rng.uniform(0.1, 1, (tags, 1)) + rng.uniform(0, 6, (tags, 1)))
    return np.round(level * (1 + 0.05 * drift) + level * 0.002 * rng.standard_normal((tags, count)), 5)


def faulty(tag: int, ts: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The right side's copy of a tag."""
    if tag % 2:
        ts = ts + SECOND // 5
    if tag % 10 == 4:
        band, kept, last = 0.01 * abs(value[0]), [], np.inf
        for place, one in enumerate(value.tolist()):
            if abs(one - last) > band:
                kept.append(place)
                last = one
        return ts[kept], value[kept]
    if tag % 100 == 7:
        kind = tag // 100 % 4
        if kind == 0:
            inside = (ts < START + 36_000 * SECOND) | (ts >= START + 39_600 * SECOND)
            return ts[inside], value[inside]
        if kind == 1:
            return ts + 3 * SECOND, value
        if kind == 2:
            return ts, value * 1.005
        value = value.copy()
        value[len(value) // 3 : len(value) // 2] = value[len(value) // 3]
    return ts, value


def make(folder: Path, tags: int, every: int) -> int:
    """Write both sides; return the rows of the left one."""
    config = Config(warehouse=str(folder / "lake"))
    catalog = open_catalog(config)
    catalog.create_namespace_if_not_exists("ot")
    table = catalog.create_table("ot.samples", SAMPLES.schema, partition_spec=SAMPLES.partition,
                                 sort_order=SAMPLES.order, properties=PROPERTIES)  # fmt: skip
    rng = np.random.default_rng(1)
    ts = START + np.arange(0, 86_400, every) * SECOND
    text = pa.array(ts, pa.timestamp("us", tz="UTC")).cast(pa.timestamp("us"))
    schema = pa.schema(
        [("tag", pa.string()), ("time", pa.timestamp("us")), ("value", pa.float64()), ("quality", pa.string())]
    )
    written = 0
    with pacsv.CSVWriter(
        str(folder / "incumbent.csv"), schema, write_options=pacsv.WriteOptions(quoting_style="none")
    ) as out:
        for first in range(0, tags, GROUP):
            values = signals(rng, min(GROUP, tags - first), len(ts))
            rows = []
            for place, value in enumerate(values):
                tag = first + place
                name = f"field/area{tag // 500}/well{tag // 20}/T{tag:05d}"
                out.write_table(pa.table([pa.repeat(name, len(ts)), text, pa.array(value), pa.repeat("good", len(ts))],
                                         schema=schema))  # fmt: skip
                written += len(ts)
                rows.append(right_rows(name, *faulty(tag, ts, value)))
            table.append(pa.concat_tables(rows))
    catalog.close()
    return written


def right_rows(name: str, ts: np.ndarray, value: np.ndarray) -> pa.Table:
    """One tag as rows of the table."""
    count, moment = len(ts), pa.timestamp("us", tz="UTC")
    given = {
        "tag": pa.repeat(name, count), "ts": pa.array(ts, moment), "value": pa.array(value),
        "type": pa.repeat("double", count), "quality": pa.repeat("good", count), "status": pa.repeat(0, count),
        "ts_read": pa.array(ts + 300_000, moment), "source": pa.repeat("bench", count),
        "backfill": pa.repeat(False, count), "batch": pa.repeat("b", count),
    }  # fmt: skip
    columns = [given[f.name].cast(f.type) if f.name in given else pa.nulls(count, f.type) for f in SAMPLES.arrow]
    return pa.Table.from_arrays(columns, schema=SAMPLES.arrow)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tags", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=10, help="seconds between two samples of a tag")
    parser.add_argument("--data", type=Path, help="folder that keeps the data, and has it from an earlier run")
    asked = parser.parse_args()
    folder = asked.data or Path(tempfile.mkdtemp(prefix="otmirror-bench-"))
    try:
        begun = time.monotonic()
        if not (folder / "ready").exists():
            folder.mkdir(parents=True, exist_ok=True)
            rows = make(folder, asked.tags, asked.every)
            print(f"made {rows:,} rows a side in {time.monotonic() - begun:.0f} s", flush=True)
            (folder / "ready").touch()
        print(f"CSV of {(folder / 'incumbent.csv').stat().st_size / 1e9:.1f} GB")
        profile = folder / "bench.toml"
        profile.write_text('tag = "tag"\ntime = "time"\nvalue = "value"\nquality = "quality"\nzone = "UTC"\n'
                           '[qualities]\ngood = ["good"]\n')  # fmt: skip
        left = ["--left", str(folder / "incumbent.csv"), "--left-profile", str(profile)]
        right = ["--right", f"iceberg:{folder / 'lake'}", "--window", DAY, "--out", str(folder / "out")]
        command = [sys.executable, "-m", "otmirror", "compare", *left, *right]
        begun = time.monotonic()
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)}
        )
        seconds = time.monotonic() - begun
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak = used.ru_maxrss * 1024 / 1e9
        report = json.loads((folder / "out" / "report.json").read_text())
        found: dict[str, int] = {}
        for finding in report["findings"]:
            found[finding["kind"]] = found.get(finding["kind"], 0) + 1
        spent = used.ru_utime + used.ru_stime
        print(f"{asked.tags:,} tags x 1 day, a sample each {asked.every} s: {seconds:.0f} s ({spent:.0f} s of CPU), "
              f"{peak:.2f} GB at most, exit status {done.returncode}; load {os.getloadavg()[0]:.1f}")  # fmt: skip
        print(f"found: {found}")
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    finally:
        if not asked.data:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
