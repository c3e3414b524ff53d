"""The table of zones and conduits, and that everything made of it says the same.

Who may reach whom is written down in zones_agreed.py by hand, and compared with what the page, the rules and
docker-compose.yml say; test_zones_kubernetes.py has the policies.
"""

import re
from itertools import combinations, permutations

import pytest
from typer.testing import CliRunner
from zones_agreed import ACROSS, FULL, PILOT, ZONE, ZONES

from otmirror.cli.app import app
from otmirror.errors import MirrorError, MistakesError
from otmirror.workspace import PROJECT
from otmirror.zones import document, hosts, model, nftables

yaml = pytest.importorskip("yaml", reason="reads the compose file with PyYAML")

EXAMPLE = str(hosts.EXAMPLE)


@pytest.fixture(scope="module")
def matrix():
    return model.load()


@pytest.fixture(scope="module")
def example(matrix):
    return hosts.load(hosts.EXAMPLE, matrix)


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
        ("ports = [4840]", "ports = [[4840]]", r"port \[4840\] is not a number"),
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
