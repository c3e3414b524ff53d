"""Answers to Browse and BrowseNext, decoded straight from their bytes (OPC 10000-4, 5.9.2, 7.6 and 7.29)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from asyncua import ua

from otmirror.opcua.binary import localized_text, node, octets, qualified_name
from otmirror.opcua.faults import UndecodableError

_STATUS = struct.Struct("<I")
_COUNT = struct.Struct("<i")
_SHORTEST = 19
"""Bytes of a reference at least."""


class Reference(NamedTuple):
    """Where a reference leads: `node` is None for one on another server; the name, and its namespace index."""

    kind: ua.NodeId
    node: ua.NodeId | None
    name: str
    namespace: int
    node_class: int


class Browsed(NamedTuple):
    """What was found of one node; `point` says where to go on, empty at the end."""

    status: int
    point: bytes
    references: list[Reference]


def decode(body: bytes, nodes: int) -> list[Browsed]:
    """Decode the results of a Browse or BrowseNext for so many nodes, from behind the answer's header on.

    Raises:
        UndecodableError: the bytes are cut short or make no sense. Nothing beyond their end is looked at.
    """
    try:
        (count,) = _COUNT.unpack_from(body, 0)
        if count != nodes:
            raise UndecodableError(f"the server answered {count} results to a request for {nodes}")
        at, found = 4, []
        for _ in range(count):
            one, at = _browsed(body, at)
            found.append(one)
        return found
    except (struct.error, IndexError):
        raise UndecodableError("the answer is cut short") from None
    except ValueError as error:  # an encoding of a node id that there is not
        raise UndecodableError(str(error)) from None


def _browsed(body: bytes, at: int) -> tuple[Browsed, int]:
    (status,) = _STATUS.unpack_from(body, at)
    point, at = octets(body, at + 4)
    (count,) = _COUNT.unpack_from(body, at)
    at += 4
    if count * _SHORTEST > len(body) - at:
        raise UndecodableError(f"{count} references announced in {len(body) - at} bytes")
    found = []
    for _ in range(count):
        one, at = _reference(body, at)
        found.append(one)
    return Browsed(status, point or b"", found), at


def _reference(body: bytes, at: int) -> tuple[Reference, int]:
    kind, at = node(body, at)
    target, at = node(body, at + 1)
    name, at = qualified_name(body, at)
    _, at = localized_text(body, at)
    (node_class,) = _STATUS.unpack_from(body, at)
    _, at = node(body, at + 4)
    return Reference(kind, local(target), name.Name or "", int(name.NamespaceIndex), node_class), at


def local(target: ua.NodeId) -> ua.NodeId | None:
    """Return the node an ExpandedNodeId names, None when it is on another server or of a namespace only named."""
    if not isinstance(target, ua.ExpandedNodeId):
        return target
    if target.ServerIndex or target.NamespaceUri:
        return None
    return ua.NodeId(target.Identifier, target.NamespaceIndex)
