"""The Kubernetes policies: their form, and whom they let pass, evaluated from their text as the API documents it."""

import ipaddress
from itertools import permutations

import pytest
from typer.testing import CliRunner
from zones_agreed import FULL, MEMBERS, PILOT, ZONE, ZONES

from otmirror.cli.app import app
from otmirror.workspace import PROJECT
from otmirror.zones import hosts

yaml = pytest.importorskip("yaml", reason="reads the policies with PyYAML")

OUTSIDE = {"plc": "192.0.2.10", "jump": "192.0.2.140", "users": "192.0.2.230"}
PORTS = sorted(set().union(*FULL.values(), {22, 53, 80, 443, 1883, 9092}))
EXAMPLE = str(hosts.EXAMPLE)


@pytest.fixture(scope="module")
def policies():
    """Every policy that is committed."""
    files = sorted((PROJECT / "security" / "kubernetes").glob("*.yaml"))
    assert [file.stem for file in files] == ["dmz", "edge", "it"]
    return [policy for file in files for policy in yaml.safe_load_all(file.read_text())]


SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "networking.k8s.io/v1"},
        "kind": {"const": "NetworkPolicy"},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "namespace"],
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
                "namespace": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
                "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["podSelector", "policyTypes"],
            "properties": {
                "podSelector": {"$ref": "#/$defs/selector"},
                "policyTypes": {"type": "array", "items": {"enum": ["Ingress", "Egress"]}, "minItems": 1},
                "ingress": {"type": "array", "items": {"$ref": "#/$defs/ingress"}},
                "egress": {"type": "array", "items": {"$ref": "#/$defs/egress"}},
            },
        },
    },
    "$defs": {
        "selector": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}},
        },
        # An empty `from`, `to` or `ports` would allow everything.
        "peers": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "minProperties": 1,
                "properties": {
                    "namespaceSelector": {"$ref": "#/$defs/selector"},
                    "podSelector": {"$ref": "#/$defs/selector"},
                    "ipBlock": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["cidr"],
                        "properties": {"cidr": {"type": "string"}},
                    },
                },
            },
        },
        "ports": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["protocol", "port"],
                "properties": {
                    "protocol": {"enum": ["TCP", "UDP"]},
                    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
                },
            },
        },
        "ingress": {
            "type": "object",
            "additionalProperties": False,
            "required": ["from", "ports"],
            "properties": {"from": {"$ref": "#/$defs/peers"}, "ports": {"$ref": "#/$defs/ports"}},
        },
        "egress": {
            "type": "object",
            "additionalProperties": False,
            "required": ["to", "ports"],
            "properties": {"to": {"$ref": "#/$defs/peers"}, "ports": {"$ref": "#/$defs/ports"}},
        },
    },
}
"""NetworkPolicy of networking.k8s.io/v1 as far as it is used here, and closed against typing errors."""


def test_policies_have_the_form_of_the_api(policies):
    jsonschema = pytest.importorskip("jsonschema")
    checker = jsonschema.Draft202012Validator(SCHEMA)
    for policy in policies:
        assert not list(checker.iter_errors(policy)), policy["metadata"]
    names = [(policy["metadata"]["namespace"], policy["metadata"]["name"]) for policy in policies]
    assert len(set(names)) == len(names)


def matches(selector, labels):
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def is_peer(peer, member, namespace):
    """Whether a member is meant by an entry of `from` or `to` of a policy in a namespace."""
    if "ipBlock" in peer:
        assert set(peer) == {"ipBlock"}
        return member in OUTSIDE and ipaddress.ip_address(OUTSIDE[member]) in ipaddress.ip_network(
            peer["ipBlock"]["cidr"]
        )
    if member in OUTSIDE:
        return False
    there = f"otmirror-{ZONE[member]}"
    spaces = peer.get("namespaceSelector")
    at_home = there == namespace if spaces is None else matches(spaces, {"kubernetes.io/metadata.name": there})
    return at_home and matches(peer.get("podSelector", {}), {"app.kubernetes.io/name": member})


def lets(policies, member, direction, other, port):
    """Whether a member's policies let a TCP connection to or from another pass: any rule of any policy may allow it."""
    if member in OUTSIDE:
        return True
    key, side = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    own = [
        p
        for p in policies
        if p["metadata"]["namespace"] == f"otmirror-{ZONE[member]}"
        and direction in p["spec"]["policyTypes"]
        and matches(p["spec"]["podSelector"], {"app.kubernetes.io/name": member})
    ]
    assert own, f"{member}: no policy selects it, so everything would be allowed"
    return any(
        {"protocol": "TCP", "port": port} in rule["ports"]
        and any(is_peer(peer, other, p["metadata"]["namespace"]) for peer in rule[side])
        for p in own
        for rule in p["spec"].get(key, [])
    )


def allowed(policies):
    """Ports by pair of members, at least one of them in the cluster."""
    found = {}
    for one, other in permutations(MEMBERS, 2):
        if one in OUTSIDE and other in OUTSIDE:
            continue
        for port in PORTS:
            if lets(policies, one, "Egress", other, port) and lets(policies, other, "Ingress", one, port):
                found.setdefault((one, other), set()).add(port)
    return found


def test_policies_allow_the_conduits_and_nothing_else(policies):
    assert allowed(policies) == FULL


def test_each_conduit_is_once_at_each_end(policies):
    for (one, other), ports in FULL.items():
        for member, far, key, side in ((one, other, "egress", "to"), (other, one, "ingress", "from")):
            if member in OUTSIDE:
                continue
            listed = [
                port["port"]
                for policy in policies
                if policy["metadata"]["name"] == member
                for rule in policy["spec"][key]
                if any(is_peer(peer, far, policy["metadata"]["namespace"]) for peer in rule[side])
                for port in rule["ports"]
            ]
            assert sorted(listed) == sorted(ports), (member, key, far)


def test_every_namespace_denies_by_default_and_names_one_exception(policies):
    for zone in ("edge", "dmz", "it"):
        own = {p["metadata"]["name"]: p["spec"] for p in policies if p["metadata"]["namespace"] == f"otmirror-{zone}"}
        assert own["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        assert own["allow-dns"]["policyTypes"] == ["Egress"]
        (rule,) = own["allow-dns"]["egress"]
        assert [(port["protocol"], port["port"]) for port in rule["ports"]] == [("UDP", 53), ("TCP", 53)]
        assert rule["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kube-system"}
        assert set(own) == {"default-deny", "allow-dns"} | {m for m in ZONES[zone] if m not in OUTSIDE}


def test_policies_for_the_pilots_one_nifi(tmp_path):
    done = CliRunner().invoke(app, ["zones", "kubernetes", str(tmp_path), "--hosts", EXAMPLE, "--profile", "pilot"])
    assert done.exit_code == 0, done.output
    pilots = [policy for file in tmp_path.glob("*.yaml") for policy in yaml.safe_load_all(file.read_text())]
    assert allowed(pilots) == PILOT
