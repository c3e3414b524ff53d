"""Reading back what was mirrored, from both stores, by the stores' own interfaces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import requests
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError

from otmirror.embedded.loopback import session as session_for
from otmirror.errors import UnavailableError

_AHEAD = 3 * 86400.0
"""Seconds; VictoriaMetrics takes no sample from further ahead than two days."""


class Series(msgspec.Struct):
    """One line of VictoriaMetrics' export: `timestamps` in ms since 1970."""

    metric: dict[str, str]
    values: list[float | None]
    timestamps: list[int]


_series = msgspec.json.Decoder(Series)


def export(
    url: str, metric: str, start: float | None = None, session: requests.Session | None = None, raw: bool = True
) -> Iterator[Series]:
    """Yield the series of `metric` from `start` (seconds since 1970) on, as stored or (not `raw`) as queries see them.

    Raises:
        UnavailableError: the server does not answer.
    """
    # Without an end it exports up to the last whole second only.
    params = {"match[]": metric, "end": str(time.time() + _AHEAD)}
    if raw:
        # Without it the server removes repeats first.
        params["reduce_mem_usage"] = "1"
    if start:
        params["start"] = str(start)
    for line in _get(session or session_for(url), url, "/api/v1/export", params).splitlines():
        yield _series.decode(line)


def _get(session: requests.Session, url: str, path: str, params: dict[str, str]) -> bytes:
    try:
        answer = session.get(f"{url}{path}", params=params, timeout=(5, 120))
        answer.raise_for_status()
    except requests.RequestException as error:
        raise UnavailableError(f"VictoriaMetrics at {url} could not be read: {error}") from None
    return answer.content


def victoriametrics(url: str, metric: str = "ot_value", raw: bool = True) -> pa.Table:
    """Return every sample of `metric`: columns tag, source, ts_ms (ms since 1970), value.

    With `raw` as they are stored, repeats included; without it as the server shows them to a query.

    Raises:
        UnavailableError: the server does not answer.
    """
    # What it accepted in the last seconds is not searchable yet.
    session = session_for(url)
    _get(session, url, "/internal/force_flush", {})
    columns: dict[str, list[Any]] = {"tag": [], "source": [], "ts_ms": [], "value": []}
    for series in export(url, metric, session=session, raw=raw):
        count = len(series.timestamps)
        columns["tag"] += [series.metric.get("tag", "")] * count
        columns["source"] += [series.metric.get("source", "")] * count
        columns["ts_ms"] += series.timestamps
        columns["value"] += series.values
    types = {"tag": pa.string(), "source": pa.string(), "ts_ms": pa.int64(), "value": pa.float64()}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


class Lakehouse:
    """The Iceberg tables of a pilot: a SQLite catalog inside its warehouse folder."""

    def __init__(self, warehouse: Path):
        """Take the warehouse folder; nothing has to exist yet."""
        self.warehouse = warehouse

    def _load(self, name: str) -> Any:
        database = self.warehouse / "catalog.db"
        if not database.exists():
            return None
        catalog = load_catalog(
            "otmirror", type="sql", uri=f"sqlite:///{database}", warehouse=f"file://{self.warehouse}"
        )
        try:
            return catalog.load_table(name)
        except NoSuchTableError:
            return None

    def samples(self) -> pa.Table | None:
        """Return all rows of ot.samples, times as µs since 1970 (int64); None when there is no table yet."""
        return self._rows("ot.samples", ("ts", "ts_server", "ts_read"))

    def rejects(self) -> pa.Table | None:
        """Return all rows of ot.rejects; None when nothing was ever rejected."""
        return self._rows("ot.rejects", ())

    def _rows(self, name: str, times: tuple[str, ...]) -> pa.Table | None:
        table = self._load(name)
        if table is None:
            return None
        rows: pa.Table = table.scan().to_arrow()
        for column in times:
            index = rows.schema.get_field_index(column)
            rows = rows.set_column(index, column, pc.cast(rows.column(column), pa.int64()))
        return rows

    def commits(self) -> dict[str, int]:
        """Return when each batch was committed: batch id -> ms since 1970."""
        table = self._load("ot.samples")
        found = {}
        for snapshot in table.snapshots() if table is not None else ():
            batch = snapshot.summary["otmirror.batch"] if snapshot.summary else None
            if batch:
                found[batch] = snapshot.timestamp_ms
        return found
