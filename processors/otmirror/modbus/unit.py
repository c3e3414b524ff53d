"""What is known of the units of a device: their requests, what they refuse, and whether they answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from otmirror.backoff import Backoff
from otmirror.modbus.address import BIT_TABLES
from otmirror.modbus.config import ModbusConfig
from otmirror.modbus.decode import Point
from otmirror.modbus.plan import Request, plan

Requests = list[Request[Point]]
Quarantine = tuple[float, int]
"""When to ask a tag again (monotonic seconds), and its status until then."""


class Group:
    """The tags of one table that are read at the same interval, and the requests that read them."""

    def __init__(self, table: str, interval_ms: int, points: Sequence[Point], limit: int):
        """Take the tags and how many registers (or bits) a request may ask for."""
        self.table, self.interval_ms, self.points, self._limit = table, interval_ms, points, limit
        self.requests: Requests = plan(points, limit)
        self.quarantine: dict[Point, Quarantine] = {}
        """Tags whose address the unit calls illegal: each is asked alone, rarely."""
        self.codes: set[int] = set()
        """Exceptions its requests were answered with in the last cycle, illegal addresses aside."""

    def halves(self, request: Request[Point]) -> Requests:
        """Return the requests that read the first and the second half of a request's tags."""
        middle = len(request.spans) // 2
        return self.split(request.spans[:middle]) + self.split(request.spans[middle:])

    def split(self, points: Iterable[Point]) -> Requests:
        """Return the fewest requests for some of the tags."""
        return plan(points, self._limit)

    def learn(self, request: Request[Point], kept: Requests, illegal: Mapping[Point, int], retry_at: float) -> None:
        """Replace a request the unit calls illegal by what it answers; `illegal` holds a status a tag.

        When single tags are to blame, the others are merged again around them; when every part works (a device
        that takes only short requests), the parts are kept.
        """
        for point, status in illegal.items():
            self.quarantine[point] = (retry_at, status)
        replacement = self.split(point for point in request.spans if point not in illegal) if illegal else kept
        place = self.requests.index(request)
        self.requests[place : place + 1] = replacement

    def readmit(self, points: Iterable[Point]) -> None:
        """Read tags that turned out to be legal with the others again."""
        for point in points:
            del self.quarantine[point]
        self.requests = self.split(point for point in self.points if point not in self.quarantine)


@dataclass
class Unit:
    """One unit of a device."""

    number: int
    groups: list[Group]
    backoff: Backoff
    fault: int | None = None
    """The status its tags have while it is not asked because it did not answer; None when it is asked."""
    retry_at: float = 0.0
    codes: set[int] = field(default_factory=set)
    """Exceptions the operator was told of."""

    def probe(self) -> tuple[Group, Request[Point]]:
        """Return one request that tells whether the unit answers."""
        group = min(self.groups, key=lambda group: not group.requests)
        requests = group.requests or group.split(group.points[:1])
        return group, requests[0]

    def illegal(self) -> list[str]:
        """Return the tags whose address the unit calls illegal."""
        return [point.tag.tag for group in self.groups for point in group.quarantine]


def units_of(config: ModbusConfig, points: Iterable[Point]) -> list[Unit]:
    """Return the units of one device with their tags grouped by table and interval."""
    grouped: dict[int, dict[tuple[str, int], list[Point]]] = {}
    for point in points:
        key = (point.address.table, point.tag.interval_ms or config.interval_ms)
        grouped.setdefault(point.address.unit, {}).setdefault(key, []).append(point)

    def limit(table: str) -> int:
        return config.max_bits if table in BIT_TABLES else config.max_registers

    return [
        Unit(
            number,
            [Group(table, ms, members, limit(table)) for (table, ms), members in sorted(groups.items())],
            Backoff(config.reconnect_first, config.reconnect_longest),
        )
        for number, groups in sorted(grouped.items())
    ]
