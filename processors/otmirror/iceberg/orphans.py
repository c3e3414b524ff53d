"""Files that no snapshot of a table refers to any more: commits that did not land, and what expired."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pyarrow import fs
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table

from otmirror.errors import UnavailableError

_KINDS = re.compile(r".*(\.parquet|\.orc|\.avro|\.metadata\.json(\.gz)?|\.gz\.metadata\.json|\.puffin|\.stats)")
_WORKERS = 8


@dataclass(frozen=True)
class File:
    """A file beside a table; `written` is seconds since 1970."""

    location: str
    size: int
    written: float


def orphans(table: Table, before: float) -> list[File]:
    """Return the files of a table that none of its snapshots needs and that were written before a time.

    Looked at are the folders `data` and `metadata` of the table's location, and files of Iceberg's kinds only. Files
    are compared by name alone, which holds a UUID: a location written in another way makes no file an orphan. The
    table is refreshed after the files were listed, so that what was committed meanwhile counts as referred to.

    Args:
        table: The table; it is refreshed.
        before: Seconds since 1970.

    Raises:
        UnavailableError: the storage cannot be listed.
        Exception: whatever pyiceberg, the catalog or the storage raise; nothing is known of any file then.
    """
    found = [file for file in _listed(table) if file.written < before]
    table.refresh()
    needed = references(table)
    return [file for file in found if _name(file.location) not in needed]


def remove(table: Table, files: list[File]) -> int:
    """Delete files and return how many are gone; one that is gone already counts."""

    def delete(file: File) -> bool:
        try:
            table.io.delete(file.location)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    with ThreadPoolExecutor(_WORKERS) as pool:
        return sum(pool.map(delete, files))


def references(table: Table) -> set[str]:
    """Return the names of all files that the table's present metadata needs, of every snapshot.

    Raises:
        Exception: a manifest or manifest list cannot be read.
    """
    logged = {_name(entry.metadata_file) for entry in table.metadata.metadata_log}
    return logged | {_name(location) for location in locations(table)}


def locations(table: Table) -> set[str]:
    """Return where the files are that a reader of any of the table's snapshots needs, its metadata file among them.

    Raises:
        Exception: a manifest or manifest list cannot be read.
    """
    metadata, found, manifests = table.metadata, {table.metadata_location}, {}
    found |= {file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics)}
    for snapshot in metadata.snapshots:
        if snapshot.manifest_list:
            found.add(snapshot.manifest_list)
        manifests.update({manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)})
    for path, manifest in manifests.items():
        found.add(path)
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            found.add(entry.data_file.file_path)
    return found


def _listed(table: Table) -> Iterator[File]:
    io = table.io
    if not isinstance(io, PyArrowFileIO):
        raise UnavailableError(f"files of table {'.'.join(table.name())} cannot be listed with {type(io).__name__}")
    for folder in ("data", "metadata"):
        scheme, netloc, path = io.parse_location(f"{table.metadata.location.rstrip('/')}/{folder}", io.properties)
        selector = fs.FileSelector(path, recursive=True, allow_not_found=True)
        for info in io.fs_by_scheme(scheme, netloc).get_file_info(selector):
            if info.type == fs.FileType.File and _KINDS.fullmatch(info.base_name):
                # Without a time of its own a file counts as new.
                written = info.mtime.timestamp() if info.mtime else float("inf")
                yield File(f"{scheme}://{info.path}", info.size or 0, written)


def _name(location: str) -> str:
    return location.rpartition("/")[2]
