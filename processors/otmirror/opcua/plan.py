"""What to read when: the tags of each poll interval, and the nodes they stand for on the server just connected to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from otmirror.opcua import address, wire
from otmirror.opcua.config import OpcUaConfig
from otmirror.taglist import Tag


class ReadPlan:
    """The tags of a source by poll interval, and their nodes, prepared once a connect."""

    def __init__(self, config: OpcUaConfig):
        """Take the source's configuration."""
        self.tags: Sequence[Tag] = config.tags
        self._addresses = [address.parse(tag.address) for tag in config.tags]
        self._groups: dict[int, list[int]] = {}
        for position, tag in enumerate(config.tags):
            self._groups.setdefault(tag.interval_ms or config.interval_ms, []).append(position)
        self.nodes: list[bytes | None] = [None] * len(config.tags)
        """What to ask the server for, encoded, in the tags' order; None where the namespace is unknown to it."""

    @property
    def intervals(self) -> list[int]:
        """The poll intervals, in milliseconds."""
        return list(self._groups)

    def due(self, intervals: Iterable[int]) -> list[int]:
        """Return the places, in the tag list, of the tags polled at these intervals."""
        return sorted(position for interval in intervals for position in self._groups[interval])

    def resolve(self, namespaces: Sequence[str]) -> dict[str, list[str]]:
        """Prepare the nodes for a server with this NamespaceArray; return tags by namespace URI not found in it."""
        missing: dict[str, list[str]] = {}
        for position, (tag, where) in enumerate(zip(self.tags, self._addresses, strict=True)):
            node = where.node_id(namespaces)
            self.nodes[position] = None if node is None else wire.node(address.value_of(node))
            if node is None:
                missing.setdefault(where.uri or "", []).append(tag.tag)
        return missing


def some(names: Sequence[str], most: int = 5) -> str:
    """Return names for a message: the first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
