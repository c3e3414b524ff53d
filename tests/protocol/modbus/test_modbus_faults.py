"""What fails, fails alone: units, addresses, connections and devices."""

import itertools
import socket
import threading
import time

import pytest
from modbus_device import Device, batch_where, by_tag, next_batch

from otmirror.modbus import device as device_module

BAD_TIMEOUT, BAD_NO_COMMUNICATION = 0x800A0000, 0x80310000
BAD_COMMUNICATION_ERROR, BAD_NODE_ID_UNKNOWN = 0x80050000, 0x80340000


def all_good(rows):
    return all(row["quality"] == "good" for row in rows.values())


def said(reader, *parts):
    return [notice for notice in reader.notices() if all(part in notice.message for part in parts)]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_one_silent_unit_among_ten(device, make_reader):
    for unit in range(1, 11):
        device.poke(unit=unit, table="holding", offset=0, type="uint16", value=unit)
    reader = make_reader(
        "".join(f"u{u},{u}:holding:{o},uint16\nv{u},{u}:holding:5,uint16\n" for u in range(1, 11) for o in [0]),
        interval_ms=400, timeout=0.6, reconnect_first=1.0,
    )  # fmt: skip
    assert all_good(by_tag(next_batch(reader)))
    device.behave(unit=5, silent=True)
    device.asked()
    batches, durations = [], []
    end = time.monotonic() + 6
    while time.monotonic() < end:
        start = time.monotonic()
        batches.append(by_tag(next_batch(reader)))
        durations.append(time.monotonic() - start)
    others = [f"u{unit}" for unit in range(1, 11) if unit != 5]
    samples = {name: [b[name] for b in batches if name in b] for name in [*others, "u5", "v5"]}
    for name in others:
        assert {(row["quality"], row["value"]) for row in samples[name]} == {("good", float(name[1:]))}
        gaps = [b["ts"] - a["ts"] for a, b in itertools.pairwise(samples[name])]
        assert max(gaps) < 400_000 + 600_000 + 300_000, "delayed by more than the unit's timeout"
        assert len(samples[name]) >= 11, "of 15 slots at most the first timeout and the probes may cost some"
    assert {row["status"] for name in ("u5", "v5") for row in samples[name]} == {BAD_TIMEOUT}
    assert max(durations) < 0.4 + 0.6 + 0.5
    to_silent = [entry for entry in device.asked() if entry[0] == 5]
    assert 2 <= len(to_silent) <= 4, "asked once, and then once a growing delay"
    assert set(to_silent) == {(5, 3, 0, 1)}
    assert said(reader, "unit 5 does not answer")
    device.behave(unit=5)
    rows = batch_where(reader, all_good)
    assert rows["u5"]["value"] == 5.0
    assert said(reader, "unit 5 answers again")


def test_a_silent_device_delays_no_other(device, make_reader):
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(16)  # takes connections, answers nothing
    devices = {"plc": ("127.0.0.1", device.port), "dead": silent.getsockname()}
    rows = "a,plc/1:holding:0,int16\n" + "".join(f"d{u},dead/{u}:holding:0,int16\n" for u in range(1, 6))
    reader = make_reader(rows, devices=devices, interval_ms=200, timeout=0.5)
    times = []
    end = time.monotonic() + 4
    dead = set()
    while time.monotonic() < end:
        for row in next_batch(reader).to_pylist():
            if row["tag"] == "a":
                assert row["quality"] == "good"
                times.append(row["ts"])
            else:
                assert row["quality"] == "bad"
                dead.add(row["tag"])
    notices = reader.notices()
    silent.close()
    assert len(times) >= 12
    assert max(b - a for a, b in itertools.pairwise(times)) < 200_000 + 500_000
    assert dead == {f"d{u}" for u in range(1, 6)}
    assert reader.overruns > 0
    assert len(notices) == 5, "one a unit, and none about the poll that waited for them"
    assert all("does not answer" in notice.message for notice in notices)


def test_a_device_too_slow_for_its_interval_is_told(device, make_reader):
    device.behave(unit=1, late=150)
    reader = make_reader("a,1:holding:0,int16\nb,1:holding:10,int16\n", interval_ms=100)
    for _ in range(3):
        assert all_good(by_tag(next_batch(reader)))
    [notice] = said(reader, "")
    assert "is still being read when its next cycle is due" in notice.message
    assert reader.overruns > 0


