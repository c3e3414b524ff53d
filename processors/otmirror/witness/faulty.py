"""A witnessing relay that also breaks things: the faults a network and a server's own stack can have."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from otmirror.witness.opcua import Witness
from otmirror.witness.relay import Link, Relay

Fault = Callable[[Link, bytes], "bytes | None"]
"""Takes an answer's bytes and returns what arrives of them; None: nothing arrives any more, for ever."""


class FaultyRelay(Relay):
    """Passes bytes on, or holds, swallows, delays, spoils them, cuts connections and refuses new ones."""

    def __init__(
        self, target: tuple[str, int], witness: Witness | None = None, listen: tuple[str, int] = ("127.0.0.1", 0)
    ):
        """Take the server's host and port, who looks on, and where to listen."""
        self._path = asyncio.Event()
        self._path.set()
        self._swallowing = False
        self._delay = 0.0
        self._fault: Fault | None = None
        self._struck = threading.Event()
        self._deaf: set[Link] = set()
        self.cuts = 0
        super().__init__(target, witness, listen)

    async def admitted(self, link: Link) -> None:
        """Let a client in when the path is free."""
        if self._swallowing:
            await asyncio.Event().wait()
        await self._path.wait()

    async def passing(self, link: Link, request: bool, data: bytes) -> bytes:
        """Return what is left of bytes after what is done to them."""
        await super().passing(link, request, data)
        if self._swallowing:
            self._deaf.add(link)
        if link in self._deaf:
            return b""
        await self._path.wait()
        if self._delay:
            await asyncio.sleep(self._delay)
        if self._fault is None or request or not self.spoils(data):
            return data
        fault, self._fault = self._fault, None
        left = fault(link, data)
        self._struck.set()
        if left is None:
            self._deaf.add(link)
        return left or b""

    def spoils(self, data: bytes) -> bool:
        """Whether `spoil` is for these bytes of a server: those of an answer within a secure channel."""
        return b"MSGF" in data[:4]

    def freeze(self) -> None:
        """Half-open: connections are accepted and nothing arrives; what was sent arrives after `thaw`."""
        self._call(self._path.clear)

    def thaw(self) -> None:
        """Let everything pass again."""
        self._call(self._path.set)

    def swallow(self, on: bool = True) -> None:
        """Accept, and throw away what is sent; connections that lost bytes never hear anything again."""
        self._swallowing = on

    def delay(self, seconds: float) -> None:
        """Let every piece take this long, each way."""
        self._delay = seconds

    def cut(self, reset: bool = False) -> int:
        """End all connections, with RST instead of FIN when asked; return how many there were."""

        def work() -> int:
            links = list(self._links)
            for link in links:
                link.cut(reset)
            return len(links)

        ended = int(self._call(work))
        self.cuts += ended
        return ended

    def refuse(self) -> None:
        """Refuse new connections and end those there are."""
        self._run(self._end())

    def accept(self) -> None:
        """Listen again, at the same port."""
        self._run(self._listen())

    def spoil(self, fault: Fault) -> None:
        """Let the next answer arrive as `fault` makes it."""
        self._struck.clear()
        self._fault = fault

    def struck(self, seconds: float = 10) -> bool:
        """Wait until the fault has happened."""
        return self._struck.wait(seconds)

    def settled(self, connections: int = 0, seconds: float = 5) -> bool:
        """Wait until no more than so many connections are left."""
        end = time.monotonic() + seconds
        while self.connections > connections and time.monotonic() < end:
            time.sleep(0.01)
        return self.connections <= connections

    def _call(self, work: Callable[[], Any]) -> Any:
        async def called() -> Any:
            return work()

        return self._run(called())


def truncated(left_out: int = 3, reset: bool = False) -> Fault:
    """Return a fault: the connection ends in the middle of an answer."""

    def fault(link: Link, data: bytes) -> bytes:
        link.client.write(data[:-left_out])
        asyncio.get_running_loop().call_later(0.02, link.cut, reset)
        return b""

    return fault


def stuck(left_out: int = 3) -> Fault:
    """Return a fault: an answer's end never arrives, nor anything after it, and the connection stays open."""

    def fault(link: Link, data: bytes) -> None:
        link.client.write(data[:-left_out])

    return fault


def overwritten(at: int, new: bytes) -> Fault:
    """Return a fault: other bytes at a place of an answer."""
    return lambda _link, data: data[:at] + new + data[at + len(new) :]
