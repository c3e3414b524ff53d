"""A plant in this process, for as long as a test lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otmirror.loopthread import LoopThread
from otmirror.plant import Plant, PlantConfig

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "3w"


@pytest.fixture
def start() -> Iterator[Callable[..., Plant]]:
    """Start a plant on free ports, configured by keywords."""
    loop = LoopThread("plant")
    plants: list[Plant] = []

    def begin(**config: Any) -> Plant:
        plant = Plant(PlantConfig(**{"opcua_port": None, "modbus_port": None, **config}))
        plants.append(plant)
        loop.run(plant.start(), 60)
        return plant

    yield begin
    for plant in plants:
        loop.run(plant.stop(), 10)
    loop.close()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where node-opcua keeps the key it makes on first use."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A recording of three rows with empty cells; T-TPT never gave anything."""
    file = tmp_path / "small.csv"
    file.write_text(
        "timestamp,P-PDG,P-TPT,T-TPT,P-MON-CKP,T-JUS-CKP,P-JUS-CKGL,T-JUS-CKGL,QGL,class\n"
        "2018-02-06 18:29:17.000000,3.278878e+07,1.5,,-4,5,6,7,8,0\n"
        "2018-02-06 18:29:18.000001,3.278867e+07,,,0,5,6,7,0.1,\n"
        "2018-02-06 18:29:19.999999,1e-3,2.5,,0,5,6,7,8.25,101\n"
    )
    return file


@pytest.fixture
def recording() -> Callable[[str], Path]:
    """The path of a real recording; skips without it."""

    def find(name: str) -> Path:
        path = RECORDINGS / name
        if not path.exists():
            pytest.skip(f"needs the recording {name} in ../shared/data/3w")
        return path

    return find
