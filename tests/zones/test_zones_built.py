"""The zones built from network namespaces: who reaches whom, as the kernel sees it.

What is expected is written down here by hand, apart from security/zones.toml.
"""

import asyncio
import os
import re
import resource
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from otmirror.embedded.processes import wait_until

from .conftest import ADDRESSES, ZONE, without, zone_of, zones
from .fabric import ROUTER, nft_binary, require, run

BROKERS = {"mosquitto": {8883}, "kafka": {9093}, "vault": {8200}}
REACH = {
    "edge-nifi": {"plc": {4840, 502}, **BROKERS},
    "hub-nifi": BROKERS,
    "jump": {"edge-nifi": {8443}},
}
"""By member, what it reaches in other zones; members that are not here reach nothing there."""
LISTED = {502, 4840, 7070, 8181, 8200, 8428, 8443, 8883, 9093, 18080}
OTHERS = {22, 80, 102, 443, 1883, 2404, 5020, 9092, 20000, 44818, 48400}
TIMEOUT = 0.9
"""Seconds until a connection counts as dropped; less than the second after which the kernel sends SYN again."""


def scan(fabric, start, targets, meant=()):
    """Connect from a member to (member, port) pairs; those that were reached.

    Those that are `meant` to be get three more tries: hundreds of connections at once take a busy machine long.
    """

    async def attempt(member, port):
        connecting = asyncio.open_connection(ADDRESSES[member], port, local_addr=(ADDRESSES[start], 0))
        try:
            _, writer = await asyncio.wait_for(connecting, TIMEOUT)
        except ConnectionRefusedError:
            raise AssertionError(f"{member}:{port} refuses: the listener of the test is missing") from None
        except (OSError, asyncio.TimeoutError):
            return None
        writer.transport.abort()
        return member, port

    async def every(chosen):
        return set(filter(None, await asyncio.gather(*(attempt(*target) for target in chosen))))

    with fabric.inside(zone_of(start)):
        reached = asyncio.run(every(targets))
        for _ in range(3):
            if late := set(meant) - reached:
                reached |= asyncio.run(every(late))
    return reached


def elsewhere(start):
    """Every port of every member of the other zones."""
    far = [member for member in ADDRESSES if zone_of(member) != zone_of(start)]
    return [(member, port) for member in far for port in sorted(LISTED | OTHERS)]


@pytest.fixture(scope="module")
def listeners(fabric):
    """On every member's every port somebody listens, so that only a firewall can keep a connection away."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    open_ = []
    for member, address in ADDRESSES.items():
        with fabric.inside(zone_of(member)):
            # The kernel completes connections without anybody accepting them.
            open_ += [socket.create_server((address, port), backlog=512) for port in LISTED | OTHERS]
    yield open_
    for listener in open_:
        listener.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def rules(fabric, hosts_file, listeners):
    """The router's rules as the command prints them, loaded."""
    done = zones("nftables", "--router", "--hosts", hosts_file)
    assert done.exit_code == 0, done.output
    fabric.rules(done.stdout)
    return done.stdout


@pytest.fixture
def closed(fabric, rules):
    """The rules loaded anew: counters at zero."""
    fabric.rules(rules)
    return fabric


def test_without_rules_everything_is_reached(fabric, listeners, rules):
    fabric.rules("delete table inet otmirror")
    for start in ("users", "jump", "plc", "edge-nifi"):
        assert scan(fabric, start, elsewhere(start), elsewhere(start)) == set(elsewhere(start)), start
    fabric.rules(rules)


