"""Two NiFi nodes on this machine: one reads, its Java is killed, the other one reads, nothing is lost or stored twice.

The store VictoriaMetrics is away around the kill, so that FlowFiles wait on the killed node's disk.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.demo import run, stores
from otmirror.demo.audit import audit
from otmirror.demo.stack import SOURCES, Stack
from otmirror.embedded.bundle import PROCESSORS, bundle_dependencies
from otmirror.embedded.cluster import Cluster
from otmirror.embedded.joining import Patience
from otmirror.errors import ConfigError, UnavailableError
from otmirror.flow.api import Rest
from otmirror.flow.client import NifiApi

from .pilots import await_that, connected_to, folder

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1200)]
NEVER = 1e6
TOLD = "StandardFlowService Node disconnected due to "
RESUMED_WITHIN = 30.0
"""Seconds from the kill of the primary node until the other one has read its first sample."""


class Patient(NifiApi):
    """NiFi fails to merge what its nodes tell of a Python processor that not all of them have loaded: ask again."""

    def components(self, group, queues=()):
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with suppress(UnavailableError):
                return super().components(group, queues)
            time.sleep(0.25)
        return super().components(group, queues)


class Clustered(Stack):
    """The pilot in two nodes instead of one NiFi."""

    def __init__(self, where, plant, **options):
        super().__init__(where, plant, **options)
        self.nifi = Cluster(self.folder / "nifi", 2, 0, PROCESSORS)

    @property
    def api(self):
        return Patient(self.nifi.url)

    def device_ports(self):
        told = self.plant_status()
        opcua = told["opcua"].split("//")[1].split("/")[0]
        return [int(address.rpartition(":")[2]) for address in (opcua, told["modbus"])]

    def readers(self):
        """For each device the numbers of the nodes whose processes are connected to it."""
        nodes = list(enumerate(self.nifi.nodes, 1))
        return [[n for n, node in nodes for _ in connected_to(node.processes(), port)] for port in self.device_ports()]

    def queued(self, node, name):
        """FlowFiles on one node in a connection, by that node's own word."""
        (queue,) = (q for q in self.api.queues(self.group) if q.name == name)
        told = Rest(self.nifi.url).get(f"/flow/connections/{queue.id}/status", nodewise="true")["connectionStatus"]
        counts = {n["apiPort"]: n["statusSnapshot"]["flowFilesQueued"] for n in told["nodeSnapshots"]}
        return counts[self.nifi.nodes[node - 1].port]


