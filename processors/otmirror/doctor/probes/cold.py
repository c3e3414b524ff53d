"""Iceberg: the warehouse's place, the catalog, the table's last commit and its upkeep. Nothing is made or written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from otmirror import nifi
from otmirror.doctor import times
from otmirror.doctor.findings import Finding
from otmirror.doctor.flowview import FlowView, Processor
from otmirror.doctor.site import Site
from otmirror.errors import MirrorError

FILES, SNAPSHOTS = 10_000, 2000
"""Data files of the present snapshot, and snapshots, above which maintenance is due: as in monitoring/alerts.toml."""
_LATE = 120.0
_ROOM = 1 << 20
"""Bytes that a commit needs at least."""
_LATELY = 120.0
_TYPE, _URI = "Catalog Type", "Catalog URI"
_SAMPLES, _REJECTS = ("Samples Table", "samples"), ("Rejects Table", "rejects")


def look(site: Site, view: FlowView, sink: Processor, secrets: Mapping[str, str]) -> list[Finding]:
    """Return what is wrong with a cold store. `secrets` may hold `credential`, `token` and the keys of S3."""
    scope = frozenset({sink.name})
    named = sink.get("Warehouse").removeprefix("file://")
    folder = site.file(named)
    if folder is not None:
        wrong = unwritable(folder)
        if wrong:
            return [Finding("cold-warehouse", str(folder), wrong, scope=scope)]
    elif "://" not in named:
        return [Finding("not-looked", named, "the warehouse is a folder on NiFi's machine", scope=scope)]
    try:
        catalog = _catalog(sink, folder, secrets)
        table, rejects = (_loaded(catalog, sink, part) for part in (_SAMPLES, _REJECTS))
    except MirrorError as error:
        return [Finding("cold-catalog", sink.get(_URI) or named, str(error), scope=scope)]
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return [Finding("cold-catalog", sink.get(_URI) or named, text, scope=scope)]
    if table is None:
        text = "the catalog has no table of samples yet: nothing was committed so far"
        return [Finding("cold-stale", named, text, scope=_below_sources(view, sink))]
    return [*_age(view, sink, table), *_rejected(rejects), *_upkeep(table, scope)]


def unwritable(folder: Path) -> str | None:
    """Return why nothing could be written below a folder; None when something could."""
    if not folder.is_dir():
        kind = "a file" if folder.exists() else "not there"
        return f"the warehouse is {kind}; it has to be a folder that NiFi's user may write to"
    try:
        flags, free = os.statvfs(folder).f_flag, shutil.disk_usage(folder).free
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if flags & os.ST_RDONLY:
        return "is on a file system that is mounted read-only"
    if free < _ROOM:
        return f"no space is left on its disk ({free:,} bytes)"
    for place in (folder, folder / "catalog.db", *_tables(folder)):
        if place.exists() and not os.access(place, os.W_OK):
            return f"{place} may not be written"
    return None


def _tables(folder: Path) -> list[Path]:
    return [part for part in folder.glob("*/*/*") if part.is_dir()][:20]


def _catalog(sink: Processor, folder: Path | None, secrets: Mapping[str, str]) -> Any:
    """Return the catalog, None when nothing was ever written. A SQLite one is opened for reading only."""
    from pyiceberg.catalog.sql import SqlCatalog

    from otmirror.iceberg.catalog import open_catalog
    from otmirror.iceberg.config import Config

    kind = sink.get(_TYPE, "sqlite")
    if kind == "sqlite":
        database = Path(folder or sink.get("Warehouse")) / "catalog.db"
        if not database.exists():
            return None
        _check_database(database)
        uri = f"sqlite:///file:{database}?mode=ro&uri=true"
        name = sink.get("Catalog Name", "otmirror")
        return SqlCatalog(name, uri=uri, warehouse=f"file://{folder}", init_catalog_tables="false")
    return open_catalog(Config(
        kind, sink.get("Catalog Name", "otmirror"), sink.get(_URI) or None, sink.get("Warehouse") or None,
        credential=secrets.get("credential"), token=secrets.get("token"),
        s3_endpoint=sink.get("S3 Endpoint") or None, s3_region=sink.get("S3 Region") or None,
        s3_access_key=secrets.get("access"), s3_secret_key=secrets.get("secret"),
        ca_file=sink.get("CA Certificate File") or None,
        client_certificate=sink.get("Client Certificate File") or None,
        client_key=sink.get("Client Key File") or None,
        more={} if kind == "rest" else {"init_catalog_tables": "false"},
    ))  # fmt: skip


def _loaded(catalog: Any, sink: Processor, part: tuple[str, str]) -> Any:
    """Return one of the sink's tables; None when there is none."""
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    if catalog is None:
        return None
    try:
        return catalog.load_table(f"{sink.get('Namespace', 'ot')}.{sink.get(*part)}")
    except (NoSuchTableError, NoSuchNamespaceError):
        return None


def _check_database(database: Path) -> None:
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1.0) as connection:
            connection.execute("select count(*) from iceberg_tables").fetchone()
    except sqlite3.Error as error:
        raise MirrorError(f"the catalog {database} cannot be read: {error}") from None


def _age(view: FlowView, sink: Processor, table: Any) -> Iterator[Finding]:
    snapshot = table.current_snapshot()
    if snapshot is None:
        return
    last, now = snapshot.timestamp_ms / 1000, time.time()
    patience = _LATE + 2 * _interval(view)
    if now - last > patience:
        text = f"the last commit is of {times.clock(last)}, {times.told(now - last)} ago"
        yield Finding("cold-stale", table.location(), text, last, _below_sources(view, sink))


def _rejected(table: Any) -> Iterator[Finding]:
    """Yield that lines are being rejected, by either sink: WriteIceberg keeps those of both."""
    snapshot = table.current_snapshot() if table is not None else None
    if snapshot is None or time.time() - snapshot.timestamp_ms / 1000 > _LATELY:
        return
    count = int((snapshot.summary["added-records"] if snapshot.summary else None) or 0)
    text = f"{count:,} samples of the last batch were rejected; the reasons are in its rows"
    yield Finding("samples-rejected", table.location(), text)


def _interval(view: FlowView) -> float:
    """Return how long samples are gathered for a commit, in seconds."""
    longest = 0.0
    for one in view.processors:
        if one.kind == "MergeContent" and one.get("Max Bin Age"):
            try:
                longest = max(longest, nifi.parse_period(one.get("Max Bin Age")))
            except ValueError:
                continue
    return longest


def _below_sources(view: FlowView, sink: Processor) -> frozenset[str]:
    """A cold store without commits may be anything before it."""
    return view.above(sink.id) | {sink.name}


def _upkeep(table: Any, scope: frozenset[str]) -> Iterator[Finding]:
    snapshot = table.current_snapshot()
    summary = snapshot.summary if snapshot is not None else None
    files = int((summary["total-data-files"] if summary else None) or 0)
    snapshots = len(table.metadata.snapshots)
    if files > FILES or snapshots > SNAPSHOTS:
        text = f"{files:,} data files and {snapshots:,} snapshots: otmirror lakehouse maintain"
        yield Finding("maintenance-due", table.location(), text, scope=scope)
