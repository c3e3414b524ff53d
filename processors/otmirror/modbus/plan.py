"""Which requests read a set of tags: as few as possible, and none touches a register no tag declares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Span(Protocol):
    """What a tag occupies in its table."""

    @property
    def offset(self) -> int:
        """First register or bit, 0-based."""

    @property
    def count(self) -> int:
        """Number of registers or bits."""


S = TypeVar("S", bound=Span)


@dataclass(frozen=True)
class Request(Generic[S]):
    """One read: `count` registers or bits from `offset` on, and the spans that lie in it whole."""

    offset: int
    count: int
    spans: tuple[S, ...]


def plan(spans: Iterable[S], limit: int) -> list[Request[S]]:
    """Return the fewest requests of at most `limit` registers (or bits) that read every span whole.

    All spans lie in one table. Every register of a request is declared by some span: a gap is never bridged,
    because reading may have an effect in a device (clear on read) or be refused. Spans may overlap.

    The leftmost span not yet covered has to start some request; starting it right there and taking along all
    that fits is never worse than any other choice, so going from left to right is optimal.

    Raises:
        ValueError: a span is longer than `limit`.
    """
    waiting = sorted(spans, key=lambda span: (span.offset, span.count))
    requests: list[Request[S]] = []
    while waiting:
        start = reach = waiting[0].offset
        inside: list[S] = []
        left: list[S] = []
        for position, span in enumerate(waiting):
            if span.offset > reach or span.offset >= start + limit:
                left += waiting[position:]
                break
            end = span.offset + span.count
            reach = max(reach, end)
            (inside if end <= start + limit else left).append(span)
        if not inside:
            raise ValueError(f"{waiting[0]} is longer than a request may be ({limit})")
        last = max(span.offset + span.count for span in inside)
        requests.append(Request(start, last - start, tuple(inside)))
        waiting = left
    return requests
