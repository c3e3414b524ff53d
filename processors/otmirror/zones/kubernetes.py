"""NetworkPolicies (networking.k8s.io/v1) from the table: a namespace a zone, all denied, each conduit allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from otmirror.zones.hosts import Hosts
from otmirror.zones.model import Conduit, Matrix, Member

PREFIX = "otmirror-"
"""A zone's namespace is named after it."""
LABEL = "app.kubernetes.io/name"
"""The label that holds a pod's member."""
_DNS = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
}
Policy = dict[str, Any]


def policies(matrix: Matrix, hosts: Hosts, profile: str = "full") -> dict[str, list[Policy]]:
    """Return the policies by zone; zones whose members are all outside the cluster have none.

    Members outside are named by their addresses; one without an address stays closed.
    """
    conduits = matrix.of(profile)
    found: dict[str, list[Policy]] = {}
    for zone in matrix.zones:
        inside = [m for m in matrix.members.values() if m.zone == zone and not m.outside]
        if inside:
            own = [_member(member, matrix, hosts, conduits) for member in inside]
            found[zone] = [_deny(zone), _names(zone), *own]
    return found


def text(zone_policies: Sequence[Policy]) -> str:
    """Return policies as one YAML file."""
    head = "# Made by `otmirror zones document` from security/zones.toml; see docs/zones.md.\n"
    return head + "---\n".join(yaml.safe_dump(policy, sort_keys=False, width=110) for policy in zone_policies)


def _policy(zone: str, name: str, spec: dict[str, Any], why: str) -> Policy:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": PREFIX + zone, "annotations": {"otmirror/why": why}},
        "spec": spec,
    }


def _deny(zone: str) -> Policy:
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return _policy(zone, "default-deny", spec, "nothing that no other policy allows")


def _names(zone: str) -> Policy:
    ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [_DNS], "ports": ports}]}
    return _policy(zone, "allow-dns", spec, "the one exception: names are looked up at the cluster's own DNS")


def _member(member: Member, matrix: Matrix, hosts: Hosts, conduits: Sequence[Conduit]) -> Policy:
    into = [c for c in conduits if c.to == member.name and _peers(matrix, hosts, c.source)]
    out = [c for c in conduits if c.source == member.name and _peers(matrix, hosts, c.to)]
    spec = {
        "podSelector": {"matchLabels": {LABEL: member.name}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": _peers(matrix, hosts, c.source), "ports": _ports(c)} for c in into],
        "egress": [{"to": _peers(matrix, hosts, c.to), "ports": _ports(c)} for c in out],
    }
    why = f"in: {', '.join(c.name for c in into) or 'nothing'}; out: {', '.join(c.name for c in out) or 'nothing'}"
    return _policy(member.zone, member.name, spec, why)


def _ports(conduit: Conduit) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in conduit.ports]


def _peers(matrix: Matrix, hosts: Hosts, name: str) -> list[dict[str, Any]]:
    member = matrix.members[name]
    if member.outside:
        return [{"ipBlock": {"cidr": str(net)}} for net in hosts.addresses.get(name, ())]
    return [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": PREFIX + member.zone}},
            "podSelector": {"matchLabels": {LABEL: name}},
        }
    ]
