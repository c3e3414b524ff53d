"""What a flow in NiFi looks like from outside: its processors, queues and bulletins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_INITIALISING = (
    "Initializing runtime environment",
    "downloading third-party dependencies",
    "has not yet completed",
    "In the process of loading",
)
_UNLOADED = "Failed to parse or load Processor code"


@dataclass(frozen=True)
class Component:
    """One processor. Counts are those of the last five minutes, `queued` is what waits before it now."""

    id: str
    name: str
    type: str
    group: str
    state: str
    """RUNNING, STOPPED or DISABLED: what was asked for."""
    validation: str
    """VALID, INVALID or VALIDATING."""
    errors: tuple[str, ...]
    flowfiles_in: int
    flowfiles_out: int
    bytes_in: int
    bytes_out: int
    tasks: int
    threads: int
    queued: int

    @property
    def initialising(self) -> bool:
        """Whether NiFi still prepares the Python process or validates the properties."""
        waits = any(word.lower() in error.lower() for error in self.errors for word in _INITIALISING)
        return self.validation == "VALIDATING" or waits

    @property
    def broken(self) -> bool:
        """Whether NiFi could not load the processor's Python code."""
        return any(_UNLOADED in error for error in self.errors)

    @property
    def shown(self) -> str:
        """The state as an operator reads it: RUNNING, STOPPED, DISABLED, INVALID or VALIDATING."""
        return self.validation if self.state == "STOPPED" and self.validation != "VALID" else self.state


@dataclass(frozen=True)
class Queue:
    """One connection and what waits in it now: `count` FlowFiles; `percent` of the nearer back-pressure threshold."""

    id: str
    name: str
    source: str
    source_id: str
    destination: str
    destination_id: str
    count: int
    bytes: int
    percent: int


@dataclass(frozen=True)
class Bulletin:
    """One message a component gave the operator in the last five minutes."""

    id: int
    time: str
    level: str
    source: str
    source_id: str
    message: str


@dataclass(frozen=True)
class FlowStatus:
    """A flow's processors, queues and bulletins at one time."""

    id: str
    name: str
    components: tuple[Component, ...]
    queues: tuple[Queue, ...]
    bulletins: tuple[Bulletin, ...]

    @property
    def invalid(self) -> tuple[Component, ...]:
        """The processors that cannot run as they are configured."""
        return tuple(c for c in self.components if c.state != "DISABLED" and c.validation == "INVALID")

    @property
    def running(self) -> bool:
        """Whether every processor runs that is not disabled."""
        wanted = [c for c in self.components if c.state != "DISABLED"]
        return bool(wanted) and all(c.state == "RUNNING" for c in wanted)

    @property
    def queued(self) -> int:
        """FlowFiles waiting in all queues."""
        return sum(queue.count for queue in self.queues)


def queue(entity: dict[str, Any]) -> Queue:
    """Return a queue from NiFi's connection entity."""
    told, counts = entity["component"], entity["status"].get("aggregateSnapshot") or {}
    return Queue(
        id=entity["id"],
        name=told.get("name") or "/".join(sorted(told.get("selectedRelationships") or ())),
        source=told["source"].get("name") or "",
        source_id=entity["sourceId"],
        destination=told["destination"].get("name") or "",
        destination_id=entity["destinationId"],
        count=int(counts.get("flowFilesQueued") or 0),
        bytes=int(counts.get("bytesQueued") or 0),
        percent=max(int(counts.get("percentUseCount") or 0), int(counts.get("percentUseBytes") or 0)),
    )


def component(entity: dict[str, Any], queues: tuple[Queue, ...]) -> Component:
    """Return a processor from NiFi's processor entity."""
    told, counts = entity["component"], entity["status"].get("aggregateSnapshot") or {}
    return Component(
        id=entity["id"],
        name=told["name"],
        type=told["type"],
        group=told["parentGroupId"],
        state=told["state"],
        validation=told.get("validationStatus") or "VALIDATING",
        errors=tuple(told.get("validationErrors") or ()),
        flowfiles_in=int(counts.get("flowFilesIn") or 0),
        flowfiles_out=int(counts.get("flowFilesOut") or 0),
        bytes_in=int(counts.get("bytesIn") or 0),
        bytes_out=int(counts.get("bytesOut") or 0),
        tasks=int(counts.get("taskCount") or 0),
        threads=int(counts.get("activeThreadCount") or 0),
        queued=sum(q.count for q in queues if q.destination_id == entity["id"]),
    )


def bulletin(entity: dict[str, Any]) -> Bulletin:
    """Return a bulletin from NiFi's bulletin entity."""
    told = entity.get("bulletin") or {}
    return Bulletin(
        id=int(entity.get("id") or 0),
        time=told.get("timestamp") or "",
        level=told.get("level") or "",
        source=told.get("sourceName") or "",
        source_id=told.get("sourceId") or "",
        message=" ".join(str(told.get("message") or "").split()),
    )


def group_ids(group: dict[str, Any]) -> Iterator[str]:
    """Yield the ids of a process group's status snapshot and of the groups in it."""
    yield group["id"]
    for entity in group.get("processGroupStatusSnapshots") or ():
        yield from group_ids(entity["processGroupStatusSnapshot"])