@pytest.mark.parametrize("zone", ZONE.values())
def test_each_member_reaches_its_conduits_and_nothing_else(closed, zone):
    members = [member for member in ADDRESSES if zone_of(member) == zone]
    wanted = {
        start: {(member, port) for member, ports in REACH.get(start, {}).items() for port in ports} for start in members
    }
    with ThreadPoolExecutor(len(members)) as pool:
        scans = pool.map(lambda start: scan(closed, start, elsewhere(start), wanted[start]), members)
        reached = dict(zip(members, scans, strict=True))
    assert reached == wanted
    counters = closed.counters()
    others = set(ZONE.values()) - {zone}
    for there in others:
        dropped = sum(zone_of(far) == there for start in members for far, _ in set(elsewhere(start)) - wanted[start])
        # A busy machine may have sent a SYN twice.
        assert dropped <= counters[f"drop_{zone}_{there}"] <= 3 * dropped
    used = {name for name, packets in counters.items() if packets} - {"drop_invalid"}
    drops = {name for name in used if name.startswith("drop_")}
    assert drops == {f"drop_{zone}_{there}" for there in others}
    assert len(used - drops) == sum(map(len, wanted.values())), "a counter for each port that was reached, no other"


def test_it_and_dmz_reach_no_port_of_the_plant(closed):
    """The ports of the plant's protocols, and 255 more from the whole range."""
    ports = sorted({*LISTED, *OTHERS, *range(1, 65536, 257)})
    for start in ("hub-nifi", "users", "jump", "kafka"):
        assert scan(closed, start, [("plc", port) for port in ports]) == set()
    counters = closed.counters()
    assert counters["drop_it_ot"] >= 2 * len(ports)
    assert counters["drop_dmz_ot"] >= 2 * len(ports)


@contextmanager
def address(fabric, zone, text, device):
    """An address more in a zone."""
    with fabric.inside(zone):
        run("ip", "address", "add", text, "dev", device)
    yield
    with fabric.inside(zone):
        run("ip", "address", "del", text, "dev", device)


def connects(fabric, zone, source, to, port):
    with fabric.inside(zone), socket.socket() as trying:
        trying.bind((source, 0))
        trying.settimeout(TIMEOUT)
        return trying.connect_ex((to, port)) == 0


def test_another_hosts_address_opens_nothing(closed):
    """The edge's own address used from IT, and a second host of the edge's zone."""
    plc, edge = ADDRESSES["plc"], ADDRESSES["edge-nifi"]
    assert connects(closed, "edge", edge, plc, 4840)
    with address(closed, "it", f"{edge}/32", "lo"):
        assert not connects(closed, "it", edge, plc, 4840)
    with address(closed, "edge", "10.62.2.99/24", "eth0"):
        assert not connects(closed, "edge", "10.62.2.99", plc, 4840)
    counters = closed.counters()
    assert counters["drop_it_ot"] >= 1
    assert counters["drop_edge_ot"] >= 1


def test_no_ipv6_gets_through(closed, rules):
    if not Path("/proc/sys/net/ipv6").exists():
        pytest.skip("this kernel has no IPv6")
    ends = {"it": "fd62:4::10", "ot": "fd62:1::10"}
    for zone, end in ends.items():
        way = end.replace("::10", "::1")
        with closed.inside(ROUTER):
            Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
            run("ip", "address", "add", f"{way}/64", "dev", f"{zone}0", "nodad")
        with closed.inside(zone):
            run("ip", "address", "add", f"{end}/64", "dev", "eth0", "nodad")
            run("ip", "route", "add", "fd62::/16", "via", way)
    with closed.inside("ot"):
        listener = socket.create_server((ends["ot"], 4840), family=socket.AF_INET6)

    def connected():
        with closed.inside("it"), socket.socket(socket.AF_INET6) as trying:
            trying.settimeout(TIMEOUT)
            return trying.connect_ex((ends["ot"], 4840)) == 0

    with listener:
        closed.rules("delete table inet otmirror")
        assert wait_until(connected, 10), "the test's own network does not carry IPv6"
        closed.rules(rules)
        assert not connected()
        assert closed.counters()["drop_it_ot"] > 0


