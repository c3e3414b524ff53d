from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opcua_server import Server

from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.reader import OpcUaReader


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server most tests share: all security, one user, 10,000 counters. Tests give back what they change."""
    server = Server(
        tmp_path_factory.mktemp("plant"),
        security=["None", "Sign", "SignAndEncrypt"],
        users={"operator": "s3cret-\u00e4"},
        counters=10_000,
    )
    yield server
    server.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of one test's own."""
    started: list[Server] = []

    def _start(**options: Any) -> Server:
        started.append(Server(tmp_path, **options))
        return started[-1]

    yield _start
    for server in started:
        server.close()


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., OpcUaReader]]:
    """Makes readers and closes them."""
    made: list[OpcUaReader] = []

    def _connect(server: Server | str, tags: Any, **settings: Any) -> OpcUaReader:
        url = server if isinstance(server, str) else server.url
        defaults: dict[str, Any] = {"pki": tmp_path / "pki", "interval_ms": 100, "reconnect_first": 0.2}
        made.append(OpcUaReader(OpcUaConfig(url, tuple(tags), **defaults | settings)))
        return made[-1]

    yield _connect
    for reader in made:
        reader.close()
