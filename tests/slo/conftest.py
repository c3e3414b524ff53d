import pytest

from otmirror.embedded import prometheus
from otmirror.embedded.victoriametrics import VictoriaMetrics
from otmirror.errors import UnavailableError


def program(name):
    try:
        return prometheus.checker(name)
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def promtool():
    return program("promtool")


@pytest.fixture(scope="session")
def amtool():
    return program("amtool")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """An empty VictoriaMetrics."""
    server = VictoriaMetrics(tmp_path_factory.mktemp("vm"))
    server.start()
    yield server
    server.stop()
