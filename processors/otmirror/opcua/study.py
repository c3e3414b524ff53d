"""What is asked once a connect about the tags' nodes, and how their values become samples then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asyncua import ua

from otmirror.opcua import metadata
from otmirror.opcua.config import AS_BAD, AS_ELEMENTS, OpcUaConfig
from otmirror.opcua.decode import Forms
from otmirror.opcua.elements import Elements
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.metadata import Meta
from otmirror.opcua.structures import Structures
from otmirror.opcua.typedefs import DataTypes
from otmirror.taglist import Tag


@dataclass(frozen=True, slots=True)
class Study:
    """What a server says about the tags' nodes, in the tags' order.

    `tags` are those of the tag list with the server's units and types where it has none.
    """

    tags: tuple[Tag, ...]
    metas: tuple[Meta, ...]
    forms: Forms
    types: DataTypes


def forms_of(config: OpcUaConfig) -> Forms:
    """Return how values become samples before anything is known about the nodes. It is for one reader's life."""
    elements = Elements() if config.arrays == AS_ELEMENTS else None
    return Forms(elements=elements, nan_is_bad=config.nan_policy == AS_BAD)


async def study(client: GuardedClient, tags: Sequence[Tag], nodes: Sequence[ua.NodeId | None], forms: Forms) -> Study:
    """Ask a server about the nodes of tags: None stands for one whose namespace it does not know.

    Args:
        client: a client that is connected.
        tags: the tag list's.
        nodes: the tags' nodes on this server.
        forms: those of an earlier connect, or `forms_of`: what arrays had is kept.

    Raises:
        ConnectionLostError: the connection cannot be used any more.
    """
    types = DataTypes(client)
    metas = await metadata.describe(client, nodes, types)
    structures = await metadata.structures_of(client, nodes, metas, types)
    states = {tag.tag: meta.enum for tag, meta in zip(tags, metas, strict=True) if meta.enum}
    made = Forms(states, structures, forms.elements, forms.nan_is_bad)
    return Study(tuple(metadata.completed(tags, metas)), tuple(metas), made, types)


async def reopened(client: GuardedClient, nodes: Sequence[ua.NodeId | None], metas: Sequence[Meta]) -> Structures:
    """Return how to open structures on another connection, where node ids and definitions may be others.

    Raises:
        ConnectionLostError: the connection cannot be used any more.
    """
    types = DataTypes(client)
    which = [n for n, meta in enumerate(metas) if meta.type in (None, "json") and nodes[n] is not None]
    again = await metadata.describe(client, [nodes[n] for n in which], types)
    return await metadata.structures_of(client, [nodes[n] for n in which], again, types)
