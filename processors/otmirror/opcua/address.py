"""Node addresses of a tag list: `ns=2;s=Well12.P`, `nsu=http://acme/;s=Well12.P`, `i=2258`.

The notation is that of OPC 10000-6, 5.3.1.10 and 5.3.1.11.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from otmirror.errors import ConfigError
from otmirror.taglist import Tag

_ADDRESS = re.compile(r"(?:ns=(?P<index>[^;]*);|nsu=(?P<uri>[^;]*);)?(?P<kind>[isgb])=(?P<identifier>.*)", re.DOTALL)
_HELP = (
    "write ns=<index>;s=<name> or nsu=<namespace URI>;s=<name>, with i=<number>, g=<GUID> or b=<base64> "
    "in place of s=<name> where the node has such an identifier"
)
_LONGEST_NAME = 4096


@dataclass(frozen=True, slots=True)
class Address:
    """A node's address. Its namespace is either a URI, to be looked up at each connect, or a fixed index."""

    identifier: int | str | bytes | uuid.UUID
    index: int = 0
    uri: str | None = None

    def node_id(self, namespaces: Sequence[str]) -> ua.NodeId | None:
        """Return the node id for a server with this NamespaceArray; None when the URI is not in it."""
        if self.uri is None:
            return node_id(self.identifier, self.index)
        if self.uri not in namespaces:
            return None
        return node_id(self.identifier, namespaces.index(self.uri))


def node_id(identifier: int | str | bytes | uuid.UUID, index: int = 0) -> ua.NodeId:
    """Return a node id in the namespace with this index."""
    return ua.NodeId(identifier, index)  # type: ignore[arg-type]


def value_of(node: ua.NodeId) -> ua.ReadValueId:
    """Return what a Read request names to read a node's value."""
    return ua.ReadValueId(NodeId=node, AttributeId=ua.IntegerId(AttributeIds.Value))


def check(tag: Tag) -> str | None:
    """Return what is wrong with a tag's address, or None: the check a tag list is loaded with."""
    try:
        parse(tag.address)
    except ConfigError as error:
        return str(error)
    return None


def parse(text: str) -> Address:
    """Parse an address.

    Raises:
        ConfigError: it is none; the message says what to write.
    """
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise ConfigError(f"{text!r} is no OPC UA node address: {_HELP}")
    identifier = _identifier(text, match["kind"], match["identifier"])
    if match["uri"] is not None:
        uri = unquote(match["uri"])
        if not uri.strip():
            raise ConfigError(f"{text!r}: the namespace URI is empty")
        return Address(identifier, uri=uri)
    return Address(identifier, 0 if match["index"] is None else _whole(text, "namespace index", match["index"], 0xFFFF))


def _identifier(text: str, kind: str, raw: str) -> int | str | bytes | uuid.UUID:
    if not raw:
        raise ConfigError(f"{text!r}: nothing follows {kind}=")
    if kind == "i":
        return _whole(text, "numeric identifier", raw, 0xFFFFFFFF)
    if kind == "g":
        try:
            return uuid.UUID(raw)
        except ValueError:
            raise ConfigError(f"{text!r}: {raw!r} is not a GUID") from None
    if kind == "b":
        try:
            return base64.b64decode(raw, validate=True)
        except binascii.Error:
            raise ConfigError(f"{text!r}: {raw!r} is not base64") from None
    if len(raw) > _LONGEST_NAME:
        raise ConfigError(f"the node name {raw[:40]!r}... is longer than {_LONGEST_NAME} characters")
    return raw


def _whole(text: str, what: str, raw: str, largest: int) -> int:
    if not raw.isascii() or not raw.isdigit() or int(raw) > largest:
        raise ConfigError(f"{text!r}: the {what} {raw!r} is not a whole number from 0 to {largest}")
    return int(raw)
