"""What to read when: the tags of each poll interval, and the nodes they stand for on the server just connected to."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from asyncua import ua

from otmirror.opcua import address, wire
from otmirror.opcua.blocks import TagBlock
from otmirror.opcua.config import SUBSCRIBE, OpcUaConfig
from otmirror.opcua.items import Item
from otmirror.taglist import Tag

_MOST_BLOCKS = 500


class ReadPlan:
    """The tags of a source by poll interval, and their nodes, prepared once a connect."""

    def __init__(self, config: OpcUaConfig):
        """Take the source's configuration."""
        self.tags: Sequence[Tag] = config.tags
        self._addresses = [address.parse(tag.address) for tag in config.tags]
        self._config = config
        self._groups: dict[int, list[int]] = {}
        for position in range(len(config.tags)):
            self._groups.setdefault(self._interval(position), []).append(position)
        self._polled = self._groups
        self.subscribed = [n for n, tag in enumerate(config.tags) if (tag.mode or config.mode_of_tags) == SUBSCRIBE]
        """Places of the tags that the server is to report by itself."""
        self.nodes: list[bytes | None] = [None] * len(config.tags)
        """What to ask the server for, encoded, in the tags' order; None where the namespace is unknown to it."""
        self.node_ids: list[ua.NodeId | None] = [None] * len(config.tags)
        """The same as node ids."""
        self._blocks: dict[tuple[int, ...], TagBlock] = {}
        self._every: TagBlock | None = None
        self._blocks_of: Sequence[Tag] = self.tags

    @property
    def intervals(self) -> list[int]:
        """The poll intervals, in milliseconds."""
        return list(self._groups)

    def due(self, intervals: Iterable[int]) -> list[int]:
        """Return the places, in the tag list, of the tags polled at these intervals."""
        return sorted(position for interval in intervals for position in self._polled[interval])

    def block(self, positions: tuple[int, ...]) -> TagBlock:
        """Return the tags at these places as what a batch takes at once; kept, as they are read again and again."""
        self._renew()
        if len(self._blocks) > _MOST_BLOCKS:
            self._blocks.clear()
        found = self._blocks.get(positions)
        if found is None:
            found = self._blocks[positions] = TagBlock([self.tags[position] for position in positions])
        return found

    def block_of(self, positions: Sequence[int], special: Collection[str]) -> TagBlock:
        """Return the same for places that come in this order but once; `special` is for `TagBlock.mark`."""
        self._renew()
        if self._every is None:
            self._every = TagBlock(self.tags)
        self._every.mark(special)
        return self._every.chosen(positions)

    def _renew(self) -> None:
        if self._blocks_of is not self.tags:
            self._blocks, self._every, self._blocks_of = {}, None, self.tags

    def rate(self, at_once: int) -> float:
        """Return the requests a second that polling takes, each for at most so many tags; subscribed ones left out."""
        reported = set(self.subscribed)
        polled = ((interval, len(set(group) - reported)) for interval, group in self._groups.items())
        return sum(math.ceil(count / at_once) * 1000 / interval for interval, count in polled)

    @property
    def queued_seconds(self) -> float:
        """For how long the server keeps every value of the subscribed tags by itself; infinite when there is none.

        0 where the server alone knows how often it looks at a node.
        """
        each = ((n, self._sampling(n)) for n in self.subscribed)
        every = (self._interval(n) if sampling is None else sampling for n, sampling in each)
        return self._config.queue_size * min(every, default=math.inf) / 1000

    def leave_out(self, live: Collection[int]) -> None:
        """Poll all tags but these, as they come by themselves."""
        self._polled = {interval: [n for n in group if n not in live] for interval, group in self._groups.items()}

    def items(self, filters: bool = True, least_ms: int = 0) -> list[Item]:
        """Return what to subscribe, of the nodes that are known on this server.

        `filters`: whether it takes deadband filters; it samples no faster than every `least_ms`.
        """
        filters = filters and self._config.server_deadband
        return [self._item(n, node, filters, least_ms) for n in self.subscribed if (node := self.nodes[n]) is not None]

    def _item(self, position: int, node: bytes, filters: bool, least_ms: int) -> Item:
        tag, config = self.tags[position], self._config
        every = self._interval(position)
        sampling = self._sampling(position)
        asked = node, position, -1.0 if sampling is None else float(max(sampling, least_ms)), config.queue_size
        plain = wire.item(*asked)
        chosen = wire.item(*asked, self._filter(tag)) if filters else plain
        return Item(position, every, chosen, plain)

    @staticmethod
    def _filter(tag: Tag) -> bytes:
        if tag.deadband:  # the server compares raw values, the tag list speaks of scaled ones
            return wire.deadband_filter(wire.ABSOLUTE, tag.deadband / abs(tag.scale))
        if tag.deadband_percent and tag.low is not None and tag.high is not None:  # the list's range, not the server's
            deadband = tag.deadband_percent / 100 * (tag.high - tag.low)
            return wire.deadband_filter(wire.ABSOLUTE, deadband / abs(tag.scale))
        return wire.deadband_filter(wire.PERCENT, tag.deadband_percent) if tag.deadband_percent else b""

    def _interval(self, position: int) -> int:
        return self.tags[position].interval_ms or self._config.interval_ms

    def _sampling(self, position: int) -> int | None:
        own = self.tags[position].sampling_ms
        return self._config.sampling_ms if own is None else own

    def resolve(self, namespaces: Sequence[str]) -> dict[str, list[str]]:
        """Prepare the nodes for a server with this NamespaceArray; return tags by namespace URI not found in it."""
        missing: dict[str, list[str]] = {}
        for position, (tag, where) in enumerate(zip(self.tags, self._addresses, strict=True)):
            node = where.node_id(namespaces)
            self.node_ids[position] = node
            self.nodes[position] = None if node is None else wire.node(address.value_of(node))
            if node is None:
                missing.setdefault(where.uri or "", []).append(tag.tag)
        return missing


def some(names: Sequence[str], most: int = 5) -> str:
    """Return names for a message: the first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
