"""What subscriptions delivered and nobody has taken yet, and what may be acknowledged to the server.

A notification is acknowledged only once the FlowFile that carries it was committed. NiFi proves that by asking again:
what was taken at one call is committed at the next one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from otmirror.opcua.readings import Reading


class Delivery(NamedTuple):
    """Readings of one notification, by the places of their tags in the tag list.

    `sequence` 0 is a delivery of this client's own, such as a gap: nothing to acknowledge.
    """

    subscription: int
    sequence: int
    ts_read: int
    positions: Sequence[int]
    readings: Sequence[Reading]


class Inbox:
    """A bounded buffer between the loop that receives and the thread that NiFi calls.

    It takes what arrives, always; `full` asks for a pause. So it holds at most `limit` readings and those that were on
    their way.
    """

    def __init__(self, limit: int, has_room: Callable[[], None]):
        """Take how many readings make it full, and what to do once there is room again (on any thread)."""
        self._limit, self._has_room = limit, has_room
        self._waiting: deque[Delivery] = deque()
        self._held = 0
        self._taken: list[Delivery] = []
        self._committed: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Readings that wait."""
        return self._held

    @property
    def full(self) -> bool:
        """Whether no more should be asked for."""
        return self._held >= self._limit

    def put(self, delivery: Delivery) -> None:
        """Add what arrived."""
        with self._lock:
            self._waiting.append(delivery)
            self._held += len(delivery.positions)

    def commit(self) -> None:
        """Note that what was taken before is safe: its notifications may be acknowledged."""
        with self._lock:
            self._committed += [(one.subscription, one.sequence) for one in self._taken if one.sequence]
            self._taken = []

    def take(self, most: int) -> list[Delivery]:
        """Take deliveries in their order, of `most` readings or a little more."""
        with self._lock:
            was_full, count, taken = self.full, 0, []
            while self._waiting and count < most:
                taken.append(self._waiting.popleft())
                count += len(taken[-1].positions)
            self._held -= count
            self._taken += taken
            room = was_full and not self.full
        if room:
            self._has_room()
        return taken

    def acknowledgements(self) -> list[tuple[int, int]]:
        """Return what to acknowledge, each once: subscription and sequence number."""
        with self._lock:
            ready, self._committed = self._committed, []
        return ready

    def not_acknowledged(self, lost: Sequence[tuple[int, int]]) -> None:
        """Put back what could not be sent."""
        with self._lock:
            self._committed = [*lost, *self._committed]

    def forget(self, subscription: int) -> None:
        """Acknowledge nothing more of a subscription that is gone. Its readings stay."""
        with self._lock:
            self._committed = [one for one in self._committed if one[0] != subscription]
            for group in (self._waiting, self._taken):
                for at, one in enumerate(group):
                    if one.subscription == subscription:
                        group[at] = one._replace(sequence=0)
