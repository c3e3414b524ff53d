"""A real Telegraf reads the plant and writes both of its formats; the samples made of them are the plant's values."""

from __future__ import annotations

import csv
import io
import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otmirror import samples, taglist
from otmirror.embedded.telegraf import install
from otmirror.errors import UnavailableError
from otmirror.loopthread import LoopThread
from otmirror.plant import Plant, PlantConfig
from otmirror.telegraf.decoder import TelegrafDecoder
from otmirror.telegraf.imports import read

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]

START_S, ROWS = 1_700_000_000, 2000
SENSORS = ("P-PDG", "T-TPT", "P-MON-CKP")
TEMPLATE, BY_ID = "acme/{name|well|measurement}/{field}", "acme/{name|well|measurement}/{id|field}"
BAD_SENSOR = 0x808C0000
CYCLES = 12


def cells(row: int) -> tuple[float, float | None, float | None]:
    """What the recording has in a row: T-TPT only now and then, P-MON-CKP never."""
    return 3.2e7 + row * 0.625, (None if row % 8 < 3 else 60 + row / 7), None


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    file = tmp_path_factory.mktemp("recording") / "well.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["timestamp", *SENSORS])
        for row in range(ROWS):
            stamp = f"2023-11-14 {22 + (800 + row) // 3600:02}:{(800 + row) // 60 % 60:02}:{(800 + row) % 60:02}.000000"
            writer.writerow([stamp, *("" if cell is None else repr(cell) for cell in cells(row))])
    loop = LoopThread("plant")
    running = Plant(PlantConfig(csv=(file,), opcua_port=0, modbus_port=0, recorded_times=True, speed=5.0))
    loop.run(running.start(), 60)
    yield running
    loop.run(running.stop(), 10)
    loop.close()


def configuration(plant: Plant, json_file: Path) -> str:
    host, port = plant.modbus_address or ("", 0)
    nodes = "".join(
        f'[[inputs.opcua.group.nodes]]\nname = "{sensor}"\nidentifier = "{plant.wells[0].name}.{sensor}"\n'
        for sensor in SENSORS
    )
    return f"""
[agent]
  interval = "250ms"
  flush_interval = "250ms"
  precision = "1us"
  hostname = "edge-7"
[[outputs.file]]
  files = ["stdout"]
  data_format = "influx"
  influx_uint_support = true
[[outputs.file]]
  files = ["{json_file}"]
  data_format = "json"
  json_timestamp_units = "1us"
[[inputs.opcua]]
  endpoint = "{plant.opcua_url}"
  security_policy = "None"
  security_mode = "None"
  timestamp = "source"
  optional_fields = ["DataType"]
  nodes = [
    {{ name = "ServerState", namespace = "0", identifier_type = "i", identifier = "2259" }},
    {{ name = "ProductName", namespace = "0", identifier_type = "i", identifier = "2261" }},
  ]
  [[inputs.opcua.group]]
    namespace = "2"
    identifier_type = "s"
    default_tags = {{ well = "north, 1" }}
    {nodes}
  [inputs.opcua.workarounds]
    additional_valid_status_codes = ["0x808C0000"]
[[inputs.modbus]]
  name = "plc a"
  controller = "tcp://{host}:{port}"
  slave_id = 1
  discrete_inputs = [ {{ name = "online", address = [0], data_type = "BOOL" }} ]
  holding_registers = [
    {{ name = "P-PDG", byte_order = "ABCD", data_type = "FLOAT32-IEEE", scale = 1.0, address = [0, 1] }},
    {{ name = "row", byte_order = "ABCD", data_type = "UINT32", scale = 1.0, address = [16, 17] }},
    {{ name = "setpoint", byte_order = "AB", data_type = "INT16", scale = 1.0, address = [30] }},
  ]
  input_registers = [
    {{ name = "time", byte_order = "ABCDEFGH", data_type = "UINT64", scale = 1.0, address = [18, 19, 20, 21] }},
  ]
[[inputs.modbus]]
  name = "plc-b"
  controller = "tcp://{host}:{port}"
  configuration_type = "request"
  [[inputs.modbus.request]]
    slave_id = 1
    fields = [
      {{ address = 0, name = "P-PDG", type = "FLOAT32", scale = 0.001 }},
      {{ address = 2, name = "T-TPT", type = "FLOAT32" }},
      {{ address = 16, name = "row", type = "UINT32" }},
    ]
"""


@pytest.fixture(scope="module")
def written(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes, bytes]:
    """The configuration, and what Telegraf wrote of a few cycles as line protocol and as JSON."""
    try:
        binary = install()
    except UnavailableError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("telegraf")
    text = configuration(plant, folder / "out.json")
    (folder / "telegraf.conf").write_text(text)
    lines: list[bytes] = []
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(binary), "--config", str(folder / "telegraf.conf")], stdout=subprocess.PIPE, stderr=log
        )
        limit = threading.Timer(60, process.kill)
        limit.start()
        try:
            assert process.stdout
            for line in process.stdout:
                lines.append(line)
                if sum(b"ServerState=" in line for line in lines) >= CYCLES:
                    process.terminate()
            assert process.wait(30) == 0, (folder / "log").read_text()[-2000:]
        finally:
            limit.cancel()
            process.kill()
            process.wait(10)
    keep = os.environ.get("OTMIRROR_KEEP_TELEGRAF")
    if keep:
        Path(keep, "telegraf.conf").write_text(text)
        Path(keep, "telegraf.influx").write_bytes(b"".join(lines))
        Path(keep, "telegraf.json").write_bytes((folder / "out.json").read_bytes())
    return text, b"".join(lines), (folder / "out.json").read_bytes()


