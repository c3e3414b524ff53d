"""`inputs.modbus` of Telegraf as tag lists for PollModbusReadOnly, in all three of its styles.

After Telegraf's plugins/inputs/modbus/README.md and configuration_register.go, configuration_request.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from otmirror.modbus.address import BIT_TABLES, checker
from otmirror.modbus.config import DEFAULT_PORT, MAX_REGISTERS, broadcasts
from otmirror.taglist import Tag
from otmirror.telegraf.conf import Imported, Input, Left, Names, attempt, checked, mapping, period, tables, texts, whole

_SECTIONS = {
    "discrete_inputs": "discrete", "coils": "coil", "holding_registers": "holding", "input_registers": "input",
}  # fmt: skip
_TYPE_TAG = {
    "coil": "coil", "discrete": "discrete_input", "holding": "holding_register", "input": "input_register",
}  # fmt: skip
_ORDERS = {
    **dict.fromkeys(("", "AB", "ABCD", "ABCDEFGH", "MSW-BE", "MSW"), "ABCD"),
    **dict.fromkeys(("BADC", "BADCFEHG", "MSW-LE"), "BADC"),
    **dict.fromkeys(("CDAB", "GHEFCDAB", "LSW-BE"), "CDAB"),
    **dict.fromkeys(("BA", "DCBA", "HGFEDCBA", "LSW-LE", "LSW"), "DCBA"),
}
_TYPES = {
    "INT16": "int16", "UINT16": "uint16", "INT32": "int32", "UINT32": "uint32", "INT64": "int64", "UINT64": "uint64",
    "FLOAT32": "float", "FLOAT32-IEEE": "float", "FLOAT64": "double", "FLOAT64-IEEE": "double", "STRING": "string",
    "BIT": "bool",
}  # fmt: skip
_FIXED = {("FIXED", 1): "int16", ("FIXED", 2): "int32", ("FIXED", 4): "int64",
          ("UFIXED", 1): "uint16", ("UFIXED", 2): "uint32", ("UFIXED", 4): "uint64"}  # fmt: skip
_REGISTERS = {"int32": 2, "uint32": 2, "float": 2, "int64": 4, "uint64": 4, "double": 4}
_DEVICE = "the device"


@dataclass(frozen=True)
class _Field:
    """One field, the same in all styles."""

    where: str
    name: str
    measurement: str
    unit: Any
    table: str
    start: Any
    kind: str
    order: str
    count: int | None = None
    """How many registers its addresses or its length name."""
    bit: Any = None
    scale: Any = None
    cut: bool = False
    """Whether Telegraf makes a whole number of the scaled value."""
    tags: dict[str, str] = field(default_factory=dict)


def read(source: Input, number: int, names: Names, left: list[Left]) -> Imported:
    """Make a tag list of one input; what cannot be carried over is added to `left`."""
    result = Imported("modbus", number, source.where)
    device = _device(source, left)
    if device is None:
        return result
    left += source.problems()
    for entry in _fields(source, left):
        result.tags += attempt(left, f"{entry.where} {entry.name!r}", partial(_tag, source, names, entry))
        if entry.cut and entry.scale not in (None, 0, 1):
            left.append(Left(f"{entry.where} {entry.name!r}", "Telegraf cuts off its fraction, the mirror keeps it"))
    numbered = [replace(tag, line=number) for number, tag in enumerate(result.tags)]
    for problem in reversed(broadcasts(numbered, {_DEVICE: ("", 0)})):
        left.append(Left(f"{source.where}, tag {result.tags.pop(problem.line).tag!r}", problem.message))
    result.settings += _settings(source, device, left)
    return result


def _device(source: Input, left: list[Left]) -> str | None:
    """Return the device as the property Devices has it."""
    controller = str(source.table.get("controller") or "")
    mode = str(source.table.get("transmission_mode") or "auto")
    try:
        parts = urlsplit(controller)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not controller.startswith("tcp://") or not host:
        why = f"{controller!r} is no tcp://host:port: the mirror reads serial lines through a Modbus TCP gateway"
        left.append(Left(f"{source.where}.controller", why))
        return None
    if mode not in ("auto", "TCP"):
        left.append(Left(f"{source.where}.transmission_mode", f"{mode} is not supported, only Modbus TCP"))
        return None
    return f"{f'[{host}]' if ':' in host else host}:{port or DEFAULT_PORT}"


def _fields(source: Input, left: list[Left]) -> Iterator[_Field]:
    style = source.table.get("configuration_type") or "register"
    styles = {"register": _registers, "request": _requests, "metric": _metrics}
    if style not in styles:
        left.append(Left(f"{source.where}.configuration_type", f"{style!r} is none of {', '.join(styles)}"))
        return
    yield from styles[style](source)


def _registers(source: Input) -> Iterator[_Field]:
    table = source.table
    for section, kind in _SECTIONS.items():
        for index, entry in enumerate(tables(table.get(section)), 1):
            addresses = entry.get("address")
            places = addresses if isinstance(addresses, list) else []
            consecutive = bool(places) and places == [*_from(places)]
            data_type = str(entry.get("data_type") or "")
            yield _Field(
                f"{source.where}.{section}[{index}]",
                str(entry.get("name") or ""),
                str(entry.get("measurement") or "modbus"),
                table.get("slave_id", 0),
                kind,
                places[0] if consecutive else f"{addresses} (not consecutive)",
                data_type,
                str(entry.get("byte_order") or ""),
                len(places),
                entry.get("bit", 0),
                entry.get("scale"),
                cut="INT" in data_type,
            )


def _from(addresses: list[Any]) -> Iterator[int]:
    if addresses and isinstance(addresses[0], int):
        yield from range(addresses[0], addresses[0] + len(addresses))


def _requests(source: Input) -> Iterator[_Field]:
    for place, request in enumerate(tables(source.table.get("request")), 1):
        yield from _listed(f"{source.where}.request[{place}]", request, str(request.get("register") or "holding"))


def _metrics(source: Input) -> Iterator[_Field]:
    for place, metric in enumerate(tables(source.table.get("metric")), 1):
        yield from _listed(f"{source.where}.metric[{place}]", metric, None)


def _listed(where: str, group: Mapping[str, Any], register: str | None) -> Iterator[_Field]:
    """Yield the fields of one request, or (`register` None: each names its own) of one metric."""
    for index, entry in enumerate(tables(group.get("fields")), 1):
        if entry.get("omit"):
            continue
        yield _Field(
            f"{where}.fields[{index}]",
            str(entry.get("name") or ""),
            str(entry.get("measurement") or group.get("measurement") or "modbus"),
            group.get("slave_id", 0),
            register or str(entry.get("register") or "holding"),
            entry.get("address"),
            str(entry.get("type") or ""),
            str(group.get("byte_order") or ""),
            entry.get("length"),
            entry.get("bit", 0),
            entry.get("scale"),
            cut=str(entry.get("output")) in ("INT64", "UINT64"),
            tags=texts(group.get("tags")),
        )


def _tag(source: Input, names: Names, entry: _Field) -> Tag:
    unit = whole(entry.unit, "slave_id", 0, 255)
    offset = whole(entry.start, "address", 0, 65535)
    own = {"name": str(source.table.get("name") or ""), "slave_id": str(unit)}
    if entry.table not in _TYPE_TAG:
        raise ValueError(f"register {entry.table!r} is none of {', '.join(_TYPE_TAG)}")
    if not source.table.get("exclude_register_type_tag"):
        own["type"] = _TYPE_TAG[entry.table]
    kind, extra, scale, order = _kind(entry)
    check = checker([_DEVICE], MAX_REGISTERS)
    place = f"{unit}:{entry.table}:{offset}{extra}"
    checked(Tag(entry.name, place, kind, scale=scale, order=order), check)
    tags = source.tags({**own, **entry.tags})
    tag = names.give(entry.where, source.measurement(entry.measurement), tags, entry.name)
    return checked(Tag(tag, place, kind, scale=scale, order=order), check)


def _kind(entry: _Field) -> tuple[str | None, str, float, str | None]:
    """Return type, what follows the offset in the address, scale, and byte order."""
    if entry.table in BIT_TABLES:
        return "bool", "", 1.0, None
    kind = _TYPES.get(entry.kind) or _FIXED.get((entry.kind, entry.count or 0))
    if kind is None:
        raise ValueError(f"the mirror has no type for {entry.kind or 'a register without a type'}")
    if entry.order not in _ORDERS:
        raise ValueError(f"byte order {entry.order!r} is not known")
    order = None if _ORDERS[entry.order] == "ABCD" else _ORDERS[entry.order]
    if kind == "string":
        return kind, f":{whole(entry.count, 'length', 1, 125)}", 1.0, order
    if kind == "bool":
        return kind, f":{whole(entry.bit, 'bit', 0, 15)}", 1.0, order
    if entry.count not in (None, _REGISTERS.get(kind, 1)):
        raise ValueError(f"{entry.kind} takes {_REGISTERS.get(kind, 1)} register(s), not {entry.count}")
    scale = 1.0 if entry.scale in (None, 0) else entry.scale
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not math.isfinite(scale):
        raise ValueError(f"scale {scale!r} is not a number")
    return kind, "", float(scale), order


def _settings(source: Input, device: str, left: list[Left]) -> Iterator[tuple[str, str]]:
    table, around = source.table, mapping(source.table.get("workarounds"))
    yield "modbus.devices", device
    for name, key, inside in (
        ("poll.interval", "interval", {"interval": source.interval}),
        ("property Request Timeout", "timeout", table),
        ("property Pause Between Requests", "pause_between_requests", around),
    ):
        if inside.get(key):
            try:
                yield name, period(inside[key])
            except ValueError as error:
                left.append(Left(f"{source.where}.{key}", str(error)))
    limits = (("Registers", "max_word_registers_per_request"), ("Bits", "max_bit_registers_per_request"))
    for what, key in limits:
        if around.get(key):
            yield f"property Max {what} Per Request", str(around[key])
    for key in ("string_register_location", "one_request_per_field", "read_coils_starting_at_zero"):
        if around.get(key):
            left.append(Left(f"{source.where}.workarounds.{key}", "the mirror has no such setting"))
