"""What the server reports by itself: the side of subscriptions that the reader sees, on NiFi's thread."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence

import pyarrow as pa

from otmirror.clock import Clock
from otmirror.emission import UNREACHED, EmissionFilter
from otmirror.loopthread import LoopThread
from otmirror.memory import Memory
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.decode import Batch
from otmirror.opcua.faults import CODES, status_name
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.inbox import Inbox
from otmirror.opcua.items import Item, Terms
from otmirror.opcua.past import Past
from otmirror.opcua.plan import ReadPlan, some
from otmirror.opcua.subscription import Say, Subscriptions
from otmirror.taglist import array_tag

_MOST = 50_000
"""Readings in a batch, or a few more."""
_SETUP = 60.0
"""Seconds that creating or taking over subscriptions may take."""
_MARGIN = 10.0
_LOOK = 1.0
"""Seconds between two looks for tags of which nothing was heard."""
_DEAF = 3.0
"""Seconds, on top of two publishing intervals, after which a change that was read should have been reported."""


class Reports:
    """The subscribed tags of a source, over all its connections.

    A tag of which nothing was heard for its refresh time is read: so it is emitted again, and a server that has
    silently stopped to report it is found out, and its subscription made anew.
    """

    def __init__(
        self, config: OpcUaConfig, plan: ReadPlan, clock: Clock, loop: LoopThread, memory: Memory, say: Say,
        past: Past,
    ):  # fmt: skip
        """Take what they share with the reader, what outlives this process, and what wants to know of every value."""
        self._past = past
        self._config, self._plan, self._clock, self._loop, self._say = config, plan, clock, loop, say
        self._memory, self._recalled, self._items = memory, False, ""
        self._inbox = Inbox(config.buffer, lambda: loop.soon(self.subscriptions.resume))
        self.subscriptions = Subscriptions(Terms(lifetime=config.lifetime), self._inbox, clock, say)
        self._places = {plan.tags[place].tag: place for place in plan.subscribed}
        self._look_at = 0.0
        self._doubts: dict[int, float] = {}
        self._read: set[int] = set()

    @property
    def live(self) -> frozenset[int]:
        """Places of the tags that come by themselves; another object when it has changed."""
        return self.subscriptions.live

    @property
    def heard(self) -> float | None:
        """When the server last said something of them, by the monotonic clock; None when none comes by itself."""
        return self.subscriptions.heard

    @property
    def waiting(self) -> int:
        """Readings that have come and were not taken."""
        return self._inbox.held

    @property
    def queued_seconds(self) -> float:
        """For how long the server keeps every value by itself; infinite when nothing is subscribed."""
        return self._plan.queued_seconds

    def begin(self) -> None:
        """Start a call of NiFi's: what was taken in the one before is safe."""
        self._inbox.commit()
        self._remember()

    def establish(self, client: GuardedClient) -> None:
        """Have the server report what is to be subscribed, or go on with what it kept.

        Raises:
            UnavailableError: the connection cannot be used any more.
            TimeoutError: it took too long.
        """
        if not self._plan.subscribed:
            return
        items = self._plan.items(client.limits.deadband_filter, client.limits.min_sampling_ms)
        self._recall(items)
        most = client.limits.items
        if most and len(items) > most:
            text = (
                f"{len(items) - most} of {len(items)} tags are polled: the server takes {most} monitored items at most"
            )
            self._say("warn", "items", f"{text} (profile {client.limits.profile})")
            items = items[:most]
        self._doubts.clear()
        self._loop.run(self.subscriptions.establish(client, items), _SETUP)
        self._remember()
        tags, refused = self._plan.tags, self.subscriptions.refused
        named = [f"{tags[place].tag} {status_name(status)}" for place, status in sorted(refused.items())]
        if named:
            self._say("warn", "refused", f"{len(named)} tags cannot be subscribed and are polled: {some(named)}")

    def leave(self) -> None:
        """Stop receiving."""
        if self._plan.subscribed:
            with contextlib.suppress(TimeoutError):
                self._loop.run(self.subscriptions.disconnected(), _MARGIN)

    def close(self) -> None:
        """Forget all subscriptions, as they were deleted with their session."""
        self.subscriptions.forget()
        self._remember()

    def take(self, batch: Batch) -> None:
        """Add what was reported, at most some 50,000 readings."""
        doubts, past = self._doubts, self._past
        for delivery in self._inbox.take(_MOST):
            block = self._plan.block_of(delivery.positions, batch.states)
            lost = CODES.BadDataLost in batch.extend(block, delivery.readings, delivery.ts_read).values()
            if lost or self._config.backfill:
                for place, reading in zip(delivery.positions, delivery.readings, strict=True):
                    if reading[2] == CODES.BadDataLost:
                        past.miss(place)
                    else:
                        past.see(place, reading)
            for place in doubts.keys() & set(delivery.positions) if doubts else ():
                del doubts[place]

    def to_read(self, emission: EmissionFilter) -> list[int]:
        """Return the places of reported tags to read now: after a gap, and those of which nothing was heard."""
        subscriptions, now = self.subscriptions, self._clock.monotonic()
        if not subscriptions.live:
            return []
        wanted = {place for place in [*subscriptions.unsure] if place in subscriptions.live}
        subscriptions.unsure.clear()
        if now >= self._look_at and not self._config.emit_repeats:
            self._look_at = now + _LOOK
            self._give_up_on_deaf(now)
            quiet = (self._place(tag) for tag in emission.quiet(self._clock.now_us()))
            wanted.update(place for place in quiet if place in subscriptions.live)
        return sorted(wanted)

    def _place(self, tag: str) -> int:
        """Return the place of a tag, or of the array it is an element of; -1 of one that is not in the list."""
        place = self._places.get(tag)
        return self._places.get(array_tag(tag), -1) if place is None else place

    def read(self, place: int) -> None:
        """Note that a reported tag was read."""
        tag = self._plan.tags[place]
        if place in self.live and tag.deadband is None and tag.deadband_percent is None:
            self._read.add(place)

    def compare(self, table: pa.Table, emission: EmissionFilter) -> None:
        """Take a batch, in order, before it goes through `emission`: a change that was read ought to be reported soon.

        A newer time alone is no change: many a server gives the time of the read, and reports a value when it differs.
        """
        if not self._read:
            return
        found: dict[str, list[int]] = {}
        for row, name in enumerate(table.column("tag").to_pylist()):
            if self._place(name) in self._read:
                found.setdefault(name, []).append(row)
        self._read.clear()
        for name, rows in found.items():
            *before, now = table.select(("ts", "value", "text", "status")).take(pa.array(rows[-2:])).to_pylist()
            known = tuple(before[0].values()) if before else emission.known(name)
            if known is None or known[3] in UNREACHED or now["ts"] <= known[0] or tuple(now.values())[1:] == known[1:]:
                continue
            place = self._place(name)
            every = self._plan.tags[place].interval_ms or self._config.interval_ms
            self._doubts.setdefault(place, self._clock.monotonic() + _DEAF + 2 * every / 1000)

    def _give_up_on_deaf(self, now: float) -> None:
        deaf = [place for place, until in self._doubts.items() if now >= until]
        if deaf:
            self.subscriptions.doubt(deaf)
            for place in deaf:
                del self._doubts[place]

    def _recall(self, items: Sequence[Item]) -> None:
        """Know the subscriptions of this processor's process before this one, if they are of the same items."""
        self._items = hashlib.blake2b(b"".join(item.plain for item in items), digest_size=16).hexdigest()
        if self._recalled:
            return
        self._recalled = True
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(self._memory.load() or "{}")
            if told.get("items") == self._items:
                self.subscriptions.recall(str(told["server"]), told["subscriptions"])

    def _remember(self) -> None:
        if self.subscriptions.changed:
            self.subscriptions.changed = False
            subscriptions = self.subscriptions
            kept = {"items": self._items, "server": subscriptions.server, "subscriptions": subscriptions.kept()}
            self._memory.save(json.dumps(kept, separators=(",", ":")))
