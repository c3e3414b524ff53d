"""The servers the tests in NiFi share: started once a session, stopped at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otmirror.embedded import victoriametrics as vm
from otmirror.embedded.bundle import PROCESSORS, bundle_dependencies
from otmirror.embedded.install import Installation, install
from otmirror.embedded.server import EmbeddedNifi
from otmirror.errors import UnavailableError
from otmirror.flow.client import NifiApi


@pytest.fixture(scope="session")
def installation() -> Installation:
    """NiFi's parts; skips only when Java, Maven or the archives cannot be had."""
    try:
        return install()
    except UnavailableError as error:
        pytest.skip(f"no NiFi here: {error}")


@pytest.fixture(scope="session")
def nifi(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNifi]:
    """A running NiFi with the project's processors on a free port."""
    bundle_dependencies()
    server = EmbeddedNifi(tmp_path_factory.mktemp("nifi"), 0, PROCESSORS, installation=installation)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def api(nifi: EmbeddedNifi) -> NifiApi:
    """The REST API of `nifi`."""
    return NifiApi(nifi.url)


@pytest.fixture(scope="session")
def vm_binary() -> Path:
    """VictoriaMetrics' binary; skips only when it cannot be had."""
    try:
        return vm.install()
    except UnavailableError as error:
        pytest.skip(f"no VictoriaMetrics here: {error}")


@pytest.fixture
def victoriametrics(vm_binary: Path, tmp_path: Path) -> Iterator[vm.VictoriaMetrics]:
    """An empty VictoriaMetrics of the test's own on a free port; `stop` and `start` keep data and port."""
    server = vm.VictoriaMetrics(tmp_path / "victoriametrics", binary=vm_binary)
    try:
        server.start()
        yield server
    finally:
        server.stop()
