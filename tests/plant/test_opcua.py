"""The plant's OPC UA server, read by node-opcua."""

import csv
import itertools
import stat
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from clients import opcua_client

SENSORS = ("P-PDG", "P-TPT", "T-TPT", "P-MON-CKP", "T-JUS-CKP", "P-JUS-CKGL", "T-JUS-CKGL", "QGL")
NAMES = [f"Well1.{sensor}" for sensor in SENSORS]
BAD_SENSOR_FAILURE, BAD_NO_DATA, BAD_NOT_WRITABLE = 0x808C0000, 0x809B0000, 0x803B0000
BAD_USER_ACCESS_DENIED = 0x801F0000
# 2018-02-06 18:29:17 UTC is 1517941757 s: 17,568 days (48 years, 12 leap days, 36 days) and 66,557 s.
FIRST = (17_568 * 86_400 + 66_557) * 1_000_000


def test_each_row_exactly_once_with_its_values_times_and_empty_cells(start, small, home):
    plant = start(opcua_port=0, csv=(small,), on_read=True, recorded_times=True)
    with opcua_client(plant.opcua_url, home) as client:
        assert client.greeting == {"connected": True, "anonymous": True}
        rows = client.ask("read", names=NAMES, rounds=6)
    times = [FIRST, FIRST + 1_000_001, FIRST + 2_999_999, *3 * [FIRST + 3_999_999]]
    assert [{int(cell["ts"]) for cell in row} for row in rows] == [{time} for time in times]
    assert [row[0]["value"] for row in rows] == [32788780.0, 32788670.0, 0.001, None, None, None]
    assert [row[1]["value"] for row in rows[:3]] == [1.5, None, 2.5]
    assert [row[3]["value"] for row in rows[:3]] == [-4, 0, 0]
    assert [row[7]["value"] for row in rows[:3]] == [8, 0.1, 8.25]
    assert [row[1]["status"] for row in rows] == [0, BAD_SENSOR_FAILURE, 0, *3 * [BAD_NO_DATA]]
    assert [row[2]["status"] for row in rows[:3]] == 3 * [BAD_SENSOR_FAILURE]
    assert {cell["type"] for row in rows[:3] for cell in row if cell["status"] == 0} == {"Double"}
    assert plant.finished
    assert plant.rows_served["opcua"].served == 3


def test_tags_read_at_different_rates_each_get_every_row(start, small, home):
    plant = start(opcua_port=0, csv=(small,), on_read=True)
    with opcua_client(plant.opcua_url, home) as client:
        fast = client.ask("read", names=["Well1.P-PDG"], rounds=3)
        slow = client.ask("read", names=["Well1.QGL"], rounds=2)
        assert not plant.finished
        slow += client.ask("read", names=["Well1.QGL"])
    assert [row[0]["value"] for row in fast] == [32788780.0, 32788670.0, 0.001]
    assert [row[0]["value"] for row in slow] == [8, 0.1, 8.25]
    # Live times: those at which the first of the well's tags reached the row.
    assert [row[0]["ts"] for row in fast] == [row[0]["ts"] for row in slow]
    assert abs(int(fast[0][0]["ts"]) / 1e6 - time.time()) < 30
    assert plant.finished


