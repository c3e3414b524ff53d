"""Ways to spoil bytes that were recorded, and what a fuzz run keeps an eye on."""

from __future__ import annotations

import asyncio
import random
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

_LEAP = 16 << 20
SIZES = (0, 1, -1, 7, 255, 65535, 2**24, 2**31 - 1, -(2**31))


def damaged(chance: random.Random, data: bytes) -> bytes:
    """Bits flipped, bytes overwritten, cut out, doubled or put in, a length that is far off: one to four of these."""
    found = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(found) + 1)
        way = chance.randrange(6)
        if way == 0 and found:
            found[at % len(found)] ^= 1 << chance.randrange(8)
        elif way == 1 and found:
            found[at % len(found)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif way == 2:
            del found[at : at + chance.randrange(1, 9)]
        elif way == 3:
            found[at:at] = found[at : at + chance.randrange(40)]
        elif way == 4:
            found[at : at + 4] = struct.pack("<i", chance.choice(SIZES))
        else:
            found[at:at] = chance.randbytes(chance.randrange(1, 9))
    return bytes(found)


_BEAT, _STALL = 0.1, 1.0
"""Seconds between two looks at the loop, and from which on one that is late by so much stood still."""


@dataclass
class Watch:
    """What happened in a run: results by kind, the longest call, and everything that must not happen.

    Time in which the machine gave this process no processor is nobody's fault: it counts for no call. A loop that
    stood still because this process was busy is wrong.
    """

    seed: int
    allowed: tuple[type[Exception], ...]
    longest: float = 0.0
    paused: float = 0.0
    """Seconds in which the loop stood still for want of a processor."""
    results: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    leaps: list[str] = field(default_factory=list)
    peak: int = field(default_factory=lambda: peak_memory())
    _beating: asyncio.Task[None] | None = None

    async def call(self, what: str, work: Awaitable[Any], bound: float, last: Callable[[], str]) -> Any:
        """Await one call of the client within `bound` seconds; None when it failed in an allowed way."""
        started, paused, result = time.monotonic(), self.paused, None
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=bound / 10))[0] and self._since(started, paused) < bound:
                pass
            if task.done():
                result = task.result()
                self.results["answered"] += 1
            else:
                self.wrong.append(f"seed {self.seed}: {what} hung after {last()}")
        except self.allowed as error:
            self.results[type(error).__name__] += 1
        except Exception as error:  # anything else is a bug: told with what is needed to see it again
            self.wrong.append(f"seed {self.seed}: {what} raised {error!r} after {last()}")
        finally:
            task.cancel()
        self.longest = max(self.longest, self._since(started, paused))
        if (peak := peak_memory()) > self.peak + _LEAP:
            self.leaps.append(f"seed {self.seed}: {what} took {(peak - self.peak) >> 20} MB after {last()}")
            self.peak = peak
        return result

    def _since(self, started: float, paused: float) -> float:
        return time.monotonic() - started - (self.paused - paused)

    def listen(self) -> None:
        """Take what nobody awaited for wrong too, and watch the loop from now on."""

        def handler(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            self.wrong.append(f"seed {self.seed}: in the loop: {context.get('message')}: {context.get('exception')!r}")

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handler)
        self._beating = loop.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            at, worked = time.monotonic(), time.process_time()
            await asyncio.sleep(_BEAT)
            late, busy = time.monotonic() - at - _BEAT, time.process_time() - worked
            if late > _STALL and busy > late / 2:
                self.wrong.append(
                    f"seed {self.seed}: the loop stood still for {late:.1f} s, {busy:.1f} s of them at work"
                )
            elif late > _STALL:
                self.paused += late


def peak_memory() -> int:
    """The most memory this process has ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
