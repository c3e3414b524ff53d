"""Subscriptions: values that the server reports by itself, with every loss noticed.

Each tag that is to be subscribed has a monitored item in one of the subscriptions; a tag whose item does not live is
polled by the reader. What a lost connection leaves behind is taken over by the next session where the server allows
it, and lost notifications are asked for again; what is gone becomes a gap: a sample with status BadDataLost of each tag
that it may concern.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from otmirror import memory
from otmirror.clock import Clock
from otmirror.errors import UnavailableError
from otmirror.opcua import services
from otmirror.opcua.columns import Readings
from otmirror.opcua.faults import CODES, REQUEST_TOO_LARGE, ServiceFaultError, UndecodableError, status_name
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.inbox import Delivery, Inbox
from otmirror.opcua.items import Item, Subscription, Terms, following, missed
from otmirror.opcua.notifications import Message, overflowed
from otmirror.opcua.readings import Reading, bad

_UNKNOWN = 0
_MOST_AGAIN = 1000
_MOST_REQUESTS = 10
_TICK, _STOOD = 0.25, 1.0
"""Seconds between two looks, and how late one is when this process stood still."""
_OWN_TRANSFER = 60.0
"""Seconds in which word that a subscription was transferred means the transfer to here."""
_FILTER_REFUSED = frozenset(
    (
        CODES.BadFilterNotAllowed,
        CODES.BadMonitoredItemFilterInvalid,
        CODES.BadMonitoredItemFilterUnsupported,
        CODES.BadDeadbandFilterInvalid,
    )
)

Say = Callable[[str, str, str], None]
"""Takes level, key and text of a notice."""


def server_of(client: GuardedClient) -> str:
    """Return what tells a server from another one and from itself before a restart."""
    return f"{client.endpoint} {client.started.isoformat() if client.started else ''}"


class Subscriptions:
    """The subscriptions of one source, over all its connections. Its coroutines belong to the client's event loop.

    `counts` has, since the start: notifications, values, missed (notifications that never came), recovered (that came
    when asked for again), deaf (tags that changed without
    a report), overflows (values that say the server's queue dropped some before), transferred, recreated.
    """

    def __init__(self, terms: Terms, inbox: Inbox, clock: Clock, say: Say):
        """Take what to ask for, where values go, and where notices go."""
        self._terms, self._inbox, self._clock, self._say = terms, inbox, clock, say
        self._known: dict[int, Subscription] = {}
        self._items: dict[int, Item] = {}
        self._client: GuardedClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = 0
        self._most_slots = _MOST_REQUESTS
        self._room = asyncio.Event()
        self._order = asyncio.Lock()
        self._retry_at = 0.0
        self._items_a_call = terms.items_a_call
        self.live: frozenset[int] = frozenset()
        """Places of the tags that the server reports by itself; replaced as a whole."""
        self.refused: dict[int, int] = {}
        """Status of each item that the server refused, by the place of its tag."""
        self.unsure: set[int] = set()
        """Places of tags with a gap behind them, which should be read once; the reader empties it."""
        self.server = ""
        """Whose subscriptions these are, by `server_of`."""
        self.changed = False
        """Whether `kept` would tell something new; the reader takes it back."""
        self.counts: Counter[str] = Counter()

    @property
    def heard(self) -> float | None:
        """When a subscription last said something, be it that nothing changed, by the monotonic clock; None: none."""
        return max((one.heard for one in [*self._known.values()] if one.live), default=None) if self.live else None

    def resume(self) -> None:
        """Go on after a pause; called on the loop."""
        for one in self._known.values():
            one.heard = self._clock.monotonic()
        self._room.set()

    async def establish(self, client: GuardedClient, items: Iterable[Item]) -> None:
        """Take over what an earlier session left, create the rest, and begin to receive.

        Raises:
            ConnectionLostError: the connection cannot be used any more.
        """
        await self.disconnected()
        self._client, self._items = client, {item.position: item for item in items}
        self._items_a_call = min(self._terms.items_a_call, client.limits.items_per_call)
        self.refused.clear()
        if server_of(client) != self.server:
            self._leave_behind("this is another server, or it was started anew")
            self.server = server_of(client)
        self._room.set()
        await self._take_over()
        await self._create(self._missing())
        self._fill()
        self._start(self._tend(client))

    async def disconnected(self) -> None:
        """Stop receiving; what the server may still hold is remembered for the next session."""
        self._client, self.live = None, frozenset()
        tasks, self._tasks, self._slots = self._tasks, set(), 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def forget(self) -> None:
        """Forget the server's subscriptions, as after they were deleted with their session."""
        for one in [*self._known.values()]:
            self._remove(one)

    def doubt(self, places: Iterable[int]) -> None:
        """Make the subscriptions of these tags anew: they changed, and it was not reported."""
        doubted = set(places)
        for one in [*self._known.values()]:
            if found := one.live & doubted:
                self.counts["deaf"] += len(found)
                one.ended = one.ended or f"{len(found)} tag(s) changed without a report"

    def kept(self) -> list[dict[str, Any]]:
        """Return what another process needs to take the subscriptions over, as JSON can hold it."""
        return [
            {"id": one.id, "interval_ms": one.interval_ms, "interval": one.interval, "keep_alive": one.keep_alive,
             "live": memory.ranges(one.live)}
            for one in self._known.values()
        ]  # fmt: skip

    def recall(self, server: str, kept: Iterable[Mapping[str, Any]]) -> None:
        """Take over, at the next `establish` with this server, what `kept` returned in a process that is gone.

        What the server has not got acknowledged is sent again then, so nothing that process took along is lost.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        now = self._clock.monotonic(), self._clock.now_us()
        found = [
            Subscription(
                int(one["id"]), int(one["interval_ms"]), float(one["interval"]), float(one["keep_alive"]), *now,
                expected=_UNKNOWN, live=memory.places(one["live"]),
            )
            for one in kept
        ]  # fmt: skip
        self._known.update({one.id: one for one in found})
        self.server = server

    # Receiving

    def _fill(self) -> None:
        """Keep as many Publish requests waiting on the server as there are subscriptions, and one more."""
        wanted = min(self._most_slots, len(self._known) + 1) if self._known else 0
        while self._client is not None and self._slots < wanted:
            self._slots += 1
            self._start(self._receive(self._client))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _receive(self, client: GuardedClient) -> None:
        while client.alive and self._client is client:
            await self._room.wait()
            acknowledged = self._inbox.acknowledgements()
            try:
                answer = await services.publish(client, acknowledged)
            except ServiceFaultError as fault:
                self._inbox.not_acknowledged(acknowledged)
                if await self._fault(fault.code):
                    break
                continue
            except UndecodableError as error:
                # The next one shows by its number that this one is missing, and it is asked for again.
                self._say("warn", "notification", f"a notification cannot be decoded: {error}")
                continue
            except UnavailableError:
                self._inbox.not_acknowledged(acknowledged)
                break
            async with self._order:
                one = self._known.get(answer.subscription)
                if one is not None and self._client is client:
                    await self._arrived(client, one, answer.message)
            if self._inbox.full:
                self._room.clear()
        if self._client is client:
            self._slots -= 1

    async def _fault(self, code: int) -> bool:
        """Act on a refused Publish; returns whether its slot should end."""
        if code == CODES.BadTooManyPublishRequests and self._slots > 1:
            self._most_slots = self._slots - 1
            return True
        if code == CODES.BadNoSubscription:
            for one in self._known.values():
                one.ended = one.ended or "the server says that there is none"
            return True
        await asyncio.sleep(1.0)
        return False

    async def _arrived(self, client: GuardedClient, one: Subscription, message: Message) -> None:
        one.expected = one.expected or message.sequence
        behind = missed(one.expected, message.sequence)
        if behind < 0 and not message.keep_alive:
            return  # it came before
        if behind > 0:
            await self._ask_again(client, one, behind)
        self._accept(one, message)

    async def _ask_again(self, client: GuardedClient, one: Subscription, behind: int) -> None:
        """Ask for the notifications that are missing; what is gone becomes a gap."""
        lost, number = 0, one.expected
        for count in range(behind):
            message = await self._again(client, one, number) if count < _MOST_AGAIN and not lost else None
            if message is None:
                lost += 1
            else:
                self._accept(one, message)
                self.counts["recovered"] += 1
            number = following(number)
        one.expected = number
        if lost:
            self.counts["missed"] += lost
            self._gap(one, one.live, f"{lost} notification(s) of the server did not come and are gone")

    async def _again(self, client: GuardedClient, one: Subscription, number: int) -> Message | None:
        try:
            return await services.republish(client, one.id, number)
        except (ServiceFaultError, UndecodableError):
            return None

    def _accept(self, one: Subscription, message: Message) -> None:
        one.heard = self._clock.monotonic()
        if message.keep_alive:
            one.expected = max(one.expected, message.sequence)
            return
        one.expected = following(message.sequence)
        moved = message.ended == CODES.GoodSubscriptionTransferred and one.heard - one.taken_over < _OWN_TRANSFER
        if message.ended is not None and not moved:
            one.ended = f"the server ended it: {status_name(message.ended)}"
        now = self._clock.now_us()
        if message.handles:
            self.counts["notifications"] += 1
            self.counts["values"] += len(message.handles)
            positions, readings = self._with_overflows(message)
            self._inbox.put(Delivery(one.id, message.sequence, now, positions, readings))
        one.heard_us = now

    def _with_overflows(self, message: Message) -> tuple[Sequence[int], Sequence[Reading]]:
        """Put a gap before each value that says the server's queue dropped some."""
        if isinstance(message.readings, Readings) and message.readings.all_good:
            return message.handles, message.readings
        if not any(reading[2] & 0x480 == 0x480 for reading in message.readings):
            return message.handles, message.readings
        positions: list[int] = []
        readings: list[Reading] = []
        for position, reading in zip(message.handles, message.readings, strict=True):
            if overflowed(reading[2]):
                self.counts["overflows"] += 1
                at = reading[3] if reading[3] is not None else reading[4]
                positions.append(position)
                readings.append((None, 0, CODES.BadDataLost, None if at is None else at - 1, None))
            positions.append(position)
            readings.append(reading)
        return positions, readings

    def _gap(self, one: Subscription, positions: Iterable[int], why: str) -> None:
        """Say that values may be missing since the subscription was last heard of, of each of these tags."""
        places = sorted(positions)
        self._say("warn", f"gap {one.interval_ms}", f"{why}; {len(places)} tag(s) have a gap (BadDataLost)")
        if places:
            lost = bad(CODES.BadDataLost)
            self._inbox.put(Delivery(one.id, 0, one.heard_us + 1, places, [lost] * len(places)))
            self.unsure |= set(places)

    # Keeping the server's side as it should be

    async def _tend(self, client: GuardedClient) -> None:
        while client.alive and self._client is client:
            before = self._clock.monotonic()
            await asyncio.sleep(_TICK)
            stood = self._clock.monotonic() - before - _TICK
            if stood > _STOOD:
                # This process stood still, as on a machine that is moved: that is no silence of the server.
                for one in self._known.values():
                    one.heard += stood
            try:
                async with self._order:
                    await self._repair(client)
            except UnavailableError:
                return  # the reader notices that the connection is lost

    async def _repair(self, client: GuardedClient) -> None:
        now = self._clock.monotonic()
        for one in [*self._known.values()]:
            if one.ended is None and self._room.is_set() and now - one.heard > one.patience:
                one.ended = f"the server was silent for {now - one.heard:.0f} s"
            if one.ended is not None:
                await self._replace(client, one)
        if now >= self._retry_at and len(self.live) < len(self._items):
            await self._create(self._missing())
        self._fill()

    async def _replace(self, client: GuardedClient, one: Subscription) -> None:
        self.counts["recreated"] += 1
        self._gap(one, one.live, f"a subscription was lost ({one.ended}) and is created again")
        self._remove(one)
        with contextlib.suppress(ServiceFaultError, UndecodableError):
            await services.delete_subscription(client, one.id)
        await self._create(sorted(one.live))

    def _remove(self, one: Subscription) -> None:
        self._known.pop(one.id, None)
        self.changed = True
        self._inbox.forget(one.id)
        self._show()

    def _missing(self) -> list[int]:
        return sorted(self._items.keys() - {place for one in self._known.values() for place in one.live})

    async def _take_over(self) -> None:
        """Move what an earlier session left to this one, and have what was not received sent again."""
        left = [*self._known.values()]
        client = self._client
        if not left or client is None:
            return
        try:
            results = await services.transfer(client, [one.id for one in left])
        except (ServiceFaultError, UndecodableError):
            results = []
        granted = dict(zip((one.id for one in left), results, strict=False))
        for one in left:
            status, available = granted.get(one.id, (CODES.BadSubscriptionIdInvalid, []))
            if status >> 30 or not one.live <= self._items.keys():
                self._give_up(one, "the server did not keep a subscription over the loss of the connection")
                continue
            self.counts["transferred"] += 1
            one.ended, one.heard = None, self._clock.monotonic()
            one.taken_over = one.heard
            await self._send_again(client, one, available)

    async def _send_again(self, client: GuardedClient, one: Subscription, available: Sequence[int]) -> None:
        """Have the server send what it kept of a subscription.

        Of one that another process left, holes between these numbers, and before the next one, are what that process
        acknowledged: what was committed, so nothing is missing there.
        """
        of_another, lost = one.expected == _UNKNOWN, 0
        for number in available:
            if not of_another and missed(one.expected, number) < 0:
                continue
            message = await self._again(client, one, number)
            if message is None:
                lost += of_another
                continue
            if of_another:
                one.expected = number
            self.counts["recovered"] += 1
            await self._arrived(client, one, message)
        if of_another:
            one.expected = _UNKNOWN
        if lost:
            self._gap(one, one.live, f"{lost} notification(s) that the server kept did not come and are gone")

    def _leave_behind(self, why: str) -> None:
        """Ask for none of what was there before: on another server the same number is somebody else's subscription."""
        for one in [*self._known.values()]:
            self._give_up(one, why)

    def _give_up(self, one: Subscription, why: str) -> None:
        self.counts["recreated"] += 1
        self._gap(one, one.live, why)
        self._remove(one)

    # Creating

    async def _create(self, positions: Sequence[int]) -> None:
        """Create items, in subscriptions of one interval each; what the server refuses stays to be tried again."""
        self._retry_at = self._clock.monotonic() + self._terms.retry
        by_interval: dict[int, list[int]] = {}
        for position in positions:
            by_interval.setdefault(self._items[position].interval_ms, []).append(position)
        try:
            for interval_ms, places in by_interval.items():
                for start in range(0, len(places), self._terms.items_a_subscription):
                    await self._create_one(interval_ms, places[start : start + self._terms.items_a_subscription])
        except ServiceFaultError as fault:
            self._say(
                "warn",
                "subscribe",
                f"the server refuses subscriptions ({status_name(fault.code)}): their tags are polled meanwhile, it is "
                f"tried again every {self._terms.retry:g} s",
            )
        except UndecodableError as error:
            self._say("warn", "subscribe", f"{error}: tags are polled meanwhile")
        finally:
            self._show()

    async def _create_one(self, interval_ms: int, places: Sequence[int]) -> None:
        client, terms = self._client, self._terms
        if client is None:
            return
        every = max(interval_ms, client.limits.min_publishing_ms) / 1000.0
        made = await services.create_subscription(
            client, every, terms.lifetime, terms.keep_alive, terms.values_a_notification
        )
        now = self._clock.monotonic(), self._clock.now_us()
        one = Subscription(made.id, interval_ms, made.interval, made.keep_alive, *now)
        self._known[made.id] = one
        self.changed = True
        await self._add(client, one, [(place, self._items[place].encoded) for place in places])
        if not one.live:
            self._remove(one)
            await services.delete_subscription(client, one.id)
        elif made.interval > 1.5 * interval_ms / 1000.0:
            text = f"the server publishes every {made.interval:g} s where {interval_ms / 1000:g} s was asked for"
            self._say("info", f"interval {interval_ms}", text)

    async def _add(self, client: GuardedClient, one: Subscription, wanted: list[tuple[int, bytes]]) -> None:
        plain: list[tuple[int, bytes]] = []
        start = 0
        while start < len(wanted):
            part = wanted[start : start + self._items_a_call]
            try:
                results = await services.create_items(client, one.id, [encoded for _, encoded in part])
            except ServiceFaultError as fault:
                if len(part) == 1 or fault.code not in REQUEST_TOO_LARGE:
                    raise
                self._items_a_call = max(1, len(part) // 2)
                text = f"the server takes {self._items_a_call} monitored items at once and no more"
                self._say("info", "items a call", text)
                continue
            start += len(part)
            for (place, encoded), result in zip(part, results, strict=True):
                if result.status in _FILTER_REFUSED and encoded != self._items[place].plain:
                    plain.append((place, self._items[place].plain))
                elif result.status >> 30:
                    self.refused[place] = result.status
                else:
                    self.refused.pop(place, None)
                    one.live.add(place)
        if plain:
            text = f"the server does not apply the deadband of {len(plain)} tag(s), so it is applied here"
            self._say("info", "deadband", text)
            await self._add(client, one, plain)

    def _show(self) -> None:
        self.live = frozenset(place for one in self._known.values() for place in one.live)
