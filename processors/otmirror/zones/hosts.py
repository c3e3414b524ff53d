"""Where the members of the zones are in one plant: addresses, and the firewall's interfaces."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otmirror.errors import MistakesError
from otmirror.workspace import PROJECT
from otmirror.zones.model import Matrix, read_toml

EXAMPLE = PROJECT / "security" / "hosts.example.toml"
_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")
"""What Linux takes, less the characters that mean something in a rule set."""


@dataclass(frozen=True)
class Hosts:
    """`interfaces` by zone; `addresses` by member, in CIDR notation."""

    interfaces: dict[str, str]
    addresses: dict[str, tuple[ipaddress.IPv4Network, ...]]

    def single(self, member: str) -> list[str]:
        """Return the addresses of a member that name one host each."""
        return [str(net.network_address) for net in self.addresses.get(member, ()) if net.prefixlen == 32]

    def shown(self, member: str) -> list[str]:
        """Return a member's addresses and networks as nftables writes them."""
        return [str(net.network_address) if net.prefixlen == 32 else str(net) for net in self.addresses.get(member, ())]


def load(path: Path, matrix: Matrix) -> Hosts:
    """Read and check a hosts file.

    Raises:
        ConfigError: the file cannot be read, or MistakesError with every mistake in it.
    """
    raw = read_toml(path)
    problems = [f"{path}: {key} is not known; use interfaces and addresses" for key in set(raw) - _SECTIONS]
    sections: dict[str, dict[str, Any]] = {}
    for name in sorted(_SECTIONS):
        found = raw.get(name, {})
        if not isinstance(found, dict):
            problems.append(f"{path}: {name} is a table: [{name}]")
            found = {}
        sections[name] = found
    interfaces = _interfaces(sections["interfaces"], matrix, str(path), problems)
    addresses = _addresses(sections["addresses"], matrix, str(path), problems)
    problems += _overlaps(addresses, matrix, str(path))
    if problems:
        raise MistakesError(problems)
    return Hosts(interfaces, addresses)


_SECTIONS = {"interfaces", "addresses"}


def _interfaces(raw: dict[str, Any], matrix: Matrix, path: str, problems: list[str]) -> dict[str, str]:
    for zone, name in raw.items():
        if zone not in matrix.zones:
            problems.append(f"{path}: interfaces: there is no zone {zone}; use {', '.join(matrix.zones)}")
        if not isinstance(name, str) or not _INTERFACE.fullmatch(name):
            problems.append(f"{path}: interfaces: {zone}: {name!r} is not the name of a network interface")
    names = [str(name) for name in raw.values()]
    if len(set(names)) != len(names):
        problems.append(f"{path}: interfaces: two zones have the same one; a firewall between them sees nothing")
    return {zone: str(name) for zone, name in raw.items()}


def _addresses(
    raw: dict[str, Any], matrix: Matrix, path: str, problems: list[str]
) -> dict[str, tuple[ipaddress.IPv4Network, ...]]:
    found: dict[str, tuple[ipaddress.IPv4Network, ...]] = {}
    for member, given in raw.items():
        if member not in matrix.members:
            problems.append(f"{path}: addresses: there is no member {member}; use {', '.join(matrix.members)}")
        nets = []
        for text in given if isinstance(given, list) else [given]:
            try:
                if not isinstance(text, str):
                    raise ValueError
                nets.append(ipaddress.IPv4Network(text))
            except ValueError:
                problems.append(f"{path}: addresses: {member}: {text!r} is not an IPv4 address or network (a.b.c.d/n)")
        found[member] = tuple(nets)
    return found


def _overlaps(found: dict[str, tuple[ipaddress.IPv4Network, ...]], matrix: Matrix, path: str) -> list[str]:
    flat = [(member, net) for member, nets in found.items() for net in nets if member in matrix.members]
    return [
        f"{path}: addresses: {net} of {one} and {far} of {other} overlap, so one would have the other's rights"
        for index, (one, net) in enumerate(flat)
        for other, far in flat[index + 1 :]
        if net.overlaps(far)
    ]
