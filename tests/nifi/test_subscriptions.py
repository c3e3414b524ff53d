"""Subscribed tags in a running NiFi: the reader's process is killed, the next one takes the subscription over."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from otmirror.flow.api import Rest

from .pilots import await_that, connected_to, folder, kill, pilot

sys.path.append(str(Path(__file__).parents[1] / "protocol/opcua"))
from opcua_server import PLANT, Server

pytestmark = [pytest.mark.heavy, pytest.mark.chaos, pytest.mark.timeout(1800)]
NODES = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("counting"), security=["None"], written=NODES, patience=300)
    yield server
    server.close()


@pytest.fixture(scope="module")
def stack(server, tmp_path_factory):
    tags = tmp_path_factory.mktemp("tags") / "opcua.csv"
    rows = [f"counter/{n},nsu={PLANT};s=Written{n},subscribe,0" for n in range(NODES)]
    tags.write_text("\n".join(["tag,address,mode,sampling_ms", *rows]))
    parameters = {"iceberg.commit.interval": "3 sec", "opcua.endpoint": server.url, "opcua.tags": str(tags)}
    with pilot(folder("subscriptions"), ["--tags", "8"], start=False, parameters=parameters) as started:
        configure(started, {"Queue Size": "1000"})
        server.do("write", nodes=NODES, every=100)
        started.run()
        yield started


def processor(stack):
    return stack.api.processor_by_name(stack.group, "Read OPC UA")


def configure(stack, properties):
    """Change properties of the source, as somebody at the canvas does."""
    rest, path = Rest(stack.nifi.url), f"/processors/{processor(stack).id}"
    entity = rest.get(path)
    change = {"id": entity["id"], "config": {"properties": properties}}
    rest.put(path, {"revision": entity["revision"], "component": change})


def counted(stack):
    """The good values of each tag in Iceberg, in the order of their timestamps."""
    table = stack.lakehouse.samples()
    found = defaultdict(list)
    if table is None:
        return found
    for row in sorted(table.select(["tag", "ts", "value", "quality"]).to_pylist(), key=lambda row: row["ts"]):
        if row["tag"].startswith("counter/") and row["quality"] == "good":
            found[row["tag"]].append(row["value"])
    return found


def test_a_killed_reader_loses_nothing_that_its_subscription_held(stack, server):
    await_that(lambda: len(counted(stack)) == NODES, 120, "nothing was mirrored")
    for _ in range(3):
        (reader,) = connected_to(stack.nifi.processes(), server.port)
        kill(reader)
        await_that(
            lambda old=reader: connected_to(stack.nifi.processes(), server.port) not in ([], [old]),
            90,
            "no new process",
        )
        mark = server.do("written")[0]
        await_that(lambda mark=mark: max(counted(stack)["counter/0"]) > mark, 60, "reading did not resume")
    last = server.do("write", every=0)
    time.sleep(2)
    stack.stop_sources()
    stack.drain(360)
    for n, count in enumerate(last):
        found = counted(stack)[f"counter/{n}"]
        assert set(found) == set(range(int(min(found)), int(count) + 1)), f"counter/{n}"
    assert not [row for row in stack.lakehouse.samples().to_pylist() if row["status"] == 0x809D0000], "BadDataLost"


def test_what_the_processor_remembers_is_gone_once_it_has_stopped(stack):
    stack.stop_sources()
    state = Rest(stack.nifi.url).get(f"/processors/{processor(stack).id}/state")["componentState"]
    kept = [entry for entry in (state.get("localState") or {}).get("state") or [] if entry["key"] == "otmirror"]
    kept += [entry for entry in (state.get("clusterState") or {}).get("state") or [] if entry["key"] == "otmirror"]
    assert kept
    assert '"subscriptions":[]' in kept[0]["value"]