def decoded(content: bytes, template: str = TEMPLATE) -> list[dict[str, Any]]:
    """The samples; a bad value has no field, and so is refused unless something else names its tag."""
    found = samples.decode(content, TelegrafDecoder(template))
    if template == BY_ID:
        assert found.rejects == []
    else:
        nameless = f"a Telegraf metric, but the template {TEMPLATE!r} needs field, which the metric has not"
        assert {reject.reason for reject in found.rejects} == {nameless}
        assert all("P-MON-CKP" in reject.line or "T-TPT" in reject.line for reject in found.rejects)
    rows: list[dict[str, Any]] = found.table.to_pylist()
    return rows


def float32(value: float) -> float:
    packed: float = struct.unpack(">f", struct.pack(">f", value))[0]
    return packed


@pytest.mark.parametrize("index", [1, 2], ids=["line protocol", "JSON"])
def test_the_samples_are_the_plants_values(written, index):
    rows = decoded(written[index], BY_ID)
    assert {row["source"] for row in rows} == {"telegraf:edge-7"}
    assert {(row["seq"], row["ts_read"]) for row in rows} == {(None, None)}
    by_tag: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_tag.setdefault(row["tag"], []).append(row)
    for place, sensor in enumerate(SENSORS[:2]):
        read_rows = by_tag[f"acme/north, 1/ns=2;s=Well1.{sensor}"]
        assert len(read_rows) >= CYCLES // 2
        for row in read_rows:
            at, rest = divmod(row["ts"] - START_S * 1_000_000, 1_000_000)
            expected = cells(at)[place]
            good = expected is not None
            assert (row["value"], rest, row["quality"]) == (expected, 0, "good" if good else "bad")
            assert row["status"] == (0 if good else BAD_SENSOR)
        assert {row["quality"] for row in read_rows} == ({"good"} if place == 0 else {"good", "bad"})
    assert {row["value"] for row in by_tag["acme/opcua/ns=0;i=2259"]} == {0.0}
    assert {row["type"] for row in by_tag["acme/opcua/ns=0;i=2261"]} == {"string"}
    assert {row["value"] for row in by_tag["acme/plc a/online"]} == {1.0}
    check_modbus(by_tag)


def check_modbus(by_tag: dict[str, list[dict[str, Any]]]) -> None:
    """Every reading is the register of a row between the row number of the cycle before and that of its own.

    Telegraf asks for registers that do not touch in a request each, by address, so the row may go on in between; the
    register of the row number is the last that is asked for.
    """
    for device, scale in (("plc a", 1.0), ("plc-b", 0.001)):
        number = {row["ts"]: int(row["value"]) for row in by_tag[f"acme/{device}/row"]}
        times = sorted(number)
        assert len(times) >= CYCLES - 1
        assert sorted(number.values()) == [number[at] for at in times]
        before = dict(zip(times[1:], (number[at] for at in times), strict=False))
        for place, sensor, factor in ((0, "P-PDG", scale), (1, "T-TPT", 1.0)):
            for row in by_tag.get(f"acme/{device}/{sensor}", ()):
                last = number[row["ts"]]
                rows = range(before.get(row["ts"], last - 5), last + 1)
                assert row["value"] in {float32(cells(one)[place] or 0) * factor for one in rows}


@pytest.mark.parametrize(("template", "silent"), [(TEMPLATE, {"acme/north, 1/P-MON-CKP"}), (BY_ID, set())])
def test_the_tags_are_those_of_the_imported_lists(written, template, silent):
    text, influx, as_json = written
    result = read(text, template)
    assert [found.file for found in result.lists] == ["opcua-1.csv", "modbus-1.csv", "modbus-2.csv"]
    listed = {tag.tag for found in result.lists for tag in found.tags}
    assert len(listed) == 13
    assert {row["tag"] for row in decoded(influx, template)} == listed - silent
    assert {row["tag"] for row in decoded(as_json, template)} == listed - silent


def test_both_formats_say_the_same(written):
    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["tag"], row["ts"], row["value"], row["text"], row["quality"]

    influx, as_json = ({key(row) for row in decoded(content)} for content in written[1:])
    # Both outputs are flushed on their own when Telegraf stops.
    assert len(influx & as_json) >= 0.9 * max(len(influx), len(as_json)) > 0


def test_the_lists_are_accepted_by_the_readers(written):
    from otmirror.cli.taglist import Protocol, _address_check
    from otmirror.telegraf.imports import as_csv

    for found in read(written[0], TEMPLATE).lists:
        check = _address_check(Protocol(found.protocol), None)
        assert len(taglist.parse(io.StringIO(as_csv(found)).getvalue(), found.file, check)) == len(found.tags)