def sockets(port):
    """Established TCP connections to a port of this machine, whoever holds them."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(1 for row in rows if int(row[2].split(":")[1], 16) == port and row[3] == "01")


@pytest.fixture(scope="module")
def stack(installation, vm_binary):
    bundle_dependencies()
    with Clustered(folder("cluster"), ["--tags", "16"], parameters={"iceberg.commit.interval": "3 sec"}) as started:
        started.start()
        started.run()
        await_that(lambda: all(started.readers()), 60, "the sources did not connect")
        yield started


@pytest.fixture(scope="module")
def story(stack):
    """What happened at the kill, and both stores after everything was drained."""
    seen = {"primary": stack.nifi.primary(), "readers": stack.readers()}
    primary, other = seen["primary"], 3 - seen["primary"]
    await_that(lambda: stack.lakehouse.samples() is not None, 60, "nothing was mirrored")
    stack.victoriametrics.stop()
    await_that(lambda: stack.queued(primary, "to VictoriaMetrics") >= 5, 60, "nothing waits on the primary node")
    seen["sent over"] = stack.queued(other, "to VictoriaMetrics")
    seen["killed"] = time.time()
    stack.nifi.nodes[primary - 1].kill()
    await_that(lambda: all(other in nodes for nodes in stack.readers()), 2 * RESUMED_WITHIN, "the other node reads")
    await_that(lambda: stack.nifi.primary() == other, 60, "the cluster tells of no new primary node")
    # What a Java that died leaves behind is one session until the device or the reader itself gives it up.
    with suppress(AssertionError):
        await_that(lambda: all(sockets(port) == 1 for port in stack.device_ports()), 30, "one session a device")
    seen["sessions"] = [sockets(port) for port in stack.device_ports()]
    stack.victoriametrics.start()
    seen["restarted"] = time.time()
    stack.nifi.start()
    seen["states"] = [node.state for node in stack.nifi.status()]
    seen["sessions after the restart"] = [sockets(port) for port in stack.device_ports()]
    stack.stop_sources()
    stack.drain(360)
    seen["cold"] = stack.lakehouse.samples()
    hot = stores.victoriametrics(stack.victoriametrics.url, raw=False)
    rejects = stack.lakehouse.rejects()
    seen["audit"] = audit(
        seen["cold"], hot, rejects.num_rows if rejects is not None else 0, emitted(stack), run.declared(stack)
    )
    return seen


def events(stack):
    """Every provenance event of all nodes, one by one: the index of a node that was killed lacks the last of them."""
    rest = Rest(stack.nifi.url)
    for node in rest.get("/controller/cluster")["cluster"]["nodes"]:
        event, last = 0, 0
        while event < last + 100:
            with suppress(ConfigError):
                yield rest.get(f"/provenance-events/{event}", clusterNodeId=node["nodeId"])["provenanceEvent"]
                last = event
            event += 1


def emitted(stack):
    """Samples that left each source, summed from the CREATE events."""
    totals = Counter()
    for event in events(stack):
        if event["eventType"] == "CREATE" and event["componentType"] in SOURCES:
            told = {attribute["name"]: attribute["value"] for attribute in event["attributes"]}
            totals[told["otmirror.source"]] += int(told["otmirror.samples"])
    return dict(totals)


def first_after(table, source, moment):
    """Seconds from `moment` (since 1970) to the first read of a source after it."""
    rows = zip(table["source"].to_pylist(), table["ts_read"].to_pylist(), strict=True)
    return min(read for name, read in rows if name == source and read > moment * 1e6) / 1e6 - moment


def test_only_the_primary_node_reads(story):
    assert story["readers"] == [[story["primary"]], [story["primary"]]]


def test_the_queue_to_victoriametrics_is_spread_over_the_nodes(story):
    assert story["sent over"] >= 1


@pytest.mark.parametrize("source", ["opcua:plant", "modbus:plant"])
def test_the_other_node_reads_soon_after_the_primary_was_killed(story, source):
    after = first_after(story["cold"], source, story["killed"])
    print(f"{source}: read again {after:.1f} s after the kill")
    assert after <= RESUMED_WITHIN


def test_a_device_has_one_session_again_after_the_kill(story):
    assert story["sessions"] == [1, 1]


def test_the_killed_node_joins_again_and_the_sources_stay(story):
    assert story["states"] == ["CONNECTED", "CONNECTED"]
    assert story["sessions after the restart"] == [1, 1]


def test_what_left_the_sources_is_in_both_stores_once(story):
    result = story["audit"]
    assert {source.source: source.restarts for source in result.sources} == {"opcua:plant": 1, "modbus:plant": 1}
    assert (result.lost, result.duplicated, result.hot_unknown, result.hot_different, result.rejected) == (0,) * 5
    assert result.complete, result


def test_what_waited_on_the_killed_nodes_disk_was_stored(story):
    """Samples read before the kill that VictoriaMetrics could not have yet came after the node was back."""
    reads = Counter(read < story["killed"] * 1e6 for read in story["cold"]["ts_read"].to_pylist())
    assert reads[True] > 0
    assert reads[False] > 0
    assert [source.hot_missing for source in story["audit"].sources] == [0, 0]


@pytest.fixture
def disconnected(stack, story):
    """The number of a node that somebody took out of the cluster on the canvas; it runs on."""
    assert story["states"] == ["CONNECTED", "CONNECTED"]
    await_that(lambda: stack.nifi.primary() is not None, 60, "the cluster has no primary node")
    node = 3 - stack.nifi.primary()
    if stack.nifi.status()[node - 1].state == "DISCONNECTED":
        return node
    log = stack.nifi.nodes[node - 1].app_log
    told = log.read_text().count(TOLD)
    rest = Rest(stack.nifi.nodes[2 - node].url)
    (node_id,) = (
        known["nodeId"]
        for known in rest.get("/controller/cluster")["cluster"]["nodes"]
        if known["apiPort"] == stack.nifi.nodes[node - 1].port
    )
    rest.put(f"/controller/cluster/nodes/{node_id}", {"node": {"nodeId": node_id, "status": "DISCONNECTING"}})
    # The node is told a moment after the cluster says so; a request to connect before that would be undone by it.
    await_that(lambda: log.read_text().count(TOLD) > told, 60, "the node was not told that it is disconnected")
    assert stack.nifi.status()[node - 1].state == "DISCONNECTED"
    return node


def test_the_message_says_what_the_cluster_knows_of_a_node_that_is_not_connected(stack, disconnected):
    before = [node.pid for node in stack.nifi.nodes]
    with pytest.raises(UnavailableError) as failed:
        stack.nifi.start(5.0, Patience(settle=NEVER, restart=NEVER))
    told = str(failed.value)
    assert told.startswith(
        f"not all nodes are connected after 5 s: node {disconnected} DISCONNECTED, the cluster says: "
    )
    assert "requested that node be disconnected from cluster" in told
    assert told.endswith(f"log: {stack.nifi.nodes[disconnected - 1].app_log}")
    assert "\n" not in told
    assert [node.pid for node in stack.nifi.nodes] == before


def test_the_command_connects_a_node_again_that_was_disconnected(stack, disconnected):
    home = ["--home", str(stack.nifi.home)]
    assert "disconnected, " in CliRunner().invoke(app, ["nifi", "status", *home]).stdout
    before = [node.pid for node in stack.nifi.nodes]
    told = CliRunner().invoke(app, ["nifi", "start", *home])
    assert told.exit_code == 0, told.output
    assert f"node {disconnected} is DISCONNECTED, asked to connect" in told.stderr
    assert [node.state for node in stack.nifi.status()] == ["CONNECTED", "CONNECTED"]
    assert [node.pid for node in stack.nifi.nodes] == before
    with pytest.raises(UnavailableError, match="runs already"):
        stack.nifi.start()


def test_a_node_that_asking_does_not_help_is_restarted(stack, disconnected):
    before, said = [node.pid for node in stack.nifi.nodes], []
    stack.nifi.start(patience=Patience(settle=NEVER, restart=0.0), say=said.append)
    assert said == [f"node {disconnected} is DISCONNECTED, restarted"]
    assert [node.state for node in stack.nifi.status()] == ["CONNECTED", "CONNECTED"]
    changed = [old != new.pid for old, new in zip(before, stack.nifi.nodes, strict=True)]
    assert changed == [number == disconnected for number in (1, 2)]
