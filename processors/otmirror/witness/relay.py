"""A TCP relay between a client and a server, for a witness to look at what passes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Coroutine
from typing import Any, TypeVar

from otmirror.loopthread import LoopThread
from otmirror.witness.opcua import Witness

T = TypeVar("T")
_PIECE = 65536
_PATIENCE = 10.0
_MOST_LINKS = 256
# Close with a reset instead of an orderly end: SO_LINGER on, 0 seconds.
_LINGER_0 = struct.pack("ii", 1, 0)


class Link:
    """One connection through the relay: two streams each way."""

    def __init__(self, number: int, client: asyncio.StreamWriter):
        """Take its number and the way back to the client; the server's comes later."""
        self.number, self.client = number, client
        self.server: asyncio.StreamWriter | None = None
        self.task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """End it in good order: what was written still arrives."""
        for writer in (self.client, self.server):
            if writer is not None:
                writer.close()

    def cut(self, reset: bool = False) -> None:
        """End it both ways at once, what was not sent yet is lost; with a reset when asked."""
        for writer in (self.client, self.server):
            if writer is None:
                continue
            if reset:
                with contextlib.suppress(OSError, ValueError):
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            writer.transport.abort()
        if self.task is not None:
            self.task.cancel()


class Relay:
    """Listens, and passes every connection on to one server, bytes unchanged; `witness` sees them first.

    Runs on a thread of its own. At most 256 connections at once; more are closed at once. Memory is bounded: a side
    that does not take its bytes stops the other one from sending.
    """

    def __init__(
        self, target: tuple[str, int], witness: Witness | None = None, listen: tuple[str, int] = ("127.0.0.1", 0)
    ):
        """Listen at `listen` (port 0: any free one) and pass on to `target`.

        Raises:
            OSError: it cannot listen there.
        """
        self.target = target
        self.witness = witness or Witness()
        self._numbers = itertools.count(1)
        self.accepted = 0
        """Connections of clients so far."""
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None
        self._loop = LoopThread("witness relay")
        self.host, self.port = listen
        try:
            self._run(self._listen())
        except BaseException:
            self._loop.close()
            raise

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for the client to connect to."""
        return self.host, self.port

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._links)

    def close(self) -> None:
        """End all connections and stop listening. May be called more than once."""
        with contextlib.suppress(RuntimeError, TimeoutError):
            self._run(self._end())
        self._loop.close()

    async def passing(self, link: Link, request: bool, data: bytes) -> bytes:
        """Return what to pass on of bytes that arrived: all of them, once the witness has seen them."""
        self.witness.take(link.number, request, data)
        return data

    async def admitted(self, link: Link) -> None:
        """Called when a client has connected, before the server is connected to."""

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run(work, _PATIENCE)
        finally:
            work.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in list(self._links):
            link.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(next(self._numbers), writer)
        if len(self._links) >= _MOST_LINKS:
            writer.transport.abort()
            return
        self._links.add(link)
        self.accepted += 1
        link.task = asyncio.current_task()
        try:
            await self.admitted(link)
            back, link.server = await asyncio.open_connection(*self.target)
            await self._pass_both_ways(link, reader, back)
            link.close()
        except (OSError, asyncio.CancelledError):
            link.task = None
            link.cut()  # one side is gone: so is the other one, now
        finally:
            self._links.discard(link)
            self.witness.ended(link.number)

    async def _pass_both_ways(self, link: Link, reader: asyncio.StreamReader, back: asyncio.StreamReader) -> None:
        assert link.server is not None
        ways = ((True, reader, link.server), (False, back, link.client))
        pumps = [asyncio.ensure_future(self._pump(link, *way)) for way in ways]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()

    async def _pump(self, link: Link, request: bool, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_PIECE):
            sink.write(await self.passing(link, request, data))
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
