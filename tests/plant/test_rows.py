"""Recordings and synthetic wells: what may go wrong in a CSV, and whether the made-up well is a plausible one."""

import math
import statistics
from pathlib import Path

import pytest

from otmirror.errors import ConfigError
from otmirror.plant import Plant, PlantConfig
from otmirror.plant.rows import read_csv
from otmirror.plant.synthetic import GasLiftWell

ROW = "2020-01-01 00:00:00"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ["line 1", "'timestamp'"]),
        (b"time,P\n", ["line 1", "'timestamp'"]),
        (b"timestamp,class\n", ["line 1", "sensor"]),
        (b"timestamp,P,row\n", ["line 1", "'row'", "rename"]),
        (b"timestamp,P,P\n", ["line 1", "'P' appears twice"]),
        (b"timestamp,P,\n", ["line 1", "no name"]),
        (b"timestamp,P\n", ["line 2", "no row"]),
        (f"timestamp,P\n{ROW},1\n{ROW[:-1]}1,1,2\n".encode(), ["line 3", "3 cells", "2 columns"]),
        (f"timestamp,P\n{ROW},1\nnoon,1\n".encode(), ["line 3", "timestamp", "'noon'"]),
        (f"timestamp,P\n{ROW},1\n{ROW},1\n".encode(), ["line 3", "not after"]),
        (b"timestamp,P\n1969-12-31 23:59:59,1\n", ["line 2", "1969"]),
        (f"timestamp,P\n{ROW},1\n{ROW[:-1]}1,one\n{ROW[:-1]}2,1\n".encode(), ["line 3", "column P", "'one'"]),
        (f"timestamp,P\n{ROW},nan\n".encode(), ["line 2", "'nan'"]),
        (f"timestamp,P\n{ROW},inf\n".encode(), ["line 2", "'inf'"]),
        (f"timestamp,P\n{ROW},1\n".encode("utf-16"), ["UTF-8"]),
        (b"timestamp,P\n" + b"".join(b"x,1\n" for _ in range(9)), ["line 2", "line 6", "and 4 more"]),
    ],
)
def test_a_bad_recording_is_refused_in_one_line(tmp_path, content, says):
    file = tmp_path / "bad.csv"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_csv(file)
    message = str(caught.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    assert [word for word in says if word not in message] == []


@pytest.mark.parametrize("path", ["missing.csv", "."])
def test_a_file_that_cannot_be_read(tmp_path, path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_csv(tmp_path / path)


def test_times_with_zones_and_a_byte_order_mark(tmp_path):
    file = tmp_path / "zones.csv"
    file.write_text("\ufefftimestamp,P\n1970-01-01T00:00:01Z,1\n1970-01-01 02:00:02+02:00,2\n1970-01-02,3\n", "utf-8")
    well = read_csv(file)
    assert list(well.times) == [1_000_000, 2_000_000, 86_400_000_000]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"wells": 0}, "--wells"),
        ({"tags": 0}, "--tags"),
        ({"wells": 3, "tags": 20}, "--tags 20"),
        ({"rows": 0}, "--rows"),
        ({"speed": 0}, "--speed"),
        ({"speed": math.nan}, "--speed"),
        ({"speed": 1e300}, "--speed"),
        ({"csv": (Path("x"),), "wells": 2}, "--csv"),
        ({"opcua_port": None, "modbus_port": None}, "--no-opcua"),
        ({"user": "operator"}, "--password-file"),
        ({"password": "geheim"}, "--user"),
        ({"wells": 1, "tags": 40_000, "opcua_port": None}, "fit a Modbus unit"),
        ({"tags": 16, "subscribed": 17}, "--subscribed 17 is more than the 16 OPC UA tags"),
        ({"subscribed": -1}, "--subscribed -1"),
        ({"subscribed": 1, "opcua_port": None}, "--no-opcua"),
        ({"subscribed": 1, "on_read": True}, "--advance clock"),
    ],
)
def test_a_contradiction_names_the_option(config, says):
    with pytest.raises(ConfigError) as caught:
        Plant(PlantConfig(**config))
    assert says in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(("wells", "tags", "each"), [(None, None, [8]), (3, None, [8] * 3), (None, 26, [9, 9, 8])])
def test_tags_are_spread_over_the_wells(wells, tags, each):
    plant = Plant(PlantConfig(wells=wells, tags=tags))
    assert [len(well.recording.sensors) for well in plant.wells] == each


def test_a_synthetic_well_is_the_same_for_the_same_seed():
    first, same, other = (GasLiftWell(seed, 1, extra=4) for seed in (7, 7, 8))
    assert [repr(first.values(row)) for row in range(50)] == [repr(same.values(row)) for row in reversed(range(50))][
        ::-1
    ]
    assert first.values(0) != other.values(0)
    assert GasLiftWell(7, 2).values(0) != GasLiftWell(7, 1).values(0)


def test_a_synthetic_well_behaves_like_one_in_casing_heading():
    well = GasLiftWell(seed=1, number=1)
    rows = [well.values(row) for row in range(0, 3 * 3600, 10)]
    columns = {sensor.name: [row[at] for row in rows] for at, sensor in enumerate(well.sensors)}
    good = [[value for value in column if not math.isnan(value)] for column in columns.values()]
    low, high = zip(*((min(values), max(values)) for values in good), strict=True)
    # Bottom hole above tree above choke pressure; temperatures of a subsea well; injection goes on.
    assert min(low) > 0
    assert low[0] > high[1] > low[1] > high[3]
    assert all(15 < t < 120 for at in (2, 4, 6) for t in (low[at], high[at]))
    # Gas flows in less while the casing's pressure is high.
    pairs = [pair for pair in zip(columns["P-JUS-CKGL"], columns["QGL"], strict=True) if not any(map(math.isnan, pair))]
    assert statistics.correlation(*zip(*pairs, strict=True)) < -0.8
    # One cell in some 500 is empty.
    empty = sum(math.isnan(value) for row in rows for value in row)
    assert 0.0005 < empty / (8 * len(rows)) < 0.005
    # Heading: the casing charges slowly and discharges fast.
    pressure = [value for value in columns["P-JUS-CKGL"] if not math.isnan(value)]
    steps = [after - before for before, after in zip(pressure, pressure[30:], strict=False)]
    assert sum(step > 0 for step in steps) > 0.6 * len(steps)