def test_an_illegal_address_among_good_ones(device, make_reader):
    device.floats(unit=1, table="holding", values=[float(i) for i in range(100)])
    device.forbid(unit=1, ranges=[{"table": "holding", "from": 50, "to": 52, "code": 2}])
    reader = make_reader("".join(f"t{i},1:holding:{2 * i},float\n" for i in range(100)))
    for batch in range(3):
        rows = by_tag(next_batch(reader))
        assert len(rows) == 100
        for i in range(100):
            good = (float(i), "good", 0)
            row = rows[f"t{i}"]
            wanted = (None, "bad", BAD_NODE_ID_UNKNOWN) if i == 25 else good
            assert (row["value"], row["quality"], row["status"]) == wanted, (batch, i)
        asked = device.asked()
        if batch:
            # The finding is remembered: two requests around the illegal address, one for the rest.
            assert sorted(asked) == [(1, 3, 0, 50), (1, 3, 52, 72), (1, 3, 124, 76)]
    [notice] = said(reader, "illegal")
    assert "t25;" in notice.message
    assert "1 tag(s)" in notice.message


def test_an_address_that_becomes_legal_is_read_again(device, make_reader, monkeypatch):
    monkeypatch.setattr(device_module, "QUARANTINE_S", 0.5)
    device.forbid(unit=1, ranges=[{"table": "input", "from": 3, "to": 4, "code": 2}])
    reader = make_reader("".join(f"t{i},1:input:{i},int16\n" for i in range(6)))
    assert by_tag(next_batch(reader))["t3"]["status"] == BAD_NODE_ID_UNKNOWN
    device.forbid(unit=1, ranges=[])
    batch_where(reader, all_good)
    assert said(reader, "accepts the addresses of all tags again")
    device.asked()
    assert all_good(by_tag(next_batch(reader)))
    assert device.asked() == [(1, 4, 0, 6)]


def test_a_device_that_takes_only_short_requests(device, make_reader):
    device.floats(unit=1, table="holding", values=[float(i) for i in range(60)])
    device.behave(unit=1, longest=20)
    reader = make_reader("".join(f"t{i},1:holding:{2 * i},float\n" for i in range(60)))
    for batch in range(3):
        rows = by_tag(next_batch(reader))
        assert {name: row["value"] for name, row in rows.items()} == {f"t{i}": float(i) for i in range(60)}
        asked = device.asked()
        if batch:
            assert max(count for *_, count in asked) <= 20
    assert not said(reader, "illegal")


def test_a_device_that_takes_one_register_at_a_time_is_learnt_over_some_cycles(device, make_reader):
    device.behave(unit=1, longest=1)
    reader = make_reader("".join(f"t{i},1:holding:{i},int16\n" for i in range(100)))
    batch_where(reader, all_good)
    device.asked()
    assert all_good(by_tag(next_batch(reader)))
    assert sorted(device.asked()) == [(1, 3, i, 1) for i in range(100)]


def test_a_map_full_of_illegal_addresses_does_not_flood_the_device(device, make_reader):
    device.forbid(unit=1, ranges=[{"table": "holding", "from": 0, "to": 65536, "code": 2}])
    reader = make_reader("".join(f"t{i},1:holding:{i},int16\n" for i in range(1000)))
    for _ in range(5):
        rows = by_tag(next_batch(reader))
        assert len(rows) == 1000
        assert {row["status"] for row in rows.values()} == {BAD_NODE_ID_UNKNOWN}
        assert len(device.asked()) <= 64 + 30
    device.forbid(unit=1, ranges=[])
    rows = by_tag(next_batch(reader))
    assert sum(row["quality"] == "good" for row in rows.values()) >= 800


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (1, 0x803D0000), (4, 0x808B0000), (5, 0x80040000), (6, 0x80040000), (8, 0x808B0000), (10, 0x80310000),
        (11, 0x800A0000), (77, 0x80010000),
    ],
)  # fmt: skip
def test_exceptions_of_one_unit(device, make_reader, code, status):
    device.behave(unit=2, exception=code)
    reader = make_reader("a,1:holding:0,int16\nb,2:holding:0,int16\nc,3:coil:0,\n")
    for _ in range(3):
        rows = by_tag(next_batch(reader))
        assert {name: (row["quality"], row["status"]) for name, row in rows.items()} == {
            "a": ("good", 0), "b": ("bad", status), "c": ("good", 0),
        }  # fmt: skip
    assert len(said(reader, "unit 2")) == 1
    device.behave(unit=2)
    batch_where(reader, all_good)
    next_batch(reader)
    assert len(said(reader, "unit 2", "again" if code == 11 else "no longer")) == 1


def test_several_bad_units_hide_no_good_one(device, make_reader):
    for unit, misbehave in [(1, "garbage"), (2, "half"), (3, "tid0"), (4, "short")]:
        device.behave(unit=unit, misbehave=misbehave)
    for unit in (5, 6):
        device.behave(unit=unit, silent=True)
    rows = "".join(f"{u},{u}:holding:0,int16\n" for u in range(1, 10))
    reader = make_reader(rows, timeout=0.2, interval_ms=1000)
    for _ in range(4):
        batch = by_tag(next_batch(reader))
        assert {name: row["quality"] for name, row in batch.items()} == {
            str(u): "bad" if u < 7 else "good" for u in range(1, 10)
        }


