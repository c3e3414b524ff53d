"""Real oil-well recordings through NiFi, exactly: one well over OPC UA, another over Modbus, replayed in lock-step.

The plant gives each read the next row, so no row depends on timing; the expected values are the recordings' cells as
the standard library reads them.
"""

import csv
import math
import struct

import pytest

from otmirror.demo import stores
from otmirror.plant.tags import MODBUS_FILE, OPCUA_FILE

from .pilots import await_that, cells, folder, pilot, recording

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1500)]

SENSOR_FAILURE = 0x808C0000
"""What the plant says of an empty cell over OPC UA, and the mirror of a NaN register (OPC 10000-6, A.2)."""
NO_MORE_ROWS = 0xFFFFFFFF


def only(source, target, column, prefix, without=()):
    """Write a tag list with the rows of another whose `column` begins with `prefix`."""
    with source.open(newline="") as lines, target.open("w", newline="") as file:
        reader = csv.DictReader(lines)
        writer = csv.DictWriter(file, reader.fieldnames)
        writer.writeheader()
        writer.writerows(row for row in reader if row[column].startswith(prefix) and not row["tag"].endswith(without))


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


@pytest.fixture(scope="module")
def replayed():
    """Both stores after the whole of both recordings went through NiFi."""
    well3, well14 = recording("WELL-00003_20180206182917.csv"), recording("WELL-00014_20170919210016.csv")
    plant = [f"--csv={well3}", f"--csv={well14}", "--advance=on-read", "--timestamps=recorded", "--once"]
    with pilot(folder("replay"), plant, start=False, parameters={"poll.interval": "10 ms"}) as stack:
        tags = stack.folder / "tags"
        only(tags / OPCUA_FILE, tags / "well3.csv", "address", "nsu=urn:otmirror:plant;s=Well1.")
        only(tags / MODBUS_FILE, tags / "well14.csv", "address", "2:", ("/online",))
        stack.api.set_parameters(
            stack.group, {"opcua.tags": str(tags / "well3.csv"), "modbus.tags": str(tags / "well14.csv")}
        )
        stack.api.await_ready(stack.group)
        for source in stack.sources():
            entity = stack.api.rest.get(f"/processors/{source.id}")
            # A read that times out on a busy machine takes a row of the plant along.
            settings = {"schedulingPeriod": "0 sec", "properties": {"Request Timeout": "30 sec"}}
            config = {"id": source.id, "config": settings}
            stack.api.rest.put(f"/processors/{source.id}", {"revision": entity["revision"], "component": config})
        stack.run()
        await_that(lambda: stack.plant_status()["finished"], 1000, "the plant did not serve all rows")
        stack.stop_sources()
        stack.drain(300)
        hot = stores.victoriametrics(stack.victoriametrics.url)
        yield stack.lakehouse.samples(), hot, well3, well14


def by_tag(rows, key):
    """Rows as {(last part of the tag, key): [row, ...]}."""
    found = {}
    for row in rows:
        found.setdefault((row["tag"].rpartition("/")[2], row[key]), []).append(row)
    return found


def test_every_cell_over_opc_ua_is_in_both_stores_exactly_once(replayed):
    cold, hot, well3, _ = replayed
    expected = list(cells(well3))
    last = max(ts for _, ts, _ in expected)
    rows = [row for row in cold.to_pylist() if row["source"] == "opcua:plant" and row["ts"] <= last]
    stored = by_tag(rows, "ts")
    assert len(expected) == 5084 * 8
    assert len(rows) == len(expected)
    points = by_tag((row for row in hot.to_pylist() if row["source"] == "opcua:plant"), "ts_ms")
    for sensor, ts, value in expected:
        (row,) = stored[sensor, ts]
        if value is None:
            assert (row["value"], row["quality"], row["status"]) == (None, "bad", SENSOR_FAILURE), (sensor, ts)
            assert (sensor, ts // 1000) not in points
        else:
            assert (row["value"], row["quality"], row["status"]) == (value, "good", 0), (sensor, ts)
            assert [point["value"] for point in points.pop((sensor, ts // 1000))] == [value]
    assert points == {}, "VictoriaMetrics holds samples that no cell gave"


def test_every_cell_over_modbus_is_in_both_stores_exactly_once(replayed):
    """A Modbus sample's time is when the answer arrived; the row's own time is read in the same request."""
    cold, hot, _, well14 = replayed
    expected = {(sensor, ts): value for sensor, ts, value in cells(well14)}
    rows = [row for row in cold.to_pylist() if row["source"] == "modbus:plant"]
    answers = {}
    for row in rows:
        answers.setdefault(row["ts"], {})[row["tag"].rpartition("/")[2]] = row
    points = by_tag((row for row in hot.to_pylist() if row["source"] == "modbus:plant"), "ts_ms")
    sensors, seen = {sensor for sensor, _ in expected}, set()
    for ts, answer in answers.items():
        if answer["row"]["value"] == NO_MORE_ROWS:
            continue
        row_time = int(answer["row-time"]["value"])
        for sensor in sensors:
            value, row = expected[sensor, row_time], answer[sensor]
            assert (sensor, row_time) not in seen, "a cell was stored twice"
            seen.add((sensor, row_time))
            if value is None:
                assert (row["value"], row["quality"], row["status"]) == (None, "bad", SENSOR_FAILURE)
                assert (sensor, ts // 1000) not in points
            else:
                assert (row["value"], row["quality"], row["status"]) == (float32(value), "good", 0)
                (point,) = points[sensor, ts // 1000]
                assert math.isclose(point["value"], float32(value), rel_tol=1e-11)
    assert len(expected) == 14385 * 8
    assert seen == set(expected)