def test_a_conduit_taken_out_ends_its_open_connections(closed, hosts_file, tmp_path):
    with closed.inside("edge"):
        connection = socket.create_connection((ADDRESSES["plc"], 502), 5)
    with connection:
        connection.sendall(b"carried")
        fresh = zones("nftables", "--router", "--hosts", hosts_file, "--zones", without("modbus", tmp_path))
        assert fresh.exit_code == 0, fresh.output
        closed.rules(fresh.stdout)
        connection.sendall(b"not carried")
        assert wait_until(lambda: closed.counters()["drop_edge_ot"] > 0, 10)
    assert scan(closed, "edge-nifi", [("plc", 502), ("plc", 4840)], [("plc", 4840)]) == {("plc", 4840)}


def test_a_members_own_rules_hold_both_ways(closed, hosts_file):
    reached, kept = {("plc", 4840), ("kafka", 9093)}, {("plc", 22), ("kafka", 22), ("victoriametrics", 8428)}
    done = zones("nftables", "--member", "edge-nifi", "--hosts", hosts_file)
    assert done.exit_code == 0, done.output
    closed.rules("delete table inet otmirror")
    with closed.inside("edge"):
        run(nft_binary(), "-f", "-", text=done.stdout)
    try:
        assert scan(closed, "edge-nifi", reached | kept, reached) == reached
        assert scan(closed, "jump", [("edge-nifi", 8443), ("edge-nifi", 22)]) == {("edge-nifi", 8443)}
        assert scan(closed, "users", [("edge-nifi", 8443), ("edge-nifi", 22)]) == set()
        counters = closed.counters("edge")
        assert counters["drop_output"] >= len(kept)
        assert counters["drop_input"] >= 3
    finally:
        with closed.inside("edge"):
            run(nft_binary(), "delete", "table", "inet", "otmirror_host")


def test_a_killed_test_leaves_no_namespace_behind():
    require()
    code = (
        "import sys; from zones.fabric import Fabric; made = Fabric({'ot': ['10.62.1.10']});"
        "print(*(keeper.pid for keeper in made._keepers.values()), flush=True); sys.stdin.read()"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=env, text=True, **pipes) as child:
        holders = [Path("/proc") / pid for pid in child.stdout.readline().split()]
        assert len(holders) == 2
        assert all(holder.exists() for holder in holders)
        child.kill()
    assert wait_until(lambda: not any(holder.exists() for holder in holders), 10)


def probe(fabric, start, hosts_file):
    """Run `otmirror zones probe` on a member's host; its status, its last line, and the rows it complains about."""
    with fabric.inside(zone_of(start)):
        done = zones("probe", "--from", start, "--hosts", hosts_file, "--timeout", TIMEOUT)
    *table, told = done.stdout.splitlines()
    rows = [re.findall(r"[\w.-]+", line) for line in table if line.startswith("│")]
    return done.exit_code, told, rows


@pytest.mark.parametrize("start", ["hub-nifi", "edge-nifi"])
def test_the_probe_finds_nothing_where_the_rules_hold(closed, hosts_file, start):
    status, told, rows = probe(closed, start, hosts_file)
    assert (status, rows) == (0, [])
    assert "; 0 not as the table says" in told
    far = {member for member in ADDRESSES if zone_of(member) != zone_of(start)}
    assert int(re.search(r"(\d+) connections", told)[1]) >= 16 * len(far)


def test_the_probe_finds_a_hole_and_a_missing_conduit(closed, hosts_file):
    for rule in ("tcp dport 102 ip daddr 10.62.1.10 accept", "tcp dport 8883 drop"):
        with closed.inside(ROUTER):
            run(nft_binary(), "insert", "rule", "inet", "otmirror", "forward", *rule.split())
    status, told, rows = probe(closed, "hub-nifi", hosts_file)
    assert status == 1
    assert "; 2 not as the table says" in told
    assert rows == [
        ["plc", "10.62.1.10", "102", "blocked", "open"],
        ["mosquitto", "10.62.3.10", "8883", "open", "blocked"],
    ]
