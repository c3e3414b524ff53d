"""Is a backup still what it was, and can each part be opened?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from otmirror.errors import MirrorError
from otmirror.iceberg.config import Config
from otmirror.recovery import catalog, flows, hot, lakefiles, manifest
from otmirror.recovery.catalog import DATABASE
from otmirror.recovery.manifest import Hot, Lakehouse, Manifest

Say = Callable[[str], object]


def verify(folder: Path, key: bytes | None = None, *, opened: bool = True, say: Say = lambda _: None) -> list[str]:
    """Return everything that is wrong with a backup, a sentence each; [] when it can be restored.

    With `opened` each part is restored to a scratch folder beside it, opened and counted, which takes as much room
    again as the store has.

    Raises:
        ConfigError: it is no whole backup, or its manifest was changed.
    """
    folder = folder.resolve()
    told = manifest.read(folder, key)
    say("comparing digests")
    problems = manifest.damage(folder, told)
    # What is not what it was is not opened.
    if problems or not opened:
        return problems
    with hot.scratch(folder.parent) as scratch:
        return [*_hot(folder, told.hot, scratch, say), *_lakehouse(folder, told, scratch, say),
                *flows.problems(told.flows, folder)]  # fmt: skip


def _hot(folder: Path, section: Hot | None, scratch: Path, say: Say) -> list[str]:
    if section is None:
        return []
    rows, first, last = hot.rows_of(folder / hot.FOLDER)
    if (rows, first, last) != (section.rows, section.first_ms, section.last_ms):
        return [f"VictoriaMetrics: its parts hold {rows:,} rows, the manifest says {section.rows:,}"]
    say("VictoriaMetrics: restoring to a scratch server and counting")
    try:
        hot.restore(folder / hot.FOLDER, scratch / "data")
        found = hot.counted(scratch, first, last)
    except MirrorError as error:
        return [f"VictoriaMetrics: cannot be opened: {error}"]
    if section.counts is None:
        return []
    return hot.differences(section.counts, found)


def _lakehouse(folder: Path, told: Manifest, scratch: Path, say: Say) -> list[str]:
    section = told.lakehouse
    if section is None:
        return []
    problems = []
    if section.kind == "sqlite":
        wrong = catalog.unsound(folder / catalog.FOLDER / DATABASE)
        if wrong:
            return [f"Iceberg: the catalog is damaged: {wrong}"]
    try:
        if section.kind == "sqlite" and section.data:
            say("Iceberg: opening the tables' copies")
            warehouse = scratch / "warehouse"
            lakefiles.into_folder(section, folder, warehouse, link=True)
            problems += catalog.differences(section, catalog.row_counts(Config(warehouse=str(warehouse)), True))
        elif section.kind == "sqlite":
            problems += _pointers(folder, section)
        else:
            say("Iceberg: compared, not opened: its catalog is not in the backup")
    except MirrorError as error:
        problems.append(f"Iceberg: cannot be opened: {error}")
    return problems


def _pointers(folder: Path, section: Lakehouse) -> list[str]:
    """Look whether the tables' files are where the catalog says; they are not in the backup."""
    gone = [t for t in section.tables if not Path(t.metadata.removeprefix("file://")).is_file()]
    if gone:
        return [f"Iceberg: {table.metadata} is gone; the backup has no copy of the data (--data)" for table in gone]
    config = Config(warehouse=(section.root or "").removeprefix("file://"))
    at = catalog.at_database(config, folder / catalog.FOLDER / DATABASE)
    return catalog.differences(section, catalog.row_counts(at, True))


def omitted(told: Manifest) -> list[str]:
    """Return what the backup does not hold, a line each."""
    return [f"{one.what}: {one.why}" for one in told.not_included]
