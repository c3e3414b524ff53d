"""Bytes a sample and the rate of a running mirror, from what its stores tell of themselves."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from otmirror.errors import ConfigError
from otmirror.iceberg import maintenance
from otmirror.iceberg.config import Config
from otmirror.iceberg.upkeep import tables
from otmirror.recovery.hot import Server
from otmirror.sizing import Need

# What is in memory yet takes whole buffers.
_SIZE = re.compile(r'^vm_(rows|data_size_bytes)\{type="(storage|indexdb)/(?:small|big|file)"\} (\S+)', re.MULTILINE)


@dataclass(frozen=True)
class Measured:
    """What was found; None for a store that was not asked, or holds nothing."""

    tags: int = 0
    samples_s: float = 0.0
    hot_rows: int | None = None
    """Rows in VictoriaMetrics' files: values, qualities, statuses and whatever else it holds."""
    hot_bytes: int | None = None
    """Of its data and its index."""
    hot_rows_sample: float | None = None
    """Rows that one sample makes."""
    cold_rows: int | None = None
    cold_bytes: int | None = None
    """Of the data files that the current snapshot needs."""
    cold_files: int | None = None

    @property
    def hot_sample_b(self) -> float | None:
        """Bytes of a sample in VictoriaMetrics, its quality, status and share of the index included."""
        if not self.hot_rows or self.hot_bytes is None or self.hot_rows_sample is None:
            return None
        return self.hot_bytes / self.hot_rows * self.hot_rows_sample

    @property
    def cold_sample_b(self) -> float | None:
        """Bytes of a sample in the data files of the Iceberg table."""
        return self.cold_bytes / self.cold_rows if self.cold_rows and self.cold_bytes is not None else None

    def needs(self) -> Iterator[Need]:
        """Yield what was measured, each figure with where it comes from."""
        yield Need("tags", self.tags, "", "with a sample in the window")
        yield Need("samples", self.samples_s, "/s", "in the window")
        if self.hot_sample_b is not None:
            how = f"{self.hot_bytes:,} bytes : {self.hot_rows:,} rows x {self.hot_rows_sample:.3g} rows a sample"
            yield Need("bytes a sample, VictoriaMetrics", self.hot_sample_b, "", how)
        if self.cold_sample_b is not None:
            how = f"{self.cold_bytes:,} bytes : {self.cold_rows:,} rows in {self.cold_files:,} files"
            yield Need("bytes a sample, Iceberg", self.cold_sample_b, "", how)


def measure(server: Server | None, lakehouse: Config | None, prefix: str = "ot", window: float = 3600.0) -> Measured:
    """Ask the stores.

    Args:
        server: VictoriaMetrics; tags and rate come from it.
        lakehouse: settings of the Iceberg tables; without a server, tags and rate stay 0.
        prefix: Metric Prefix of ToVictoriaMetrics.
        window: seconds back from now.

    Raises:
        ConfigError: neither store is named, or one of them holds no samples.
        UnavailableError: a store does not answer.
    """
    if server is None and lakehouse is None:
        raise ConfigError("nothing to measure: name --hot, or --warehouse or --uri, or both")
    found: dict[str, float | int | None] = {}
    if server:
        found |= _hot(server, prefix, window)
    if lakehouse:
        found |= _cold(lakehouse)
    return Measured(**found)  # type: ignore[arg-type]


def _hot(server: Server, prefix: str, window: float) -> dict[str, float | int | None]:
    server.get("/internal/force_flush")
    seconds = f"{window:.0f}s"
    value = f"{prefix}_value"

    def number(query: str) -> float:
        rows = server.data_of("/api/v1/query", query=query, nocache="1", time=f"{time.time() + 1:.3f}")["result"]
        return float(rows[0]["value"][1]) if rows else 0.0

    samples, rows = (
        number(f"sum(count_over_time({what}[{seconds}]))") for what in (value, f'{{__name__=~"{prefix}_.*"}}')
    )
    if not samples:
        raise ConfigError(f"VictoriaMetrics at {server.url} has no sample of {value} in the last {window:.0f} s")
    tags = number(f"count(count by (tag) (count_over_time({value}[{seconds}])))")
    first, last = (
        number(f"{end}(t{name}_over_time({value}[{seconds}]))") for end, name in (("min", "first"), ("max", "last"))
    )
    sizes: dict[str, float] = {"rows": 0.0, "bytes": 0.0}
    for kind, part, told in _SIZE.findall(server.get("/metrics").text):
        if kind == "data_size_bytes":
            sizes["bytes"] += float(told)
        elif part == "storage":
            sizes["rows"] += float(told)
    # A sample at both ends of the span makes one interval less than samples.
    per_tag = samples / tags
    rate = samples / (last - first) * (per_tag - 1) / per_tag if last > first and per_tag > 1 else 0.0
    stored = {"hot_rows": round(sizes["rows"]), "hot_bytes": round(sizes["bytes"]), "hot_rows_sample": rows / samples}
    return {"tags": round(tags), "samples_s": rate, **stored}


def _cold(config: Config) -> dict[str, float | int | None]:
    with tables(config) as found:
        for table, _ in found:
            if table.name()[-1] == config.samples_table:
                count = maintenance.count(table)
                return {"cold_rows": count.rows, "cold_bytes": count.bytes, "cold_files": count.files}
    raise ConfigError(
        f"there is no table {config.namespace}.{config.samples_table} in {config.warehouse or config.uri}"
    )
