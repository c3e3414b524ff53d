"""`otmirror flow publish` against a small server with NiFi Registry's documented endpoints and rules.

It is no NiFi Registry. The rules it keeps are those of its BucketFlowResource: ids in path and body have to agree,
a version has to be the next one, an unknown bucket or flow is a 404.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from otmirror.cli.flow import app
from otmirror.embedded.processes import free_port
from otmirror.errors import ConfigError, MirrorError, UnavailableError
from otmirror.flow.canonical import canonical, load
from otmirror.flow.registry import Published, Registry
from otmirror.workspace import PROJECT


class Server(http.server.ThreadingHTTPServer):
    """The registry's state; `fail` answers every request with that status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.buckets: dict[str, Any] = {}
        self.flows: dict[str, Any] = {}
        self.versions: dict[str, list[Any]] = {}
        self.token: str | None = None
        self.fail: int | None = None
        self.posts: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class RefusedError(Exception):
    pass


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        self.server.posts.append(self.path)
        self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _serve(self, body: Any) -> None:
        if self.server.fail:
            return self._answer(self.server.fail, b"<html>told by the server</html>")
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            return self._answer(401, b"")
        try:
            told = self._routed(self.path.removeprefix("/nifi-registry-api"), body)
        except KeyError:
            return self._answer(404, b"The specified resource could not be found.")
        except RefusedError as error:
            return self._answer(400, str(error).encode())
        return self._answer(200, json.dumps(told).encode())

    def _routed(self, path: str, body: Any) -> Any:
        state = self.server
        if path == "/buckets":
            return list(state.buckets.values()) if body is None else self._made(state.buckets, body)
        found = re.fullmatch(r"/buckets/([^/]+)/flows(?:/([^/]+)/versions(?:/(\d+))?)?", path)
        if not found:
            raise KeyError(path)
        bucket, flow, version = found.groups()
        state.buckets[bucket]
        if flow is None:
            if body is None:
                return [f for f in state.flows.values() if f["bucketIdentifier"] == bucket]
            self._agree(body.get("bucketIdentifier"), bucket)
            if body.get("type") != "Flow":
                raise RefusedError("type")
            return self._made(state.flows, {**body, "bucketIdentifier": bucket})
        state.flows[flow]
        saved = state.versions.setdefault(flow, [])
        if version:
            return next(v for v in saved if v["snapshotMetadata"]["version"] == int(version))
        if body is None:
            return [v["snapshotMetadata"] for v in reversed(saved)]
        return self._saved(saved, body, bucket, flow)

    def _saved(self, saved: list[Any], body: Any, bucket: str, flow: str) -> Any:
        told = body["snapshotMetadata"]
        self._agree(told.get("bucketIdentifier"), bucket)
        self._agree(told.get("flowIdentifier"), flow)
        if told["version"] != len(saved) + 1 or "flowContents" not in body:
            raise RefusedError("version must be the next one")
        stored = {**body, "snapshotMetadata": {**told, "author": "anonymous", "timestamp": 1}, "latest": True}
        # A registry fills in what a flow leaves open: null, and keeps no order of keys.
        stored["flowContents"] = {"remoteProcessGroups": None, **stored["flowContents"], "instanceIdentifier": None}
        saved.append({**stored, "bucket": self.server.buckets[bucket], "flow": self.server.flows[flow]})
        return saved[-1]

    def _made(self, where: dict[str, Any], body: Any) -> Any:
        name = f"id-{len(self.server.buckets)}-{len(self.server.flows)}"
        where[name] = {**body, "identifier": name, "createdTimestamp": 1}
        return where[name]

    def _agree(self, told: str | None, path: str) -> None:
        if told not in (None, path):
            raise RefusedError("id in path param must match id in body")

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join(10)


def pilot() -> dict[str, Any]:
    return load(PROJECT / "flows" / "pilot.json")


