"""Putting a backup back: to new folders, counted afterwards."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from otmirror import __version__
from otmirror.errors import ConfigError, UnavailableError
from otmirror.flow.client import NifiApi
from otmirror.iceberg.config import Config
from otmirror.recovery import catalog, configuration, flows, hot, lakefiles, manifest
from otmirror.recovery.manifest import Hot, Lakehouse, Manifest
from otmirror.recovery.place import take_empty

Say = Callable[[str], object]


@dataclass(frozen=True)
class Targets:
    """Where to; a part that is None is left in the backup."""

    hot_data: Path | None = None
    lakehouse: Config | None = None
    nifi: str | None = None
    config: Path | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values of flow parameters that are other ones now, such as addresses."""


@dataclass
class Restored:
    """What came of it: differences from the manifest, and what to do next."""

    differences: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def restore(
    folder: Path, targets: Targets, *, key: bytes | None = None, force: bool = False, count: bool = True,
    say: Say = lambda _: None,
) -> Restored:  # fmt: skip
    """Restore the parts that `targets` names; nothing is touched unless the backup is whole and every target is free.

    Raises:
        ConfigError: the backup is damaged or lacks a part, or a target is not empty and `force` is not set.
        UnavailableError: the disk is full, a tool failed, or a server does not answer.
    """
    folder = folder.resolve()
    told = manifest.read(folder, key)
    _check(told, targets, force, say)
    say("comparing digests")
    damage = manifest.damage(folder, told)
    if damage:
        more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
        raise ConfigError(f"{folder} is damaged, nothing was restored: {damage[0]}{more}")
    _free(told, targets, force, say)
    result = Restored()
    try:
        if told.hot and targets.hot_data:
            _hot(told.hot, folder, targets.hot_data.resolve(), count, result, say)
        if told.lakehouse and targets.lakehouse:
            _lakehouse(told.lakehouse, folder, targets.lakehouse, force, result, say)
        if targets.config:
            count_of = configuration.restore(told.configuration, folder, targets.config)
            result.next.append(f"{count_of} configuration files are below {targets.config}, each at the path it had")
        if targets.nifi:
            _flows(told, folder, targets.nifi, targets.parameters, force, result, say)
    except OSError as error:
        raise UnavailableError(f"the restore stopped: {error.filename or folder}: {error.strerror or error}") from None
    return result


def _check(told: Manifest, targets: Targets, force: bool, say: Say) -> None:
    asked = {"--hot-data": (targets.hot_data, told.hot), "--warehouse or --uri": (targets.lakehouse, told.lakehouse),
             "--nifi": (targets.nifi, told.flows), "--config": (targets.config, told.configuration)}  # fmt: skip
    if not any(target for target, _ in asked.values()):
        raise ConfigError(f"nothing to restore: name {', '.join(name for name, (_, part) in asked.items() if part)}")
    lacking = [name for name, (target, part) in asked.items() if target and not part]
    if lacking:
        raise ConfigError(f"{', '.join(lacking)}: that part is not in this backup")
    made = told.versions.get("otmirror", "")
    if _number(made) > _number(__version__) and not force:
        raise ConfigError(
            f"the backup was made by otmirror {made}, this is {__version__}: use that version, or --force"
        )
    if made != __version__:
        say(f"the backup was made by otmirror {made}, this is {__version__}")
    if targets.nifi and told.flows:
        _check_nifi(NifiApi(targets.nifi), told, force, say)
    if targets.lakehouse and told.lakehouse:
        lakefiles.check(told.lakehouse, targets.lakehouse)


def _check_nifi(api: NifiApi, told: Manifest, force: bool, say: Say) -> None:
    now, then = api.about(), told.versions.get("nifi", "")
    if now != then:
        say(f"the flows are of NiFi {then}, this is NiFi {now}")
    if _number(now) < _number(then) and not force:
        raise ConfigError(
            f"the flows are of NiFi {then}, this is NiFi {now}, which is older: take that version, or --force"
        )
    there = sorted({flow.name for flow in told.flows} & api.groups().keys())
    if there and not force:
        raise ConfigError(f"{', '.join(there)}: in this NiFi already; use an empty NiFi, or replace them with --force")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split(".") if part.isdigit())


def _free(told: Manifest, targets: Targets, force: bool, say: Say) -> None:
    """Make sure of every target before the first is touched."""
    if targets.hot_data and _in_use(targets.hot_data):
        raise ConfigError(f"--hot-data {targets.hot_data}: a VictoriaMetrics runs on it; stop it first")
    folders: list[tuple[Path, str]] = [(targets.hot_data.absolute(), "--hot-data")] if targets.hot_data else []
    if targets.config:
        folders.append((targets.config.absolute(), "--config"))
    if targets.lakehouse and told.lakehouse and told.lakehouse.kind == "sqlite" and told.lakehouse.data:
        folders.append((Path(str(targets.lakehouse.folder)), "--warehouse"))
    if not force:
        for place, option in folders:
            take_empty(place, option, False, say)
    for place, option in folders:
        take_empty(place, option, force, say)


def _in_use(data: Path) -> bool:
    """Return whether a VictoriaMetrics holds the folder's lock."""
    try:
        with (data / "flock.lock").open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _hot(section: Hot, folder: Path, data: Path, count: bool, result: Restored, say: Say) -> None:
    say("VictoriaMetrics: restoring")
    hot.restore(folder / hot.FOLDER, data)
    if count and section.counts is not None:
        say("VictoriaMetrics: counting")
        with hot.scratch(data.parent) as scratch:
            (scratch / "data").symlink_to(data)
            found = hot.counted(scratch, section.first_ms, section.last_ms)
        result.differences += hot.differences(section.counts, found)
        total = sum(found.samples.values())
        say(f"VictoriaMetrics: {found.series:,} series, {total:,} samples")
    result.next.append(f"start VictoriaMetrics with -storageDataPath={data} and the flags it had")


def _lakehouse(section: Lakehouse, folder: Path, config: Config, force: bool, result: Restored, say: Say) -> None:
    say("Iceberg: restoring")
    if section.kind != "sqlite":
        lakefiles.registered(section, folder, config, force, say)
    elif section.data:
        lakefiles.into_folder(section, folder, Path(str(config.folder)))
    else:
        lakefiles.database_only(section, folder, config, force, say)
    found = catalog.row_counts(config, section.kind == "sqlite")
    wanted = {table.name for table in section.tables}
    result.differences += catalog.differences(section, {name: rows for name, rows in found.items() if name in wanted})
    say("Iceberg: " + ", ".join(f"{name} {rows:,} rows" for name, rows in found.items() if name in wanted))


def _flows(
    told: Manifest, folder: Path, url: str, parameters: Mapping[str, str], force: bool, result: Restored, say: Say
) -> None:
    result.differences += flows.restore(NifiApi(url), told.flows, folder, parameters, force, say)
    secrets = [one.what for one in told.not_included if one.what.startswith("flow ")]
    if secrets:
        result.next.append(f"set the secrets of the flows (otmirror secrets sync): {len(secrets)} parameters")
    result.next += [f"otmirror flow start {flow.name!r} --url {url}" for flow in told.flows if flow.running]
