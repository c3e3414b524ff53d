"""Brokers, a plant, the real processors and both stores, each for as long as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bus_clients import ROWS, SENSORS

from harness import Runner
from otmirror.demo import stores
from otmirror.embedded import victoriametrics as vm
from otmirror.embedded.brokers import Kafka, Mosquitto
from otmirror.embedded.pki import Authority
from otmirror.errors import UnavailableError
from otmirror.loopthread import LoopThread
from otmirror.plant import Plant, PlantConfig


def run(server: Any) -> Any:
    """Start a server; what cannot be had skips the test."""
    try:
        server.start()
    except UnavailableError as error:
        if server.folder.joinpath("server.properties").exists() or server.folder.joinpath("mosquitto.conf").exists():
            raise
        pytest.skip(f"needs a broker: {error}")
    return server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def start_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Start brokers in a folder of their own."""
    started: list[Mosquitto] = []

    def start(**settings: Any) -> Mosquitto:
        started.append(Mosquitto(tmp_path / f"mosquitto{len(started)}", **settings))
        return run(started[-1])

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture(scope="module")
def kafka(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker with TLS in which CN=admin alone may do everything."""
    broker = Kafka(tmp_path_factory.mktemp("kafka"), tls=authority.issue("broker"), superuser="admin")
    yield run(broker)
    broker.stop()


@pytest.fixture
def batches(tmp_path: Path) -> Iterator[list[bytes]]:
    """What the real PollModbusReadOnly made of ROWS rows of a plant: one FlowFile's content each."""
    csv = tmp_path / "w1.csv"
    lines = [f"timestamp,{','.join(SENSORS)},class"]
    for row in range(ROWS):
        values = ",".join(str(100 * n + row) for n in range(len(SENSORS)))
        lines.append(f"2018-02-06 18:29:{row:02}.000000,{values},0")
    csv.write_text("\n".join(lines) + "\n")
    loop = LoopThread("plant")
    plant = Plant(PlantConfig(opcua_port=None, modbus_port=0, csv=(csv,), on_read=True))
    loop.run(plant.start(), 60)
    assert plant.modbus_address is not None
    rows = "".join(f"acme/north/w1/{s},1:holding:{2 * n},float\n" for n, s in enumerate(SENSORS))
    poll = Runner(
        "PollModbusReadOnly", devices=":".join(map(str, plant.modbus_address)), poll_interval="50 ms",
        tag_list="tag,address,type\n" + rows,
    )  # fmt: skip
    made: list[bytes] = []
    try:
        while not plant.finished or len(made) < ROWS:
            result = poll.create()
            if result is not None:
                made.append(bytes(result.getContents()))
        yield made[:ROWS]
    finally:
        poll.stop()
        loop.run(plant.stop(), 10)
        loop.close()


class Stores:
    """Both real sinks and what they stored."""

    def __init__(self, url: str, folder: Path):
        self._url, self._folder = url, folder
        self._sinks = [
            Runner("ToVictoriaMetrics", victoriametrics_url=url, retention="36500 days"),
            Runner("WriteIceberg", warehouse=str(folder)),
        ]

    def write(self, content: bytes) -> None:
        for sink in self._sinks:
            assert sink.transform(content).getRelationship() == "success", sink.log.lines

    def close(self) -> None:
        for sink in self._sinks:
            sink.stop()

    def rows(self) -> dict[str, list[tuple[str, int, float]]]:
        """(tag, milliseconds, value) of every row of each store, sorted."""
        hot = stores.victoriametrics(self._url).to_pylist()
        cold = stores.Lakehouse(self._folder).samples()
        assert cold is not None
        return {
            "victoriametrics": sorted((r["tag"], r["ts_ms"], r["value"]) for r in hot),
            "iceberg": sorted((r["tag"], r["ts"] // 1000, r["value"]) for r in cold.to_pylist()),
        }


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Stores]:
    server = vm.VictoriaMetrics(tmp_path / "vm")
    try:
        server.start()
    except UnavailableError as error:
        pytest.skip(str(error))
    made = Stores(server.url, tmp_path / "lake")
    yield made
    made.close()
    server.stop()
