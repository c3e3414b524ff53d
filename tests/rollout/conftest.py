"""A monitoring store for criteria and key figures: a real VictoriaMetrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest
import requests

from otmirror.embedded import victoriametrics as vm
from otmirror.errors import UnavailableError
from otmirror.rollout.prometheus import Prometheus

Points = Iterable[tuple[float, float]]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    try:
        binary = vm.install()
    except UnavailableError as error:
        pytest.skip(f"no VictoriaMetrics here: {error}")
    server = vm.VictoriaMetrics(tmp_path_factory.mktemp("monitoring"), binary=binary)
    try:
        server.start()
        yield Prometheus(server.url)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def put(store: Prometheus) -> Callable[[dict[str, Points]], None]:
    """Store samples: series in Prometheus' notation -> (seconds since 1970, value)."""

    def put(series: dict[str, Points]) -> None:
        lines = [f"{name} {value} {at * 1000:.0f}" for name, points in series.items() for at, value in points]
        requests.post(f"{store.url}/api/v1/import/prometheus", data="\n".join(lines), timeout=10).raise_for_status()
        requests.get(f"{store.url}/internal/force_flush", timeout=10).raise_for_status()

    return put
