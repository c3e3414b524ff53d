"""Finding out what a server has: its variables, their types and units, as a tag list."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from otmirror.opcua.address import node_id
from otmirror.opcua.decode import type_name
from otmirror.opcua.faults import ServiceFaultError
from otmirror.opcua.guard import GuardedClient

BATCH = 100
"""Nodes a request; servers state their limits less reliably for browsing than for reading."""
_ATTRIBUTES = (AttributeIds.DataType, AttributeIds.ValueRank, AttributeIds.UserAccessLevel, AttributeIds.Description)
_NEVER = {node_id(ObjectIds.Server), node_id(ObjectIds.Aliases), node_id(ObjectIds.Locations)}
_CURRENT_READ = 1
_UNFIT = re.compile(r"[/+#\x00-\x1f\x7f]")
_DEEPEST_TYPE = 16


@dataclass(frozen=True)
class Variable:
    """A variable that can be read: its path of browse names below the root, address, type and unit where known."""

    path: tuple[str, ...]
    address: str
    type: str | None
    unit: str | None
    description: str | None

    def tag(self, prefix: str) -> str:
        """Return the tag's name: the prefix and the path, with what MQTT topics or paths cannot hold as `_`."""
        return "/".join([*([prefix] if prefix else []), *(_UNFIT.sub("_", name) or "_" for name in self.path)])


@dataclass(frozen=True)
class Choice:
    """What to take: globs on the path joined by `/`, and how many levels below the root."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    depth: int = 20

    def takes(self, path: Sequence[str]) -> bool:
        """Whether a variable at this path is wanted."""
        name = "/".join(path)
        wanted = not self.include or any(fnmatchcase(name, glob) for glob in self.include)
        return wanted and not any(fnmatchcase(name, glob) for glob in self.exclude)


async def browse(
    client: GuardedClient, root: ua.NodeId, choice: Choice, say: Callable[[int, int], None] = lambda *_: None
) -> AsyncIterator[Variable]:
    """Yield the readable variables below a node, level by level; the server's own object is left out.

    Properties are left out, variables below variables are not. A node that is reached on several ways counts once, at
    the shortest. `say` is told how many nodes were looked at and how many variables were found.

    Raises:
        UnavailableError: the connection broke.
    """
    level: list[tuple[ua.NodeId, tuple[str, ...]]] = [(root, ())]
    seen, looked, count = {root, *_NEVER}, 0, 0
    types: dict[ua.NodeId, str | None] = {}
    batch = min(BATCH, client.limits.nodes_per_browse)
    for _ in range(choice.depth):
        following: list[tuple[ua.NodeId, tuple[str, ...]]] = []
        for start in range(0, len(level), batch):
            part = level[start : start + batch]
            variables = []
            for (_, path), references in zip(part, await _children(client, [node for node, _ in part]), strict=True):
                for reference in references:
                    node = _local(reference)
                    if node is None or node in seen or reference.ReferenceTypeId == node_id(ObjectIds.HasProperty):
                        continue
                    seen.add(node)
                    below = (*path, reference.BrowseName.Name or "")
                    following.append((node, below))
                    if reference.NodeClass == ua.NodeClass.Variable and choice.takes(below):
                        variables.append((node, below))
            looked += len(part)
            for at in range(0, len(variables), batch):
                for variable in await _described(client, variables[at : at + batch], types):
                    count += 1
                    yield variable
            say(looked, count)
        level = following


def _local(reference: Any) -> ua.NodeId | None:
    """Return the node a reference leads to; None for one on another server or that is neither object nor variable."""
    target = reference.NodeId
    if getattr(target, "ServerIndex", 0) or reference.NodeClass not in (ua.NodeClass.Object, ua.NodeClass.Variable):
        return None
    return ua.NodeId(target.Identifier, target.NamespaceIndex)


async def _children(client: GuardedClient, nodes: Sequence[ua.NodeId]) -> list[list[Any]]:
    """Browse nodes; a server that calls that too much at once is asked for half."""
    try:
        return await client.browse(nodes)
    except ServiceFaultError:
        if len(nodes) == 1:
            raise
        middle = len(nodes) // 2
        return await _children(client, nodes[:middle]) + await _children(client, nodes[middle:])


async def _read(client: GuardedClient, wanted: Sequence[ua.ReadValueId]) -> list[ua.DataValue]:
    """Read attributes within the server's limit."""
    most = min(client.max_nodes_per_read or 1000, 1000)
    return [value for at in range(0, len(wanted), most) for value in await client.read(wanted[at : at + most])]


