"""VictoriaMetrics: health, whether it takes samples, disk, flags, and how new what it holds is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import requests

from otmirror import netfault, nifi
from otmirror.doctor import times
from otmirror.doctor.findings import Finding
from otmirror.doctor.flowview import SOURCES, FlowView, Processor
from otmirror.doctor.probes.disks import FILLING
from otmirror.embedded.loopback import session
from otmirror.metrics.text import lines

SECONDS = 3.0
AHEAD = 5.0
"""Seconds by which a device's clock may be ahead of this machine's."""
STALE = 90.0
"""Seconds after which a source without a new good value is stale."""
_WINDOW, _AHEAD = "3d", 2 * 86400
_RETENTION = re.compile(r"(\d+(?:\.\d+)?)(|h|d|w|M|y)")
_UNITS = {"h": 3600, "d": 86400, "w": 604800, "M": 31 * 86400, "": 31 * 86400, "y": 365 * 86400}


@dataclass(frozen=True)
class Newest:
    """The newest good value of each source by its source timestamp (seconds since 1970), and its bad tags."""

    good: Mapping[str, float]
    bad: Mapping[str, list[str]]


class Store:
    """One hot store as a sink processor's properties name it."""

    def __init__(self, sink: Processor, password: str | None = None):
        """Take the sink; `password` for the user it names, which NiFi does not tell."""
        self.sink, self.url = sink, sink.get("VictoriaMetrics URL").rstrip("/")
        self._session = session(self.url)
        authority = sink.get("CA Certificate File")
        self._session.verify = authority or True
        certificate, key = sink.get("Client Certificate File"), sink.get("Client Key File")
        self._session.cert = (certificate, key) if certificate and key else None
        user = sink.get("Username")
        if user and password:
            self._session.auth = (user, password)
        self._scope = frozenset({sink.name})

    def look(self) -> list[Finding]:
        """Return what is wrong with the server itself."""
        try:
            health = self._get("/health")
        except (requests.RequestException, OSError) as error:
            words = netfault.words(error)
            tls = isinstance(error, requests.exceptions.SSLError) or words.startswith("TLS")
            return [self._found("hot-refuses" if tls else "hot-down", words)]
        if health.status_code in (401, 403):
            text = f"wants a log-in ({health.status_code}): its password is not told by NiFi (OTMIRROR_HOT_PASSWORD)"
            return [self._found("not-looked", text)]
        if health.status_code != 200:
            return [self._found("hot-refuses", f"/health answers {health.status_code}")]
        return [*self._state(), *self._takes()]

    def _state(self) -> Iterator[Finding]:
        try:
            told = list(lines(self._get("/metrics").text))
        except (requests.RequestException, OSError):
            yield self._found("not-looked", "/metrics cannot be read")
            return
        numbers = {point.name: point.value for point in told}
        flags = {p.labels["name"]: p.labels.get("value", "") for p in told if p.name == "flag" and "name" in p.labels}
        free, total = numbers.get("vm_free_disk_space_bytes"), numbers.get("vm_total_disk_space_bytes")
        if numbers.get("vm_storage_is_read_only"):
            text = (
                f"is read-only: {(free or 0) / 1e9:.1f} GB free are below -storage.minFreeDiskSpaceBytes="
                f"{flags.get('storage.minFreeDiskSpaceBytes', '')}"
            )
            yield self._found("hot-read-only", text)
        elif free is not None and total and free / total < FILLING:
            yield self._found("hot-disk-low", f"{free / 1e9:.1f} GB, {100 * free / total:.0f} % of its disk are free")
        yield from self._flags(flags)

    def _flags(self, flags: Mapping[str, str]) -> Iterator[Finding]:
        match = _RETENTION.fullmatch(flags.get("retentionPeriod", ""))
        try:
            wanted = nifi.parse_period(self.sink.get("Retention", "31 days"))
        except ValueError:
            return
        if match and float(match[1]) * _UNITS[match[2]] < wanted:
            text = (
                f"keeps samples for -retentionPeriod={match[0]}, less than the sink's Retention "
                f"({self.sink.get('Retention')}): older samples vanish without a word"
            )
            yield self._found("hot-retention", text)

    def _takes(self) -> Iterator[Finding]:
        """Import nothing, an empty request, as the sink does when it wants to know whether it may."""
        try:
            answer = self._session.post(f"{self.url}/api/v1/import", data=b"", timeout=SECONDS, allow_redirects=False)
        except (requests.RequestException, OSError) as error:
            yield self._found("hot-refuses", f"/api/v1/import: {netfault.words(error)}")
            return
        if answer.status_code != 204:
            said = " ".join(answer.text.split())[:200]
            yield self._found("hot-refuses", f"/api/v1/import answers {answer.status_code} to an empty request: {said}")

    def newest(self, now: float) -> Newest | None:
        """Return how new the samples of each source are; None when it does not tell."""
        prefix = self.sink.get("Metric Prefix", "ot")
        try:
            good = self._query(f"max(tlast_over_time({prefix}_value[{_WINDOW}])) by (source)", now + _AHEAD)
            bad = self._query(f"last_over_time({prefix}_quality[10m]) == 0", now)
        except (requests.RequestException, OSError, ValueError, KeyError):
            return None
        tags: dict[str, list[str]] = {}
        for labels, _ in bad:
            tags.setdefault(labels.get("source", ""), []).append(labels.get("tag", ""))
        return Newest({labels.get("source", ""): value for labels, value in good}, tags)

    def _query(self, query: str, at: float) -> list[tuple[dict[str, str], float]]:
        params = {"query": query, "time": f"{at:.0f}", "nocache": "1"}
        answer = self._session.get(f"{self.url}/api/v1/query", params=params, timeout=SECONDS)
        answer.raise_for_status()
        return [(one["metric"], float(one["value"][1])) for one in json.loads(answer.text)["data"]["result"]]

    def _get(self, path: str) -> requests.Response:
        return self._session.get(f"{self.url}{path}", timeout=SECONDS, allow_redirects=False)

    def _found(self, code: str, text: str) -> Finding:
        return Finding(code, self.url, text, scope=self._scope)


def sources(view: FlowView) -> Iterable[tuple[Processor, str]]:
    """Yield the sources of a flow that are meant to run with the name that their samples have."""
    for one in view.of(*SOURCES):
        name = one.get("Source Name")
        if name and (one.told is None or one.told.state != "DISABLED"):
            yield one, name


def freshness(
    view: FlowView, sink: Processor, newest: Newest, now: float, told: frozenset[str] = frozenset()
) -> Iterator[Finding]:
    """Yield which sources are stale in the store, ahead of the clock, or have bad tags.

    Of the sources in `told` clock and tags are known from themselves, who know it earlier.
    """
    for one, name in sources(view):
        scope = frozenset({one.name, sink.name})
        seen = newest.good.get(name)
        if seen is None:
            yield Finding("hot-stale", name, "the store has no good value of the last three days", None, scope)
        elif seen > now + AHEAD and one.name not in told:
            text = f"its clock is {times.told(seen - now)} ahead of this machine's"
            yield Finding("clock-ahead", name, text, scope=frozenset({one.name}))
        elif now - seen > STALE:
            text = f"the newest good value in the store is of {times.clock(seen)}, {times.told(now - seen)} ago"
            yield Finding("hot-stale", name, text, seen, scope)
        bad = newest.bad.get(name) if one.name not in told else None
        if bad:
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            text = f"{len(bad)} tags are bad: {', '.join(sorted(bad)[:3])}{more}"
            yield Finding("tags-bad", name, text, scope=frozenset({one.name}))
