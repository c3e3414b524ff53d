"""Subscriptions as the standard has them, in an asyncua server: a queue that drops values says so.

asyncua drops the oldest value of a full queue without a word, takes no notice of sampling intervals, of discardOldest
and of a queue size of 0, compares with a deadband to the last sample instead of the last one reported, answers for a
notification that is gone with an empty one, and stays silent after a subscription was transferred. Only the server that
`install` is called with is changed: nothing of the asyncua package itself.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from asyncua import ua as asyncua_ua
from asyncua.common.utils import ServiceError
from asyncua.server.address_space import AddressSpace
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.monitored_item_service import MonitoredItemData, MonitoredItemService
from asyncua.server.subscription_service import SubscriptionService
from asyncua.server.uaprocessor import UaProcessor

from otmirror.errors import ConfigError

# asyncua's annotations ask for its wire types (UInt32) where it takes plain numbers.
ua: Any = asyncua_ua

OVERFLOW = 0x480
"""InfoType DataValue and Overflow (OPC 10000-4, 7.39.1: DataValue InfoBits)."""

SHORTEST_MS, LONGEST_MS = 50.0, 3_600_000.0
"""Bounds of publishing and sampling intervals, milliseconds. asyncua has neither keep-alives nor an end at 0."""

MOST_UNACKNOWLEDGED = 1000
"""Notifications that a subscription keeps to be sent again, for clients that never acknowledge."""

Look = Callable[[Any, Any], Any]
"""Returns the DataValue of a node's attribute as a monitored item sees it."""

_KNOWN: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (MonitoredItemService, "datachange_callback", ("self", "handle", "value", "error")),
    (MonitoredItemService, "trigger_datachange", ("self", "handle", "nodeid", "attr")),
    (MonitoredItemService, "_make_monitored_item_common", ("self", "params")),
    (MonitoredItemService, "_modify_monitored_item", ("self", "params")),
    (MonitoredItemService, "_delete_monitored_items", ("self", "mid")),
    (MonitoredItemService, "_is_data_changed", ("values", "trg")),
    (MonitoredItemService, "_is_deadband_exceeded", ("self", "values", "flt")),
    (InternalSubscription, "enqueue_datachange_event", ("self", "mid", "eventdata", "maxsize")),
    (SubscriptionService, "republish", ("self", "params")),
    (SubscriptionService, "transfer_subscriptions", ("self", "params", "session_id", "callback")),
    (UaProcessor, "get_publish_request", ("self", "subscription_id")),
    (UaProcessor, "forward_publish_response", ("self", "result", "requestdata")),
    (SubscriptionService, "create_subscription", ("self", "params", "callback", "session_id", "request_callback")),
)
"""What is overridden or called here, with its parameters."""

Report = Callable[[Any], Awaitable[None]]
"""Takes a DataValue that was sampled for an item."""


def install(server: Any, look: Look) -> Service:
    """Have a server queue values as the standard says; before its `init`. Items begin with what `look` gives.

    Raises:
        ConfigError: the asyncua that is installed works in another way than this module knows.
    """
    try:
        internal = server.iserver
        service = Service(internal.aspace, internal, look)
        _check(service, internal)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"asyncua {version('asyncua')} does subscriptions in a way that the plant's server does not know "
            f"({error}): install asyncua 2.1"
        ) from None
    internal.max_unacked_messages_per_subscription = MOST_UNACKNOWLEDGED
    internal.subscription_service = internal.isession.subscription_service = service
    return service


