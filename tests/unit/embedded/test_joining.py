"""What is done about a node that is not connected: when it is asked, when it is restarted, what the message says."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from otmirror.embedded.joining import Due, Joining, Patience, View, last_events, request_connection, view
from otmirror.embedded.processes import free_port

NODE = "00f9e5ac-28df-49ae-8166-dacaacc9e7f7"
# What a NiFi 2.3.0 answered, and what it answered while it was not connected itself.
CLUSTER = json.loads("""
{"cluster": {"nodes": [
  {"nodeId": "9f1d1cf7-c500-40ac-86ac-ff8d1ba0eb7f", "address": "127.0.0.1", "apiPort": 45273, "status": "CONNECTED",
   "heartbeat": "11/25/2026 19:10:41 UTC", "roles": ["Primary Node", "Cluster Coordinator"], "activeThreadCount": 0,
   "queued": "0 / 0 bytes", "events": [
     {"timestamp": "11/25/2026 19:09:51 UTC", "category": "INFO",
      "message": "Received first heartbeat from connecting node. Node connected."},
     {"timestamp": "11/25/2026 19:09:46 UTC", "category": "INFO",
      "message": "Connection requested from existing node. Setting status to connecting."}],
   "nodeStartTime": "11/25/2026 19:08:21 UTC", "flowFilesQueued": 0, "bytesQueued": 0}],
 "generated": "19:10:43 UTC"}}
