"""Reading any number of nodes in requests that the server accepts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from otmirror.errors import UnavailableError
from otmirror.opcua.faults import ANSWER_TOO_LARGE, REQUEST_TOO_LARGE, SESSION_GONE, ServiceFaultError, UndecodableError
from otmirror.opcua.readings import Reading, bad
from otmirror.status import STATUS

DEFAULT_LIMIT = 1000
"""Nodes a request where the server states no limit."""

_FAULTS_A_CYCLE = 64

Read = Callable[[Sequence[Any]], Awaitable[Sequence[Reading]]]
Deliver = Callable[[int, Sequence[Reading]], None]
"""Takes the place of the first node among those asked for, and the values from there on."""


def first_limit(server: int, configured: int) -> int:
    """Return how many nodes a request may ask for: the server's limit, the configured one, the smaller of both."""
    return min(limit for limit in (server or DEFAULT_LIMIT, configured) if limit > 0)


Item = TypeVar("Item")
Result = TypeVar("Result")


class Halving:
    """Cuts any service's work into requests of at most `limit` items.

    `limit` halves for good when the server calls a request, or its answer, too large. For services with a result an
    item: CreateMonitoredItems, Browse, HistoryRead, TranslateBrowsePathsToNodeIds.
    """

    def __init__(self, limit: int, too_large: Collection[int] = REQUEST_TOO_LARGE | ANSWER_TOO_LARGE):
        """Take the first limit, above 0, and the status codes after which fewer items may pass."""
        self.limit, self._too_large = max(1, limit), too_large

    async def run(
        self, items: Sequence[Item], call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]
    ) -> list[Result]:
        """Return the results of all items, in their order; `call` sends one request.

        Raises:
            ServiceFaultError: the server refused a request for another reason, or one of a single item.
            UndecodableError: an answer has not as many results as items were asked for, or `call` raised it.
            ConnectionLostError: `call` raised it.
        """
        results: list[Result] = []
        while len(results) < len(items):
            part = items[len(results) : len(results) + self.limit]
            try:
                found = await call(part)
            except ServiceFaultError as fault:
                if len(part) == 1 or fault.code not in self._too_large:
                    raise
                self.limit = len(part) // 2
                continue
            if len(found) != len(part):
                raise UndecodableError(f"the server answered {len(found)} results to a request for {len(part)}")
            results += found
        return results


async def batched(
    items: Sequence[Item],
    limit: int,
    call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
    too_large: Collection[int] = REQUEST_TOO_LARGE | ANSWER_TOO_LARGE,
) -> tuple[list[Result], int]:
    """Return what `Halving.run` returns, and the limit it learned; raises what that raises."""
    halving = Halving(limit, too_large)
    return await halving.run(items, call), halving.limit


class ChunkReader:
    """Cuts a read into requests of at most `limit` nodes.

    `limit` halves for good when the server calls a request too large. A request that fails as a whole for another
    reason is halved until the nodes that make it fail stand alone: these get the fault as their status, so that one
    node never hides the others. When the answer was too large, `limit` halves too, unless that was for the nodes of
    one half only.
    """

    def __init__(self, read: Read, limit: int):
        """Take what sends one request."""
        self._read, self.limit = read, limit
        self._faults = 0

    async def read(self, nodes: Sequence[Any], deliver: Deliver) -> None:
        """Read nodes and deliver values as they arrive.

        Raises:
            UnavailableError: the connection broke, or nearly everything fails. What was delivered stays good.
        """
        self._faults = 0
        start = 0
        while start < len(nodes):
            chunk = nodes[start : start + self.limit]
            try:
                values = await self._read(chunk)
            except (ServiceFaultError, UndecodableError) as fault:
                if len(chunk) > 1 and _code(fault) in REQUEST_TOO_LARGE:
                    self.limit = len(chunk) // 2
                    continue
                values = await self._isolate(chunk, fault)
            deliver(start, values)
            start += len(chunk)

    async def _isolate(self, chunk: Sequence[Any], fault: UnavailableError) -> list[Reading]:
        code = _code(fault)
        searching = len(chunk) > 1 and code in ANSWER_TOO_LARGE
        self._faults += not searching
        if code in SESSION_GONE or self._faults > _FAULTS_A_CYCLE:
            raise fault
        if len(chunk) == 1:
            return [bad(code)]
        values: list[Reading] = []
        failed = 0
        middle = len(chunk) // 2
        for half in (chunk[:middle], chunk[middle:]):
            try:
                values += await self._read(half)
            except (ServiceFaultError, UndecodableError) as error:
                failed += 1
                values += await self._isolate(half, error)
        if searching and len(chunk) == self.limit and failed != 1:
            self.limit = middle  # learned from full requests only: two large values may stand side by side
        return values


def _code(fault: UnavailableError) -> int:
    return fault.code if isinstance(fault, ServiceFaultError) else STATUS["BadDecodingError"]
