"""The round: every probe at once, each with a short time to answer, then what follows from what."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from otmirror.doctor import flowview
from otmirror.doctor.findings import Finding
from otmirror.doctor.flowview import COLD, HOT, SOURCES, FlowView, Processor
from otmirror.doctor.probes import (
    bus,
    certificates,
    cold,
    devices,
    disks,
    figures,
    hot,
    monitoring,
    nifi,
    queues,
    versions,
)
from otmirror.doctor.rules import Cause, diagnose
from otmirror.doctor.site import REST_SECONDS, Site
from otmirror.errors import ConfigError, MirrorError, UnavailableError
from otmirror.flow.api import Rest
from otmirror.flow.client import NifiApi
from otmirror.flow.status import Queue

PATIENCE = 12.0
"""Seconds for the whole round; what has not answered by then is told as not looked at."""
_MOST_QUEUES = 12
_RECENT = 60.0
_SIGNS = {
    "source": "source_last_good_timestamp_seconds", "hot": "store_last_success_timestamp_seconds",
    "cold": "store_last_success_timestamp_seconds", "nifi": "heartbeat_timestamp_seconds",
}  # fmt: skip
"""The figure that tells when all was well last, by layer."""

Probe = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Report:
    """What a round gave. `looked` names what was looked at, `seconds` is how long it took."""

    site: Site
    causes: Sequence[Cause]
    notes: Sequence[Finding]
    looked: Sequence[str]
    seconds: float
    moment: float
    flows: Sequence[str] = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing was found but notes."""
        return not self.causes


class Round:
    """Probes that run at once, each in a thread of its own that nobody waits for longer than the round lasts."""

    def __init__(self, patience: float = PATIENCE):
        """Take the seconds until the round is over."""
        self._end = time.monotonic() + patience
        self.found: list[Finding] = []
        self.looked: list[str] = []
        self._lock = threading.Lock()

    def run(self, probes: Mapping[str, Probe]) -> None:
        """Run probes by name until all are done or the round is over."""
        threads = {name: threading.Thread(target=self._one, args=(name, probe), daemon=True)
                   for name, probe in probes.items()}  # fmt: skip
        for thread in threads.values():
            thread.start()
        for name, thread in threads.items():
            thread.join(max(0.0, self._end - time.monotonic()))
            if thread.is_alive():
                self._add(name, [Finding("not-looked", name, "no answer in time")])

    def _one(self, name: str, probe: Probe) -> None:
        try:
            self._add(name, list(probe()))
        except MirrorError as error:
            self._add(name, [Finding("not-looked", name, str(error))])
        except Exception as error:
            self._add(name, [Finding("not-looked", name, f"{type(error).__name__}: {error}"[:200])])

    def _add(self, name: str, found: list[Finding]) -> None:
        with self._lock:
            if name not in self.looked:
                self.looked.append(name)
                self.found += found


@dataclass
class _Facts:
    """What the first probes learn and the others need."""

    views: list[FlowView] = field(default_factory=list)
    figures: list[figures.Figures] = field(default_factory=list)


def examine(site: Site, leave_devices: bool = False, environ: Mapping[str, str] = os.environ) -> Report:
    """Look at everything and say what is wrong.

    Args:
        site: what to look at.
        leave_devices: whether not to connect to devices at all. Without it, a device is asked only when no good
            value came from it a moment ago.
        environ: passwords of stores, which NiFi does not tell: OTMIRROR_HOT_PASSWORD, and those of `lakehouse`.

    Raises:
        ConfigError: NiFi does not let us look, or there is no such flow.
    """
    began, facts, now = time.monotonic(), _Facts(), time.time()
    it = Round()
    rest: list[NifiApi] = []
    it.found += _flows(site, facts, rest)
    it.looked.append("NiFi")
    facts.figures = figures.read(site.metrics, facts.views)
    it.run(_probes(site, facts, rest[0] if rest else None, leave_devices, environ, now))
    if any(one.code == "samples-rejected" for one in it.found):
        it.found += figures.late_clocks(facts.figures)
    causes, notes = diagnose([_dated(one, facts.figures) for one in _once(it.found)])
    # An old complaint tells when a trouble began that is there still; by itself it is history.
    notes = [one for one in notes if one.since is None or one.since > now - _RECENT]
    flows = [view.name for view in facts.views]
    return Report(site, causes, notes, sorted(it.looked), time.monotonic() - began, now, flows)


def _flows(site: Site, facts: _Facts, rest: list[NifiApi]) -> list[Finding]:
    """Learn the flows, from NiFi or else from its flow file."""
    dead = nifi.process(site.server) if site.server else []
    if not dead:
        api = NifiApi(site.url)
        api.rest = Rest(site.url, REST_SECONDS, site.login)
        try:
            facts.views = flowview.from_nifi(api, site.flow)
            rest.append(api)
            return (
                [] if facts.views else [Finding("flow-missing", site.url, "this NiFi has no flow on its root canvas")]
            )
        except UnavailableError as error:
            dead = nifi.silent(site, str(error))
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{site.url} does not answer as a NiFi 2 does ({type(error).__name__}: {error})"
            ) from None
    if site.home:
        facts.views = flowview.from_file(site.home, site.flow)
    return dead


