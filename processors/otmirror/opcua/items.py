"""What is asked of a server's subscriptions, what it granted, and how their numbers count (OPC 10000-4, 7.26)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_LAST_NUMBER = 0xFFFFFFFF
_HALF = 0x80000000


@dataclass(frozen=True)
class Item:
    """What to ask the server for of one tag. `encoded` is made by `wire.item`, `plain` the same without its filter."""

    position: int
    interval_ms: int
    encoded: bytes
    plain: bytes


@dataclass(frozen=True)
class Terms:
    """What is asked of the server. Times are seconds."""

    lifetime: float = 600.0
    keep_alive: float = 5.0
    items_a_subscription: int = 10_000
    items_a_call: int = 1000
    values_a_notification: int = 10_000
    retry: float = 60.0
    """How long a tag whose item was refused is polled before the item is tried again."""


@dataclass
class Subscription:
    """One on the server: what it was granted, and how far it has come."""

    id: int
    interval_ms: int
    interval: float
    keep_alive: float
    heard: float
    heard_us: int
    expected: int = 1
    taken_over: float = -math.inf
    live: set[int] = field(default_factory=set)
    ended: str | None = None

    @property
    def patience(self) -> float:
        """Seconds of silence after which it is taken for dead: two keep-alives that did not come, and a little."""
        return 2 * self.keep_alive + 2 * self.interval + 1.0


def following(number: int) -> int:
    """Return the sequence number after another: 0 is left out (OPC 10000-4, 7.26)."""
    return 1 if number >= _LAST_NUMBER else number + 1


def missed(expected: int, number: int) -> int:
    """Return how many notifications before `number` did not come; negative when it is one from before."""
    ahead = (number - expected) & _LAST_NUMBER
    if ahead < _HALF:
        return ahead - (1 if number < expected else 0)
    return -1
