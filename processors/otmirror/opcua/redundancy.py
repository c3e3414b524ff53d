"""Several servers with the same nodes: which one to read (OPC 10000-4, 6.6.2, non-transparent redundancy)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from otmirror.backoff import Backoff

HEALTHY, DEGRADED, NO_DATA, MAINTENANCE = 3, 2, 1, 0
"""The sub-ranges of a service level, the better the higher (OPC 10000-4, 6.6.2.4.2)."""

HOLD_S = 60.0
"""Seconds between two moves of one's own accord, and for which the level of a server without session counts."""

NAMES = ("in maintenance", "without data", "degraded", "healthy")
"""What to call the sub-ranges in a message."""


def health(level: int | None) -> int:
    """Return the sub-range of a service level: 0 maintenance, 1 no data, 2-199 degraded, 200-255 healthy.

    A server that states no level counts as healthy.
    """
    if level is None or level >= 200:
        return HEALTHY
    return DEGRADED if level >= 2 else level


@dataclass
class _Server:
    url: str
    backoff: Backoff
    spacing: Backoff
    """Between two sessions, so that connections which do not last leave no trail of them on the server."""
    connected: float = float("-inf")
    """When it was last connected to."""
    tried: bool = False
    """Whether connecting failed since it was last connected."""
    level: int | None = None
    seen: float = field(default=float("-inf"))
    """When its level was learned."""

    def ready(self, now: float) -> bool:
        """Whether it may be connected to now."""
        return self.backoff.ready(now) and self.spacing.ready(now)


class Servers:
    """Decides which server to read. Times are seconds of a monotonic clock; nothing here connects or waits.

    A server that was lost is tried once more before any other, unless it was lost twice in a row. As long as the
    current one is healthy, it stays (6.6.2.4.3); once it is not, one of a better sub-range takes its place, at most one
    move a minute. Sessions that last less than a minute are opened with delays that double: an abandoned one stays on
    the server until it times out, and a small device has room for few.
    """

    def __init__(self, urls: Sequence[str], backoff: Callable[[], Backoff] = Backoff, hold: float = HOLD_S):
        """Take the servers, the preferred one first, and what makes each one's backoff."""
        self._servers = {url: _Server(url, backoff(), backoff()) for url in urls}
        self._hold = hold
        self._moved = float("-inf")
        self.current = urls[0]
        """The server that is read, or was last."""

    def next(self, now: float) -> str | None:
        """Return the server to connect to now, None when it is too early for any."""
        current = self._servers[self.current]
        if not current.tried and current.backoff.failures < 2:
            return current.url if current.ready(now) else None
        return self._best(now, [s for s in self._servers.values() if s.ready(now)])

    def connected(self, url: str, level: int | None, now: float) -> None:
        """Note that a server is the one read from now on, and its service level."""
        if url != self.current:
            self._moved = now
        self.current = url
        server = self._servers[url]
        server.tried = False
        if now - server.connected >= self._hold:
            server.spacing.succeeded()
        server.connected = now
        server.spacing.failed(now)
        self.level(url, level, now)

    def succeeded(self) -> None:
        """Note that the current server answers as it should: its failures are forgotten."""
        self._servers[self.current].backoff.succeeded()

    def lost(self, now: float) -> None:
        """Note that the current server's session is gone; `next` gives it one more chance after its delay."""
        self._servers[self.current].backoff.failed(now)

    def failed(self, url: str, now: float, at_least: float = 0.0) -> None:
        """Note that a server could not be connected to; it is left alone for its delay, or for `at_least` so long."""
        server = self._servers[url]
        server.tried = True
        server.backoff.failed(now, at_least)

    def level(self, url: str, level: int | None, now: float) -> None:
        """Note a server's service level, None when it states none."""
        server = self._servers[url]
        server.level, server.seen = level, now

    def standby(self, now: float) -> str | None:
        """Return the best server beside the current one, to stand by; None when it is too early for any."""
        return self._best(now, [s for s in self._others() if s.ready(now)])

    def wanted(self, now: float) -> str | None:
        """Return the server to look at because the current one is not healthy; None to stay without a look."""
        if health(self._servers[self.current].level) == HEALTHY or now - self._moved < self._hold:
            return None
        fit = [s for s in self._others() if s.ready(now) and (self._stale(s, now) or self._beats(s))]
        return self._best(now, fit)

    def better(self, url: str, now: float) -> bool:
        """Return whether a server whose level is known now should take the current one's place."""
        return now - self._moved >= self._hold and self._beats(self._servers[url])

    def _others(self) -> list[_Server]:
        return [server for url, server in self._servers.items() if url != self.current]

    def _stale(self, server: _Server, now: float) -> bool:
        return now - server.seen >= self._hold

    def _beats(self, server: _Server) -> bool:
        mine = health(self._servers[self.current].level)
        return mine < HEALTHY and health(server.level) > mine

    def _best(self, now: float, servers: Sequence[_Server]) -> str | None:
        def rank(server: _Server) -> int:
            return 255 if server.level is None or self._stale(server, now) else server.level

        return max(servers, key=rank).url if servers else None  # of equals the first one configured
