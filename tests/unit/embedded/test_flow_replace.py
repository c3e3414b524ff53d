"""Replacing a flow, against the few answers of NiFi's REST API that this takes."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from otmirror.cli.flow import app
from otmirror.errors import ConfigError, UnavailableError
from otmirror.flow.client import NifiApi


class Canvas:
    """Groups with one processor and one queue each; `fills` is what comes in while a flow stops."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, Any]] = {}
        self.errors: list[str] = []
        self.fills = 0
        self.changes: list[str] = []

    def add(self, name: str, state: str = "STOPPED", queued: int = 0) -> str:
        key = f"g{len(self.changes)}{name}"
        self.groups[key] = {"name": name, "state": state, "queued": queued}
        return key

    def answer(self, method: str, path: str, body: Any) -> Any:
        if method != "GET":
            self.changes.append(f"{method} {path}")
        if path == "/process-groups/root/process-groups":
            return {
                "processGroups": [
                    {"id": key, "component": {"name": group["name"]}, "position": {"x": 0.0, "y": 0.0}}
                    for key, group in self.groups.items()
                ]
            }
        if path == "/flow/processor-types":
            return {"processorTypes": [{"type": "Tick"}]}
        if path == "/flow/bulletin-board":
            return {"bulletinBoard": {"bulletins": []}}
        if path.endswith("/upload"):
            return {"id": self.add("ticker")}
        found = re.search(r"/(?:process-groups|processors)/p?-?(g\w+)", path)
        assert found, path
        return self.of_group(method, path, found[1], body)

    def of_group(self, method: str, path: str, key: str, body: Any) -> Any:
        group = self.groups[key]
        if path.endswith("/controller-services"):
            return {"controllerServices": []}
        if method == "PUT":
            if body["state"] == "STOPPED":
                group["queued"] += self.fills
            group["state"] = body["state"]
        elif path.endswith("/processors"):
            told = {"name": "tick", "type": "Tick", "parentGroupId": key, "state": group["state"],
                    "validationStatus": "VALID", "validationErrors": self.errors}  # fmt: skip
            return {"processors": [{"id": f"p-{key}", "component": told, "status": {}}]}
        elif path.endswith("/connections"):
            told = {"source": {"name": "tick"}, "destination": {"name": "shout"}}
            counts = {"aggregateSnapshot": {"flowFilesQueued": group["queued"]}}
            ends = {"sourceId": "1", "destinationId": "2"}
            return {"connections": [{"id": "q", "component": told, "status": counts, **ends}]}
        elif path.endswith("/status"):
            return {"processGroupStatus": {"aggregateSnapshot": {"id": key, "name": group["name"]}}}
        elif path.endswith("/empty-all-connections-requests"):
            group["queued"] = 0
            return {"dropRequest": {"id": "1", "finished": True}}
        elif method == "DELETE" and path.endswith(key):
            assert group["queued"] == 0
            assert group["state"] == "STOPPED"
            del self.groups[key]
        return {"revision": {"version": 0}, "component": {}}


@pytest.fixture
def canvas() -> Canvas:
    return Canvas()


@pytest.fixture
def url(canvas: Canvas) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(raw) if "json" in (self.headers.get("Content-Type") or "") else None
            told = json.dumps(canvas.answer(self.command, urlsplit(self.path).path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        do_GET = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ticker.json"
    path.write_text(json.dumps({"flowContents": {"name": "ticker", "processors": [{"type": "Tick"}]}}))
    return path


def test_what_waits_is_not_dropped_unasked(canvas: Canvas, url: str, file: Path) -> None:
    old = canvas.add("ticker", "RUNNING", queued=1234)
    with pytest.raises(
        ConfigError, match=r"FlowFiles wait in its queues: tick -> shout: 1,234 FlowFiles; .*--drop-queued"
    ):
        NifiApi(url).import_flow(file, replace=True)
    assert canvas.changes == []
    told = CliRunner().invoke(app, ["import", str(file), "--url", url, "--replace", "--drop-queued"])
    assert told.exit_code == 0, told.output
    assert "dropped from the old 'ticker': tick -> shout: 1,234 FlowFiles" in told.output
    assert old not in canvas.groups
    assert len(canvas.groups) == 1


def test_what_comes_in_while_it_stops_is_not_dropped_and_it_runs_on(canvas: Canvas, url: str, file: Path) -> None:
    old = canvas.add("ticker", "RUNNING")
    canvas.fills = 3
    with pytest.raises(ConfigError, match="tick -> shout: 3 FlowFiles"):
        NifiApi(url).import_flow(file, replace=True)
    assert canvas.groups == {old: {"name": "ticker", "state": "RUNNING", "queued": 3}}


def test_an_empty_flow_is_replaced(canvas: Canvas, url: str, file: Path) -> None:
    old = canvas.add("ticker", "RUNNING")
    new = NifiApi(url).import_flow(file, replace=True)
    assert list(canvas.groups) == [new] != [old]


def test_an_import_that_fails_leaves_nothing_of_its_own(canvas: Canvas, url: str, file: Path) -> None:
    other = canvas.add("other", "RUNNING", queued=5)
    canvas.errors = ["Failed to parse or load Processor code"]
    with pytest.raises(ConfigError, match="cannot load the Python code of tick"):
        NifiApi(url).import_flow(file)
    canvas.errors = ["Initializing runtime environment"]
    with pytest.raises(UnavailableError, match="not initialised after 0 s: tick"):
        NifiApi(url).import_flow(file, timeout=0.0)
    assert list(canvas.groups) == [other]
