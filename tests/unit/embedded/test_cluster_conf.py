"""The configuration of a cluster's nodes, and which nodes a home has."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.embedded.cluster import Cluster, NodeStatus, layout
from otmirror.embedded.conf import Member, render, share_sensitive_key
from otmirror.embedded.install import CONF, Installation
from otmirror.embedded.properties import parse
from otmirror.embedded.zookeeper import answers, unpack
from otmirror.errors import ConfigError

MEMBER = Member(protocol_port=18001, load_balance_port=18002, nodes=3, zookeeper="127.0.0.1:12181")


@pytest.fixture
def parts(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "lib", tmp_path / "python")


def test_a_node_has_all_of_a_single_nifi_and_what_makes_it_a_node(tmp_path: Path, parts: Installation) -> None:
    alone = parse(render(tmp_path / "home", parts, 18000, None).read_text())
    file = render(tmp_path / "home", parts, 18000, None, MEMBER)
    node = parse(file.read_text())
    assert {key: node[key] for key in alone} == alone
    assert {key: node[key] for key in node.keys() - alone.keys() if "port" in key or "connect.string" in key} == {
        "nifi.cluster.node.protocol.port": "18001",
        "nifi.cluster.load.balance.port": "18002",
        "nifi.zookeeper.connect.string": "127.0.0.1:12181",
    }
    assert node["nifi.cluster.is.node"] == "true"
    assert node["nifi.cluster.flow.election.max.candidates"] == "3"
    assert "$" not in file.read_text()


def test_a_node_keeps_state_in_zookeeper_and_a_single_nifi_does_not(tmp_path: Path, parts: Installation) -> None:
    conf = render(tmp_path / "home", parts, 18000, None, MEMBER).parent
    state = ElementTree.parse(conf / "state-management.xml")
    told = {p.get("name"): p.text for p in state.iterfind("cluster-provider/property")}
    assert state.findtext("cluster-provider/id") == "zk-provider"
    assert told["Connect String"] == "127.0.0.1:12181"
    render(tmp_path / "home", parts, 18000, None)
    assert ElementTree.parse(conf / "state-management.xml").find("cluster-provider") is None


def test_no_key_is_in_both_templates() -> None:
    """NiFi does not start when a key has two values."""
    keys = [
        line.partition("=")[0]
        for folder in ("embedded", "cluster")
        for line in (CONF / folder / "nifi.properties").read_text().splitlines()
        if line and line[0] != "#"
    ]
    assert len(keys) > 50
    assert len(keys) == len(set(keys))


def test_all_nodes_have_the_key_of_the_cluster(tmp_path: Path) -> None:
    for name in ("node-1", "node-2"):
        share_sensitive_key(tmp_path, tmp_path / name)
        share_sensitive_key(tmp_path, tmp_path / name)
    keys = [(tmp_path / name / "sensitive.key") for name in (".", "node-1", "node-2")]
    assert len({key.read_text() for key in keys}) == 1
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}


def planned(home: Path, nodes: int, port: int = 0) -> Cluster:
    """A cluster as `start` leaves it, without anything running."""
    cluster = Cluster(home, nodes, port)
    home.mkdir(exist_ok=True)
    ports = [{"canvas": p.canvas, "protocol": p.protocol, "load_balance": p.load_balance} for p in cluster.layout.nodes]
    (home / "cluster.json").write_text(json.dumps({"zookeeper": cluster.layout.zookeeper, "nodes": ports}))
    return cluster


def test_the_canvases_have_neighbouring_ports_and_no_port_is_given_twice(tmp_path: Path) -> None:
    told = Cluster(tmp_path / "home", 3, 18643).layout
    assert [node.canvas for node in told.nodes] == [18643, 18644, 18645]
    every = [told.zookeeper, *(port for n in told.nodes for port in (n.canvas, n.protocol, n.load_balance))]
    assert len(set(every)) == 10


def test_a_home_keeps_its_ports_and_takes_more_nodes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = planned(home, 2).layout
    assert Cluster(home).layout == Cluster(home, 2, 9999).layout == first
    more = Cluster(home, 3).layout
    assert more.nodes[:2] == first.nodes
    assert len(more.nodes) == 3
    assert more.zookeeper == first.zookeeper


def test_fewer_nodes_are_refused_as_samples_may_wait_on_them(tmp_path: Path) -> None:
    planned(tmp_path / "home", 3)
    with pytest.raises(ConfigError, match="cluster of 3 nodes and samples may wait on each: start it with --nodes 3"):
        Cluster(tmp_path / "home", 1)


def test_the_home_of_a_single_nifi_is_no_cluster(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    with pytest.raises(ConfigError, match="home of a single NiFi"):
        Cluster(tmp_path, 2)
    with pytest.raises(ConfigError, match="one node or more"):
        Cluster(tmp_path / "new")


def test_a_description_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text('{"zookeeper": 1}')
    with pytest.raises(ConfigError, match=r"cluster\.json: this is not the description of a cluster"):
        layout(tmp_path)


def test_a_node_counts_as_connected_while_it_runs_only() -> None:
    """The cluster calls a node connected for some seconds after it was killed."""
    alive = NodeStatus(1, "http://127.0.0.1:1/nifi/", 4711, "CONNECTED", (), "")
    assert alive.connected
    assert not NodeStatus(1, alive.url, None, "CONNECTED", (), "").connected
    assert not NodeStatus(1, alive.url, 4711, "CONNECTING", (), "").connected


def test_zookeeper_comes_out_of_the_framework_nar(tmp_path: Path, parts: Installation) -> None:
    parts.lib.mkdir()
    with pytest.raises(ConfigError, match=r"no nifi-framework-nar-\*\.nar"):
        unpack(parts, tmp_path / "jars")
    inside = "META-INF/bundled-dependencies/"
    with zipfile.ZipFile(parts.lib / "nifi-framework-nar-2.3.0.nar", "w") as nar:
        for name in ("zookeeper-3.9.3.jar", "zookeeper-jute-3.9.3.jar", "netty-common-4.1.jar", "nifi-core-2.3.0.jar"):
            nar.writestr(inside + name, name)
    assert {jar.name for jar in unpack(parts, tmp_path / "jars").iterdir()} == {
        "zookeeper-3.9.3.jar", "zookeeper-jute-3.9.3.jar", "netty-common-4.1.jar",
    }  # fmt: skip


def test_nobody_listening_is_no_zookeeper(tmp_path: Path) -> None:
    assert not answers(1)


def test_the_command_tells_of_each_node_and_fails_while_some_are_missing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    urls = [node.canvas for node in planned(home, 2).nodes]
    told = CliRunner().invoke(app, ["nifi", "status", "--home", str(home)])
    assert told.exit_code == 1
    assert told.stdout.splitlines() == [
        f"node 1 does not run: {urls[0]}", f"node 2 does not run: {urls[1]}", "0 of 2 nodes are connected.",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="cluster of 2 nodes; there is no node 3"):
        CliRunner().invoke(app, ["nifi", "logs", "--home", str(home), "--node", "3"], catch_exceptions=False)
    with pytest.raises(ConfigError, match="is no cluster, so it has no node 2"):
        CliRunner().invoke(app, ["nifi", "stop", "--home", str(tmp_path), "--node", "2"], catch_exceptions=False)
