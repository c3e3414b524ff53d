"""Making a backup of everything at once, while it runs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version as installed
from pathlib import Path

from otmirror import __version__
from otmirror.embedded import victoriametrics
from otmirror.errors import ConfigError, MirrorError
from otmirror.flow.canonical import load
from otmirror.flow.client import NifiApi
from otmirror.iceberg.config import Config
from otmirror.recovery import catalog, configuration, flows, hot, manifest
from otmirror.recovery.hot import Server
from otmirror.recovery.manifest import FORMAT, Configured, Flow, Hot, Lakehouse, Manifest, Omitted, Point
from otmirror.recovery.place import Making, making
from otmirror.workspace import PROJECT

NOTE = "snapshot.name"
_QUEUES = Omitted(
    "FlowFiles in NiFi's queues, provenance", "what waits in a queue at the backup is in neither store yet"
)
_RULES = Omitted("alert rules, dashboards, flows/*.json of the project", "in the repository, by the version told here")


@dataclass(frozen=True)
class Sources:
    """What is backed up; a part that is None is left out."""

    hot: Server | None = None
    lakehouse: Config | None = None
    nifi: str | None = None
    """Address of NiFi's REST API."""
    nifi_home: Path | None = None
    """Its folder, for conf/flow.json.gz, in which secrets are encrypted."""
    config: list[Path] = field(default_factory=list)
    data: bool = False
    with_keys: bool = False
    count: bool = True
    prefix: str = "ot"

    def __post_init__(self) -> None:
        """Refuse to back up nothing, or a server whose folder is not told.

        Raises:
            ConfigError: that is so.
        """
        if not (self.hot or self.lakehouse or self.nifi or self.config):
            raise ConfigError(
                "nothing to back up: name --hot and --hot-data, --warehouse or --uri, --nifi, or --config"
            )
        if self.hot and self.hot.data is None:
            raise ConfigError(
                "--hot-data: give the folder of VictoriaMetrics' data (-storageDataPath) as seen from here"
            )


@dataclass
class _Parts:
    """What was put into the folder so far."""

    hot: Hot | None = None
    lakehouse: Lakehouse | None = None
    flows: list[Flow] = field(default_factory=list)
    configuration: list[Configured] = field(default_factory=list)
    omitted: list[Omitted] = field(default_factory=list)
    newest: dict[str, dict[str, int]] = field(default_factory=dict)
    """Read time (us) of the newest sample by store and source."""
    ahead: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def create(
    sources: Sources, target: Path, key: bytes | None = None, say: Callable[[str], object] = lambda _: None
) -> tuple[Path, Manifest]:
    """Make a backup in a dated folder below `target`; it is complete or does not exist.

    Raises:
        ConfigError: an address, folder or login is wrong.
        UnavailableError: a store does not answer, or the disk is full; the message says which.
    """

    def leftover(folder: Path) -> None:
        say(f"removing what an interrupted backup left: {folder}")
        if (folder / hot.SCRATCH).is_dir():
            hot.clear(folder / hot.SCRATCH)
        if sources.hot and (folder / NOTE).is_file():
            # The server may be another one by now.
            with suppress(MirrorError):
                hot.delete(sources.hot, folder / NOTE)

    target = target.resolve()
    began, clock = datetime.now(timezone.utc), time.monotonic()
    with making(target, leftover) as made:
        made, known = _before(made, say)
        parts = _Parts(versions=_versions())
        for part in (_hot, _lakehouse, _nifi, _files):
            part(sources, made, parts, say)
        say("computing digests")
        found, new = manifest.inventory(made.folder, known)
        told = Manifest(
            format=FORMAT, name=made.name, begun=_iso(began), finished=_iso(datetime.now(timezone.utc)),
            seconds=round(time.monotonic() - clock, 3), previous=made.previous.name if made.previous else None,
            versions=parts.versions, consistency_point=_point(parts), hot=parts.hot, lakehouse=parts.lakehouse,
            flows=parts.flows, configuration=parts.configuration, not_included=[*parts.omitted, _QUEUES, _RULES],
            bytes=sum(file.bytes for file in found), new_bytes=new, files=found,
        )  # fmt: skip
        manifest.write(made.folder, told, key)
    return target / made.name, told