async def _described(
    client: GuardedClient, variables: Sequence[tuple[ua.NodeId, tuple[str, ...]]], types: dict[ua.NodeId, str | None]
) -> list[Variable]:
    """Return those of the variables that this user may read."""
    wanted = [ua.ReadValueId(node, ua.IntegerId(a)) for node, _ in variables for a in _ATTRIBUTES]
    values = [value.Value.Value if value.Value else None for value in await _read(client, wanted)]
    units = await _units(client, [node for node, _ in variables])
    found = []
    for n, (node, path) in enumerate(variables):
        kind, rank, access, described = values[4 * n : 4 * n + 4]
        if isinstance(access, int) and not access & _CURRENT_READ:
            continue
        array = isinstance(rank, int) and rank >= 0
        named = "json" if array else await _type(client, kind, types) if isinstance(kind, ua.NodeId) else None
        text = described.Text if isinstance(described, ua.LocalizedText) else None
        found.append(Variable(path, _address(node, client.namespaces), named, units[n], text or None))
    return found


async def _units(client: GuardedClient, nodes: Sequence[ua.NodeId]) -> list[str | None]:
    """Return the display name of each node's EngineeringUnits (OPC 10000-8, 5.6.3); None where there are none."""
    try:
        where = await client.property_of(nodes, "EngineeringUnits")
    except ServiceFaultError:
        return [None] * len(nodes)
    has = [(n, ua.NodeId(p.Identifier, p.NamespaceIndex)) for n, p in enumerate(where) if p is not None]
    values = await _read(client, [ua.ReadValueId(p, ua.IntegerId(AttributeIds.Value)) for _, p in has]) if has else []
    found: list[str | None] = [None] * len(nodes)
    for (n, _), value in zip(has, values, strict=True):
        unit = value.Value.Value if value.Value else None
        if isinstance(unit, ua.EUInformation) and unit.DisplayName is not None:
            found[n] = unit.DisplayName.Text or None
    return found


async def _type(client: GuardedClient, kind: ua.NodeId, types: dict[ua.NodeId, str | None]) -> str | None:
    """Return the type a sample of this data type has, going up its super-types to a built-in one."""
    if kind in types:
        return types[kind]
    at, found = kind, type_name(kind)
    for _ in range(_DEEPEST_TYPE):
        if found is not None:
            break
        above = (await client.browse([at], inverse_subtype=True))[0]
        if not above:
            break
        at = ua.NodeId(above[0].NodeId.Identifier, above[0].NodeId.NamespaceIndex)
        found = type_name(at)
    types[kind] = found
    return found


def _address(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    text: str = node.to_string()
    if node.NamespaceIndex and node.NamespaceIndex < len(namespaces):
        uri = namespaces[node.NamespaceIndex].replace("%", "%25").replace(";", "%3B")
        return f"nsu={uri};{text.partition(';')[2]}"
    return text


def as_csv(variables: Iterable[Variable], prefix: str) -> str:
    """Return a tag list of variables; names that come twice get `~2`, `~3` ... at their end."""
    text, times = io.StringIO(), dict[str, int]()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("tag", "address", "type", "unit", "description"))
    for variable in variables:
        tag = variable.tag(prefix)
        times[tag] = times.get(tag, 0) + 1
        name = tag if times[tag] == 1 else f"{tag}~{times[tag]}"
        described = " ".join((variable.description or "").split())
        rows.writerow((name, variable.address, variable.type or "", variable.unit or "", described))
    return text.getvalue()
