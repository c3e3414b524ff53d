"""Real neighbours of the sinks: a VictoriaMetrics of our own on loopback, and scripted HTTP servers."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest

from otmirror.workspace import work


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def victoria_metrics_binary() -> str:
    for candidate in (os.environ.get("VICTORIAMETRICS_BINARY"), work() / "bin" / "victoria-metrics"):
        if candidate and Path(candidate).is_file():
            return str(candidate)
    found = shutil.which("victoria-metrics")
    if not found:
        pytest.skip("needs VictoriaMetrics: `otmirror setup` builds it, or set VICTORIAMETRICS_BINARY")
    return found


class VictoriaMetrics:
    """A server process with its data in `folder`."""

    def __init__(self, folder: Path, *flags: str):
        self.folder, self.flags, self.port = folder, flags, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            victoria_metrics_binary(),
            f"-storageDataPath={self.folder / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-dedup.minScrapeInterval=1ms",
            "-search.latencyOffset=0s",
            "-loggerLevel=ERROR",
            *self.flags,
        ]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.get("/health")
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def get(self, path: str, **query: str) -> str:
        address = f"{self.url}{path}?{urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return str(answer.read().decode())

    def export(self, match: str) -> dict[tuple[str, ...], dict[int, float]]:
        """Return what is stored: (metric, tag, unit, source) -> milliseconds -> value. Repeats fail."""
        self.get("/internal/force_flush")
        series: dict[tuple[str, ...], dict[int, float]] = {}
        exported = self.get("/api/v1/export", **{"match[]": match, "reduce_mem_usage": "1", "start": "0", "end": "9e9"})
        for line in exported.splitlines():
            found = json.loads(line)
            metric = found["metric"]
            key = (metric["__name__"], metric["tag"], metric.get("unit", ""), metric["source"])
            for at, value in zip(found["timestamps"], found["values"], strict=True):
                known = series.setdefault(key, {})
                assert known.get(at, value) == value, f"{key} has two values at {at}"
                known[at] = value
        return series


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    """A server that keeps a hundred years."""
    server = VictoriaMetrics(tmp_path_factory.mktemp("vm-history"), "-retentionPeriod=100y")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def start_victoria_metrics(tmp_path: Path) -> Iterator[Callable[..., VictoriaMetrics]]:
    """Start servers with flags of the test's own."""
    started: list[VictoriaMetrics] = []

    def start(*flags: str) -> VictoriaMetrics:
        folder = tmp_path / f"vm{len(started)}"
        folder.mkdir()
        server = VictoriaMetrics(folder, *flags)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@dataclass
class Scripted:
    """An HTTP server that answers what a function says, and remembers the requests."""

    answer: Callable[[Request], tuple[int, str] | None]
    requests: list[Request] = field(default_factory=list)
    url: str = ""


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    """Start scripted servers: `scripted(function)`; None from the function hangs up without an answer."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[Request], tuple[int, str] | None]) -> Scripted:
        script = Scripted(answer)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, dict(self.headers), body)
                script.requests.append(request)
                answered = script.answer(request)
                if answered is None:
                    self.close_connection = True
                    return
                status, text = answered
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", text)
                self.send_header("Content-Length", "0" if status == 204 else str(len(text.encode())))
                self.end_headers()
                if status != 204:
                    self.wfile.write(text.encode())

            do_GET = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        return script

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
