"""Subscription services, as functions on a guarded client (OPC 10000-4, 5.13 and 5.14)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from asyncua import ua

from otmirror.opcua import notifications, wire
from otmirror.opcua.faults import UndecodableError
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.notifications import ItemResult, Message, Published

_FOREVER = 86400.0


class Created(NamedTuple):
    """A subscription as the server granted it. Times are seconds."""

    id: int
    interval: float
    lifetime: float
    keep_alive: float


async def create_subscription(
    client: GuardedClient, interval: float, lifetime: float, keep_alive: float, most: int
) -> Created:
    """Create a subscription that publishes.

    Args:
        client: an open session.
        interval: seconds between two notifications at most, as long as there are values.
        lifetime: seconds the server keeps it without a Publish request.
        keep_alive: seconds after which the server says that there were no values.
        most: values in a notification at most; 0: any number.

    Raises:
        UnavailableError: as the client's `ask`.
    """
    beats = max(1, round(keep_alive / interval))
    asked = ua.CreateSubscriptionParameters(
        RequestedPublishingInterval=interval * 1000.0,
        # At least three times the keep-alive count (OPC 10000-4, 5.14.2.2).
        RequestedLifetimeCount=ua.UInt32(max(3 * beats, round(lifetime / interval))),
        RequestedMaxKeepAliveCount=ua.UInt32(beats),
        MaxNotificationsPerPublish=ua.UInt32(most),
    )
    request = ua.CreateSubscriptionRequest(Parameters=asked)
    told = (await client.ask(request, ua.CreateSubscriptionResponse, "creating a subscription")).Parameters
    every = float(told.RevisedPublishingInterval) / 1000.0
    return Created(
        int(told.SubscriptionId),
        every,
        every * int(told.RevisedLifetimeCount),
        every * int(told.RevisedMaxKeepAliveCount),
    )


async def delete_subscription(client: GuardedClient, subscription: int) -> None:
    """Delete a subscription; one that the server does not know is no error.

    Raises:
        UnavailableError: as the client's `ask`.
    """
    request = ua.DeleteSubscriptionsRequest()
    request.Parameters.SubscriptionIds = [ua.UInt32(subscription)]
    await client.ask(request, ua.DeleteSubscriptionsResponse, "deleting a subscription")


async def create_items(client: GuardedClient, subscription: int, items: Sequence[bytes]) -> list[ItemResult]:
    """Create monitored items, made by `wire.item`, in one request.

    Raises:
        UnavailableError: as the client's `exchange`.
    """
    body = wire.items_body(subscription, items)
    results = notifications.item_results(await client.exchange(wire.CREATE_ITEMS, body, "creating monitored items"))
    if len(results) != len(items):
        raise UndecodableError(f"the server answered {len(results)} results to a request for {len(items)} items")
    return results


async def publish(client: GuardedClient, acknowledged: Sequence[tuple[int, int]]) -> Published:
    """Wait for the next notification of any subscription, and acknowledge earlier ones.

    Raises:
        UnavailableError: as the client's `exchange`; a server that is silent is no error here.
    """
    body = wire.publish_body(acknowledged)
    return notifications.published(await client.exchange(wire.PUBLISH, body, "publishing", _FOREVER))


async def republish(client: GuardedClient, subscription: int, sequence: int) -> Message:
    """Ask for a notification again.

    Raises:
        UnavailableError: as the client's `ask`; ServiceFaultError with BadMessageNotAvailable when it is gone.
    """
    body = wire.republish_body(subscription, sequence)
    return notifications.republished(await client.exchange(wire.REPUBLISH, body, "asking for a notification again"))


async def transfer(client: GuardedClient, subscriptions: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Take subscriptions of an earlier session over; returns a status and the numbers to have again for each.

    Raises:
        UnavailableError: as the client's `ask`.
    """
    request = ua.TransferSubscriptionsRequest()
    request.Parameters.SubscriptionIds = [ua.UInt32(subscription) for subscription in subscriptions]
    request.Parameters.SendInitialValues = False
    told: Any = await client.ask(request, ua.TransferSubscriptionsResponse, "taking subscriptions over")
    results = told.Parameters.Results
    return [(int(one.StatusCode.value), [int(n) for n in one.AvailableSequenceNumbers or ()]) for one in results]