def _probes(
    site: Site, facts: _Facts, api: NifiApi | None, leave_devices: bool, environ: Mapping[str, str], now: float
) -> dict[str, Probe]:
    views, server = facts.views, site.server
    probes: dict[str, Probe] = {
        "processor figures": lambda: figures.judge(facts.figures, now),
        "certificates in files": lambda: certificates.files(site, views),
        "certificates of servers": lambda: certificates.servers(site, views),
        "versions": lambda: [*versions.of_bundle(views, facts.figures), *versions.of_packages(server)],
        "disks": lambda: disks.of_folders(_folders(site, views)),
        "monitoring": lambda: monitoring.look(site),
    }
    if api is not None:
        rest = api.rest
        probes["processors"] = lambda: nifi.states(views, now)
        probes["NiFi's disks"] = lambda: disks.of_nifi(rest)
        if server is not None:
            probes["Python processes"] = lambda: nifi.python(server, views)
        for view in views:
            probes |= _queue_probes(site, view, now)
    fresh = figures.fresh(facts.figures, now)
    told = frozenset(one.processor.name for one in facts.figures)
    for view in views:
        for source in view.of(*SOURCES):
            if _wanted(source) and not leave_devices:
                probes[f"source {source.name}"] = _device(site, source, source.name in fresh)
        for sink in view.of(HOT):
            if _wanted(sink):
                probes[f"store of {sink.name}"] = _hot(view, sink, environ, now, told)
        for sink in view.of(COLD):
            if _wanted(sink):
                probes[f"store of {sink.name}"] = _cold(site, view, sink, environ)
        if view.brokers:
            probes[f"brokers of {view.name}"] = lambda view=view: bus.look(view.brokers)  # type: ignore[misc]
    return probes


def _queue_probes(site: Site, view: FlowView, now: float) -> dict[str, Probe]:
    """Each queue over a connection of its own: a requests session is one thread's."""
    waiting = sorted((queue for queue in view.queues if queue.count), key=lambda queue: -queue.percent)

    def probe(queue: Queue) -> Probe:
        return lambda: queues.look(Rest(site.url, REST_SECONDS, site.login), view, queue, now)

    return {f"queue {view.name}/{queue.name} {queue.id[:8]}": probe(queue) for queue in waiting[:_MOST_QUEUES]}


def _wanted(processor: Processor) -> bool:
    return processor.told is None or processor.told.state != "DISABLED"


def _device(site: Site, source: Processor, fresh: bool) -> Probe:
    return lambda: devices.look(site, source, fresh)


def _hot(view: FlowView, sink: Processor, environ: Mapping[str, str], now: float, told: frozenset[str]) -> Probe:
    def probe() -> list[Finding]:
        store = hot.Store(sink, environ.get("OTMIRROR_HOT_PASSWORD"))
        found = store.look()
        newest = None if any(one.code in ("hot-down", "hot-refuses") for one in found) else store.newest(now)
        return [*found, *(hot.freshness(view, sink, newest, now, told) if newest else ())]

    return probe


def _cold(site: Site, view: FlowView, sink: Processor, environ: Mapping[str, str]) -> Probe:
    names = {
        "credential": "OTMIRROR_ICEBERG_CREDENTIAL", "token": "OTMIRROR_ICEBERG_TOKEN",
        "access": "OTMIRROR_S3_ACCESS_KEY", "secret": "OTMIRROR_S3_SECRET_KEY",
    }  # fmt: skip
    secrets = {part: environ[name] for part, name in names.items() if environ.get(name)}
    return lambda: cold.look(site, view, sink, secrets)


def _folders(site: Site, views: Iterable[FlowView]) -> Iterable[tuple[Path, frozenset[str]]]:
    for view in views:
        for sink in view.of(COLD):
            folder = site.file(sink.get("Warehouse").removeprefix("file://"))
            # A warehouse without any room is told by the probe of the store.
            if folder is not None and folder.is_dir() and cold.unwritable(folder) is None:
                yield folder, frozenset({sink.name})
    if site.home is not None:
        yield site.home, frozenset()


def _dated(one: Finding, known: Iterable[figures.Figures]) -> Finding:
    """Return a finding with the last moment at which its part was well, where nothing better is known."""
    sign = _SIGNS.get(one.kind.layer)
    if one.since is not None or sign is None or not one.scope or one.code in ("processor-stopped", "tags-bad"):
        return one
    values = [value for own in known if own.processor.name in one.scope for _, value in own.each(sign)]
    return replace(one, since=max(values)) if values else one


def _once(found: Iterable[Finding]) -> list[Finding]:
    """Leave out what repeats the kind at the same part of the flow, as a figure and a store may both tell it."""
    kept: dict[tuple[str, frozenset[str] | str], Finding] = {}
    for one in found:
        key = (one.code, one.scope if one.code in _ONCE_A_SCOPE else one.subject)
        before = kept.get(key)
        if before is None or (before.since is None and one.since is not None):
            kept[key] = one
    return list(kept.values())


_ONCE_A_SCOPE = ("tags-bad", "clock-ahead", "clock-behind", "samples-rejected")