def test_bucket_flow_and_version_are_made_once_and_a_version_only_for_a_change(server: Server) -> None:
    registry = Registry(server.url)
    assert registry.publish(pilot(), "plant", "first") == Published(1, new=True)
    assert registry.publish(pilot(), "plant", "again") == Published(1, new=False)
    changed = pilot()
    changed["flowContents"]["processors"][0]["yieldDuration"] = "2 sec"
    assert registry.publish(changed, "plant", "yield") == Published(2, new=True)
    assert registry.publish(pilot(), "other") == Published(1, new=True)
    assert sorted(bucket["name"] for bucket in server.buckets.values()) == ["other", "plant"]
    assert [flow["name"] for flow in server.flows.values()] == ["pilot", "pilot"]
    first, second = next(versions for versions in server.versions.values() if len(versions) == 2)
    assert first["snapshotMetadata"]["comments"] == "first"
    assert canonical(first)["flowContents"] == canonical(pilot())["flowContents"]
    assert first["parameterContexts"] == canonical(pilot())["parameterContexts"]
    assert second["snapshotMetadata"]["version"] == 2


def test_the_order_in_a_file_makes_no_version(server: Server) -> None:
    registry = Registry(f"{server.url}/nifi-registry-api/")
    registry.publish(pilot(), "plant")
    turned = pilot()
    turned["flowContents"]["processors"].reverse()
    assert registry.publish(turned, "plant") == Published(1, new=False)


def test_a_token_from_the_environment_logs_in(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.token = "geheim"
    monkeypatch.setenv("REGISTRY_TOKEN", "geheim")
    line = ["publish", "pilot", "--registry", server.url, "--bucket", "plant", "--token", "REGISTRY_TOKEN"]
    told = CliRunner().invoke(app, line)
    assert told.exit_code == 0, told.output
    assert told.stdout == "pilot published as version 1 in bucket plant\n"
    assert CliRunner().invoke(app, line).stdout == "pilot is unchanged since version 1 in bucket plant\n"
    with pytest.raises(ConfigError, match="401: it does not know who asks"):
        Registry(server.url, "wrong").publish(pilot(), "plant")
    unset = CliRunner().invoke(app, [*line[:-1], "NOT_SET_ANYWHERE"])
    assert isinstance(unset.exception, ConfigError)
    assert "NOT_SET_ANYWHERE is not set" in str(unset.exception)


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, ConfigError, "401: it does not know who asks; give a token or a client certificate"),
        (403, ConfigError, "403: whoever asks may not do this"),
        (404, ConfigError, "404: it does not have this; is the address that of a NiFi Registry"),
        (409, ConfigError, "409: somebody else changed it at the same time"),
        (500, UnavailableError, "500: <html>told by the server</html>"),
        (200, ConfigError, "is not the address of a NiFi Registry .it answered no JSON"),
    ],
)
def test_each_refusal_is_one_clear_line(server: Server, status: int, kind: type[MirrorError], message: str) -> None:
    server.fail = status
    with pytest.raises(kind, match=message) as told:
        Registry(server.url).publish(pilot(), "plant")
    assert "\n" not in str(told.value)
    assert server.buckets == {}


def test_a_registry_that_is_not_there_is_said(tmp_path: Any) -> None:
    with pytest.raises(UnavailableError, match="cannot be reached; is it running"):
        Registry(f"http://127.0.0.1:{free_port()}").publish(pilot(), "plant")
    with pytest.raises(ConfigError, match="is not the address of a NiFi Registry, such as"):
        Registry("plant").publish(pilot(), "plant")
    nameless = pilot()
    del nameless["flowContents"]["name"]
    with pytest.raises(ConfigError, match="the flow has no name"):
        Registry("http://127.0.0.1:1").publish(nameless, "plant")


def test_a_flow_with_findings_is_not_published(server: Server, tmp_path: Any) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(pilot()))
    told = CliRunner().invoke(app, ["publish", str(file), "--registry", server.url, "--bucket", "plant"])
    assert isinstance(told.exception, ConfigError)
    assert "has 1 findings" in str(told.exception)
    assert server.posts == []
