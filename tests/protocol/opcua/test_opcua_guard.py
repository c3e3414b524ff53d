"""The guard: nothing but reading leaves this client."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary
from opcua_server import PLANT, Server

from otmirror.errors import ReadOnlyError
from otmirror.loopthread import LoopThread
from otmirror.opcua import wire
from otmirror.opcua.allowlist import ReadOnlyGuard
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.guard import GuardedClient
from otmirror.taglist import Tag

ALLOWED = {
    "GetEndpoints", "FindServers", "CreateSession", "ActivateSession", "CloseSession",
    "Read", "HistoryRead", "Browse", "BrowseNext", "TranslateBrowsePathsToNodeIds",
    "CreateSubscription", "DeleteSubscriptions", "TransferSubscriptions", "CreateMonitoredItems", "Publish",
    "Republish",
}  # fmt: skip


@pytest.fixture
def guarded(plant: Server) -> Iterator[tuple[GuardedClient, Callable[[Coroutine[Any, Any, Any]], Any]]]:
    client, loop = GuardedClient(OpcUaConfig(plant.url, (Tag("a", "i=2259"),))), LoopThread("guard test")
    loop.run(client.connect(), 10)
    yield client, lambda work: loop.run(work, 10)
    loop.run(client.close(), 10)
    loop.close()


def attempts(plant: Server) -> dict[str, Callable[[Any], Coroutine[Any, Any, Any]]]:
    """What somebody who reaches into the client could try."""
    index = plant.namespaces.index(PLANT)
    setpoint, parent = ua.NodeId("Setpoint", index), ua.NodeId(85)
    value = ua.DataValue(ua.Variant(13.0, ua.VariantType.Double))
    return {
        "Write": lambda c: c.get_node(setpoint).write_value(value),
        "Call": lambda c: c.uaclient.call([ua.CallMethodRequest(ObjectId=parent, MethodId=ua.NodeId("Trip", index))]),
        "AddNodes": lambda c: c.uaclient.add_nodes([ua.AddNodesItem()]),
        "DeleteNodes": lambda c: c.uaclient.delete_nodes(ua.DeleteNodesParameters()),
        "HistoryUpdate": lambda c: c.uaclient.history_update(ua.HistoryUpdateParameters()),
        "RegisterNodes": lambda c: c.uaclient.register_nodes([setpoint]),
        "SetMonitoringMode": lambda c: c.uaclient.set_monitoring_mode(ua.SetMonitoringModeParameters()),
        "ModifySubscription": lambda c: c.uaclient.update_subscription(ua.ModifySubscriptionParameters()),
    }


def test_a_write_a_call_and_the_rest_are_refused_before_they_reach_the_server(plant: Server, guarded: Any) -> None:
    client, run = guarded
    before = plant.do("requests")
    for service, attempt in attempts(plant).items():
        with pytest.raises(ReadOnlyError, match=f"{service} is not on the read-only allow-list"):
            run(attempt(client._client))
        assert client.refused[service] == 1
    assert sum(client.refused.values()) == len(attempts(plant))
    assert plant.do("setpoint") == 42
    assert plant.do("requests") == before
    assert set(client.sent) <= ALLOWED


def test_the_same_write_would_have_worked_without_the_guard(plant: Server) -> None:
    from asyncua import Client

    loop = LoopThread("unguarded")

    async def write(value: float) -> None:
        async with Client(plant.url) as client:
            node = client.get_node(ua.NodeId("Setpoint", plant.namespaces.index(PLANT)))
            await node.write_value(ua.DataValue(ua.Variant(value, ua.VariantType.Double)))

    loop.run(write(13.0), 10)
    assert plant.do("setpoint") == 13
    loop.run(write(42.0), 10)
    loop.close()


def test_every_request_asyncua_knows_is_either_on_the_list_or_refused() -> None:
    guard = ReadOnlyGuard()
    kinds = [kind for name, kind in vars(ua).items() if name.endswith("Request")]
    requests = [kind for kind in kinds if hasattr(kind(), "RequestHeader")]
    assert len(requests) > 35
    for kind in requests:
        service = kind.__name__.removesuffix("Request")
        if service in ALLOWED:
            guard.observe_request(kind())
            assert guard.sent[service] == 1
        else:
            with pytest.raises(ReadOnlyError):
                guard.observe_request(kind())
            assert guard.refused[service] == 1
    assert set(guard.sent) == ALLOWED


def test_a_request_that_only_calls_itself_a_read_is_refused() -> None:
    class ReadRequest(ua.WriteRequest):
        pass

    with pytest.raises(ReadOnlyError):
        ReadOnlyGuard().observe_request(ReadRequest())


def test_bytes_that_call_themselves_a_read_are_refused(plant: Server, guarded: Any) -> None:
    client, run = guarded
    before = plant.do("requests")
    forged = wire.Service(ua.ReadRequest, nodeid_to_binary(ua.WriteRequest().TypeId), wire.READ.answer)
    with pytest.raises(ReadOnlyError, match="of unknown bytes is not on the read-only allow-list"):
        run(client.exchange(forged, wire.read_body([]), "trying"))
    assert client.refused == {"of unknown bytes": 1}
    assert plant.do("requests") == before