def _check(service: SubscriptionService, internal: Any) -> None:
    """Look whether what is overridden and used here is there.

    Raises:
        AttributeError, TypeError, ValueError: it is not.
    """
    for kind, name, wanted in _KNOWN:
        found = tuple(inspect.signature(getattr(kind, name)).parameters)
        if found != wanted:
            raise ValueError(f"{kind.__name__}.{name} takes {', '.join(found)}")
    unused: Any = None
    subscription = InternalSubscription(ua.CreateSubscriptionResult(), AddressSpace(), unused, ua.NodeId())
    items, item = subscription.monitored_item_srv, MonitoredItemData()
    for table in (
        subscription._triggered_datachanges,
        subscription._not_acknowledged_results,
        items._monitored_items,
        items._monitored_datachange,
        service.subscriptions,
    ):
        if table != {}:
            raise ValueError("its tables of items are no dictionaries")
    for one, names in (
        (item, ("client_handle", "callback_handle", "read_value_id", "mode", "queue_size", "filter")),
        (item.mvalue, ("old_dvalue", "current_dvalue")),
        (internal, ("max_unacked_messages_per_subscription", "subscription_service")),
        (internal.isession, ("subscription_service",)),
        (subscription, ("pub_request_callback", "pub_result_callback", "session_id")),
    ):
        for name in names:
            getattr(one, name)


class Service(SubscriptionService):
    """Makes subscriptions with items of this module."""

    def __init__(self, space: AddressSpace, internal: Any, look: Look):
        super().__init__(space, internal)
        self._look = look

    async def create_subscription(
        self, params: Any, callback: Any, session_id: Any, request_callback: Any = None
    ) -> Any:
        interval = _within(params.RequestedPublishingInterval)
        params = dataclasses.replace(params, RequestedPublishingInterval=interval)
        result = await super().create_subscription(params, callback, session_id, request_callback)
        made = self.subscriptions[result.SubscriptionId]
        made.monitored_item_srv = _Items(made, self.aspace, self._look)
        return result

    async def transfer_subscriptions(self, params: Any, session_id: Any, callback: Any) -> Any:
        results = await super().transfer_subscriptions(params, session_id, callback)
        for number, result in zip(params.SubscriptionIds, results, strict=True):
            if result.StatusCode.is_good():
                # From now on it is the Publish requests of the connection that asked which wait for values.
                self.subscriptions[int(number)].pub_request_callback = callback.__self__.get_publish_request
        return results

    def republish(self, params: Any) -> Any:
        """Return a notification that was not acknowledged, as often as asked for (OPC 10000-4, 5.14.6)."""
        subscription = self.subscriptions.get(params.SubscriptionId)
        if subscription is None:
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)
        kept = subscription._not_acknowledged_results.get(params.RetransmitSequenceNumber)
        if kept is None:
            raise ServiceError(ua.StatusCodes.BadMessageNotAvailable)
        return kept.NotificationMessage

    def due(self, now: float) -> list[tuple[Any, Report]]:
        """Return the nodes whose value is to be sampled at `now` (seconds), each with what takes it to one item."""
        items: list[Any] = [one.monitored_item_srv for one in self.subscriptions.values()]
        return [found for one in items for found in one.due(now)]


@dataclass
class _Terms:
    """What an item was granted beside what asyncua knows of. Times are seconds."""

    oldest_stay: bool
    sampling: float
    due: float = 0.0

    def take(self, now: float) -> bool:
        """Return whether it is time for a sample, and wait for the next one then."""
        if now < self.due:
            return False
        self.due += self.sampling
        if self.due <= now:
            # In the middle between two samples, so that rows as frequent as samples may come early and late.
            self.due = now + self.sampling / 2
        return True


