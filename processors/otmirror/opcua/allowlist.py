"""The services that may be sent, and the guard that every request has to pass before a byte of it leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from asyncua import ua
from asyncua.observer import Observer

from otmirror import refusals
from otmirror.errors import ReadOnlyError

ALLOWED: dict[type, str] = {
    ua.GetEndpointsRequest: "GetEndpoints",
    ua.FindServersRequest: "FindServers",
    ua.CreateSessionRequest: "CreateSession",
    ua.ActivateSessionRequest: "ActivateSession",
    ua.CloseSessionRequest: "CloseSession",
    ua.ReadRequest: "Read",
    ua.HistoryReadRequest: "HistoryRead",
    ua.BrowseRequest: "Browse",
    ua.BrowseNextRequest: "BrowseNext",
    ua.TranslateBrowsePathsToNodeIdsRequest: "TranslateBrowsePathsToNodeIds",
    ua.CreateSubscriptionRequest: "CreateSubscription",
    ua.DeleteSubscriptionsRequest: "DeleteSubscriptions",
    ua.TransferSubscriptionsRequest: "TransferSubscriptions",
    ua.CreateMonitoredItemsRequest: "CreateMonitoredItems",
    ua.PublishRequest: "Publish",
    ua.RepublishRequest: "Republish",
}
"""Services that may be sent (OPC 10000-4, clause 5). Opening and closing the secure channel is no service here.

Those of subscriptions make the server report changes of values; what they create is the session's own.
"""


class ReadOnlyGuard(Observer):
    """Lets requests of the allow-list pass and counts them in `sent`; refuses all others, counted in `refused`."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.device = ""
        """The server that requests go to, for the report of a refusal."""
        self.took: Callable[[float], object] = lambda seconds: None
        """Told how long each answer took, waiting for reports aside."""

    def observe_request(self, request: Any) -> AbstractContextManager[None]:
        """Called by asyncua with every service request before it is encoded and sent.

        Raises:
            ReadOnlyError: the service is not on the allow-list.
        """
        service = ALLOWED.get(type(request))
        if service is None:
            raise self.refusal(type(request).__name__.removesuffix("Request"))
        self.sent[service] += 1
        return nullcontext()

    def refusal(self, service: str) -> ReadOnlyError:
        """Count a service as refused, report it for the audit trail, and return the error to raise."""
        self.refused[service] += 1
        refusals.report("opcua", self.device, service, self.refused[service])
        return ReadOnlyError(f"OPC UA service {service} is not on the read-only allow-list; nothing was sent")
