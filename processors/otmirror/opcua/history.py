"""Backfill: what tags did while they could not be read, fetched from the server's history afterwards.

`Backfill` keeps the books: which tag missed which time. Its worker reads what is missing, oldest first, in small
requests with pauses in between, and hands it over one batch at a time. What was handed over is never asked for again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from otmirror.clock import Clock
from otmirror.notices import Notices
from otmirror.opcua.backfillreport import BackfillReport
from otmirror.opcua.chunks import ChunkReader, first_limit
from otmirror.opcua.faults import (
    ANSWER_TOO_LARGE,
    BUSY,
    CODES,
    REQUEST_TOO_LARGE,
    ConnectionLostError,
    ServiceFaultError,
    UndecodableError,
)
from otmirror.opcua.gaps import Gap, Gaps
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.historyread import Page, access_level
from otmirror.opcua.outbox import Row
from otmirror.opcua.readings import Reading

MOST_VALUES = 5000
"""Values of a request, of a batch, and that are held at a time."""
FIRST_VALUES = 1000
MOST_NODES = 100
"""Nodes of a request."""
_LEAST_VALUES = 50
_QUICK, _SLOW = 0.25, 1.0
"""Seconds: after a quicker answer twice as much is asked for, after a slower one half; polls wait behind it."""
_ATTEMPTS = 3
"""How often a tag's history is asked for in vain before it is left."""
_BREAKS = 5
"""How often in a row the connection is lost while history is read before that is given up."""
_IDLE = 20
"""Answers in a row without a value of a tag before it is put off."""
_GOODBYE = 2.0
_LATER = 10.0
"""Seconds until the next attempt, times the attempts so far."""
_HISTORY_READ = 4
"""The bit of the AccessLevel that says that a node's history can be read (OPC 10000-3, 8.57)."""

NO_HISTORY = frozenset(
    (
        CODES.BadHistoryOperationUnsupported,
        CODES.BadHistoryOperationInvalid,
        CODES.BadNotSupported,
        CODES.BadNotImplemented,
        CODES.BadNotReadable,
        CODES.BadUserAccessDenied,
        CODES.BadNodeIdUnknown,
        CODES.BadNodeIdInvalid,
        CODES.BadAttributeIdInvalid,
        CODES.BadServiceUnsupported,
    )
)
"""Statuses that stay: this node has no history, or none for this user."""
_NOTHING = frozenset((CODES.BadNoData, CODES.BadBoundNotFound, CODES.BadBoundNotSupported))

Deliver = Callable[[list[Row]], Awaitable[None]]
"""Takes a batch; returns when it is safe with the taker, and is cancelled with nothing taken."""


