"""The table of zones and conduits, and that everything made of it says the same.

Who may reach whom is written down here by hand, apart from security/zones.toml, and compared with what the policies'
text, the rules' text and docker-compose.yml allow.
"""

import ipaddress
import re
from itertools import combinations, permutations

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.errors import MirrorError, MistakesError
from otmirror.workspace import PROJECT
from otmirror.zones import document, hosts, model, nftables

yaml = pytest.importorskip("yaml", reason="reads the policies with PyYAML")

WITHIN = {
    ("jump", "kafka"): {9093},
    ("hub-nifi", "victoriametrics"): {8428},
    ("hub-nifi", "catalog"): {8181},
    ("hub-nifi", "s3"): {7070},
    ("hub-nifi", "registry"): {18080},
    ("hub-nifi", "keycloak"): {8443},
    ("catalog", "s3"): {7070},
    ("users", "hub-nifi"): {8443},
    ("users", "victoriametrics"): {8428},
    ("users", "catalog"): {8181},
    ("users", "s3"): {7070},
    ("users", "registry"): {18080},
    ("users", "keycloak"): {8443},
}
ACROSS = {
    ("edge-nifi", "plc"): {4840, 502},
    ("edge-nifi", "mosquitto"): {8883},
    ("edge-nifi", "kafka"): {9093},
    ("edge-nifi", "vault"): {8200},
    ("jump", "edge-nifi"): {8443},
    ("hub-nifi", "mosquitto"): {8883},
    ("hub-nifi", "kafka"): {9093},
    ("hub-nifi", "vault"): {8200},
}
FULL = {**WITHIN, **ACROSS}
PILOT = {
    ("edge-nifi", "plc"): {4840, 502},
    ("edge-nifi", "victoriametrics"): {8428},
    ("users", "edge-nifi"): {8443},
    ("users", "victoriametrics"): {8428},
}
ZONES = {
    "ot": {"plc"},
    "edge": {"edge-nifi"},
    "dmz": {"mosquitto", "kafka", "vault", "jump"},
    "it": {"hub-nifi", "victoriametrics", "catalog", "s3", "registry", "keycloak", "users"},
}
OUTSIDE = {"plc": "192.0.2.10", "jump": "192.0.2.140", "users": "192.0.2.230"}
MEMBERS = sorted(set().union(*ZONES.values()))
ZONE = {member: zone for zone, members in ZONES.items() for member in members}
EXAMPLE = str(hosts.EXAMPLE)
PORTS = sorted(set().union(*FULL.values(), {22, 53, 80, 443, 1883, 9092}))


@pytest.fixture(scope="module")
def matrix():
    return model.load()


@pytest.fixture(scope="module")
def example(matrix):
    return hosts.load(hosts.EXAMPLE, matrix)


@pytest.fixture(scope="module")
def policies():
    """Every policy that is committed."""
    files = sorted((PROJECT / "security" / "kubernetes").glob("*.yaml"))
    assert [file.stem for file in files] == ["dmz", "edge", "it"]
    return [policy for file in files for policy in yaml.safe_load_all(file.read_text())]


@pytest.mark.parametrize(("profile", "wanted"), [("full", FULL), ("pilot", PILOT)])
def test_the_table_says_what_was_agreed(matrix, profile, wanted):
    assert {zone: {m.name for m in matrix.members.values() if m.zone == zone} for zone in matrix.zones} == ZONES
    said = {(a, b): matrix.allowed(a, b, profile) for a in matrix.members for b in matrix.members}
    assert {pair: ports for pair, ports in said.items() if ports} == wanted


def test_what_is_committed_is_what_the_table_makes():
    for file, content in document.files().items():
        assert file.read_text() == content, f"{file} is out of date: otmirror zones document"


