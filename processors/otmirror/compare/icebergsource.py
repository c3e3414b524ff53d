"""The Iceberg table of samples as a side, or the rows of it that count once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.table import Table

from otmirror.compare.options import SECOND, Window
from otmirror.compare.series import NO_TIME
from otmirror.compare.spill import ROWS
from otmirror.errors import ConfigError
from otmirror.iceberg.catalog import open_catalog
from otmirror.iceberg.chunks import Reader
from otmirror.iceberg.config import Config
from otmirror.iceberg.upkeep import in_words
from otmirror.status import QUALITIES

_COLUMNS = ("tag", "ts", "value", "quality", "ts_read")


@dataclass(frozen=True)
class IcebergSource:
    """The samples table, by WriteIceberg's settings. Rows that maintenance would remove are told as duplicates."""

    config: Config

    @property
    def title(self) -> str:
        """The table and where it is."""
        where = self.config.warehouse if self.config.catalog_type == "sqlite" else self.config.uri
        return f"Iceberg {self.config.namespace}.{self.config.samples_table} in {where}"

    def batches(self, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the rows in the window, file by file; see `run.Source`."""
        with in_words(self.config):
            catalog = open_catalog(self.config)
            try:
                yield from self._scan(
                    catalog.load_table(f"{self.config.namespace}.{self.config.samples_table}"), window
                )
            except (NoSuchTableError, NoSuchNamespaceError):
                raise ConfigError(f"{self.title}: there is no such table") from None
            finally:
                catalog.close()

    def _scan(self, table: Table, window: Window) -> Iterator[pa.RecordBatch]:
        missing = [name for name in _COLUMNS if name not in {field.name for field in table.schema().fields}]
        if missing:
            raise ConfigError(f"{self.title}: there is no column {', '.join(missing)}; it is no table of samples")
        inside = f"ts >= '{_iso(window.start)}' and ts < '{_iso(window.end)}'"
        tasks = list(table.scan(row_filter=inside).plan_files())
        for batch in Reader(table, tasks).batches(_COLUMNS):
            rows = _rows(batch)
            at = rows.column(1)
            rows = rows.filter(pc.and_(pc.greater_equal(at, window.start), pc.less(at, window.end)))
            if rows.num_rows:
                yield rows


def _rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    quality = pc.index_in(pc.cast(batch.column("quality"), pa.string()), value_set=pa.array(QUALITIES))
    tag = batch.column("tag")
    tag = tag if pa.types.is_dictionary(tag.type) else pc.cast(tag, pa.string())
    return pa.RecordBatch.from_arrays(
        [
            tag,
            pc.cast(batch.column("ts"), pa.int64()),
            pc.fill_null(batch.column("value"), np.nan),
            pc.cast(pc.fill_null(quality, 0), pa.int8()),
            pc.fill_null(pc.cast(batch.column("ts_read"), pa.int64()), int(NO_TIME)),
        ],
        names=ROWS.names,
    )


def _iso(us: int) -> str:
    return datetime.fromtimestamp(us // SECOND, timezone.utc).replace(microsecond=us % SECOND).isoformat()
