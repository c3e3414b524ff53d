"""Putting a catalog and its files back, at their old place or at another one.

Iceberg's metadata names every file by its whole location. At a new place these are written anew: the manifests, then
the manifest lists with the manifests' new lengths, then the metadata file, then the catalog
(https://iceberg.apache.org/spec/#manifests).
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.io import FileIO

from otmirror.errors import ConfigError
from otmirror.iceberg.catalog import open_catalog
from otmirror.iceberg.config import Config
from otmirror.iceberg.upkeep import in_words
from otmirror.recovery.catalog import DATABASE, FOLDER
from otmirror.recovery.manifest import Lakehouse, Table, inside
from otmirror.recovery.place import stamp

Say = Callable[[str], object]


def check(section: Lakehouse, config: Config) -> None:
    """Refuse a target that the tables cannot be restored to.

    Raises:
        ConfigError: another kind of catalog, or another place without the data.
    """
    if (section.kind == "sqlite") != (config.catalog_type == "sqlite"):
        raise ConfigError(
            f"the backup is of a catalog of type {section.kind}, the target is of type {config.catalog_type}"
        )
    moved = section.kind == "sqlite" and f"file://{config.folder}" != section.root
    if moved and not section.data:
        raise ConfigError(
            f"the backup holds no data files: its tables are those in {section.root}; restore to that folder, or take "
            "backups with --data"
        )
    folder = section.kind == "sqlite" and section.data
    outside = [t.name for t in section.tables if folder and not all(_below(at, section.root) for at in _places(t))]
    if outside:
        raise ConfigError(f"{', '.join(outside)}: not in the warehouse {section.root}, and so not to be had elsewhere")


def _places(table: Table) -> list[str]:
    return [table.location, *table.copies]


def _below(location: str, root: str | None) -> bool:
    return location.startswith(f"{root}/") and inside(location[len(f"{root}/") :])


def into_folder(section: Lakehouse, backup: Path, warehouse: Path, *, link: bool = False) -> None:
    """Make `warehouse`, which is not there or empty, from a backup with data; whole or not at all.

    With `link` data files are links to those of the backup: for looking only.
    """
    building = warehouse.with_name(f".{warehouse.name}.restoring")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        moved = _Moved(section.root or "", f"file://{warehouse}")
        for table in section.tables:
            for location, path in sorted(table.copies.items(), key=lambda copy: moved.rank(copy[0])):
                target = building / location[len(moved.old) + 1 :]
                target.parent.mkdir(parents=True, exist_ok=True)
                moved.put(backup / path, target, location, link)
        shutil.copyfile(backup / FOLDER / DATABASE, building / DATABASE)
        moved.database(building / DATABASE)
        for file in building.rglob("*"):
            if file.is_file() and not link:
                _sync(file)
        building.replace(warehouse)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


@dataclass
class _Moved:
    """Files of tables that go from one root to another."""

    old: str
    new: str

    def __post_init__(self) -> None:
        self._lengths: dict[str, int] = {}

    def rank(self, location: str) -> int:
        """Return which are to be written first: data, manifests, their lists, metadata."""
        name = location.rpartition("/")[2]
        if not name.endswith((".avro", ".metadata.json")):
            return 0
        return 3 if name.endswith(".json") else 2 if name.startswith("snap-") else 1

    def put(self, source: Path, target: Path, location: str, link: bool) -> None:
        """Write one file at its new place."""
        if self.rank(location) == 0 and link:
            os.link(source, target)
        elif self.old == self.new or self.rank(location) == 0:
            shutil.copyfile(source, target)
        elif location.endswith(".avro"):
            self._avro(source, target)
            self._lengths[self.place(location)] = target.stat().st_size
        else:
            text = source.read_bytes()
            text = gzip.decompress(text) if text[:2] == b"\x1f\x8b" else text
            moved = json.dumps(self._walked(json.loads(text))).encode()
            target.write_bytes(gzip.compress(moved) if ".gz." in location else moved)

    def place(self, location: str) -> str:
        """Return where a file is now."""
        return self.new + location[len(self.old) :] if location.startswith(f"{self.old}/") else location

    def _avro(self, source: Path, target: Path) -> None:
        with source.open("rb") as old, target.open("wb") as new:
            reader: Any = fastavro.reader(old)
            head = {key: value for key, value in reader.metadata.items() if not key.startswith("avro.")}
            schema: Any = reader.writer_schema
            fastavro.writer(new, schema, map(self._record, reader), codec=reader.codec, metadata=head)

    def _record(self, record: dict[str, Any]) -> dict[str, Any]:
        if "manifest_path" in record:
            record["manifest_path"] = self.place(record["manifest_path"])
            record["manifest_length"] = self._lengths[record["manifest_path"]]
        else:
            record["data_file"]["file_path"] = self.place(record["data_file"]["file_path"])
        return record

    def _walked(self, node: Any) -> Any:
        if isinstance(node, dict):
            return {key: self._walked(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self._walked(item) for item in node]
        return (self.new if node == self.old else self.place(node)) if isinstance(node, str) else node

    def database(self, file: Path) -> None:
        """Change the locations in an SQLite catalog."""
        if self.old == self.new:
            return
        with closing(sqlite3.connect(file)) as opened, opened:
            for column in ("metadata_location", "previous_metadata_location"):
                rows = opened.execute(f"select rowid, {column} from iceberg_tables").fetchall()  # noqa: S608
                changed = [(self.place(location), row) for row, location in rows if location]
                opened.executemany(f"update iceberg_tables set {column} = ? where rowid = ?", changed)  # noqa: S608


def database_only(section: Lakehouse, backup: Path, config: Config, force: bool, say: Say) -> None:
    """Put an SQLite catalog back beside the tables' files, which are all still there.

    Raises:
        ConfigError: there is a catalog and `force` is not set, or a table's metadata file is gone.
    """
    warehouse = Path(str(config.folder))
    target = warehouse / DATABASE
    gone = [table.metadata for table in section.tables if not Path(table.metadata.removeprefix("file://")).is_file()]
    if gone:
        raise ConfigError(f"{gone[0]} is gone, and the backup holds no data files: restore one that does (--data)")
    if target.exists() and not force:
        raise ConfigError(f"--warehouse {warehouse}: there is a {DATABASE}; put it aside with --force")
    if target.exists():
        aside = target.with_name(f"{DATABASE}.before-{stamp()}")
        target.rename(aside)
        say(f"the catalog that was there is {aside} now")
    new = target.with_name(f".{DATABASE}.restoring")
    shutil.copyfile(backup / FOLDER / DATABASE, new)
    _sync(new)
    new.replace(target)


def registered(section: Lakehouse, backup: Path, config: Config, force: bool, say: Say) -> None:
    """Register the tables in a catalog again, their files put back where they were when they are gone.

    Raises:
        ConfigError: a table is there already and `force` is not set.
        MirrorError: the catalog or the storage says no.
    """
    with in_words(config):
        catalog = open_catalog(config)
        try:
            for table in section.tables:
                if section.data:
                    _put_back(catalog, table.copies, backup)
                _register(catalog, table.name, table.metadata, force, say)
        finally:
            catalog.close()


def _put_back(catalog: Catalog, copies: dict[str, str], backup: Path) -> None:
    io: FileIO = catalog._load_file_io(location=next(iter(copies)))
    for location, path in copies.items():
        if not io.new_input(location).exists():
            with (backup / path).open("rb") as source, io.new_output(location).create() as target:
                while chunk := source.read(2**20):
                    target.write(chunk)


def _register(catalog: Catalog, name: str, metadata: str, force: bool, say: Say) -> None:
    parts = tuple(name.split("."))
    for depth in range(1, len(parts)):
        with suppress(NamespaceAlreadyExistsError):
            catalog.create_namespace(parts[:depth])
    with suppress(NoSuchTableError):
        now = catalog.load_table(parts).metadata_location
        if now == metadata:
            say(f"{name} is registered as it was")
            return
        if not force:
            raise ConfigError(f"{name} is in the catalog already, as {now}; register the backup's with --force")
        catalog.drop_table(parts)
        say(f"{name} was registered as {now} before")
    try:
        catalog.register_table(parts, metadata)
    except TableAlreadyExistsError:
        raise ConfigError(f"{name} came into the catalog meanwhile: is something writing there?") from None


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