def test_the_page_shows_every_conduit_and_every_pair_of_zones(matrix):
    page = (PROJECT / "docs" / "zones.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    told = {}
    for name, one, other, _protocol, ports, profiles, _why in (row for row in rows if len(row) == 7):
        if "/" in one:
            ends = tuple(re.search(r"`(.+)`", end)[1] for end in (one, other))
            for profile in profiles.split(", "):
                told.setdefault((profile, *ends), set()).update(int(port) for port in ports.split(", "))
            assert name in {conduit.name for conduit in matrix.conduits}
    assert told == {
        (profile, *ends): ports
        for profile, wanted in (("full", FULL), ("pilot", PILOT))
        for ends, ports in wanted.items()
    }
    head = next(row for row in rows if row[0] == r"from \ to")
    cells = {
        (row[0].strip("`"), other.strip("`")): cell
        for row in rows
        if len(row) == len(head) and row[0].strip("`") in ZONES and row != head
        for other, cell in zip(head[1:], row[1:], strict=True)
    }
    for one, other in permutations(ZONES, 2):
        ports = set().union(*(p for (a, b), p in ACROSS.items() if (ZONE[a], ZONE[b]) == (one, other)), set())
        assert cells[one, other] == (", ".join(map(str, sorted(ports))) or "**drop**"), (one, other)


def test_the_picture_has_every_member_and_every_way_between_zones(matrix):
    picture = (PROJECT / "docs" / "zones.svg").read_text()
    for member in matrix.members.values():
        assert f">{member.title}</text>" in picture
    assert picture.count('marker-end="url(#to)"') == len(ACROSS)


# --- Kubernetes ------------------------------------------------------------------------------------------------------

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


# --- nftables and compose --------------------------------------------------------------------------------------------


def test_the_routers_rules_accept_each_conduit_between_zones_once(matrix, example):
    text = nftables.router(matrix, example)
    assert text.count("policy drop;") == 1
    accepts = re.findall(r"saddr @at_([\w-]+) ip daddr @at_([\w-]+) tcp dport \{ ([\d, ]+) \} .* accept", text)
    said = {}
    for one, other, ports in accepts:
        for port in map(int, ports.split(", ")):
            assert port not in said.setdefault((one, other), set())
            said[one, other].add(port)
    assert said == ACROSS
    others = [line for line in text.splitlines() if re.search(r"\baccept\b", line) and "@at_" not in line]
    assert len(others) == 2
    lines = [line.strip() for line in text.splitlines()]
    drops = [number for number, line in enumerate(lines) if re.search(r'^counter name "drop_\S+" drop$', line)]
    assert len(drops) == 4 * 3 + 1
    assert all(re.match(r'limit rate .* log prefix "otmirror drop \S+ "', lines[number - 1]) for number in drops)
    assert all("ct direction reply" in line or "icmp" in line for line in others)


@pytest.mark.parametrize(("profile", "wanted"), [("full", FULL), ("pilot", PILOT)])
def test_compose_joins_the_members_of_a_conduit_and_nobody_else(matrix, profile, wanted):
    """Docker's networks know neither port nor direction: what is compared is which pairs see each other."""
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    role = {service: m.name for m in matrix.members.values() for service in m.compose}
    assert set(role) == set(services), "every service is a member of a zone, and the other way round"
    setup = {"pilot": {"flows-pilot"}, "full": {"kafka-setup", "flows-edge", "flows-hub"}}[profile]
    here = {name: set(s["networks"]) for name, s in services.items() if profile in s["profiles"] or name in setup}
    served = {b for _, b in wanted}
    joined, zoned = set(), {frozenset(pair) for pair in wanted}
    for one, other in combinations(here, 2):
        pair = frozenset((role[one], role[other]))
        if len(pair) == 1 or not here[one] & here[other]:
            continue
        joined.add(pair)
        within = len({ZONE[member] for member in pair}) == 1
        assert within or pair in zoned or not pair & served, f"{one} and {other} share a network without a conduit"
    present = {role[name] for name in here}
    assert {pair for pair in zoned if pair <= present} <= joined, "a conduit has no network"
    for name, service in services.items():
        for published in service.get("ports", []) if name in here else []:
            port = int(published.rpartition(":")[2])
            assert port in wanted[("users", role[name])], f"{name}: {published} is published for nobody"


def test_the_comparison_with_compose_would_see_a_shared_network(matrix, monkeypatch):
    loaded = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    loaded["services"]["nifi-hub"]["networks"].append("edge")
    monkeypatch.setattr(yaml, "safe_load", lambda _text: loaded)
    with pytest.raises(AssertionError, match="nifi-edge and nifi-hub share a network"):
        test_compose_joins_the_members_of_a_conduit_and_nobody_else(matrix, "full", FULL)


# --- mistakes --------------------------------------------------------------------------------------------------------


def changed(old, new, tmp_path, source="zones.toml"):
    text = (PROJECT / "security" / source).read_text()
    assert old in text
    file = tmp_path / source
    file.write_text(text.replace(old, new, 1))
    return file


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('to = "plc"', 'to = "plcs"', r"conduit 1 \(opcua\): plcs is not a member of a zone"),
        ("ports = [4840]", "ports = []", r"conduit 1 \(opcua\): ports is empty"),
        ("ports = [4840]", "ports = [0]", r"port 0 is not a number from 1 to 65535"),
        ("ports = [4840]", "ports = [true]", r"port True is not a number"),
        ("ports = [4840]", 'ports = "4840"', r"ports is str, has to be list"),
        ("ports = [4840]", "ports = [502]", r"port 502 of plc is in opcua already"),
        ("ports = [4840]", "port = [4840]", r"port is not known; use name, from, to.*ports is missing"),
        ('name = "modbus"', 'name = "opcua"', r"conduit 2 \(opcua\): the name appears twice"),
        ('name = "modbus"', 'name = "x\\"; accept"', r"a name is small letters"),
        ('from = "edge-nifi"', 'from = "plc"', r"goes from a member to itself"),
        ('profiles = ["full"]', 'profiles = ["ful"]', r"profile 'ful' is not known"),
        ('profiles = ["full"]', "profiles = []", r"profiles is empty"),
        ("target = 3", "target = 5", r"zone ot: target is a security level from 1 to 4, not 5"),
        ("[zone.ot]", "[zone.OT]", r"zone OT: a name is small letters"),
        ("[zone.edge.member.edge-nifi]", "[zone.edge.member.plc]", r"plc is a member of ot already"),
        ("[[conduit]]", "[[conduits]]", r"conduits is not known; use zone and conduit"),
        ('name = "opcua"', 'name = "opcua', r"is not TOML: .*line"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_table_is_told_with_its_place(old, new, told, tmp_path):
    with pytest.raises(MirrorError, match=told):
        model.load(changed(old, new, tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('jump = "192.0.2.140"', 'jump = "192.0.2.300"', r"addresses: jump: '192.0.2.300' is not an IPv4 address"),
        ('jump = "192.0.2.140"', 'jump = "2001:db8::1"', r"jump: '2001:db8::1' is not an IPv4 address"),
        ('jump = "192.0.2.140"', "jump = 5", r"jump: 5 is not an IPv4 address"),
        ('jump = "192.0.2.140"', 'hop = "192.0.2.140"', r"there is no member hop; use plc"),
        ('jump = "192.0.2.140"', 'jump = "192.0.2.225"', r"192.0.2.225/32 of jump and 192.0.2.224/27 of users overlap"),
        ('ot = "ot0"', 'ot = "ot0\\"; accept"', r"is not the name of a network interface"),
        ('ot = "ot0"', 'ot = "it0"', r"two zones have the same one"),
        ('ot = "ot0"', 'plant = "ot0"', r"there is no zone plant; use ot"),
        ("[addresses]", "[address]", r"address is not known; use interfaces and addresses"),
    ],
)
def test_a_mistake_in_the_hosts_file_is_told(old, new, told, tmp_path, matrix):
    with pytest.raises(MistakesError, match=told):
        hosts.load(changed(old, new, tmp_path, "hosts.example.toml"), matrix)


def test_a_zone_without_interface_and_a_member_without_address(matrix, tmp_path):
    found = hosts.load(changed('ot = "ot0"\n', "", tmp_path, "hosts.example.toml"), matrix)
    with pytest.raises(MirrorError, match="names no interface for ot"):
        nftables.router(matrix, found)
    found = hosts.load(changed('vault = "192.0.2.132"\n', "", tmp_path, "hosts.example.toml"), matrix)
    text = nftables.router(matrix, found)
    assert "8200" not in text
    assert "secrets-edge stays closed" in text


def test_policies_for_the_pilots_one_nifi(tmp_path):
    done = CliRunner().invoke(app, ["zones", "kubernetes", str(tmp_path), "--hosts", EXAMPLE, "--profile", "pilot"])
    assert done.exit_code == 0, done.output
    pilots = [policy for file in tmp_path.glob("*.yaml") for policy in yaml.safe_load_all(file.read_text())]
    assert allowed(pilots) == PILOT


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nftables", "--hosts", EXAMPLE], "choose one of --router and --member"),
        (["nftables", "--hosts", EXAMPLE, "--router", "--member", "kafka"], "choose one of"),
        (
            ["nftables", "--hosts", EXAMPLE, "--member", "kafak"],
            "there is no member 'kafak' in the zones: choose one of plc",
        ),
        (["nftables", "--router", "--hosts", "nowhere.toml"], "nowhere.toml cannot be read"),
        (["probe", "--from", "it", "--hosts", EXAMPLE], "there is no member 'it'"),
        (["probe", "--from", "users", "--hosts", EXAMPLE, "--timeout", "0"], "--timeout is above 0"),
    ],
)
def test_a_mistake_at_the_command_line_is_one_message(arguments, told):
    done = CliRunner().invoke(app, ["zones", *arguments])
    assert isinstance(done.exception, MirrorError)
    assert told in str(done.exception)
