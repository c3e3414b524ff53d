"""The Iceberg catalog: which metadata file each table has now, and, when asked for, every file behind it.

Files of a table are never changed once they are written and carry a UUID in their names: a copy that an earlier backup
has is linked. An SQLite catalog is copied by SQLite's own backup; tables of other catalogs are registered again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable

from otmirror.clock import SystemClock
from otmirror.errors import ConfigError, UnavailableError
from otmirror.iceberg.catalog import open_catalog
from otmirror.iceberg.config import Config
from otmirror.iceberg.orphans import locations
from otmirror.iceberg.upkeep import in_words
from otmirror.recovery.manifest import Lakehouse, Table

FOLDER = "lakehouse"
DATABASE = "catalog.db"
_RECENT_US = 600_000_000
_COLUMNS = ("source", "ts", "ts_read")


@dataclass
class Newest:
    """Of each source alive: when the newest stored sample was read, and how far its clock is ahead (us)."""

    read: dict[str, int] = field(default_factory=dict)
    ahead: dict[str, int] = field(default_factory=dict)


def back_up(config: Config, folder: Path, previous: Path | None, data: bool) -> tuple[Lakehouse, Newest]:
    """Copy what the catalog says into `folder`/lakehouse, with `data` all files of all snapshots as well.

    Raises:
        UnavailableError: the catalog or the storage does not answer, or the catalog is damaged.
        ConfigError: with `data`, a file of a table is not below the table's location.
    """
    target = folder / FOLDER
    target.mkdir()
    opened, whole = config, config.catalog_type == "sqlite"
    if config.catalog_type == "sqlite":
        copy_database(Path(f"{config.folder}/{DATABASE}"), target / DATABASE)
        opened = at_database(config, target / DATABASE)
    newest = Newest()
    with tables(opened, whole) as found:
        told = [_table(table, folder, previous, data, newest) for table in found]
    root = f"file://{config.folder}" if config.folder else None
    return Lakehouse(config.catalog_type, root, data, told), newest


def at_database(config: Config, database: Path) -> Config:
    """Return the settings of an SQLite catalog whose file lies elsewhere."""
    return replace(config, catalog_type="sql", uri=f"sqlite:///{database}")


def copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite database while others use it, and have SQLite check the copy.

    Raises:
        UnavailableError: it cannot be read, the disk is full, or it is damaged.
    """
    try:
        live = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=60)
        with closing(live), closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
    except sqlite3.Error as error:
        raise UnavailableError(f"the catalog {source} cannot be copied: {error}") from None
    problem = unsound(target)
    if problem:
        raise UnavailableError(f"the catalog {source} is damaged: {problem}")


def unsound(database: Path) -> str | None:
    """Return what SQLite finds wrong with a database, None when it is whole."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
            told = str(opened.execute("PRAGMA integrity_check").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    return None if told == "ok" else told


@contextmanager
def tables(config: Config, whole: bool) -> Iterator[list[IcebergTable]]:
    """Open the tables of a catalog; what goes wrong inside is told in words.

    Others may share the catalog: unless `whole`, only the tables of the mirror's own namespace are opened.

    Raises:
        MirrorError: one sentence, without any secret.
    """
    with in_words(config):
        catalog = open_catalog(config)
        try:
            own = {tuple(config.namespace.split("."))}
            spaces = _namespaces(catalog) if whole else own & _namespaces(catalog)
            names = sorted({name for space in spaces for name in catalog.list_tables(space)})
            yield [catalog.load_table(name) for name in names]
        finally:
            catalog.close()


def _namespaces(catalog: Catalog, parent: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = {tuple(name) for name in catalog.list_namespaces(parent) if len(name) > len(parent)}
    return found.union(*(_namespaces(catalog, name) for name in found))


def _table(table: IcebergTable, folder: Path, previous: Path | None, data: bool, newest: Newest) -> Table:
    name, base = ".".join(table.name()), table.metadata.location.rstrip("/")
    copies = {}
    for location in sorted(locations(table)) if data else [table.metadata_location]:
        if not location.startswith(f"{base}/"):
            raise ConfigError(
                f"table {name}: its file {location} is not below its location {base}; it cannot be backed up"
            )
        copies[location] = f"{FOLDER}/{name}/{location[len(base) + 1 :]}"
        _copy(table, location, folder / copies[location], previous / copies[location] if previous else None)
    files = [task.file for task in table.scan().plan_files()]
    _look(table, newest)
    snapshot = table.current_snapshot()
    return Table(
        name, base, table.metadata_location, snapshot.snapshot_id if snapshot else None,
        sum(file.record_count for file in files), len(files), sum(file.file_size_in_bytes for file in files), copies,
    )  # fmt: skip


def _copy(table: IcebergTable, location: str, target: Path, before: Path | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if before is not None and before.is_file():
        try:
            os.link(before, target)
        except OSError:
            pass  # Another file system, or too many links: copied then.
        else:
            return
    with table.io.new_input(location).open() as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 2**20)


def _look(table: IcebergTable, newest: Newest) -> None:
    """Note when the newest samples of each source were read, if it is a table of samples."""
    if not set(_COLUMNS) <= {column.name for column in table.schema().fields}:
        return
    since = SystemClock().now_us() - _RECENT_US
    moment = pa.scalar(since, pa.timestamp("us", tz="UTC")).as_py().isoformat()
    rows = table.scan(row_filter=f"ts >= '{moment}'", selected_fields=_COLUMNS).to_arrow()
    times = {name: pc.cast(rows.column(name), pa.int64()) for name in ("ts", "ts_read")}
    ahead = pc.subtract(times["ts"], times["ts_read"])
    grouped = pa.table({"source": rows.column("source"), "read": times["ts_read"], "ahead": ahead})
    told: list[dict[str, Any]] = grouped.group_by("source").aggregate([("read", "max"), ("ahead", "max")]).to_pylist()
    for row in told:
        if row["read_max"] is not None:
            newest.read[row["source"]] = max(row["read_max"], newest.read.get(row["source"], 0))
            newest.ahead[row["source"]] = max(row["ahead_max"], newest.ahead.get(row["source"], 0), 0)


def row_counts(config: Config, whole: bool) -> dict[str, int]:
    """Return the rows of every table by what its data files themselves say; each is opened for that.

    Raises:
        UnavailableError: a file is missing or no Parquet, or the catalog does not answer.
    """
    found = {}
    with tables(config, whole) as opened:
        for table in opened:
            found[".".join(table.name())] = sum(_rows(table, task.file.file_path) for task in table.scan().plan_files())
    return found


def _rows(table: IcebergTable, location: str) -> int:
    with table.io.new_input(location).open() as file:
        return int(pq.read_metadata(file).num_rows)


def differences(section: Lakehouse, found: dict[str, int]) -> list[str]:
    """Return in words where the rows of the tables are not those of the manifest."""
    wanted = {table.name: table.rows for table in section.tables}
    return [
        f"Iceberg: {name} has {found.get(name, 0):,} rows, the manifest says {wanted.get(name, 0):,}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