class _Items(MonitoredItemService):
    """The monitored items of one subscription; their queues are the subscription's."""

    def __init__(self, subscription: InternalSubscription, space: AddressSpace, look: Look):
        super().__init__(subscription, space)
        self._look = look
        self._terms: dict[int, _Terms] = {}

    def due(self, now: float) -> list[tuple[Any, Report]]:
        """Return the nodes of the items to sample now, with what takes the values."""
        items: dict[int, Any] = self._monitored_items
        return [
            (item.read_value_id.NodeId, partial(self.datachange_callback, item.callback_handle))
            for number, item in items.items()
            if item.read_value_id.AttributeId == ua.AttributeIds.Value and self._terms[number].take(now)
        ]

    async def trigger_datachange(self, handle: int, nodeid: Any, attr: Any) -> None:
        await self.datachange_callback(handle, self._look(nodeid, attr))

    async def datachange_callback(self, handle: int, value: Any, error: Any = None) -> None:
        """Queue a sample if it passes the item's filter; one of an item that is gone meanwhile is nothing."""
        if error is not None:
            await self.trigger_statuschange(error)
            return
        number = self._monitored_datachange.get(handle, 0)
        item = self._monitored_items.get(number)
        if item is not None and item.mode != ua.MonitoringMode.Disabled and self._passes(item, value):
            await self._queue(number, item, ua.MonitoredItemNotification(item.client_handle, value))

    def _passes(self, item: Any, value: Any) -> bool:
        """Compare with the value queued last, and remember this one if it is to be queued."""
        values = item.mvalue
        before = values.old_dvalue, values.current_dvalue
        # Copying is most of the cost of a sample, and a float cannot change behind it.
        kept = value if isinstance(value.Value.Value, float) else copy.deepcopy(value)
        values.old_dvalue, values.current_dvalue = values.current_dvalue, kept
        trigger = item.filter.Trigger if item.filter else ua.DataChangeTrigger.StatusValue
        passes = self._is_data_changed(values, trigger) and (
            not item.filter or self._is_deadband_exceeded(values, item.filter)
        )
        if not passes:
            values.old_dvalue, values.current_dvalue = before
        return passes

    def _is_deadband_exceeded(self, values: Any, flt: Any) -> bool:
        """Compare values; where there is none, as with a bad status, there is no deadband either."""
        both = values.old_dvalue, values.current_dvalue
        without = any(one is None or one.Value.Value is None for one in both)
        return without or super()._is_deadband_exceeded(values, flt)

    async def _queue(self, number: int, item: Any, notification: Any) -> None:
        """Queue a value; a full queue drops one and marks its neighbour (OPC 10000-4, 5.13.1.5 and 7.21)."""
        waiting = self.isub._triggered_datachanges.get(number)
        if waiting is None or len(waiting) < item.queue_size:
            await self.isub.enqueue_datachange_event(number, notification, item.queue_size)
        elif item.queue_size == 1:
            waiting[:] = [notification]
        elif self._terms[number].oldest_stay:
            waiting[item.queue_size - 1 :] = [_marked(notification)]
        else:
            del waiting[: len(waiting) + 1 - item.queue_size]
            waiting[0] = _marked(waiting[0])
            waiting.append(notification)

    def _make_monitored_item_common(self, params: Any) -> Any:
        result, item = super()._make_monitored_item_common(params)
        if params.ItemToMonitor.AttributeId != ua.AttributeIds.EventNotifier:
            self._grant(item, params.RequestedParameters, result)
        return result, item

    def _modify_monitored_item(self, params: Any) -> Any:
        item: Any = self._monitored_items.get(params.MonitoredItemId)
        if item is None:
            return ua.MonitoredItemModifyResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadMonitoredItemIdInvalid))
        result = super()._modify_monitored_item(params)
        if item.read_value_id.AttributeId != ua.AttributeIds.EventNotifier:
            self._grant(item, params.RequestedParameters, result)
        return result

    def _delete_monitored_items(self, mid: int) -> Any:
        self._terms.pop(mid, None)
        return super()._delete_monitored_items(mid)

    def _grant(self, item: Any, wanted: Any, result: Any) -> None:
        """Take over what is asked for (OPC 10000-4, 7.21): queue size 0 means 1, below 0 the publishing interval."""
        every = wanted.SamplingInterval if wanted.SamplingInterval >= 0 else self.isub.data.RevisedPublishingInterval
        result.RevisedSamplingInterval = _within(every)
        result.RevisedQueueSize = item.queue_size = min(int(wanted.QueueSize) or 1, self.isub.max_queue_size)
        self._terms[item.monitored_item_id] = _Terms(not wanted.DiscardOldest, result.RevisedSamplingInterval / 1000)


def _within(interval: float) -> float:
    """Return an interval within the bounds, milliseconds; in this order a NaN becomes the shortest."""
    return min(LONGEST_MS, max(SHORTEST_MS, interval))


def _marked(notification: Any) -> Any:
    """Return a copy that tells of an overflow: others may hold the value itself."""
    value = notification.Value
    status = ua.StatusCode(value.StatusCode.value | OVERFLOW)
    return dataclasses.replace(notification, Value=dataclasses.replace(value, StatusCode=status))
