"""Connecting to the server that should be read, and standing by at another one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from otmirror.backoff import Backoff
from otmirror.errors import MirrorError
from otmirror.loopthread import LoopThread
from otmirror.notices import Notices
from otmirror.opcua.allowlist import ReadOnlyGuard
from otmirror.opcua.config import WARM, OpcUaConfig
from otmirror.opcua.faults import UserRefusedError
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.pace import Pace
from otmirror.opcua.redundancy import DEGRADED, HEALTHY, HOLD_S, NAMES, Servers, health

AFTER_REFUSAL_S = 600.0
"""Seconds until a server is tried again that refused user name or password: trying soon may lock the account."""

_LOGIN_AGAIN = (
    "as failed logins may lock the account, it tries again after 10 minutes only; a restart of the processor tries "
    "at once"
)
_MARGIN = 10.0
"""Seconds on top of the time limits of single requests: cleaning up after a failure has limits of its own."""


class StandbyClient:
    """Keeps a session on one server, where it reads nothing but the server's health. It belongs to one event loop.

    It connects in the background, so that a server that does not answer holds up no poll.
    """

    def __init__(self, make: Callable[[str], GuardedClient]):
        """Take what makes a client for a server's address."""
        self._make = make
        self._client: GuardedClient | None = None
        self._work: asyncio.Task[None] | None = None
        self.url: str | None = None
        self.error: MirrorError | None = None
        """Why the last attempt failed."""

    @property
    def busy(self) -> bool:
        """Whether it is just connecting or leaving."""
        return self._work is not None and not self._work.done()

    @property
    def idle(self) -> bool:
        """Whether it has no session and is not about to have one."""
        return self._client is None and not self.busy

    @property
    def ready(self) -> bool:
        """Whether there is a session that can take over."""
        return not self.busy and self._client is not None and self._client.alive

    @property
    def level(self) -> int | None:
        """The service level of the server it has a session on."""
        return self._client.service_level if self._client is not None else None

    async def want(self, url: str | None) -> None:
        """Begin to have a session on this server and on no other; nothing changes while it is busy."""
        if self.busy or (url == self.url and (url is None or self.ready)):
            return
        self.url, self.error = url, None
        self._work = asyncio.create_task(self._move(url))

    async def take(self) -> GuardedClient | None:
        """Hand the session over; None when there is none that can be used."""
        if not self.ready:
            return None
        client, self._client, self.url = self._client, None, None
        return client

    async def close(self) -> None:
        """End the session, or the attempt to have one."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        self.url = None
        await self._leave()

    async def _move(self, url: str | None) -> None:
        await self._leave()
        if url is None:
            return
        client = self._make(url)
        try:
            await client.connect()  # cleans up after itself when it fails
        except MirrorError as error:
            self.error = error
        else:
            self._client = client

    async def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


class Failover:
    """Gives the reader a connected client of the server that should be read. Used by one thread at a time.

    With one server it is no more than a backoff. With `cold` redundancy only the server that is read has a session,
    and another one for a moment, to look at its service level, when the first says it is not healthy. With `warm`
    another one always has.
    """

    def __init__(
        self,
        config: OpcUaConfig,
        guard: ReadOnlyGuard,
        loop: LoopThread,
        notices: Notices,
        monotonic: Callable[[], float],
        stopped: Callable[[], bool] = lambda: False,
        hold: float = HOLD_S,
    ):
        """Take the loop of the clients, a clock in seconds, when to give up, and the seconds between two moves."""
        self._config, self._guard, self._loop = config, guard, loop
        self._notices, self._monotonic, self._stopped = notices, monotonic, stopped
        self._paces = {url: Pace() for url in config.endpoints}
        self._standby = StandbyClient(self._make)
        self._servers = Servers(
            config.endpoints, lambda: Backoff(config.reconnect_first, config.reconnect_longest), hold
        )

    @property
    def held_back(self) -> float:
        """Seconds that requests were held back so as not to be too many a second, in all."""
        return sum(pace.waited for pace in self._paces.values())

    def succeeded(self) -> None:
        """Note that the server answers as it should."""
        self._servers.succeeded()

    def lost(self) -> None:
        """Note that the session is gone, or of no use."""
        self._servers.lost(self._monotonic())

    def connect(self) -> GuardedClient | None:
        """Return a connected client; None when no server can be had now, of which the operator is told.

        Takes the session that stands by, else tries the servers that may be tried now, each at most for the request
        timeout and a little.
        """
        usable = self._standby.ready and health(self._standby.level) >= DEGRADED
        if usable and (client := self._loop.run(self._standby.take(), _MARGIN)) is not None:
            return self._adopt(client)
        self._let_go()
        tried: set[str] = set()
        while (url := self._servers.next(self._monotonic())) not in {None, *tried} and not self._stopped():
            assert url is not None
            tried.add(url)
            client = self._make(url)
            try:
                self._loop.run(client.connect(), self._config.request_timeout + _MARGIN)
            except (MirrorError, TimeoutError) as error:
                self._failed(url, error)
            else:
                return self._adopt(client)
        return None

    def better(self, client: GuardedClient) -> GuardedClient | None:
        """Return a connected client to go on with instead of this one, which the caller then closes; mostly None.

        To be called at every cycle, as it also keeps the session that stands by.
        """
        if not self._config.backups:
            return None
        now, standby = self._monotonic(), self._standby
        self._servers.level(client.endpoint, client.service_level, now)
        if standby.url is not None and not standby.busy:
            if standby.error is not None:
                self._failed(standby.url, standby.error, standing_by=True)
            elif standby.ready:
                self._servers.level(standby.url, standby.level, now)
                self._notices.clear(f"standby {standby.url}", f"{self._config.source}: {standby.url} stands by again")
                if self._servers.better(standby.url, now):
                    return self._take_over(client)
        self._loop.run(standby.want(self._standby_at(now)), _MARGIN)
        return None

    def close(self) -> None:
        """End the session that stands by."""
        self._let_go()

    def _standby_at(self, now: float) -> str | None:
        if self._config.redundancy != WARM:
            return self._servers.wanted(now)
        if self._standby.ready and health(self._standby.level) == HEALTHY:
            return self._standby.url
        return self._servers.standby(now)

    def _take_over(self, client: GuardedClient) -> GuardedClient | None:
        other = self._loop.run(self._standby.take(), _MARGIN)
        if other is None:
            return None
        said = f"{client.endpoint} says it is {NAMES[health(client.service_level)]} ({client.service_level})"
        text = f"{self._config.source}: {said}, so its tags are read from {other.endpoint}"
        self._notices.say("warn", "server", text)
        return self._adopt(other)

    def _adopt(self, client: GuardedClient) -> GuardedClient:
        self._servers.connected(client.endpoint, client.service_level, self._monotonic())
        for url in self._config.endpoints:
            self._notices.clear(f"connection {url}")
        return client

    def _failed(self, url: str, error: Exception, standing_by: bool = False) -> None:
        refused = isinstance(error, UserRefusedError)
        self._servers.failed(url, self._monotonic(), AFTER_REFUSAL_S if refused else 0.0)
        again = _LOGIN_AGAIN if refused else "it tries again by itself"
        if standing_by:
            level, key, text = "warn", f"standby {url}", f"no server stands by: {error}; {again}"
        else:
            meanwhile = "The next server is tried" if self._config.backups else "Its tags are bad meanwhile"
            level, key, text = "error", f"connection {url}", f"{error}. {meanwhile}; {again}"
        self._notices.say(level, key, f"{self._config.source}: {text}")

    def _make(self, url: str) -> GuardedClient:
        return GuardedClient(self._config, self._guard, endpoint=url, pace=self._paces[url])

    def _let_go(self) -> None:
        if self._standby.idle:
            return
        with contextlib.suppress(TimeoutError):
            self._loop.run(self._standby.close(), _MARGIN)
