"""The reader against a device written with jsmodbus: values, requests, grids and batches."""

import itertools
import json
import math
import struct
import threading
import time

import pytest
from modbus_device import batch_where, by_tag, next_batch

from otmirror import samples

# Where each byte goes on the wire, A = the most significant one.
LETTERS = {
    2: {"ABCD": "AB", "CDAB": "AB", "BADC": "BA", "DCBA": "BA"},
    4: {"ABCD": "ABCD", "CDAB": "CDAB", "BADC": "BADC", "DCBA": "DCBA"},
    8: {"ABCD": "ABCDEFGH", "CDAB": "GHEFCDAB", "BADC": "BADCFEHG", "DCBA": "HGFEDCBA"},
}
VALUES = {
    "int16": (2, [0, -1, -32768, 32767, 1234]),
    "uint16": (2, [0, 65535, 40000]),
    "int32": (4, [-1, -(2**31), 2**31 - 1, 19088743]),
    "uint32": (4, [2**32 - 1, 19088743]),
    "int64": (8, [-1, 2**53, 2**53 + 1, -(2**63), 81985529216486895]),
    "uint64": (8, [2**64 - 1, 81985529216486895]),
    "float": (4, [0.0, -1.5, 3.4028234663852886e38, 1e-40, 1234.5678]),
    "double": (8, [0.1, -1.7976931348623157e308, 5e-324, math.pi]),
}


def expected(type, value):
    """The value and text columns; floats rounded as the wire rounds them."""
    if type == "float":
        return struct.unpack(">f", struct.pack(">f", value))[0], None
    if isinstance(value, int) and abs(value) > 2**53:
        return None, str(value)
    return float(value), None


def test_every_type_in_every_order(device, make_reader):
    rows, wanted, offset = [], {}, 0
    for (type, (size, values)), order in itertools.product(VALUES.items(), LETTERS[4]):
        for table, value in itertools.product(("holding", "input"), values):
            name = f"{type}/{order}/{table}/{value}"
            device.poke(unit=1, table=table, offset=offset, type=type, value=str(value), letters=LETTERS[size][order])
            rows.append(f"{name},1:{table}:{offset},{type},{order}\n")
            wanted[name] = (type, *expected(type, value))
            offset += size // 2
    found = by_tag(next_batch(make_reader("".join(rows))))
    assert {name: (row["type"], row["value"], row["text"]) for name, row in found.items()} == wanted
    assert {row["quality"] for row in found.values()} == {"good"}


def test_the_columns_of_a_sample(device, make_reader):
    device.poke(unit=1, table="holding", offset=0, type="int16", value=-200)
    before = time.time_ns() // 1000
    rows = "t,1:holding:0,int16,,0.5,10,,,degC\n"
    table = next_batch(make_reader(rows))
    after = time.time_ns() // 1000
    [row] = table.to_pylist()
    assert before <= row["ts"] <= after
    assert row["ts_read"] == row["ts"]
    assert {k: row[k] for k in ("value", "text", "type", "quality", "status", "unit", "ts_server", "source")} == {
        "value": -90.0, "text": None, "type": "double", "quality": "good", "status": 0, "unit": "degC",
        "ts_server": None, "source": "modbus:test",
    }  # fmt: skip
    assert json.loads(samples.encode(table))["seq"] == row["seq"]
    assert samples.decode(samples.encode(table)).table.equals(table)


def test_nan_infinity_and_text(device, make_reader):
    device.bytes(unit=1, table="holding", offset=0, hex="7fc000007f800000")
    device.bytes(unit=1, table="holding", offset=4, hex="50542d3130310000" + "ff80")
    device.bytes(unit=1, table="holding", offset=9, hex="8001")
    tags = (
        "nan,1:holding:0,float\ninf,1:holding:2,float\ntext,1:holding:4:4,string\n"
        "no text,1:holding:8:1,string\nhigh,1:holding:9:15,bool\nlow,1:holding:9:0,bool\noff,1:holding:9:7,bool\n"
    )
    rows = by_tag(next_batch(make_reader(tags)))
    shown = {name: (row["value"], row["text"], row["quality"], row["status"]) for name, row in rows.items()}
    assert shown == {
        "nan": (None, None, "bad", 0x808C0000),
        "inf": (None, "Infinity", "good", 0),
        "text": (None, "PT-101", "good", 0),
        "no text": (None, None, "bad", 0x80070000),
        "high": (1.0, None, "good", 0),
        "low": (1.0, None, "good", 0),
        "off": (0.0, None, "good", 0),
    }


def test_several_units_tables_and_the_end_of_the_address_space(device, make_reader):
    for unit in (1, 2, 255):
        device.poke(unit=unit, table="holding", offset=65534, type="uint32", value=unit)
        device.bit(unit=unit, table="discrete", offset=65535, value=unit == 2)
        device.bit(unit=unit, table="coil", offset=0, value=unit == 1)
    rows = "".join(
        f"{u}h,{u}:465535,uint32\n{u}d,{u}:discrete:65535,\n{u}c,{u}:00001,\n{u}c2,{u}:coil:1,\n" for u in (1, 2, 255)
    )
    values = {name: row["value"] for name, row in by_tag(next_batch(make_reader(rows, interval_ms=5000))).items()}
    assert values == {
        "1h": 1.0, "1d": 0.0, "1c": 1.0, "1c2": 0.0,
        "2h": 2.0, "2d": 1.0, "2c": 0.0, "2c2": 0.0,
        "255h": 255.0, "255d": 0.0, "255c": 0.0, "255c2": 0.0,
    }  # fmt: skip
    assert sorted(device.asked()) == sorted(
        entry for u in (1, 2, 255) for entry in [(u, 1, 0, 2), (u, 2, 65535, 1), (u, 3, 65534, 2)]
    )


