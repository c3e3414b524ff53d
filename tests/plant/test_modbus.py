"""The plant's Modbus device, read by jsmodbus."""

import csv
import math
import socket
import struct
from datetime import datetime, timedelta, timezone

import pytest
from clients import modbus_client, unpack

# 2018-02-06 18:29:17 UTC, see test_opcua.py.
FIRST = (17_568 * 86_400 + 66_557) * 1_000_000
SENSORS = ("P-PDG", "P-TPT", "T-TPT", "P-MON-CKP", "T-JUS-CKP", "P-JUS-CKGL", "T-JUS-CKGL", "QGL")


def single(number: float) -> float:
    """The float32 nearest to a number."""
    return struct.unpack("f", struct.pack("f", number))[0]


@pytest.mark.parametrize("table", ["holding", "input"])
def test_each_row_exactly_once(start, small, home, table):
    plant = start(modbus_port=0, csv=(small,), on_read=True, recorded_times=True)
    with modbus_client(plant.modbus_address, home) as client:
        answers = client.ask(table, offset=0, count=22, rounds=5)
    # 32788780 is 0x1F4512C; as float32: exponent 24, fraction 0x7A2896.
    assert answers[0].startswith("4bfa2896" + "3fc00000" + "7fc00000" + "c0800000")
    rows = [unpack(answer) for answer in answers]
    assert [row for _, row, _ in rows] == [0, 1, 2, 0xFFFFFFFF, 0xFFFFFFFF]
    assert [ts for *_, ts in rows] == [FIRST, FIRST + 1_000_001, FIRST + 2_999_999, *2 * [FIRST + 3_999_999]]
    assert math.isnan(rows[1][0][1])
    assert rows[1][0][7] == single(0.1)
    assert answers[3].startswith(8 * "7fc00000")
    assert plant.finished


def test_only_the_first_register_moves_on(start, small, home):
    plant = start(modbus_port=0, csv=(small,), on_read=True)
    with modbus_client(plant.modbus_address, home) as client:
        assert client.ask("discrete", offset=0) == [True] or client.ask("discrete", offset=0) == [1]
        assert client.ask("holding", offset=16, count=2) == ["00000000"]
        assert unpack(client.ask("holding", offset=0, count=22)[0])[1] == 0
        assert unpack(client.ask("holding", offset=0, count=22)[0])[1] == 1
        assert client.ask("holding", offset=2, count=2) == ["7fc00000"]
        assert client.ask("holding", offset=16, count=2, rounds=2) == 2 * ["00000001"]
        assert unpack(client.ask("holding", offset=0, count=22)[0])[1] == 2
        client.ask("holding", offset=0, count=2)
        assert client.ask("discrete", offset=0) == [0]


@pytest.mark.timeout(60)
def test_real_recording_to_the_last_cell(start, recording, home):
    path = recording("WELL-00014_20170919210016.csv")
    with path.open() as lines:
        wanted = list(csv.DictReader(lines))
    plant = start(modbus_port=0, csv=(path,), on_read=True, recorded_times=True)
    with modbus_client(plant.modbus_address, home) as client:
        answers = client.ask("holding", offset=0, count=22, rounds=len(wanted))
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    for number, (answer, line) in enumerate(zip(answers, wanted, strict=True)):
        floats, row, ts = unpack(answer)
        assert row == number
        assert ts == (datetime.fromisoformat(line["timestamp"] + "+00:00") - epoch) // timedelta(microseconds=1)
        for value, sensor in zip(floats, SENSORS, strict=True):
            assert math.isnan(value) if line[sensor] == "" else value == single(float(line[sensor]))


def test_a_request_never_mixes_rows(start, tmp_path, home):
    file = tmp_path / "counter.csv"
    stamp = datetime(2020, 1, 1)
    lines = [f"{stamp + timedelta(seconds=n)}{f',{n}' * 8}" for n in range(5000)]
    file.write_text("\n".join(["timestamp,a,b,c,d,e,f,g,h", *lines]))
    plant = start(modbus_port=0, csv=(file,), speed=1000)
    with modbus_client(plant.modbus_address, home) as client:
        rows = [unpack(answer) for answer in client.ask("holding", offset=0, count=22, rounds=1000)]
    assert all(set(floats) == {row} for floats, row, _ in rows)
    assert len({row for _, row, _ in rows}) > 20
    assert all(ts == rows[0][2] + (row - rows[0][1]) * 1000 for _, row, ts in rows)


