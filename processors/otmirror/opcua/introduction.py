"""What a client has to know of a server it has just connected to: which nodes to read, and what their values say."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from otmirror.opcua import profiles
from otmirror.opcua.address import node_id, value_of
from otmirror.opcua.profiles import BuildInfo

_BUILD = ("_ProductName", "_ManufacturerName", "_SoftwareVersion", "_ProductUri", "")
_NODES = (
    "Server_NamespaceArray",
    "Server_ServiceLevel",
    "Server_ServerStatus_StartTime",
    *(f"Server_ServerStatus_BuildInfo{part}" for part in _BUILD),
    *(f"Server_ServerCapabilities_OperationLimits_{name}" for name in profiles.STATED),
)
QUESTIONS = tuple(value_of(node_id(getattr(ObjectIds, name))) for name in _NODES)
"""What to read at a connect, in one request; a server need not have any of it but the first."""

STATE = (
    value_of(node_id(ObjectIds.Server_ServerStatus_State)),
    value_of(node_id(ObjectIds.Server_ServiceLevel)),
)
"""What to read from then on, to keep the session alive and to know how the server is."""


_LONGEST = 100
"""Characters taken of a name: it goes into messages."""


@dataclass(frozen=True)
class Introduction:
    """What a server says of itself. `stated`: its OperationLimits by browse name, None where it states none."""

    namespaces: list[str]
    service_level: int | None
    started: datetime.datetime | None
    build: BuildInfo
    stated: Mapping[str, int | None]


def understand(answers: Sequence[ua.DataValue]) -> Introduction:
    """Return what the answers to `QUESTIONS` say."""
    namespaces, level, started, *rest = [answer.Value.Value if answer.Value else None for answer in answers]
    build, numbers = rest[: len(_BUILD)], rest[len(_BUILD) :]
    return Introduction(
        [str(uri) for uri in namespaces or ["http://opcfoundation.org/UA/"]],
        _number(level),
        started if isinstance(started, datetime.datetime) else None,
        _build_info(*build),
        dict(zip(profiles.STATED, map(_number, numbers), strict=True)),
    )


def service_level(answers: Sequence[ua.DataValue]) -> int | None:
    """Return the service level out of the answers to `STATE`, None where the server states none."""
    return _number(answers[1].Value.Value) if len(answers) == len(STATE) and answers[1].Value else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _build_info(product: Any, manufacturer: Any, version: Any, uri: Any, whole: Any) -> BuildInfo:
    """Take the description's parts, and what they leave out from the structure they belong to.

    Some servers give values to one of both only.
    """
    known = whole if isinstance(whole, ua.BuildInfo) else ua.BuildInfo()
    return BuildInfo(
        _text(product, known.ProductName),
        _text(manufacturer, known.ManufacturerName),
        _text(version, known.SoftwareVersion),
        _text(uri, known.ProductUri),
    )


def _text(part: Any, instead: Any) -> str:
    return " ".join(str(part or instead or "").split())[:_LONGEST]
