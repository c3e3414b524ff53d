"""What a server says of its variables beside their values: units and ranges (OPC 10000-8, 5.6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from otmirror.opcua import address
from otmirror.opcua.faults import ServiceFaultError
from otmirror.opcua.guard import GuardedClient
from otmirror.taglist import Tag

BATCH = 100
"""Nodes a request; servers state their limits less reliably for looking up properties than for reading."""
_MOST_READ = 1000

Range = tuple[float, float]
"""The low and the high end, finite and in this order."""


async def read(client: GuardedClient, wanted: Sequence[ua.ReadValueId]) -> list[ua.DataValue]:
    """Read attributes within the server's limit.

    Raises:
        ServiceFaultError: the server refused a request as a whole.
        ConnectionLostError: the connection cannot be used any more.
    """
    most = min(client.max_nodes_per_read or _MOST_READ, _MOST_READ)
    return [value for at in range(0, len(wanted), most) for value in await client.read(wanted[at : at + most])]


async def values_of(client: GuardedClient, nodes: Sequence[ua.NodeId], name: str) -> list[Any]:
    """Return the value of each node's property of that name; None where it has none or it cannot be had.

    Raises:
        ConnectionLostError: the connection cannot be used any more.
    """
    found: list[Any] = []
    for at in range(0, len(nodes), BATCH):
        found += await _values_of(client, nodes[at : at + BATCH], name)
    return found


async def _values_of(client: GuardedClient, nodes: Sequence[ua.NodeId], name: str) -> list[Any]:
    found: list[Any] = [None] * len(nodes)
    try:
        where = await client.property_of(nodes, name)
        has = [(n, ua.NodeId(p.Identifier, p.NamespaceIndex)) for n, p in enumerate(where) if p is not None]
        values = await read(client, [ua.ReadValueId(p, ua.IntegerId(AttributeIds.Value)) for _, p in has])
    except ServiceFaultError:
        return found
    for (n, _), value in zip(has, values, strict=True):
        found[n] = value.Value.Value if value.Value else None
    return found


async def eu_ranges(client: GuardedClient, nodes: Sequence[ua.NodeId]) -> list[Range | None]:
    """Return each node's EURange; None where there is none, or one that is no range.

    Raises:
        ConnectionLostError: the connection cannot be used any more.
    """
    found: list[Range | None] = []
    for value in await values_of(client, nodes, "EURange"):
        ends = (value.Low, value.High) if isinstance(value, ua.Range) else (0.0, 0.0)
        span = ends[1] - ends[0]
        found.append(ends if 0 < span < math.inf else None)
    return found


async def ranges_of(client: GuardedClient, tags: Sequence[Tag]) -> dict[str, Range]:
    """Return the ranges of tags by name, as the server knows them, with the tags' scale and offset applied.

    Raises:
        ConnectionLostError: the connection cannot be used any more.
    """
    known = [(tag, node) for tag in tags if (node := address.parse(tag.address).node_id(client.namespaces)) is not None]
    found = await eu_ranges(client, [node for _, node in known])
    ranges = {}
    for (tag, _), ends in zip(known, found, strict=True):
        if ends is not None:
            one, other = (end * tag.scale + tag.offset for end in ends)
            ranges[tag.tag] = min(one, other), max(one, other)
    return ranges