def test_clock_stops_at_the_end_when_told(start, small, home):
    plant = start(modbus_port=0, csv=(small,), speed=1000, loop=False, recorded_times=True)
    with modbus_client(plant.modbus_address, home) as client:
        assert client.ask("holding", offset=0, count=4) == [2 * "7fc00000"]
        assert client.ask("holding", offset=16, count=6) == [struct.pack(">IQ", 0xFFFFFFFF, FIRST + 3_999_999).hex()]
    assert plant.finished
    assert plant.rows_served["modbus"].served == 3


def test_another_client_can_write_the_setpoint_but_no_measurement(start, small, home):
    plant = start(modbus_port=0, csv=(small,), on_read=True)
    with modbus_client(plant.modbus_address, home) as client:
        assert client.ask("write", offset=30, value=1234) == [True]
        assert client.ask("write", offset=0, value=1234) == [{"exception": 2}]
        assert client.ask("writeCoil", offset=0, value=False) == [True]
    with modbus_client(plant.modbus_address, home) as client:
        assert client.ask("holding", offset=30, count=1) == ["04d2"]
        assert client.ask("coil", offset=0) == [0]
        assert unpack(client.ask("holding", offset=0, count=22)[0])[1] == 0


@pytest.mark.parametrize(("table", "offset"), [("holding", 22), ("holding", 31), ("input", 30), ("holding", 40)])
def test_everything_else_is_an_illegal_address(start, small, home, table, offset):
    plant = start(modbus_port=0, csv=(small,))
    with modbus_client(plant.modbus_address, home) as client:
        assert client.ask(table, offset=offset, count=1) == [{"exception": 2}]


def test_wells_are_units_and_further_sensors_follow_from_40(start, home):
    plant = start(modbus_port=0, wells=3, tags=30, on_read=True, recorded_times=True)
    assert [len(well.recording.sensors) for well in plant.wells] == [10, 10, 10]
    with modbus_client(plant.modbus_address, home) as client:
        units = [client.ask("holding", unit=unit, offset=0, count=22)[0] for unit in (1, 2, 3)]
        further = client.ask("holding", unit=3, offset=40, count=4)[0]
    assert len(set(units)) == 3
    expected = plant.wells[2].recording.values(0)
    assert struct.unpack(">2f", bytes.fromhex(further)) == (single(expected[8]), single(expected[9]))


def test_a_recording_with_fewer_sensors_leaves_nan(start, tmp_path, home):
    file = tmp_path / "one.csv"
    file.write_text("timestamp,Level\n2020-01-01,42\n")
    plant = start(modbus_port=0, csv=(file,), on_read=True)
    with modbus_client(plant.modbus_address, home) as client:
        floats, row, _ = unpack(client.ask("holding", offset=0, count=22)[0])
    assert floats[0] == 42
    assert all(map(math.isnan, floats[1:]))
    assert row == 0


def test_numbers_beyond_float32_are_infinite(start, tmp_path, home):
    file = tmp_path / "large.csv"
    file.write_text("timestamp,a,b\n2020-01-01,1e300,-1e300\n")
    plant = start(modbus_port=0, csv=(file,), on_read=True)
    with modbus_client(plant.modbus_address, home) as client:
        assert client.ask("holding", offset=0, count=4) == ["7f800000ff800000"]


def test_both_protocols_serve_the_same_row_at_the_same_time(start, small, home):
    from clients import opcua_client

    plant = start(opcua_port=0, modbus_port=0, csv=(small,), speed=0.001)
    with modbus_client(plant.modbus_address, home) as one, opcua_client(plant.opcua_url, home) as other:
        ts = unpack(one.ask("holding", offset=0, count=22)[0])[2]
        assert int(other.ask("read", names=["Well1.P-PDG"])[0][0]["ts"]) == ts


def test_a_device_nobody_reads_has_no_progress(start, small):
    plant = start(modbus_port=0, csv=(small,), on_read=True)
    assert plant.rows_served["modbus"].served == 0
    assert not plant.finished
    with socket.create_connection(plant.modbus_address, 5) as idle:
        assert idle.getpeername() == plant.modbus_address