def _hot(sources: Sources, made: Making, parts: _Parts, say: Callable[[str], object]) -> None:
    if sources.hot is None:
        return
    say(f"VictoriaMetrics {sources.hot.url}: snapshot")
    parts.versions["victoriametrics"] = sources.hot.version()
    parts.newest["hot"] = sources.hot.newest(sources.prefix)
    with hot.snapshot(sources.hot, made.folder / NOTE) as name:
        say("VictoriaMetrics: copying" + (" and counting" if sources.count else ""))
        parts.hot = hot.back_up(sources.hot, name, made.folder, made.previous, made.lock, sources.count)


def _lakehouse(sources: Sources, made: Making, parts: _Parts, say: Callable[[str], object]) -> None:
    if sources.lakehouse is None:
        return
    say("Iceberg: catalog" + (" and data" if sources.data else ""))
    parts.lakehouse, newest = catalog.back_up(sources.lakehouse, made.folder, made.previous, sources.data)
    parts.newest["cold"], parts.ahead = newest.read, newest.ahead
    if not sources.data:
        parts.omitted.append(
            Omitted("data files of the Iceberg tables", "they stay in the warehouse (--data copies them)")
        )


def _nifi(sources: Sources, made: Making, parts: _Parts, say: Callable[[str], object]) -> None:
    if sources.nifi is not None:
        say(f"NiFi {sources.nifi}: flows")
        api = NifiApi(sources.nifi)
        parts.versions["nifi"] = api.about()
        parts.flows, omitted = flows.back_up(api, made.folder)
        parts.omitted += omitted


def _files(sources: Sources, made: Making, parts: _Parts, say: Callable[[str], object]) -> None:
    paths = list(sources.config)
    for flow in parts.flows:
        paths += configuration.named(flows.parameters(load(made.folder / flow.path)))
    if sources.nifi_home:
        paths.append(sources.nifi_home / "conf" / "flow.json.gz")
        key = sources.nifi_home / "sensitive.key"
        if sources.with_keys and key.exists():
            paths.append(key)
    say(f"configuration: {len(paths)} files and folders")
    parts.configuration, omitted = configuration.back_up(paths, made.folder, sources.with_keys)
    parts.omitted += omitted


def _point(parts: _Parts) -> Point:
    """Return up to when everything that was read is in every store: the earliest of the sources' newest samples.

    VictoriaMetrics knows when a value was measured, not when it was read. That is no later, but for a device whose
    clock is ahead, by so much as the lakehouse shows.
    """
    if not parts.newest:
        return Point(None, None, {})
    newest = {store: dict(sources) for store, sources in parts.newest.items()}
    if "hot" in newest:
        newest["hot"] = {name: time_us - parts.ahead.get(name, 0) for name, time_us in newest["hot"].items()}
    every = {name for sources in newest.values() for name in sources}
    # A source that one of the stores has nothing of has not come through yet.
    both = {name: min((found.get(name, 0) for found in newest.values()), default=0) for name in every}
    if not both or not min(both.values()):
        return Point(None, None, {name: _moment(at) for name, at in both.items() if at})
    earliest = min(both.values())
    return Point(_moment(earliest), earliest, {name: _moment(at) for name, at in sorted(both.items())})


def _before(made: Making, say: Callable[[str], object]) -> tuple[Making, dict[tuple[int, int], str]]:
    """Return the digests of the backup before by device and inode: a link to one of its files is that file.

    A backup that lacks a file or has one of another size is not built upon.
    """
    if made.previous is None:
        return made, {}
    try:
        told = manifest.read(made.previous)
        damage = manifest.damage(made.previous, told, digests=False)
    except MirrorError as error:
        damage = [str(error)]
    if damage:
        say(f"the backup before this one is damaged, this one is a full one: {made.previous}: {damage[0]}")
        return replace(made, previous=None), {}
    known = {}
    for file in told.files:
        found = (made.previous / file.path).stat()
        known[found.st_dev, found.st_ino] = file.sha256
    return made, known


def _versions() -> dict[str, str]:
    told = {"otmirror": __version__, "vmbackup": victoriametrics.VERSION, "pyiceberg": installed("pyiceberg")}
    with suppress(OSError):
        git = subprocess.run(
            ["git", "-C", str(PROJECT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
        if git.returncode == 0:
            told["commit"] = git.stdout.strip()
    return told


def _moment(us: int) -> str:
    return _iso(datetime.fromtimestamp(us / 1e6, timezone.utc))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
