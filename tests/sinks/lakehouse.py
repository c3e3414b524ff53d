"""Tables written by WriteIceberg's sink, read back with pyiceberg alone."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
from batches import batch
from pyiceberg.catalog import load_catalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform
from pyiceberg.types import DoubleType, LongType, NestedField, StringType, TimestamptzType

from otmirror.clock import SystemClock
from otmirror.iceberg import upkeep
from otmirror.iceberg.config import Config
from otmirror.iceberg.maintenance import Maintenance, Options
from otmirror.iceberg.schema import SAMPLES
from otmirror.iceberg.sink import IcebergSink

T0 = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
DAY = 86_400_000_000


def sink(folder, clock=None, **settings):
    return IcebergSink(Config(**{"warehouse": str(folder), **settings}), clock or SystemClock())


def write(folder, *lines):
    output = sink(folder).write(batch(*lines), {})
    assert output.relationship == "success"
    return output.attributes


def open_table(folder, name="ot.samples"):
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    return catalog.load_table(name)


def rows(folder, name="ot.samples"):
    return open_table(folder, name).scan().to_arrow().to_pylist()


def maintain(folder, clock=None, **options):
    reports = upkeep.maintain(Config(warehouse=str(folder)), Options(**options), clock or SystemClock())
    return next(report for report in reports if report.table == "ot.samples")


def job(folder, clock=None, **options):
    return Maintenance(open_table(folder), SAMPLES, Options(**options), clock or SystemClock())


class Later(SystemClock):
    """A clock that is ahead by some hours."""

    def __init__(self, hours):
        self.hours = hours

    def now_us(self):
        return super().now_us() + self.hours * 3_600_000_000


def us(moment):
    return round((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds() * 1_000_000)


def aged(folder, hours):
    """Make all files of a folder look older."""
    for path in Path(folder).rglob("*.*"):
        os.utime(path, (time.time() - hours * 3600,) * 2)


def files_of(folder):
    return {path.name for path in (Path(folder) / "ot/samples").rglob("*.*") if path.is_file()}


def needed(folder):
    """What pyiceberg's own inspection says the table needs: all data files, manifests and manifest lists."""
    table = open_table(folder)
    paths = [*table.inspect.all_files()["file_path"].to_pylist(), *table.inspect.all_manifests()["path"].to_pylist()]
    paths += [snapshot.manifest_list for snapshot in table.metadata.snapshots]
    paths += [table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)]
    return {path.rpartition("/")[2] for path in paths}


def before_backfill(folder):
    """Make a table as the first version made it, with one row (tag old, T0, 0.5), by pyiceberg alone."""
    names = [
        ("tag", StringType(), True), ("ts", TimestamptzType(), True), ("value", DoubleType(), False),
        ("text", StringType(), False), ("type", StringType(), True), ("quality", StringType(), True),
        ("status", LongType(), True), ("unit", StringType(), False), ("ts_server", TimestamptzType(), False),
        ("ts_read", TimestamptzType(), False), ("source", StringType(), True), ("seq", LongType(), False),
        ("batch", StringType(), True),
    ]  # fmt: skip
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("ot")
    schema = Schema(*(NestedField(n, name, kind, required=r) for n, (name, kind, r) in enumerate(names, 1)))
    table = catalog.create_table("ot.samples", schema, partition_spec=PartitionSpec(
        PartitionField(2, 1000, DayTransform(), "ts_day")))  # fmt: skip
    row = {"tag": "old", "ts": T0, "value": 0.5, "type": "double", "quality": "good", "status": 0, "source": "test",
           "batch": "b"}  # fmt: skip
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
