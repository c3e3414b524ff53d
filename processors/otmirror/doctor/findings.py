"""What the doctor can find: each kind with its place, its weight, its runbook and what it brings about elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from otmirror.slo import alerts

ERROR, WARNING, NOTE = "error", "warning", "note"
LAYERS = ("source", "nifi", "queue", "bus", "hot", "cold", "certificate", "disk", "monitoring", "version")
"""In the order in which samples pass them, then what all of them stand on."""


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    `alert` names the alert whose runbook says what to do; `effects` are the kinds that follow from it downstream.
    """

    layer: str
    weight: str
    alert: str | None
    effects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        code: its kind, a key of `KINDS`.
        subject: the address, processor, queue, file or folder it is about.
        text: a sentence for the operator, without secrets.
        since: seconds since 1970 from when on it has been so; None where nothing tells.
        scope: names of the flow's processors it touches; empty: all of them.
    """

    code: str
    subject: str
    text: str
    since: float | None = None
    scope: frozenset[str] = field(default=frozenset())

    @property
    def kind(self) -> Kind:
        """What is known of its kind."""
        return KINDS[self.code]


def runbook(alert: str | None) -> str | None:
    """Return the path of an alert's runbook below the project's root; None without an alert."""
    return f"{alerts.RUNBOOKS}{alerts.runbook(alert)}" if alert else None


_STALE = ("hot-stale", "cold-stale")
_SOURCE = ("tags-bad", "source-stale", "samples-lost", "processor-complains", *_STALE)
_QUEUES = ("retry-waiting", "queue-filling", "back-pressure", "processor-complains")
_BLOCKED = ("source-stale", "samples-lost", "buffer-filling", *_STALE)
_HOT = (*_QUEUES, "hot-stale")
_COLD = (*_QUEUES, "cold-stale", "maintenance-due")
_DEAD = (*_QUEUES, "heartbeat-old", *_BLOCKED)

KINDS: dict[str, Kind] = {
    "nifi-down": Kind("nifi", ERROR, "NifiDown", ("processor-gone", *_DEAD)),
    "nifi-silent": Kind("nifi", ERROR, "NifiDown", _DEAD),
    "flow-missing": Kind("nifi", ERROR, "SourceStale", _STALE),
    "disk-full": Kind(
        "disk", ERROR, "DiskFilling", ("nifi-down", "nifi-silent", "hot-read-only", "cold-warehouse", *_DEAD)
    ),
    "certificate-expired": Kind(
        "certificate", ERROR, "CertificateExpiring",
        ("source-certificate", "source-refuses", "hot-refuses", "cold-catalog", "bus-down", *_SOURCE, *_QUEUES),
    ),
    "taglist-unusable": Kind("source", ERROR, "SourceStale", ("processor-invalid", "processor-stopped", *_SOURCE)),
    "source-unreachable": Kind("source", ERROR, "SourceDisconnected", _SOURCE),
    "source-silent": Kind("source", ERROR, "SourceDisconnected", _SOURCE),
    "source-certificate": Kind("source", ERROR, "SourceDisconnected", ("source-refuses", *_SOURCE)),
    "source-refuses": Kind("source", ERROR, "SourceDisconnected", _SOURCE),
    "hot-down": Kind("hot", ERROR, "HotStoreDown", _HOT),
    "hot-refuses": Kind("hot", ERROR, "HotStoreFailing", _HOT),
    "hot-disk-low": Kind("hot", WARNING, "DiskFilling", ("hot-read-only",)),
    "hot-read-only": Kind("hot", ERROR, "HotStoreFailing", _HOT),
    "cold-warehouse": Kind("cold", ERROR, "ColdStoreFailing", ("cold-catalog", *_COLD)),
    "cold-catalog": Kind("cold", ERROR, "ColdStoreFailing", _COLD),
    "bus-down": Kind("bus", ERROR, "QueueFilling", (*_QUEUES, *_STALE)),
    "processor-frozen": Kind("nifi", ERROR, "ProcessorSilent", _DEAD),
    "processor-gone": Kind("nifi", ERROR, "ProcessorSilent", _DEAD),
    "processor-invalid": Kind("nifi", ERROR, "ProcessorSilent", ("processor-stopped", *_DEAD)),
    "processor-stopped": Kind("nifi", ERROR, "QueueFilling", _DEAD),
    "heartbeat-old": Kind("nifi", ERROR, "ProcessorSilent", (*_QUEUES, *_BLOCKED)),
    "clock-ahead": Kind("source", ERROR, "SourceClockAhead", ("samples-rejected", *_STALE)),
    "clock-behind": Kind("source", ERROR, "SourceStale", ("samples-rejected", *_STALE)),
    "hot-retention": Kind("hot", WARNING, "SamplesRejected", ("samples-rejected",)),
    "samples-rejected": Kind("hot", ERROR, "SamplesRejected", ("hot-stale",)),
    "tags-bad": Kind("source", ERROR, "TagsBad", _STALE),
    "guard-refused": Kind("source", ERROR, "GuardRefused"),
    "buffer-filling": Kind("source", WARNING, "BufferFilling", ("samples-lost",)),
    "needs-person": Kind("queue", ERROR, "QueueFilling", ("back-pressure",)),
    "retry-waiting": Kind("queue", WARNING, "QueueFilling", ("queue-filling", "back-pressure", *_STALE)),
    "queue-filling": Kind("queue", WARNING, "QueueFilling", ("back-pressure", *_STALE)),
    "back-pressure": Kind("queue", ERROR, "QueueFilling", _BLOCKED),
    "source-stale": Kind("source", ERROR, "SourceStale", _STALE),
    "hot-stale": Kind("hot", ERROR, "HotStoreStale"),
    "cold-stale": Kind("cold", ERROR, "ColdStoreStale"),
    "cold-conflicts": Kind("cold", WARNING, "IcebergConflicts"),
    "maintenance-due": Kind("cold", WARNING, "IcebergMaintenanceDue"),
    "certificate-expiring": Kind("certificate", WARNING, "CertificateExpiring"),
    "disk-filling": Kind("disk", WARNING, "DiskFilling"),
    "exporter-down": Kind("monitoring", WARNING, "ExporterDown"),
    "samples-lost": Kind("source", WARNING, "SamplesLost"),
    "version-drift": Kind("version", WARNING, None),
    "processor-complains": Kind("nifi", NOTE, None),
    "not-looked": Kind("version", NOTE, None),
}  # fmt: skip
"""By how near each is to the root of a trouble: what stands earlier is told first where nothing else decides."""