def test_only_declared_registers_are_asked_and_nothing_is_written(device, make_reader):
    spans = [(0, 2), (2, 2), (5, 1), (100, 4), (104, 4), (108, 1), (240, 2), (65535, 1)]
    types = {1: "int16", 2: "float", 4: "double"}
    reader = make_reader("".join(f"t{o},3:holding:{o},{types[n]}\n" for o, n in spans), max_registers=8)
    for _ in range(3):
        assert next_batch(reader).num_rows == len(spans)
    asked = device.asked()
    assert {entry[:2] for entry in asked} == {(3, 3)}
    assert sorted(set(asked)) == [
        (3, 3, 0, 4), (3, 3, 5, 1), (3, 3, 100, 8), (3, 3, 108, 1), (3, 3, 240, 2), (3, 3, 65535, 1),
    ]  # fmt: skip
    client = reader.devices["plc"].client
    assert client.refused == {}
    assert client.sent[3] == len(asked)


def test_ten_thousand_floats(device, make_reader):
    wanted = [struct.unpack(">f", struct.pack(">f", 0.1 * i))[0] for i in range(10_000)]
    device.floats(unit=1, table="holding", values=[0.1 * i for i in range(10_000)])
    reader = make_reader("".join(f"t{i},1:holding:{2 * i},float\n" for i in range(10_000)), interval_ms=1000)
    first, second = next_batch(reader), next_batch(reader)
    for table in (first, second):
        assert table.column("value").to_pylist() == wanted
    requests = device.asked()
    assert len(requests) == 2 * 162  # 62 floats a request: none is split over two
    assert first.column("seq")[-1].as_py() + 1 == second.column("seq")[0].as_py()
    assert len(set(first.column("ts").to_pylist())) <= 162, "one time a response"


def test_groups_with_their_own_interval(device, make_reader):
    reader = make_reader("fast,1:holding:0,int16,,,,100\nslow,1:holding:1,int16,,,,400\n")
    counts = {"fast": 0, "slow": 0}
    end = time.monotonic() + 1.9
    while time.monotonic() < end:
        for row in next_batch(reader).to_pylist():
            counts[row["tag"]] += 1
    assert 8 <= counts["fast"] <= 21
    assert 3 <= counts["slow"] <= 6


def test_a_far_slot_is_not_waited_for(device, make_reader):
    reader = make_reader("t,1:holding:0,int16\n", interval_ms=60_000)
    assert next_batch(reader).num_rows == 1
    start = time.monotonic()
    assert reader.read() is None
    assert time.monotonic() - start < 0.5


def test_a_deadband(device, make_reader):
    reader = make_reader("t,1:holding:0,int16,,,,50,2\nu,1:holding:1,int16,,,,50,\n")
    assert set(by_tag(next_batch(reader))) == {"t", "u"}
    device.poke(unit=1, table="holding", offset=0, type="int16", value=2)
    assert set(by_tag(next_batch(reader))) == {"u"}
    device.poke(unit=1, table="holding", offset=0, type="int16", value=3)
    assert batch_where(reader, lambda rows: "t" in rows)["t"]["value"] == 3.0


def test_numbers_run_without_a_gap(device, make_reader):
    reader = make_reader("a,1:holding:0,int16\nb,2:holding:0,int16\n", interval_ms=20)
    numbers = [n for _ in range(10) for n in next_batch(reader).column("seq").to_pylist()]
    assert numbers == list(range(numbers[0], numbers[0] + 20))


def test_a_pause_between_requests(device, make_reader):
    rows = "".join(f"t{i},1:holding:{10 * i},int16\n" for i in range(5))
    times = next_batch(make_reader(rows, pause_ms=60, interval_ms=5000)).column("ts").to_pylist()
    assert all(later - earlier >= 59_000 for earlier, later in itertools.pairwise(times))


def test_close_interrupts_a_read_and_leaves_no_connection(device, make_reader):
    device.behave(unit=1, silent=True)
    reader = make_reader("t,1:holding:0,int16\n", timeout=30.0)
    results = []
    thread = threading.Thread(target=lambda: results.append(reader.read()))
    thread.start()
    deadline = time.monotonic() + 5
    while not device.asked() and time.monotonic() < deadline:
        time.sleep(0.01)
    reader.close()
    thread.join(5)
    assert not thread.is_alive()
    assert results == [None]
    assert reader.read() is None
    reader.close()
    while device.open() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert device.open() == 0


def test_two_threads_may_call(device, make_reader):
    reader = make_reader("t,1:holding:0,int16\n", interval_ms=20)
    found, errors = [], []

    def work():
        try:
            for _ in range(10):
                found.extend(next_batch(reader).column("seq").to_pylist())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not errors
    assert sorted(found) == list(range(min(found), min(found) + 20))


@pytest.mark.parametrize("slash", ["", "plc/"])
def test_unit_0_of_a_plain_tcp_device(device, make_reader, slash):
    device.poke(unit=0, table="input", offset=9, type="int16", value=5)
    assert next_batch(make_reader(f"t,{slash}0:30010,int16\n")).column("value").to_pylist() == [5.0]
