"""Trying the table out from where one stands: TCP connections that are closed at once, without a byte of payload."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from otmirror.errors import ConfigError
from otmirror.zones.hosts import Hosts
from otmirror.zones.model import Matrix

OPEN, REFUSED, BLOCKED = "open", "refused", "blocked"
"""Connected; reached the host, where nobody listens; no answer, or one that says there is no way."""
OTHERS = (22, 102, 2404, 3389, 20000, 44818)
"""Ports tried beside the listed ones: SSH, S7 and IEC 61850, IEC 60870-5-104, RDP, DNP3, EtherNet/IP."""
_AT_ONCE = 64


@dataclass(frozen=True)
class Try:
    """One connection: what the table wants (open or blocked) and what was seen."""

    member: str
    address: str
    port: int
    expected: str
    seen: str

    @property
    def right(self) -> bool:
        """Whether the table and the network agree."""
        return self.expected == self.seen


def plan(
    matrix: Matrix, hosts: Hosts, start: str, profile: str = "full", others: Sequence[int] = OTHERS
) -> list[tuple[str, str, int, str]]:
    """Return what to try from member `start`: member, address, port, expected.

    Every single address of the other zones with every port of the table and `others`; in its own zone, whose traffic
    no router sees, the listed ports only.

    Raises:
        ConfigError: there is no such member, or no address to try.
    """
    zone = matrix.member(start).zone
    ports = sorted({*matrix.ports(profile), *others})
    found = []
    for member in matrix.members.values():
        allowed = matrix.allowed(start, member.name, profile)
        tried = sorted(allowed) if member.zone == zone else ports
        found += [
            (member.name, address, port, OPEN if port in allowed else BLOCKED)
            for address in hosts.single(member.name)
            for port in tried
            if member.name != start
        ]
    if not found:
        raise ConfigError(f"from {start} there is nothing to try: the hosts file has no address of a member elsewhere")
    return found


async def run(tries: Sequence[tuple[str, str, int, str]], timeout: float) -> list[Try]:
    """Make each connection once, `timeout` seconds each, and close it."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def attempt(member: str, address: str, port: int, expected: str) -> Try:
        async with gate:
            return Try(member, address, port, expected, await connect(address, port, timeout))

    return list(await asyncio.gather(*(attempt(*entry) for entry in tries)))


async def connect(address: str, port: int, timeout: float) -> str:
    """Return what became of one connection."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), timeout)
    except ConnectionRefusedError:
        return REFUSED
    except (OSError, asyncio.TimeoutError):
        return BLOCKED
    writer.close()
    return OPEN
