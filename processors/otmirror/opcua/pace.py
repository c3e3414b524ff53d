"""How often a device is asked: requests pass one by one, no closer together than a rate allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

BURST_S = 0.25
"""Seconds' worth of requests that may follow each other at once."""


class Pace:
    """Lets requests pass at `rate` a second, in the order they come (a token bucket).

    In any span of s seconds no more than `rate * (s + 0.25) + 1` pass, so that a cycle of many requests is spread. It
    is kept across connections: a reconnect buys no new requests. `rate` 0 lets everything pass at once.
    """

    def __init__(
        self,
        rate: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ):
        """Take requests a second, a clock in seconds and what waits for seconds."""
        self.rate = rate
        self.waited = 0.0
        """Seconds that requests were held back, in all."""
        self._monotonic, self._sleep = monotonic, sleep
        self._full = float(
            "-inf"
        )  # when the bucket is full again; nothing passes while that is further away than a burst

    async def turn(self) -> None:
        """Wait until the next request may be sent, and count it as sent."""
        if self.rate <= 0:
            return
        now, step = self._monotonic(), 1.0 / self.rate
        full = max(self._full, now)
        wait = full - now - max(0.0, BURST_S - step)
        self._full = full + step
        if wait > 0:
            self.waited += wait
            await self._sleep(wait)