""")
ALONE = "Only a node connected to a cluster can process the request."
PATIENCE = Patience(settle=3.0, again=10.0, restart=60.0)


def timeline(joining: Joining, states: dict[int, str | None], seconds: range) -> list[tuple[int, Due]]:
    """What is due at which second, while nothing changes."""
    return [(at, due) for at in seconds if (due := joining.due(states, True, float(at))) != Due()]


def test_a_disconnected_node_is_asked_every_ten_seconds_and_restarted_once() -> None:
    done = timeline(Joining(PATIENCE), {2: "DISCONNECTED"}, range(200))
    asked = [at for at, due in done if due.ask == (2,)]
    assert asked[:7] == [3, 13, 23, 33, 43, 53, 63]
    assert [at for at, due in done if due.restart] == [60]
    assert [at for at, due in done if due.ask and due.restart] == []
    assert asked[7:9] == [73, 83]


def test_nothing_is_done_about_a_state_that_passes() -> None:
    joining = Joining(PATIENCE)
    assert joining.due({1: "DISCONNECTED"}, True, 0.0) == Due()
    assert joining.due({1: "CONNECTING"}, True, 4.0) == Due()
    assert joining.due({}, True, 5.0) == Due()
    assert joining.due({1: "DISCONNECTED"}, True, 6.0) == Due()
    assert joining.due({1: "DISCONNECTED"}, True, 8.9) == Due()
    assert joining.due({1: "DISCONNECTED"}, True, 9.0) == Due(ask=(1,))


@pytest.mark.parametrize("state", ["CONNECTING", "DISCONNECTING", "OFFLOADING", None])
def test_a_node_that_is_on_its_way_is_not_asked_but_restarted(state: str | None) -> None:
    """None: the nodes that are connected do not know it, so there is nobody to ask about it."""
    assert timeline(Joining(PATIENCE), {2: state}, range(200)) == [(60, Due(restart=(2,)))]


def test_an_offloaded_node_is_asked() -> None:
    assert timeline(Joining(PATIENCE), {2: "OFFLOADED"}, range(5)) == [(3, Due(ask=(2,)))]


def test_while_the_cluster_says_nothing_nobody_is_asked_or_restarted() -> None:
    """An election that takes long is no reason to restart a node as soon as it is over."""
    joining = Joining(PATIENCE)
    assert all(joining.due({1: None, 2: None}, False, float(at)) == Due() for at in range(120))
    assert timeline(joining, {2: "DISCONNECTED"}, range(120, 128)) == [(123, Due(ask=(2,)))]


def test_each_node_has_its_own_time() -> None:
    joining = Joining(PATIENCE)
    joining.due({2: "DISCONNECTED"}, True, 0.0)
    joining.due({2: "DISCONNECTED", 3: "DISCONNECTED"}, True, 2.0)
    assert joining.due({2: "DISCONNECTED", 3: "DISCONNECTED"}, True, 4.0) == Due(ask=(2,))
    assert joining.due({2: "DISCONNECTED", 3: "DISCONNECTED"}, True, 5.0) == Due(ask=(3,))


def test_a_restarted_node_is_asked_again_and_given_time() -> None:
    """A restart itself takes time, in which nothing is asked for."""
    joining = Joining(PATIENCE)
    joining.due({2: "DISCONNECTED"}, True, 0.0)
    assert joining.due({2: "DISCONNECTED"}, True, 60.0) == Due(restart=(2,))
    assert timeline(joining, {2: "CONNECTING"}, range(100, 300)) == []
    assert joining.due({2: "DISCONNECTED"}, True, 300.0) == Due(ask=(2,))


def test_what_was_tried_is_told() -> None:
    joining = Joining(PATIENCE)
    assert joining.tried(2) == ""
    joining.due({2: "DISCONNECTED"}, True, 0.0)
    joining.due({2: "DISCONNECTED"}, True, 3.0)
    assert joining.tried(2) == "asked to connect once"
    joining.due({2: "DISCONNECTED"}, True, 13.0)
    joining.due({2: "DISCONNECTED"}, True, 70.0)
    assert joining.tried(2) == "asked to connect 2 times and restarted once"
    assert joining.tried(1) == ""


def test_the_last_events_are_one_line() -> None:
    told = {
        "events": [
            {"timestamp": "11/25/2026 19:02:11 UTC", "category": "ERROR", "message": "third\n  of  them"},
            {"timestamp": "11/25/2026 19:02:10 UTC", "category": "INFO", "message": "second " + "x" * 400},
            {"timestamp": "11/25/2026 19:02:09 UTC", "category": "INFO", "message": "first"},
            {"timestamp": "11/25/2026 19:02:08 UTC", "category": "INFO", "message": "older than that"},
        ]
    }
    line = last_events(told)
    third, second, first = line.split("; ")
    assert third == "11/25/2026 19:02:11 UTC third of them"
    assert second.startswith("11/25/2026 19:02:10 UTC second xxx")
    assert second.endswith("x ...")
    assert len(second) == 200
    assert first == "11/25/2026 19:02:09 UTC first"
    assert last_events({}) == last_events({"events": None}) == ""


class Nifi(http.server.BaseHTTPRequestHandler):
    """Answers as a NiFi whose server has `answers` (status, body), and keeps what it was sent."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append((self.command, self.path, self.rfile.read(length)))  # type: ignore[attr-defined]
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.HTTPServer):
    def __init__(self, status: int, body: str):
        super().__init__(("127.0.0.1", 0), Nifi)
        self.answer = (status, body.encode())
        self.asked: list[tuple[str, str, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/nifi-api"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def connected() -> Iterator[Server]:
    with Server(200, json.dumps(CLUSTER)) as server:
        yield server
        server.shutdown()


@pytest.fixture
def refusing() -> Iterator[Server]:
    with Server(409, ALONE) as server:
        yield server
        server.shutdown()


def test_the_first_node_that_is_connected_speaks_for_the_cluster(connected: Server, refusing: Server) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/nifi-api"
    told = view([nobody, refusing.url, connected.url])
    assert told.url == connected.url
    assert {port: node["status"] for port, node in told.nodes.items()} == {45273: "CONNECTED"}
    assert last_events(told.nodes[45273]) == (
        "11/25/2026 19:09:51 UTC Received first heartbeat from connecting node. Node connected.; "
        "11/25/2026 19:09:46 UTC Connection requested from existing node. Setting status to connecting."
    )
    assert connected.asked == [("GET", "/nifi-api/controller/cluster", b"")]
    assert view([nobody, refusing.url]) == view([]) == View(None, {})


@pytest.mark.parametrize("answer", ["[]", "<html>", '{"cluster": {}}', "{}"])
def test_an_answer_that_is_none_of_a_cluster_is_no_view(connected: Server, answer: str) -> None:
    connected.answer = (200, answer.encode())
    assert view([connected.url]) == View(None, {})


def test_a_connection_is_requested_as_the_rest_api_wants_it(connected: Server) -> None:
    """The body is the one of the canvas; NiFi refuses a nodeId that is not the path's."""
    assert request_connection(connected.url, NODE) is None
    ((method, path, body),) = connected.asked
    assert (method, path) == ("PUT", f"/nifi-api/controller/cluster/nodes/{NODE}")
    assert json.loads(body) == {"node": {"nodeId": NODE, "status": "CONNECTING"}}


def test_a_request_that_is_refused_says_why(refusing: Server) -> None:
    assert request_connection(refusing.url, NODE) == f"409 {ALONE}"
    nobody = f"http://127.0.0.1:{free_port()}/nifi-api"
    assert request_connection(nobody, NODE) == f"{nobody} does not answer (ConnectionError)"
