"""The embedded NiFi itself, with two throw-away processors: its life, and flows in and out over REST."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otmirror.embedded.install import Installation
from otmirror.embedded.loopback import session
from otmirror.embedded.processes import started
from otmirror.embedded.server import EmbeddedNifi
from otmirror.errors import ConfigError, UnavailableError
from otmirror.flow.canonical import dumps, keep_local, load
from otmirror.flow.client import NifiApi

pytestmark = pytest.mark.timeout(900)

SOURCE = """
from nifiapi.flowfilesource import FlowFileSource, FlowFileSourceResult
from nifiapi.properties import PropertyDescriptor


class Tick(FlowFileSource):
    class Java:
        implements = ['org.apache.nifi.python.processor.FlowFileSource']

    class ProcessorDetails:
        version = '0.0.1'
        description = 'Counts.'
        tags = ['test']
        dependencies = []

    WORD = PropertyDescriptor(name='Word', description='What to say.', required=True)
    SECRET = PropertyDescriptor(name='Secret', description='What to keep.', sensitive=True)

    def __init__(self, **kwargs):
        super().__init__()
        self.count = 0

    def getPropertyDescriptors(self):
        return [self.WORD, self.SECRET]

    def create(self, context):
        self.count += 1
        word = context.getProperty(self.WORD).getValue()
        attributes = {'otmirror.batch': word + '-' + str(self.count), 'secret.length':
                      str(len(context.getProperty(self.SECRET).getValue() or ''))}
        return FlowFileSourceResult('success', attributes, word.encode())
"""
SINK = """
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult


class Shout(FlowFileTransform):
    class Java:
        implements = ['org.apache.nifi.python.processor.FlowFileTransform']

    class ProcessorDetails:
        version = '0.0.1'
        description = 'Shouts.'
        tags = ['test']
        dependencies = []

    def __init__(self, **kwargs):
        super().__init__()

    def transform(self, context, flowfile):
        return FlowFileTransformResult('success', contents=flowfile.getContentsAsBytes().upper())
