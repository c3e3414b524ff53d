"""How many bytes a sample takes on each part of the way: the constants of otmirror/sizing.py.

The samples are made from the synthetic plant's values, or from recordings, one a second and tag, in FlowFiles as the
sources write them; both stores are the real ones and are filled by this project's own sinks.

    python bench/bytes.py                          500 tags for an hour
    python bench/bytes.py --csv WELL-00003_20180206182917.csv
"""

from __future__ import annotations

import argparse
import datetime
import math
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import requests

from otmirror import samples
from otmirror.clock import SystemClock
from otmirror.embedded.victoriametrics import VERSION, VictoriaMetrics
from otmirror.iceberg.config import Config as IcebergConfig
from otmirror.iceberg.sink import IcebergSink
from otmirror.plant.rows import Recording, read_csv
from otmirror.plant.synthetic import GasLiftWell
from otmirror.status import STATUS
from otmirror.victoriametrics.config import Config as HotConfig
from otmirror.victoriametrics.sink import VictoriaMetricsSink
from otmirror.workspace import work

MERGED = 32_000_000
"""Bytes of a commit: what Merge for Iceberg gathers at most."""
PRODUCER_BATCH = 16_384
"""Bytes of a Kafka producer's batch by default, before compression."""


def wells(csv: list[Path], count: int) -> list[Recording]:
    """The recordings, or so many synthetic wells of eight tags."""
    return [read_csv(file) for file in csv] or [GasLiftWell(1, number) for number in range(1, count + 1)]


def cycles(sources: list[Recording], rows: int) -> Iterator[pa.Table]:
    """One table a second, with a sample of every tag: what ReadOpcUaTags gives of `rows` rows up to now."""
    begin = (int(time.time()) - rows) * 1_000_000
    seq = begin
    columns = [(w, s) for w, well in enumerate(sources) for s in range(len(well.sensors))]
    tags = [f"acme/north/pad{1 + w // 8}/well{w + 1}/{sources[w].sensors[s].name}" for w, s in columns]
    units = [sources[w].sensors[s].unit for w, s in columns]
    for row in range(rows):
        values = [value for well in sources for value in well.values(row % len(well))]
        good = [not math.isnan(value) for value in values]
        ts = begin + row * 1_000_000
        yield samples.table_from_columns(
            tag=tags, ts=[ts] * len(tags), value=[v if ok else None for v, ok in zip(values, good, strict=True)],
            type=["double"] * len(tags), quality=["good" if ok else "bad" for ok in good],
            status=[0 if ok else STATUS["BadSensorFailure"] for ok in good], unit=units,
            ts_server=[ts + 312] * len(tags), ts_read=[ts + 2201 + row % 997] * len(tags),
            source=["opcua:plant"] * len(tags), seq=list(range(seq, seq + len(tags))),
        )  # fmt: skip
        seq += len(tags)


def lz4(flowfiles: list[bytes]) -> tuple[float, float]:
    """Bytes a sample of Kafka records (key = tag), plain and in lz4 batches of a producer."""
    codec = pa.Codec("lz4")
    plain = packed = count = 0
    batch = bytearray()
    for line in (line for content in flowfiles for line in content.splitlines()):
        key = line[8 : line.index(b'"', 8)]
        # Length, attributes, two deltas, two lengths and the count of headers, as varints.
        record = b"\0" * 8 + key + line
        plain, count = plain + len(record), count + 1
        batch += record
        if len(batch) >= PRODUCER_BATCH:
            packed += 61 + len(codec.compress(bytes(batch), asbytes=True))
            batch.clear()
    return plain / count, (packed + len(batch)) / count


def iceberg(folder: Path, flowfiles: list[bytes], count: int) -> float:
    """Bytes a sample in the data files of ot.samples."""
    sink = IcebergSink(IcebergConfig(warehouse=str(folder)), SystemClock())
    merged: list[bytes] = []
    for content in [*flowfiles, b""]:
        if merged and (not content or sum(map(len, merged)) + len(content) > MERGED):
            assert sink.write(b"".join(merged), {}).relationship == "success"
            merged.clear()
        merged.append(content)
    sink.close()
    return sum(file.stat().st_size for file in folder.rglob("*.parquet")) / count


def victoriametrics(folder: Path, flowfiles: list[bytes], count: int) -> tuple[float, float]:
    """Bytes a sample on disk once all parts are merged, and what the files of the index take beside, in MB."""
    server = VictoriaMetrics(folder)
    server.start()
    try:
        sink = VictoriaMetricsSink(HotConfig(url=server.url), SystemClock())
        for content in flowfiles:
            assert sink.write(content, {}).relationship == "success"
        sink.close()
        for path in ("/internal/force_flush", "/internal/force_merge", "/internal/force_flush"):
            requests.get(server.url + path, timeout=300).raise_for_status()
        settle(folder / "data" / "data")
    finally:
        server.stop()
    return size(folder / "data" / "data") / count, size(folder / "data" / "indexdb") / 1e6


def settle(folder: Path) -> None:
    """Wait until a merge in the background has ended: the size stays for 3 s."""
    before, since = -1, time.monotonic()
    while time.monotonic() < since + 3:
        now = size(folder)
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.2)


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Measure and print one line a constant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, action="append", default=[], help="a recording of the 3W data set")
    parser.add_argument("--wells", type=int, default=63, help="synthetic wells of eight tags")
    parser.add_argument("--rows", type=int, default=3600, help="seconds")
    options = parser.parse_args()
    sources = wells(options.csv, options.wells)
    rows = min([options.rows, *(len(well) for well in sources)]) if options.csv else options.rows
    folder = work() / "bench" / "bytes"
    shutil.rmtree(folder, ignore_errors=True)
    flowfiles, count = [], 0
    for table in cycles(sources, rows):
        flowfiles.append(samples.encode(table))
        count += table.num_rows
    what = ", ".join(file.name for file in options.csv) or f"{len(sources)} synthetic wells"
    print(
        f"{datetime.date.today()}, {platform.machine()}, Python {platform.python_version()}, VictoriaMetrics {VERSION}"
    )
    print(f"{what}: {count:,} samples, {rows:,} s, {count // rows} a FlowFile")
    record, packed = lz4(flowfiles)
    print(f"NDJSON                     {sum(map(len, flowfiles)) / count:6.1f} bytes a sample")
    print(f"Kafka record               {record:6.1f}")
    print(f"Kafka record, lz4          {packed:6.1f}")
    print(f"Iceberg, Parquet           {iceberg(folder / 'warehouse', flowfiles, count):6.1f}")
    hot, index = victoriametrics(folder / "hot", flowfiles, count)
    print(f"VictoriaMetrics            {hot:6.2f}   and {index:.1f} MB of index")


if __name__ == "__main__":
    main()