@dataclass
class _Sizes:
    """How much to ask for at once: less of what the server is slow with or calls too large."""

    nodes: int
    values: int

    def took(self, seconds: float) -> None:
        if seconds < _QUICK:
            self.values = min(MOST_VALUES, 2 * self.values)
        elif seconds > _SLOW:
            self.values = max(_LEAST_VALUES, self.values // 2)


class Backfill:
    """Reads from a server's history what the tags of a source missed.

    `gaps` is told what was read and what was not. `run` works for as long as a connection lasts; a gap that is not
    done by then stays, less what was handed over, and goes on with the next connection.
    """

    def __init__(
        self,
        source: str,
        names: Sequence[str],
        nodes: Callable[[int], bytes | None],
        gaps: Gaps,
        notices: Notices,
        clock: Clock,
        limit: float = 86400.0,
        rate: float = 2.0,
        max_nodes: int = 0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ):
        """Take where things are; nothing is asked yet.

        Args:
            source: Name for the notices.
            names: The tags.
            nodes: What `wire.node` returned for a tag's place, None while its namespace is unknown.
            gaps: What is missing.
            notices: Where to tell what was done.
            clock: Monotonic for pauses, and today's date.
            limit: Seconds; what was missed longer ago is left.
            rate: The most requests a second.
            max_nodes: Max Nodes Per Read, 0 leaves it to the server.
            sleep: Waits for seconds.
        """
        self._nodes, self.gaps, self._clock, self._sleep = nodes, gaps, clock, sleep
        self._limit, self._pause, self._max_nodes = limit, 1.0 / rate, max_nodes
        self._sizes = _Sizes(0, FIRST_VALUES)
        self._next_request = float("-inf")
        self._checked: set[int] = set()
        self._report = BackfillReport(source, names, notices, clock)
        self._broken = 0
        self._wake: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self.samples = 0
        """Samples handed over so far."""

    def see(self, position: int, reading: Reading) -> None:
        """Note what was read of a tag; from any thread."""
        if self.gaps.see(position, reading):
            self._poke()

    def gap(self, position: int, from_us: int, to_us: int) -> None:
        """Note that a tag missed what lies between two device times (microseconds), neither of them included."""
        if self.gaps.add(position, from_us, to_us):
            self._poke()

    async def run(self, client: GuardedClient, deliver: Deliver) -> None:
        """Fill gaps until the connection is lost or this is cancelled; never raises otherwise.

        Batches have at most `MOST_VALUES` rows, in ascending order of time within a tag.
        """
        wake = asyncio.Event()
        self._wake = mine = asyncio.get_running_loop(), wake
        self._checked.clear()
        self._sizes = _Sizes(0, FIRST_VALUES)
        try:
            while True:
                wake.clear()
                group = await self._next(client)
                if group:
                    await self._fetch(client, group, deliver)
                else:
                    self._report.tell(self._limit, _ATTEMPTS)
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(wake.wait(), self.gaps.wait())
        except (ConnectionLostError, ServiceFaultError, UndecodableError):
            self._count_break()
        except Exception as error:  # polls go on
            self._report.say("error", "stopped", f"reading history ended: {type(error).__name__}: {error}")
        finally:
            if self._wake is mine:  # else the next connection is here already
                self._wake = None
            self._report.tell(self._limit, _ATTEMPTS)

    def _poke(self) -> None:
        if self._wake is not None:
            loop, event = self._wake
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(event.set)

    async def _pace(self) -> None:
        now = self._clock.monotonic()
        if self._next_request > now:
            await self._sleep(self._next_request - now)
        self._next_request = max(now, self._next_request) + self._pause

    async def _next(self, client: GuardedClient) -> list[Gap]:
        gone, shorter = self.gaps.shorten(self._limit)
        self._report.aged(gone | shorter)
        self._report.overflown(self.gaps.overflown)
        unknown = {gap.position for gap in self.gaps.every()} - self._checked
        unknown = {position for position in unknown if self._nodes(position) is not None}
        if unknown:
            await self._check(client, sorted(unknown))
        return self.gaps.group(self._sizes.nodes or MOST_NODES, lambda p: p in self._checked and self._nodes(p))

    async def _check(self, client: GuardedClient, positions: list[int]) -> None:
        """Leave the tags whose AccessLevel says that they have no history, and learn the server's limit."""

        async def paced(nodes: Sequence[bytes]) -> Sequence[Reading]:
            await self._pace()
            return await client.read_values(nodes)

        without: set[int] = set()

        def take(start: int, values: Sequence[Reading]) -> None:
            for position, (value, _, status, *_times) in zip(positions[start:], values, strict=False):
                if not status and isinstance(value, int) and not value & _HISTORY_READ:
                    without.add(position)

        nodes = [access_level(node) for node in map(self._nodes, positions) if node is not None]
        with contextlib.suppress(ServiceFaultError, UndecodableError):  # then they are asked for their history
            if not self._sizes.nodes:
                self._sizes.nodes = MOST_NODES
                self._sizes.nodes = min(client.limits.nodes_per_history_read, MOST_NODES)
            await ChunkReader(paced, first_limit(client.max_nodes_per_read, self._max_nodes)).read(nodes, take)
        self._checked.update(positions)
        self._leave(without)

    async def _fetch(self, client: GuardedClient, group: list[Gap], deliver: Deliver) -> None:
        """Read one group of gaps page by page; what fails is put off or left, and the others go on."""
        span = _span(group)
        asked: list[tuple[Gap, bytes | None]] = [(gap, None) for gap in group]
        spare: list[tuple[Gap, bytes | None]] = []
        try:
            while asked:
                values = max(1, self._sizes.values // len(asked))
                read = await self._ask(client, asked, span, values)
                # The server holds these points from here on, also when the batch is not taken any more.
                asked = [(gap, page.point) for gap, page in read if page.point]
                moved = await self._deliver(read, deliver)
                going_on = {gap for gap, page in read if self._goes_on(gap, page, values, gap in moved)}
                spare += [(gap, point) for gap, point in asked if gap not in going_on]
                asked = [(gap, point) for gap, point in asked if gap in going_on]
        except (ServiceFaultError, UndecodableError) as fault:
            if not client.alive:
                raise
            halves = self._refused([gap for gap, _ in asked], fault)
        else:
            halves = ()
        finally:
            await self._release(client, [one for one in asked + spare if one[1]], span)
        for half in halves:
            await self._fetch(client, half, deliver)

    async def _ask(
        self, client: GuardedClient, asked: Sequence[tuple[Gap, bytes | None]], span: tuple[int, int], values: int
    ) -> list[tuple[Gap, Page]]:
        await self._pace()
        began, points = self._clock.monotonic(), [point for _, point in asked]
        pages = await client.history(self._nodes_of(asked), *span, values, points if any(points) else ())
        self._sizes.took(self._clock.monotonic() - began)
        self._broken = 0
        if len(pages) > 1 and any(page.status == CODES.BadNoContinuationPoints for page in pages):
            self._sizes.nodes = len(pages) // 2
        return [(gap, page) for (gap, _), page in zip(asked, pages, strict=True)]

    def _nodes_of(self, asked: Sequence[tuple[Gap, bytes | None]]) -> list[bytes]:
        nodes = [node for node in (self._nodes(gap.position) for gap, _ in asked) if node is not None]
        if len(nodes) < len(asked):
            raise ConnectionLostError("the namespaces were looked up again")
        return nodes

    async def _deliver(self, read: Sequence[tuple[Gap, Page]], deliver: Deliver) -> set[Gap]:
        """Hand over what is new, and only then move the gaps' starts on; returns the gaps that moved."""
        rows = [(gap, ts, reading) for gap, page in read for ts, reading in _new(gap, page)]
        for first in range(0, len(rows), MOST_VALUES):
            part = rows[first : first + MOST_VALUES]
            await deliver([(gap.position, reading) for gap, _, reading in part])
            self.samples += len(part)
            for gap, ts, _ in part:
                gap.start, gap.attempts = ts, 0
                self._report.delivered(gap.position, ts)
        return {gap for gap, _, _ in rows}

    def _goes_on(self, gap: Gap, page: Page, values: int, moved: bool) -> bool:
        """Return whether a gap's next page is to be asked for right away; else it is done, put off or left."""
        if _is_bad(page.status):
            self._failed(gap, page.status)
            return False
        gap.idle = 0 if page.values else gap.idle + 1
        beyond = any(ts is not None and ts >= gap.end for ts in map(_time, page.values))
        if page.point and not beyond and gap.idle < _IDLE:
            return True
        if beyond or (len(page.values) < values and not page.point):
            self.gaps.remove([gap])
        elif not moved:  # it is full, but of nothing new; else the next request goes on where this one ended
            self._put_off(gap, page.status)
        return False

    def _failed(self, gap: Gap, status: int) -> None:
        if status in NO_HISTORY:
            self._leave({gap.position})
        elif status in _NOTHING:
            self.gaps.remove([gap])
        elif status != CODES.BadNoContinuationPoints or self._sizes.nodes <= 1:
            self._put_off(gap, status)

    def _refused(self, group: list[Gap], fault: ServiceFaultError | UndecodableError) -> tuple[list[Gap], ...]:
        """A request failed as a whole: ask for less next time, or return its halves to find the tag it is about."""
        code = fault.code if isinstance(fault, ServiceFaultError) else CODES.BadDecodingError
        if code == CODES.BadServiceUnsupported:
            self._leave({gap.position for gap in self.gaps.every()})
        elif code in REQUEST_TOO_LARGE and len(group) > 1:
            self._sizes.nodes = len(group) // 2
        elif code in ANSWER_TOO_LARGE and self._sizes.values > _LEAST_VALUES:
            self._sizes.took(float("inf"))
        elif code in BUSY:
            self._sizes.took(float("inf"))
            for gap in group:
                self._put_off(gap, code)
        elif len(group) > 1:
            return group[: len(group) // 2], group[len(group) // 2 :]
        else:
            self._failed(group[0], code)
        return ()

    async def _release(
        self, client: GuardedClient, held: Sequence[tuple[Gap, bytes | None]], span: tuple[int, int]
    ) -> None:
        """Give back continuation points that are not followed any further (OPC 10000-4, 7.9)."""
        if held and client.alive:
            with contextlib.suppress(Exception):
                nodes, points = self._nodes_of(held), [point for _, point in held]
                await asyncio.wait_for(client.history(nodes, *span, 0, points, release=True), _GOODBYE)

    def _put_off(self, gap: Gap, status: int) -> None:
        gap.attempts, gap.idle = gap.attempts + 1, 0
        gap.not_before = self._clock.monotonic() + _LATER * gap.attempts
        if gap.attempts >= _ATTEMPTS:
            self.gaps.remove([gap])
            self._report.unread(gap.position, gap.start, gap.end, status)

    def _leave(self, positions: set[int]) -> None:
        """Forget the gaps of tags without history."""
        self.gaps.remove_tags(positions)
        self._report.without(positions)

    def _count_break(self) -> None:
        """A request for history that breaks the connection each time must not keep the tags from being read."""
        self._broken += 1
        left = {gap.position for gap in self.gaps.every()}
        if self._broken >= _BREAKS and left:
            self._broken = 0
            self.gaps.remove_tags(left)
            self._report.say(
                "warn", "broken", f"the connection was lost {_BREAKS} times in a row while history was read: what "
                f"{len(left)} tags did during outages is not read any more; lower Backfill Requests Per Second, or set "
                "Backfill to false"
            )  # fmt: skip


def _span(group: Sequence[Gap]) -> tuple[int, int]:
    """Return the first microsecond to ask for, and where to end, which a server with milliseconds must not cut."""
    end = max(gap.end for gap in group)
    return min(gap.start for gap in group) + 1, end + -end % 1000


def _is_bad(status: int) -> bool:
    return status >= 1 << 31


def _time(reading: Reading) -> int | None:
    return reading[3] if reading[3] is not None else reading[4]


def _new(gap: Gap, page: Page) -> list[tuple[int, Reading]]:
    """Return a page's values inside the gap, in ascending order, one a time: a sample is the same by tag and time."""
    found = {ts: reading for reading in page.values if (ts := _time(reading)) is not None and gap.start < ts < gap.end}
    return sorted(found.items(), key=lambda item: item[0])