"""
TICK, SHOUT, END, QUEUE, LAST = (f"00000000-0000-3000-8000-00000000000{n}" for n in range(1, 6))


def processor(identifier: str, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "identifier": identifier, "name": kind.lower(), "type": kind, "componentType": "PROCESSOR",
        "bundle": {"group": "org.apache.nifi", "artifact": "python-extensions", "version": "0.0.1"},
        "position": {"x": 0.0, "y": 0.0}, "properties": {}, "schedulingPeriod": "100 ms",
        "schedulingStrategy": "TIMER_DRIVEN", "executionNode": "ALL", "penaltyDuration": "30 sec",
        "yieldDuration": "1 sec", "bulletinLevel": "WARN", "runDurationMillis": 0,
        "concurrentlySchedulableTaskCount": 1, "autoTerminatedRelationships": [], "scheduledState": "ENABLED",
        "propertyDescriptors": {}, "style": {}, "comments": "", "retryCount": 10, "retriedRelationships": [],
        "backoffMechanism": "PENALIZE_FLOWFILE", "maxBackoffPeriod": "10 mins",
        "groupIdentifier": "flow-contents-group", **more,
    }  # fmt: skip


def connection(identifier: str, source: tuple[str, str], destination: tuple[str, str]) -> dict[str, Any]:
    ends = [{"id": i, "type": kind, "groupId": "flow-contents-group", "name": ""} for i, kind in (source, destination)]
    return {
        "identifier": identifier, "name": "", "componentType": "CONNECTION", "source": ends[0], "destination": ends[1],
        "selectedRelationships": ["success"], "backPressureObjectThreshold": 20, "flowFileExpiration": "0 sec",
        "backPressureDataSizeThreshold": "1 GB", "loadBalanceStrategy": "DO_NOT_LOAD_BALANCE", "bends": [],
        "loadBalanceCompression": "DO_NOT_COMPRESS", "prioritizers": [], "labelIndex": 0, "zIndex": 0,
        "groupIdentifier": "flow-contents-group",
    }  # fmt: skip


def write_flow(path: Path) -> None:
    """A source, a transform and a funnel, as a person would write them: without what NiFi adds."""
    parameters = [
        {"name": "word", "value": "default", "sensitive": False, "description": "What to say."},
        {"name": "secret", "sensitive": True, "description": "What to keep."},
    ]
    flow = {
        "flowContents": {
            "identifier": "flow-contents-group", "name": "ticker", "componentType": "PROCESS_GROUP",
            "parameterContextName": "ticker", "position": {"x": 7.0, "y": 7.0},
            "processors": [
                processor(TICK, "Tick", properties={"Word": "#{word}", "Secret": "#{secret}"}),
                processor(SHOUT, "Shout", autoTerminatedRelationships=["original", "failure"]),
            ],
            "funnels": [{"identifier": END, "componentType": "FUNNEL", "position": {"x": 0.0, "y": 500.0}}],
            "connections": [
                connection(QUEUE, (TICK, "PROCESSOR"), (SHOUT, "PROCESSOR")),
                connection(LAST, (SHOUT, "PROCESSOR"), (END, "FUNNEL")),
            ],
        },
        "parameterContexts": {"ticker": {"name": "ticker", "parameters": parameters, "inheritedParameterContexts": []}},
    }  # fmt: skip
    path.write_text(json.dumps(flow))


def until(done: Callable[[], Any], seconds: float = 180.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def own(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNifi]:
    folder = tmp_path_factory.mktemp("own")
    extensions = folder / "extensions"
    (extensions / "NAR-INF" / "bundled-dependencies").mkdir(parents=True)
    (extensions / "Tick.py").write_text(SOURCE)
    (extensions / "Shout.py").write_text(SINK)
    server = EmbeddedNifi(folder / "home", 0, extensions, installation=installation)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def client(own: EmbeddedNifi) -> NifiApi:
    return NifiApi(own.url)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flows") / "ticker.json"
    write_flow(path)
    return path


def test_it_answers_on_this_machine_only(own: EmbeddedNifi, client: NifiApi) -> None:
    assert client.about() == own.status().version
    assert own.status().running
    assert session(own.canvas).get(own.canvas, timeout=10).ok
    listening = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
    # 0100007F is 127.0.0.1 as the kernel prints it.
    assert {address for address in listening if address.endswith(f":{own.port:04X}")} <= {f"0100007F:{own.port:04X}"}


def test_a_second_start_says_that_it_runs(own: EmbeddedNifi) -> None:
    with pytest.raises(UnavailableError, match=rf"NiFi runs already at {own.canvas}"):
        own.start()


def test_a_port_in_use_is_one_clear_line(installation: Installation, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError) as told:
            EmbeddedNifi(tmp_path / "home", port, installation=installation).start()
    assert str(told.value) == f"NiFi: port {port} of 127.0.0.1 is in use; choose another one (--port)"


def test_a_flow_runs_with_its_parameters_and_is_traced(client: NifiApi, file: Path) -> None:
    group = client.import_flow(file, params={"word": "hello", "secret": "four"})
    assert client.parameters(group) == {"word": "hello", "secret": None}
    assert [(c.name, c.shown) for c in client.status(group).components] == [("shout", "STOPPED"), ("tick", "STOPPED")]
    client.start(group)
    # The queue before the funnel fills to its back-pressure threshold of 20 and everything waits.
    until(lambda: sum(q.count for q in client.queues(group)) >= 30)
    assert client.status(group).running
    client.stop(group)
    assert not client.status(group).running
    assert client.active_threads(group) == 0

    created = client.created(group, "tick")
    first = next(e for e in created if e.attributes["otmirror.batch"] == "hello-1")
    assert first.attributes["secret.length"] == "4"
    (found,) = [e for e in client.provenance_query({"otmirror.batch": "hello-1"}) if e.type == "CONTENT_MODIFIED"]
    assert found.component == "shout"
    kinds = [event["eventType"] for event in client.lineage(found.id).events()]
    assert kinds == ["CREATE", "CONTENT_MODIFIED"]


def test_what_was_imported_is_exported_unchanged(client: NifiApi, file: Path, tmp_path: Path) -> None:
    exported = dumps(keep_local(client.export_flow(client.group("ticker")), load(file)))
    # What a person wrote comes back with what NiFi adds; from then on nothing changes.
    full = tmp_path / "ticker.json"
    full.write_text(exported)
    # What the flow of the test before left in its queues is not dropped unasked.
    old, queued, said = client.group("ticker"), client.status(client.group("ticker")).queued, []
    with pytest.raises(ConfigError, match=r"FlowFiles wait in its queues: .*tick -> shout: \d+ FlowFiles"):
        client.import_flow(full, replace=True)
    assert (client.group("ticker"), client.status(old).queued) == (old, queued)
    again = client.import_flow(
        full, params={"word": "leaks not", "secret": "nor this"}, replace=True, drop_queued=True, say=said.append
    )
    assert re.search(r"dropped .*tick -> shout: \d+ FlowFiles", said[0])
    assert dumps(keep_local(client.export_flow(again), load(full))) == exported
    assert "leaks not" not in exported
    told = json.loads(exported)
    assert {p["identifier"] for p in told["flowContents"]["processors"]} == {TICK, SHOUT}
    assert {p["name"]: p.get("value") for p in told["parameterContexts"]["ticker"]["parameters"]} == {
        "word": "default",
        "secret": None,
    }
    client.start(again)
    assert dumps(keep_local(client.export_flow(again), load(full))) == exported, "running is not a change"
    client.stop(again)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "a flow 'ticker' is in this NiFi already"),
        ({"params": {"wrod": "typo"}}, r"has no parameter wrod \(it has: secret, word\)"),
    ],
)
def test_what_cannot_be_imported_is_said(client: NifiApi, file: Path, change: dict[str, Any], message: str) -> None:
    before = client.groups()
    with pytest.raises(ConfigError, match=message):
        client.import_flow(file, **change)
    assert client.groups() == before


def test_a_processor_this_nifi_lacks_is_named(client: NifiApi, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(file.read_text().replace('"Shout"', '"Whisper"').replace('"ticker"', '"other"'))
    with pytest.raises(ConfigError, match=r"has no .*Whisper"):
        client.import_flow(other)
    assert "other" not in client.groups()


def test_an_import_that_does_not_get_ready_leaves_nothing(client: NifiApi, file: Path) -> None:
    with pytest.raises(UnavailableError, match="not initialised after 0 s"):
        client.import_flow(file, "late", timeout=0.0)
    assert "late" not in client.groups()


def test_an_invalid_processor_does_not_start_and_says_why(client: NifiApi, file: Path, tmp_path: Path) -> None:
    lacking = load(file)
    lacking["flowContents"]["name"] = "lacking"
    for item in lacking["flowContents"]["processors"]:
        item["properties"].pop("Word", None)
    path = tmp_path / "lacking.json"
    path.write_text(json.dumps(lacking))
    group = client.import_flow(path)
    with pytest.raises(ConfigError, match="tick: 'Word' is invalid because Word is required"):
        client.start(group)
    client.delete_group(group)


@pytest.mark.heavy
def test_a_killed_nifi_starts_again_without_orphans(own: EmbeddedNifi, client: NifiApi, file: Path) -> None:
    there = "ticker" in client.groups()
    group = client.group("ticker") if there else client.import_flow(file, params={"word": "hello", "secret": "four"})
    client.start(group)
    until(lambda: sum(q.count for q in client.queues(group)) >= 5)
    before = own.python_processes()
    assert set(before) == {"discovery", "Tick", "Shout"}
    own.kill()
    assert not own.status().running
    own.start()
    assert [pid for pid in before.values() if started(pid)] == []
    again = NifiApi(own.url)
    assert again.group("ticker") == group
    # It goes on by itself, with what was queued.
    until(lambda: again.status(group).running)
    assert again.status(group).queued >= 5
    again.stop(group)


def test_a_stop_leaves_no_process(own: EmbeddedNifi) -> None:
    processes = own.processes()
    assert len(processes) >= 2
    own.stop()
    assert [pid for pid in processes if started(pid)] == []
    assert own.processes() == []
    assert not own.status().running


def test_what_nifi_itself_refuses_is_one_line(own: EmbeddedNifi) -> None:
    flow = own.home / "conf" / "flow.json.gz"
    kept = flow.read_bytes()
    flow.write_bytes(b"not gzip")
    try:
        with pytest.raises(UnavailableError) as told:
            own.start()
    finally:
        flow.write_bytes(kept)
    assert "Not in GZIP format" in str(told.value)
    assert str(own.app_log) in str(told.value)
    assert "\n" not in str(told.value)
    assert own.processes() == []