@pytest.mark.timeout(60)
def test_real_recording_to_the_last_cell(start, recording, home):
    path = recording("WELL-00003_20180206182917.csv")
    with path.open() as lines:
        wanted = list(csv.DictReader(lines))
    plant = start(opcua_port=0, csv=(path,), on_read=True, recorded_times=True)
    with opcua_client(plant.opcua_url, home) as client:
        # A node that is asked for twice in one request is read twice.
        hundred = [client.ask("read", names=NAMES * 100)[0] for _ in range(-(-len(wanted) // 100))]
    cells = [cell for answer in hundred for cell in answer]
    rows = [cells[at : at + 8] for at in range(0, 8 * len(wanted), 8)]
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert {cell["status"] for cell in cells[8 * len(wanted) :]} == {BAD_NO_DATA}
    for row, line in zip(rows, wanted, strict=True):
        ts = (datetime.fromisoformat(line["timestamp"] + "+00:00") - epoch) // timedelta(microseconds=1)
        for cell, sensor in zip(row, SENSORS, strict=True):
            assert int(cell["ts"]) == ts
            assert cell["value"] == (float(line[sensor]) if line[sensor] else None)
            assert cell["status"] == (0 if line[sensor] else BAD_SENSOR_FAILURE)


def test_two_recordings_are_two_wells(start, small, tmp_path, home):
    other = tmp_path / "other.csv"
    other.write_text("timestamp,Level\n2020-01-01T00:00:00Z,42\n")
    plant = start(opcua_port=0, csv=(small, other), on_read=True)
    with opcua_client(plant.opcua_url, home) as client:
        rows = client.ask("read", names=["Well1.P-PDG", "Well2.Level", "Well2.P-PDG"])
    assert [cell["value"] for cell in rows[0]] == [32788780.0, 42, None]
    assert rows[0][2]["status"] == 0x80340000  # BadNodeIdUnknown


def test_clock_gives_the_present_row_and_changes_its_time_only_with_the_row(start, small, home):
    plant = start(opcua_port=0, csv=(small,), speed=20)
    with opcua_client(plant.opcua_url, home) as client:
        rows = client.ask("read", names=NAMES, rounds=600)
    seen = {}
    for row in rows:
        # One request may be answered across the change of the row, but not more than one.
        assert len({cell["ts"] for cell in row}) <= 2
        assert seen.setdefault(row[0]["ts"], row[0]["value"]) == row[0]["value"]
    times = sorted(map(int, seen))
    assert len(times) < len(rows) / 2
    assert all((after - before) % 50_000 == 0 for before, after in itertools.pairwise(times))
    cycle = [32788780.0, 32788670.0, 0.001]
    first = cycle.index(seen[str(times[0])])
    numbers = [(ts - times[0]) // 50_000 for ts in times]
    assert [seen[str(ts)] for ts in times] == [cycle[(first + number) % 3] for number in numbers]


def test_another_client_can_write_the_setpoint_but_no_measurement(start, small, home):
    plant = start(opcua_port=0, csv=(small,), on_read=True)
    with opcua_client(plant.opcua_url, home) as client:
        assert client.ask("write", name="Well1.Setpoint", value=71.5) == 0
        assert client.ask("write", name="Well1.P-PDG", value=1) in (BAD_NOT_WRITABLE, BAD_USER_ACCESS_DENIED)
        assert client.ask("login") is True
        row = client.ask("read", names=["Well1.Setpoint", "Well1.P-PDG"])[0]
    assert [cell["value"] for cell in row] == [71.5, 32788780.0]


def test_two_thousand_tags_at_once(start, home):
    # More tags a well than asyncua can add to one parent in reasonable time.
    plant = start(opcua_port=0, wells=4, tags=2000)
    names = [f"{well.name}.{sensor.name}" for well in plant.wells for sensor in well.recording.sensors]
    assert len(set(names)) == 2000
    with opcua_client(plant.opcua_url, home) as client:
        client.ask("read", names=names)
        begin = time.monotonic()
        rows = client.ask("read", names=names, rounds=3)
        assert (time.monotonic() - begin) / 3 < 1
    assert {cell["status"] for row in rows for cell in row} <= {0, BAD_SENSOR_FAILURE}
    good = [cell["value"] for cell in rows[0] if cell["status"] == 0]
    assert len(set(good)) > 1900


def test_security_and_a_user_with_a_certificate_made_once_and_kept(start, small, tmp_path, home):
    folder = tmp_path / "security"
    plant = start(opcua_port=0, csv=(small,), security=folder, user="operator", password="geheim ä")
    made = (folder / "plant-cert.der").read_bytes()
    assert stat.S_IMODE((folder / "plant-key.pem").stat().st_mode) == 0o600
    for mode in (None, "Sign", "SignAndEncrypt"):
        with opcua_client(plant.opcua_url, home, mode=mode) as client:
            assert "BadIdentityTokenRejected" in str(client.greeting["anonymous"]) or "token" in str(client.greeting)
            for user, password in (("operator", "x"), ("operator", ""), ("admin", "geheim ä"), ("admin", "")):
                assert client.ask("login", user=user, password=password) is not True
            assert client.ask("login", user="operator", password="geheim ä") is True
            assert client.ask("read", names=NAMES[:1])[0][0]["status"] == 0
    start(opcua_port=0, csv=(small,), security=folder)
    assert (folder / "plant-cert.der").read_bytes() == made


def test_security_folder_that_cannot_be_made(start, small, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(Exception, match="security folder") as caught:
        start(opcua_port=0, csv=(small,), security=blocked / "inside")
    assert str(Path(blocked)) in str(caught.value)
