"""The commands `otmirror plant` and `otmirror taglist`, run as a user runs them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from clients import modbus_client, opcua_client, unpack
from typer.testing import CliRunner

from otmirror import taglist
from otmirror.cli.taglist import app

OTMIRROR = [sys.executable, "-m", "otmirror"]
PROCESSORS = str(Path(taglist.__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([PROCESSORS, os.environ.get("PYTHONPATH", "")])}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OTMIRROR, *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )


def check(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def ready(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith("ready"):
            return lines
    raise AssertionError(f"the plant ended: {lines}")


def test_it_serves_until_told_to_stop(small, tmp_path, home):
    status_file, folder = tmp_path / "state" / "plant.json", tmp_path / "tags"
    options = ["--csv", small, "--opcua-port", 0, "--modbus-port", 0, "--advance", "on-read"]
    options += ["--timestamps", "recorded", "--write-tags", folder, "--status-file", status_file]
    process = subprocess.Popen(
        [*OTMIRROR, "plant", *map(str, options)], env=ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lines = ready(process)
        _, url, modbus = lines[-1].split()
        deadline = time.monotonic() + 5
        while not status_file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        state = json.loads(status_file.read_text())
        assert (state["ready"], state["pid"], state["opcua"], state["modbus"]) == (True, process.pid, url, modbus)
        host, port = modbus.split(":")
        assert host == "127.0.0.1"
        with opcua_client(url, home) as one, modbus_client((host, int(port)), home) as other:
            opcua_tags = taglist.load(folder / "opcua-tags.csv")
            names = [tag.address.removeprefix("nsu=urn:otmirror:plant;s=") for tag in opcua_tags]
            one.ask("read", names=names, rounds=3)
            rows = [unpack(answer)[1] for answer in other.ask("holding", offset=0, count=22, rounds=3)]
            assert rows == [0, 1, 2]
            assert process.stdout
            assert process.stdout.readline() == "finished, rows served: opcua 3, modbus 3\n"
            # Clients that stay connected do not keep it from ending.
            begin = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert time.monotonic() - begin < 5
        assert process.communicate() == ("plant stopped\n", "")
        assert not status_file.exists()
    finally:
        process.kill()
        process.wait(10)


def test_ctrl_c_ends_it(tmp_path):
    stale = tmp_path / "plant.json"
    stale.write_text('{"ready": true}')
    options = ["--no-opcua", "--modbus-port", "0", "--status-file", str(stale)]
    process = subprocess.Popen([*OTMIRROR, "plant", *options], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    try:
        assert ready(process)[0] == "plant of 1 well(s), 8 sensors"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10) == ("plant stopped\n", None)
        assert process.returncode == 0
        assert not stale.exists()
    finally:
        process.kill()
        process.wait(10)


def test_tag_lists_name_what_is_served(tmp_path, small):
    from otmirror.plant import Plant, PlantConfig, tags

    plant = Plant(PlantConfig(wells=2, tags=20))
    tags.write(tmp_path, plant.wells, plant.modbus_wells)
    opcua, modbus = (taglist.load(tmp_path / name) for name in ("opcua-tags.csv", "modbus-tags.csv"))
    assert len(opcua) == 20
    assert len({tag.tag for tag in opcua + modbus}) == len(opcua) + len(modbus)
    assert (opcua[0].tag, opcua[0].address) == (
        "acme/north/pad7/well1/P-PDG",
        "nsu=urn:otmirror:plant;s=Well1.P-PDG",
    )
    second = {tag.tag.rpartition("/")[2]: (tag.address, tag.type, tag.unit) for tag in modbus if "rtu2" in tag.tag}
    assert second["QGL"] == ("2:holding:14", "float", "m3/s")
    assert second["row"] == ("2:holding:16", "uint32", None)
    assert second["row-time"] == ("2:holding:18", "uint64", "us")
    assert second["PT-101"] == ("2:holding:40", "float", "Pa")
    for name, protocol in (("opcua-tags.csv", "opcua"), ("modbus-tags.csv", "modbus")):
        done = check(tmp_path / name, "--protocol", protocol)
        assert (done.exit_code, done.stderr) == (0, "")
        assert "no mistakes" in done.stdout


def test_the_last_tags_of_the_list_are_subscribed_when_asked_for(tmp_path):
    from otmirror.plant import Plant, PlantConfig, tags

    plant = Plant(PlantConfig(tags=16, subscribed=3))
    written = {}
    for count in (0, 3, 16):
        tags.write(tmp_path, plant.wells, plant.modbus_wells, count)
        written[count] = (tmp_path / "opcua-tags.csv").read_text()
        done = check(tmp_path / "opcua-tags.csv", "--protocol", "opcua")
        assert (done.exit_code, done.stderr) == (0, "")
        modes = [tag.mode for tag in taglist.load(tmp_path / "opcua-tags.csv")]
        assert modes == ([None] * 16 if not count else ["poll"] * (16 - count) + ["subscribe"] * count)
        assert {tag.mode for tag in taglist.load(tmp_path / "modbus-tags.csv")} == {None}
    assert written[0].partition("\n")[0] == "tag,address,type,unit,description"
    assert written[3].partition("\n")[0] == "tag,address,type,unit,description,mode"
    done = run("plant", "--tags", 8, "--subscribed", 9)
    assert done.returncode == 1
    assert "--subscribed 9" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize(("kind", "other"), [("opcua", "--no-modbus"), ("modbus", "--no-opcua")])
def test_a_port_in_use_is_one_clear_line(kind, other):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("plant", f"--{kind}-port", port, other)
    assert done.returncode == 1
    assert done.stderr.count("\n") <= 2
    assert f"port {port}" in done.stderr
    assert "in use" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_a_bad_recording_is_one_clear_line(tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("timestamp,P\n2020-01-01,one\n")
    done = run("plant", "--csv", file)
    assert done.returncode == 1
    assert "line 2, column P: 'one'" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_taglist_check_lists_every_mistake(tmp_path):
    file = tmp_path / "tags.csv"
    file.write_text(
        "tag,address,type,interval_ms\na,1:holding:0,int16,\na,1:holding:x,int16,\nb,1:nothing:2,int16,\n"
        "c,1:holding:0,int16,fast\n,1:coil:1,bool,\n"
    )
    done = check(file, "--protocol", "modbus")
    assert done.exit_code == 1
    *mistakes, total = done.stderr.splitlines()
    lines = [mistake.split(",")[0] for mistake in mistakes]
    assert sorted(set(lines)) == [f"tags.csv line {number}" for number in (3, 4, 5, 6)]
    assert total == f"{len(mistakes)} mistake(s)"


def test_taglist_check_counts_the_poll_groups(tmp_path):
    file = tmp_path / "tags.csv"
    file.write_text(
        "tag,address,type,interval_ms\na,plc/1:holding:0,uint16,\nb,rtu/1:coil:2,bool,250\nc,rtu/1:coil:3,bool,250\n"
    )
    done = check(file, "--protocol", "modbus")
    assert done.stdout.splitlines()[1:] == ["  at the default interval: 1", "  every 250 ms: 2"]
    done = check(file, "--protocol", "modbus", "--devices", "plc=127.0.0.1:502")
    assert done.exit_code == 1
    assert "rtu" in done.stderr


def test_taglist_check_counts_what_is_thinned_out(tmp_path):
    file = tmp_path / "tags.csv"
    file.write_text(
        "tag,address,deadband,range,exc_min_ms,exc_max_ms,mode\na,i=1,2%,,,,\nb,i=2,2%,0..16,500,,poll\n"
        "c,i=3,1,,0,0,subscribe\nd,i=4,,,,,\n"
    )
    assert check(file, "--protocol", "opcua").stdout.splitlines()[2:] == [
        "  with a deadband: 3",
        "    of these, in percent of a range that the server has to know: 1",
        "  with a shortest time between samples: 1",
        "  with a refresh of their own: 1",
        "  polled whatever the processor's default: 1",
        "  subscribed to whatever the processor's default: 1",
    ]
    done = check(file, "--protocol", "modbus")
    assert done.exit_code == 1
    assert "line 2, column deadband: 2% of what?" in done.stderr
