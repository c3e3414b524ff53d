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


@dataclass
class Watch:
    """What happened in a run: results by kind, the longest call, and everything that must not happen."""

    seed: int
    allowed: tuple[type[Exception], ...]
    longest: float = 0.0
    results: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    leaps: list[str] = field(default_factory=list)
    peak: int = field(default_factory=lambda: peak_memory())

    async def call(self, what: str, work: Awaitable[Any], bound: float, last: Callable[[], str]) -> Any:
        """Await one call of the client within `bound` seconds; None when it failed in an allowed way."""
        started = time.monotonic()
        try:
            result = await asyncio.wait_for(work, bound)
        except self.allowed as error:
            self.results[type(error).__name__] += 1
            result = None
        except Exception as error:  # anything else is a bug: told with what is needed to see it again
            hung = time.monotonic() - started >= bound
            self.wrong.append(f"seed {self.seed}: {what} {'hung' if hung else f'raised {error!r}'} after {last()}")
            result = None
        else:
            self.results["answered"] += 1
        self.longest = max(self.longest, time.monotonic() - started)
        if (peak := peak_memory()) > self.peak + _LEAP:
            self.leaps.append(f"seed {self.seed}: {what} took {(peak - self.peak) >> 20} MB after {last()}")
            self.peak = peak
        return result

    def listen(self) -> None:
        """Take what nobody awaited for wrong too."""

        def handler(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            self.wrong.append(f"seed {self.seed}: in the loop: {context.get('message')}: {context.get('exception')!r}")

        asyncio.get_running_loop().set_exception_handler(handler)


def peak_memory() -> int:
    """The most memory this process has ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
