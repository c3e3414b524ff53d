"""`inputs.opcua` and `inputs.opcua_listener` of Telegraf as tag lists for ReadOpcUaTags.

After Telegraf's plugins/inputs/opcua/README.md and plugins/common/opcua/input.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from otmirror.opcua import address
from otmirror.taglist import Tag
from otmirror.telegraf.conf import (
    Imported,
    Input,
    Left,
    Names,
    attempt,
    checked,
    mapping,
    period,
    seconds,
    tables,
    texts,
)
from otmirror.telegraf.decoder import DATA_TYPE, QUALITY

KINDS = ("opcua", "opcua_listener")
_POLICIES = ("None", "Basic256Sha256")
_OURS = ("namespace", "namespace_uri", "identifier_type")


def read(source: Input, number: int, names: Names, left: list[Left]) -> Imported:
    """Make a tag list of one input; what cannot be carried over is added to `left`."""
    result = Imported("opcua", number, source.where)
    left += source.problems()
    for where, measurement, node, tags in _nodes(source):
        make = partial(_tag, source, names, where, measurement, node, tags)
        result.tags += attempt(left, f"{where} {node.get('name', '')!r}", make)
    for section, why in (("browse", "browsing is not carried over: list the nodes"), ("events", "events are no tags")):
        if source.table.get(section):
            left.append(Left(f"{source.where}.{section}", why))
    result.settings += _settings(source, left)
    return result


def _nodes(source: Input) -> Iterator[tuple[str, str, Mapping[str, Any], dict[str, str]]]:
    """Yield where it is, measurement, node and tags of every node, with what its group gives it."""
    table = source.table
    own = str(table.get("name") or "opcua")
    for index, node in enumerate(tables(table.get("nodes")), 1):
        yield f"{source.where}.nodes[{index}]", own, node, texts(node.get("default_tags"))
    for place, group in enumerate(tables(table.get("group")), 1):
        measurement = str(group.get("name") or own)
        shared = {} if not group.get("sampling_interval") else {"sampling_interval": group["sampling_interval"]}
        for index, node in enumerate(tables(group.get("nodes")), 1):
            given = {name: group[name] for name in _OURS if group.get(name)} if not node.get("id") else {}
            filled = {**given, **shared, **{name: value for name, value in node.items() if value != ""}}
            tags = {**texts(group.get("default_tags")), **texts(node.get("default_tags"))}
            yield f"{source.where}.group[{place}].nodes[{index}]", measurement, filled, tags


def _tag(
    source: Input, names: Names, where: str, measurement: str, node: Mapping[str, Any], tags: Mapping[str, str]
) -> Tag:
    theirs, ours = _addresses(node)
    name = str(node.get("name") or "")
    if name in (QUALITY, DATA_TYPE):
        raise ValueError(f"Telegraf adds a field {name} of its own")
    checked(Tag(name, ours), address.check)
    tag = names.give(where, source.measurement(measurement), source.tags({"id": theirs, **tags}), name)
    interval, deadband, percent = _sampling(node)
    return checked(Tag(tag, ours, interval_ms=interval, deadband=deadband, deadband_percent=percent), address.check)


def _addresses(node: Mapping[str, Any]) -> tuple[str, str]:
    """Return the node id as Telegraf writes it into the tag `id`, and as a tag list has it."""
    if node.get("id"):
        whole = str(node["id"])
        start, semicolon, rest = whole.partition(";")
        return whole, (_escaped(start[4:]) + semicolon + rest if start.startswith("nsu=") else whole)
    kind, identifier = str(node.get("identifier_type") or ""), str(node.get("identifier") or "")
    index, uri = str(node.get("namespace", "")), str(node.get("namespace_uri") or "")
    if kind not in ("i", "s", "g", "b") or not identifier:
        raise ValueError("it needs identifier_type (i, s, g or b) and identifier, or id")
    if bool(index) == bool(uri):
        raise ValueError("it needs exactly one of namespace and namespace_uri")
    if uri:
        return f"nsu={uri};{kind}={identifier}", f"{_escaped(uri)};{kind}={identifier}"
    return (f"ns={index};{kind}={identifier}",) * 2


def _escaped(uri: str) -> str:
    """Return a namespace URI as an address has it: % and ; are escaped (OPC 10000-6, 5.3.1.11)."""
    return "nsu=" + uri.replace("%", "%25").replace(";", "%3B")


def _sampling(node: Mapping[str, Any]) -> tuple[int | None, float | None, float | None]:
    """Return the interval in milliseconds and the deadband, absolute and in percent, of a node of opcua_listener."""
    asked = mapping(node.get("monitoring_params"))
    duration = asked.get("sampling_interval") or node.get("sampling_interval")
    interval = None
    if duration:
        period(duration)
        interval = round(seconds(duration) * 1000)
    filtered = mapping(asked.get("data_change_filter"))
    band, kind = filtered.get("deadband_value"), filtered.get("deadband_type")
    if isinstance(band, bool) or not isinstance(band, (int, float)) or not 0 <= band < math.inf:
        return interval, None, None
    percent = float(band) if kind == "Percent" and band <= 100 else None
    return interval, float(band) if kind == "Absolute" else None, percent


def _settings(source: Input, left: list[Left]) -> Iterator[tuple[str, str]]:
    table, where = source.table, source.where
    yield "opcua.endpoint", str(table.get("endpoint") or "opc.tcp://localhost:4840")
    policy, mode = str(table.get("security_policy") or "auto"), str(table.get("security_mode") or "auto")
    if policy in _POLICIES:
        yield "opcua.security.policy", policy
    elif policy == "auto":
        yield "opcua.security.policy", "Basic256Sha256, or None where the server has no security (Telegraf: auto)"
    else:
        left.append(
            Left(
                f"{where}.security_policy",
                f"{policy} is no longer safe: use Basic256Sha256, or set Allow Deprecated Security of the processor",
            )
        )
    if mode in ("Sign", "SignAndEncrypt"):
        yield "opcua.security.mode", mode
    if policy != "None" and table.get("certificate"):
        yield "opcua.pki", f"a folder with {table['certificate']} as own/cert.der (DER) and its key as own/key.pem"
    if table.get("auth_method") == "UserName":
        yield "opcua.username", str(table.get("username") or "")
        yield "opcua.password", "the password of telegraf.conf, to be entered in NiFi"
    elif table.get("auth_method") == "Certificate":
        left.append(Left(f"{where}.auth_method", "set User Certificate File and User Key File of the processor"))
    if str(table.get("timestamp") or "gather") == "gather":
        left.append(Left(f"{where}.timestamp", "gather: the mirror takes the source's timestamp instead"))
    try:
        yield "poll.interval", period(source.interval)
    except ValueError as error:
        left.append(Left(f"{where}.interval", str(error)))
