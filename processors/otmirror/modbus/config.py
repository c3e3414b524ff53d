"""Settings of the Modbus reader, checked as a whole before anything connects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otmirror import taglist
from otmirror.errors import MistakesError, gathered
from otmirror.modbus.address import checker, resolve
from otmirror.taglist import LONGEST_MS, ORDERS, SHORTEST_MS, Problem, Tag

DEFAULT_PORT = 502
MAX_REGISTERS, MAX_BITS = 125, 2000
"""What one request may ask for at most (Modbus application protocol 1.1b3, sections 6.1 to 6.4)."""

_DEVICE = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_.-]+)\s*=\s*)?(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:/=,\[\]]+))(?::(?P<port>\d+))?"
)


@dataclass(frozen=True)
class ModbusConfig:
    """Everything the reader needs. Times are seconds, except intervals and pauses (milliseconds)."""

    devices: Mapping[str, tuple[str, int]]
    """Host and port of each device, by name."""
    source: str
    tags: Sequence[Tag]
    interval_ms: int = 1000
    """How often a tag is read that has no interval of its own."""
    timeout: float = 1.0
    order: str = "ABCD"
    max_registers: int = MAX_REGISTERS
    max_bits: int = MAX_BITS
    pause_ms: float = 0.0
    """Least time between the end of one request to a device and the start of the next."""
    reconnect_first: float = 1.0
    reconnect_longest: float = 30.0
    refresh: float = 60.0
    """After how long a tag that was not emitted is emitted again; 0 is never."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            MistakesError: with every mistake.
        """
        problems = [
            f"{name}: {value:g}{unit} is not between {least:g} and {most:g}{unit}"
            for name, value, least, most, unit in (
                ("Poll Interval", self.interval_ms / 1000, SHORTEST_MS / 1000, LONGEST_MS / 1000, " s"),
                ("Request Timeout", self.timeout, 0.05, 60, " s"),
                ("Max Registers Per Request", self.max_registers, 1, MAX_REGISTERS, ""),
                ("Max Bits Per Request", self.max_bits, 1, MAX_BITS, ""),
                ("Pause Between Requests", self.pause_ms / 1000, 0, 10, " s"),
                ("Reconnect Delay", self.reconnect_first, 0.1, 3600, " s"),
                ("Longest Reconnect Delay", self.reconnect_longest, self.reconnect_first, 3600, " s"),
                ("Refresh Interval", self.refresh, 0, LONGEST_MS / 1000, " s"),
            )
            if not least <= value <= most
        ]
        if self.order not in ORDERS:
            problems.append(f"Default Byte Order: {self.order!r} is none of {', '.join(ORDERS)}")
        if problems:
            raise MistakesError(problems)


def build(
    devices: str,
    source: str | None = None,
    tag_list_file: str | None = None,
    tag_list: str | None = None,
    **settings: Any,
) -> ModbusConfig:
    """Make a configuration of the properties; `settings` are further fields of ModbusConfig.

    Raises:
        MistakesError: with every mistake of the properties and of the tag list.
    """
    known: dict[str, tuple[str, int]] = {}
    tags: Sequence[Tag] = ()
    in_list: list[str] = []
    problems: list[str] = []
    with gathered(in_list):
        known = parse_devices(devices)
        check = checker(known, min(MAX_REGISTERS, settings.get("max_registers", MAX_REGISTERS)))
        tags = taglist.from_properties(tag_list_file, tag_list, check, lambda tags: broadcasts(tags, known), unfit)
    host, port = next(iter(known.values()), ("", 0))
    with gathered(problems):
        config = ModbusConfig(known, source or f"modbus:{host}:{port}", tags, **settings)
    if problems or in_list:
        raise MistakesError(problems + in_list)
    return config


def parse_devices(text: str) -> dict[str, tuple[str, int]]:
    """Read `host:port`, or `name=host:port, name=host:port`; the port is 502 when left out.

    A single device without a name is known by its `host:port`.

    Raises:
        MistakesError: with every mistake.
    """
    devices: dict[str, tuple[str, int]] = {}
    problems = []
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    for entry in entries:
        match = _DEVICE.fullmatch(entry)
        port = int(match["port"] or DEFAULT_PORT) if match else 0
        if match is None or not 1 <= port <= 65535:
            problems.append(f"Devices: {entry!r} is not host:port or name=host:port (port 1 to 65535)")
            continue
        host = match["v6"] or match["host"]
        name = match["name"] or f"{host}:{port}"
        if match["name"] is None and len(entries) > 1:
            problems.append(f"Devices: {entry!r} needs a name, as there are several: name=host:port")
        elif name in devices:
            problems.append(f"Devices: the name {name!r} appears twice")
        elif (host, port) in devices.values():
            problems.append(f"Devices: {host}:{port} appears twice; a device gets one connection only")
        devices[name] = (host, port)
    if not entries:
        problems.append("Devices: declares no device; write host:port or name=host:port")
    if problems:
        raise MistakesError(problems)
    return devices


def unfit(tag: Tag) -> Iterator[Problem]:
    """Yield what a tag list says of a tag that Modbus has no means for (`otmirror.taglist.RowCheck`)."""
    if tag.mode is not None:
        yield Problem(
            tag.line, "mode", "is for OPC UA: Modbus has no subscriptions, every tag is polled; leave it empty"
        )
    if tag.sampling_ms is not None:
        yield Problem(
            tag.line, "sampling_ms", "is for OPC UA: interval_ms says how often a tag is polled; leave it empty"
        )
    if tag.deadband_percent is not None and tag.low is None:
        message = (
            f"{tag.deadband_percent:g}% of what? A Modbus device knows no range: put it into the column range, such as "
            "0..16, or give the deadband as a number in the tag's unit"
        )
        yield Problem(tag.line, "deadband", message)


def broadcasts(tags: Sequence[Tag], devices: Mapping[str, tuple[str, int]]) -> list[Problem]:
    """Return the tags of unit 0 where a device has other units too, as mistakes.

    On a serial line behind a gateway unit 0 is the broadcast address, which nobody answers; a device that is the
    only one at its host may be addressed as unit 0 (Modbus messaging on TCP/IP 1.0b, section 4.4.2). Reading is
    harmless either way, but it would never be answered.
    """
    placed = [(tag, resolve(tag, devices)) for tag in tags]
    gateways = {address.device for _, address in placed if address.unit != 0}
    message = "unit 0 is the broadcast address of a gateway, and this device has other units: name the tag's unit"
    return [
        Problem(tag.line, "address", message)
        for tag, address in placed
        if address.unit == 0 and address.device in gateways
    ]