@pytest.mark.parametrize("misbehave", ["tid0", "short", "garbage", "half"])
def test_a_unit_whose_answers_cannot_be_trusted(device, make_reader, misbehave):
    device.poke(unit=3, table="holding", offset=0, type="int16", value=3)
    device.behave(unit=2, misbehave=misbehave)
    reader = make_reader("a,1:holding:0,int16\nb,2:holding:0,int16\nc,3:holding:0,int16\n")
    for _ in range(4):
        rows = by_tag(next_batch(reader))
        assert (rows["b"]["quality"], rows["b"]["status"]) == ("bad", BAD_COMMUNICATION_ERROR)
        assert (rows["a"]["value"], rows["c"]["value"]) == (0.0, 3.0)
    device.behave(unit=2)
    batch_where(reader, all_good)


def test_late_answers_never_shift_values(device, make_reader):
    for unit in (1, 2):
        for place in range(3):
            device.poke(unit=unit, table="holding", offset=10 * place, type="uint16", value=100 * unit + place)
    reader = make_reader(
        "".join(f"{100 * u + i},{u}:holding:{10 * i},uint16\n" for u in (1, 2) for i in range(3)),
        timeout=0.15, interval_ms=50, reconnect_longest=0.4,
    )  # fmt: skip
    good = 0
    for late in itertools.islice(itertools.cycle([0, 160, 200, 290, 120, 0, 0, 0]), 40):
        device.behave(unit=1, late=late)
        for name, row in by_tag(next_batch(reader)).items():
            if row["quality"] == "good":
                good += 1
                assert row["value"] == float(name)
            else:
                assert row["value"] is None
    assert good > 100


def test_connections_that_end_cost_no_sample(device, make_reader):
    rows = "".join(f"t{i},1:holding:{10 * i},int16\n" for i in range(5))
    reader = make_reader(rows)
    for _ in range(3):
        assert all_good(by_tag(next_batch(reader)))
        device.drop()
    device.close_after(answers=2)  # in the middle of a cycle
    for _ in range(3):
        assert all_good(by_tag(next_batch(reader)))
    assert not said(reader, "")


def test_a_device_that_closes_after_each_answer(device, make_reader):
    reader = make_reader("a,1:holding:0,int16\nb,1:holding:10,int16\n")
    for _ in range(5):
        device.close_after(answers=1)
        assert all_good(by_tag(next_batch(reader)))


def test_killed_and_started_again(make_reader):
    first = Device()
    port = first.port
    reader = make_reader("a,1:holding:0,int16\nb,2:coil:0,\n", devices={"plc": ("127.0.0.1", port)})
    try:
        assert all_good(by_tag(next_batch(reader)))
        first.kill()
        rows = batch_where(reader, lambda rows: all(row["quality"] == "bad" for row in rows.values()))
        assert set(rows) == {"a", "b"}
        assert {row["status"] for row in rows.values()} <= {BAD_NO_COMMUNICATION, BAD_COMMUNICATION_ERROR}
        [notice] = said(reader, "cannot be reached")
        assert f"plc (127.0.0.1:{port})" in notice.message
        assert "Connection refused" in notice.message
    finally:
        first.kill()
    second = Device(port)
    try:
        started = time.monotonic()
        batch_where(reader, all_good)
        assert time.monotonic() - started < 10
        assert said(reader, "answers again")
    finally:
        second.kill()


def test_a_refused_port_from_the_start(device, make_reader):
    port = free_port()
    devices = {"plc": ("127.0.0.1", device.port), "off": ("127.0.0.1", port)}
    reader = make_reader("a,plc/1:holding:0,int16\nb,off/1:holding:0,int16\n", devices=devices)
    for _ in range(3):
        rows = by_tag(next_batch(reader))
        assert rows["a"]["quality"] == "good"
        assert (rows["b"]["quality"], rows["b"]["status"]) == ("bad", BAD_NO_COMMUNICATION)
    [notice] = said(reader, "")
    assert notice.level == "error"
    assert notice.message.startswith(f"Modbus device off (127.0.0.1:{port}) cannot be reached (Connection refused)")


def test_connection_attempts_back_off(make_reader):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    listener.settimeout(0.05)
    reader = make_reader(
        "a,1:holding:0,int16\n", devices={"plc": listener.getsockname()}, interval_ms=50, reconnect_first=0.3
    )
    attempts, end = 0, time.monotonic() + 3

    def slam():
        nonlocal attempts
        while time.monotonic() < end:
            try:
                listener.accept()[0].close()  # takes the connection and ends it at once
                attempts += 1
            except TimeoutError:
                pass

    thread = threading.Thread(target=slam)
    thread.start()
    while time.monotonic() < end:
        assert all(row["quality"] == "bad" for row in next_batch(reader).to_pylist())
    thread.join(5)
    listener.close()
    assert 2 <= attempts <= 12, "3 s of a device that ends every connection"
