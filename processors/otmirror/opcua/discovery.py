"""Finding out what a server has: its variables, their types and units, as a tag list."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import nodeid_to_binary

from otmirror.opcua import metadata, typedefs, wire
from otmirror.opcua.address import node_id
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.references import Reference
from otmirror.opcua.typedefs import DataTypes

BATCH = 100
"""Nodes a request; servers state their limits less reliably for browsing than for reading."""
_NEVER = {node_id(ObjectIds.Server), node_id(ObjectIds.Aliases), node_id(ObjectIds.Locations)}
_PROPERTY = node_id(ObjectIds.HasProperty)
_CLASSES = (ua.NodeClass.Object, ua.NodeClass.Variable)
_CURRENT_READ = 1
_UNFIT = re.compile(r"[/+#\x00-\x1f\x7f]")


Range = tuple[float, float]
"""The low and the high end, finite and in this order."""


@dataclass(frozen=True)
class Variable:
    """A variable that can be read: its path of browse names below the root, address, and what else is known of it."""

    path: tuple[str, ...]
    address: str
    type: str | None
    unit: str | None
    description: str | None
    range: Range | None = None
    """The ends of its EURange."""

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
    types = DataTypes(client)
    batch = min(BATCH, client.limits.nodes_per_browse)
    for _ in range(choice.depth):
        following: list[tuple[ua.NodeId, tuple[str, ...]]] = []
        for start in range(0, len(level), batch):
            part = level[start : start + batch]
            variables = []
            found = await typedefs.browse_all(client, [node for node, _ in part], ObjectIds.HierarchicalReferences)
            for (_, path), references in zip(part, found, strict=True):
                for reference in references:
                    node = reference.node
                    if node is None or node in seen or not _is_wanted(reference):
                        continue
                    seen.add(node)
                    below = (*path, reference.name)
                    following.append((node, below))
                    if reference.node_class == ua.NodeClass.Variable and choice.takes(below):
                        variables.append((node, below))
            looked += len(part)
            for at in range(0, len(variables), batch):
                for variable in await _described(client, variables[at : at + batch], types):
                    count += 1
                    yield variable
            say(looked, count)
        level = following


def _is_wanted(reference: Reference) -> bool:
    return reference.node_class in _CLASSES and reference.kind != _PROPERTY


def _range(meta: metadata.Meta) -> Range | None:
    if meta.low is None or meta.high is None or not 0 < meta.high - meta.low < math.inf:
        return None
    return meta.low, meta.high


async def _described(
    client: GuardedClient, variables: Sequence[tuple[ua.NodeId, tuple[str, ...]]], types: DataTypes
) -> list[Variable]:
    """Return those of the variables that this user may read."""
    nodes = [node for node, _ in variables]
    metas = await metadata.describe(client, nodes, types)
    wanted = [wire.attribute(nodeid_to_binary(node), AttributeIds.Description) for node in nodes]
    found = []
    for (node, path), meta, told in zip(variables, metas, await typedefs.read_all(client, wanted), strict=True):
        if meta.access_level is not None and not meta.access_level & _CURRENT_READ:
            continue
        described = typedefs.value_in(told)
        text = described.Text if isinstance(described, ua.LocalizedText) else None
        kind = "json" if meta.array else meta.type
        found.append(Variable(path, _address(node, client.namespaces), kind, meta.unit, text or None, _range(meta)))
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
    rows.writerow(("tag", "address", "type", "unit", "range", "description"))
    for variable in variables:
        tag = variable.tag(prefix)
        times[tag] = times.get(tag, 0) + 1
        name = tag if times[tag] == 1 else f"{tag}~{times[tag]}"
        described = " ".join((variable.description or "").split())
        ends = "" if variable.range is None else "{!r}..{!r}".format(*variable.range)
        rows.writerow((name, variable.address, variable.type or "", variable.unit or "", ends, described))
    return text.getvalue()
