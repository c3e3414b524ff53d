"""What the tests of bad input need: processors that are listened to, a plant, a VictoriaMetrics."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_input import SECRETS, USER, Site, Speak, Spoken

from otmirror.embedded import victoriametrics as vm
from otmirror.errors import UnavailableError
from otmirror.plant import Plant


@pytest.fixture
def speak(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Speak]:
    """Makes processors; stops them in the end, and looks for secrets in all they said."""
    # A processor's Python log becomes a file beside NiFi's.
    caplog.set_level(logging.DEBUG)
    made: list[Spoken] = []

    def start(name: str, **properties: str | None) -> Spoken:
        made.append(Spoken(name, tmp_path, **properties))
        return made[-1]

    yield start
    for processor in made:
        processor.stop()
        processor.assert_discreet()
    # The plant's server runs in this process too; what it logs is not ours.
    logged = [r.getMessage() for r in caplog.get_records("call") if not r.name.startswith("asyncua.server")]
    assert [message for message in logged if any(secret in message for secret in SECRETS)] == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    running = Site(tmp_path)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """One well on both protocols, open to everybody."""
    running = Site(tmp_path_factory.mktemp("plant"))
    yield running.start(opcua_port=0, modbus_port=0)
    running.stop()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plant, Path]]:
    """An OPC UA server with certificate (in the folder) and one user."""
    folder = tmp_path_factory.mktemp("secured")
    running = Site(folder)
    yield running.start(opcua_port=0, security=folder, user=USER, password="another"), folder
    running.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vm.VictoriaMetrics]:
    try:
        server = vm.VictoriaMetrics(tmp_path_factory.mktemp("vm"), binary=vm.install())
    except UnavailableError as error:
        pytest.skip(f"no VictoriaMetrics here: {error}")
    server.start()
    yield server
    server.stop()
