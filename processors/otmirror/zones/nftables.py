"""nftables rule sets from the table: for the firewall between the zones, and for a member's own host.

What is not listed is dropped, counted and logged. The direction that opens a connection is accepted by its conduit's
rule packet by packet (`new` and `established`), not by a rule for everything established: taking a conduit out of the
table ends its open connections too. IPv6 has no rule and is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations

from otmirror.errors import ConfigError
from otmirror.zones.hosts import Hosts
from otmirror.zones.model import Conduit, Matrix

ROUTER, HOST = "otmirror", "otmirror_host"
"""Names of the tables."""
_LOG = 'limit rate 10/second burst 20 packets log prefix "otmirror drop {} " level warn'
_BACK = (
    "ct direction reply ct state established,related accept",
    # Path MTU and "unreachable" for connections that are allowed.
    "meta l4proto icmp ct state related accept",
)


def router(matrix: Matrix, hosts: Hosts, profile: str = "full") -> str:
    """Return the rules of the firewall that forwards between the zones; its own services are not its matter.

    Raises:
        ConfigError: a zone whose members have conduits to other zones has no interface.
    """
    crossing = [c for c in matrix.of(profile) if len(set(matrix.pair(c))) == 2]
    needed = {zone for conduit in crossing for zone in matrix.pair(conduit)}
    if missing := sorted(needed - set(hosts.interfaces)):
        raise ConfigError(f"the hosts file names no interface for {', '.join(missing)}: add it under [interfaces]")
    pairs = list(permutations(hosts.interfaces, 2))
    used = [c for c in crossing if _usable(c, hosts)]
    lines = [*_head(ROUTER), *_counters(used, [f"{a}_{b}" for a, b in pairs] + ["elsewhere", "invalid"])]
    lines += _sets(used, hosts)
    for one, other in pairs:
        lines += [f"  chain {one}_{other} {{", *_closed(crossing, hosts, matrix, (one, other))]
        lines += _accepts([c for c in used if matrix.pair(c) == (one, other)], "both")
        lines += [*_drop(f"{one}>{other}", f"{one}_{other}"), "  }"]
    lines += [
        "  chain forward {",
        "    type filter hook forward priority filter; policy drop;",
        '    ct state invalid counter name "drop_invalid" drop',
        *(f"    {rule}" for rule in _BACK),
    ]
    for one, other in pairs:
        names = f'iifname "{hosts.interfaces[one]}" oifname "{hosts.interfaces[other]}"'
        lines.append(f"    {names} jump {one}_{other}")
    return "\n".join([*lines, *_drop("elsewhere", "elsewhere"), "  }", "}"]) + "\n"


def host(matrix: Matrix, hosts: Hosts, member: str, profile: str = "full") -> str:
    """Return the rules of a member's own host, both directions; they hold within a zone too.

    Raises:
        ConfigError: there is no such member.
    """
    matrix.member(member)
    out = [c for c in matrix.of(profile) if c.source == member]
    into = [c for c in matrix.of(profile) if c.to == member]
    used = [c for c in (*into, *out) if hosts.addresses.get(c.to if c.source == member else c.source)]
    lines = [*_head(HOST), *_counters(used, ["input", "output", "invalid"])]
    lines += _sets(used, hosts, without=member)
    for hook, every, side, device in (("input", into, "saddr", "iif"), ("output", out, "daddr", "oif")):
        lines += [
            f"  chain {hook} {{",
            f"    type filter hook {hook} priority filter; policy drop;",
            f'    {device} "lo" accept',
            '    ct state invalid counter name "drop_invalid" drop',
            *(f"    {rule}" for rule in _BACK),
            *_accepts([c for c in every if c in used], side),
            *_drop(f"{member} {hook}", hook),
            "  }",
        ]
    return "\n".join([*lines, "}"]) + "\n"


def name(conduit: Conduit) -> str:
    """Return the name of a conduit's counter."""
    return f"conduit_{conduit.name}"


def _head(table: str) -> list[str]:
    # Created first, so that deleting it never fails; nft loads a file as one transaction.
    return [f"table inet {table}", f"delete table inet {table}", f"table inet {table} {{"]


def _counters(conduits: Iterable[Conduit], drops: Iterable[str]) -> Iterator[str]:
    yield from (f"  counter {name(conduit)} {{ }}" for conduit in conduits)
    yield from (f"  counter drop_{drop} {{ }}" for drop in drops)


def _sets(conduits: Iterable[Conduit], hosts: Hosts, without: str = "") -> Iterator[str]:
    for member in dict.fromkeys(end for c in conduits for end in (c.source, c.to) if end != without):
        shown = ", ".join(hosts.shown(member))
        yield f"  set {_set(member)} {{ type ipv4_addr; flags interval; elements = {{ {shown} }} }}"


def _accepts(conduits: Iterable[Conduit], side: str) -> Iterator[str]:
    for conduit in conduits:
        match = {
            "saddr": f"ip saddr @{_set(conduit.source)}",
            "daddr": f"ip daddr @{_set(conduit.to)}",
        }
        ends = " ".join(match.values()) if side == "both" else match[side]
        ports = ", ".join(map(str, conduit.ports))
        yield (
            f"    {ends} tcp dport {{ {ports} }} ct direction original ct state new,established "
            f'counter name "{name(conduit)}" accept comment "{conduit.source} to {conduit.to}"'
        )


def _closed(crossing: Iterable[Conduit], hosts: Hosts, matrix: Matrix, pair: tuple[str, str]) -> Iterator[str]:
    for conduit in crossing:
        if matrix.pair(conduit) == pair and not _usable(conduit, hosts):
            yield f"    # {conduit.name} stays closed: the hosts file has no address for both of its ends"


def _usable(conduit: Conduit, hosts: Hosts) -> bool:
    return bool(hosts.addresses.get(conduit.source) and hosts.addresses.get(conduit.to))


def _drop(shown: str, counter: str) -> list[str]:
    return [f"    {_LOG.format(shown)}", f'    counter name "drop_{counter}" drop']


def _set(member: str) -> str:
    # `jump` and others alone are words of nftables.
    return f"at_{member}"
