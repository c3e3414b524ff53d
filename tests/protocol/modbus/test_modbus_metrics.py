"""What a Modbus source counts, against the device's own log, and as NiFi's processor writes it into its file."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from modbus_device import Device, batch_where, next_batch
from prometheus_client.parser import text_string_to_metric_families

from harness import Runner
from otmirror.errors import ReadOnlyError

ROWS = "p,1:holding:0,int16\nb,1:coil:5,\nillegal,1:holding:9000,int16\n"


def numbers(reader):
    found = {}
    for (name, labels), value in reader.figures.collect().numbers.items():
        found[(name.removeprefix("otmirror_"), *labels)] = value
    return found


def test_requests_are_those_the_device_saw(device, make_reader):
    device.poke(unit=1, table="holding", offset=0, type="int16", value=7)
    device.asked()
    reader = make_reader("p,1:holding:0,int16\nb,1:coil:5,bool\n")
    for _ in range(3):
        next_batch(reader)
    found, source = numbers(reader), "modbus:test"
    asked = Counter(code for _, code, *_ in device.asked())
    assert {code: found[("requests_total", source, str(code))] for code in asked} == asked
    times = reader.figures.collect().histograms[("otmirror_request_seconds", (source,))]
    assert times.buckets.sum() == sum(asked.values())
    assert (found[("source_connected", source)], found[("source_tags", source)]) == (1, 2)
    assert time.time() - found[("source_last_good_timestamp_seconds", source)] < 5
    assert found[("polls_skipped_total", source)] >= 0
    assert found[("guard_refused_total", source, "6")] == 0


def test_a_write_is_refused_and_counted(device, make_reader):
    from pymodbus.pdu.register_message import WriteSingleRegisterRequest

    reader = make_reader("p,1:holding:0,int16\n")
    next_batch(reader)
    client = reader.devices["plc"].client
    with pytest.raises(ReadOnlyError):
        reader._loop.run(client.request(WriteSingleRegisterRequest(address=0, registers=[1], dev_id=1)), 5)
    assert numbers(reader)[("guard_refused_total", "modbus:test", "6")] == 1


def test_each_device_has_its_own(device, make_reader):
    other = Device()
    try:
        devices = {"north": ("127.0.0.1", device.port), "south": ("127.0.0.1", other.port)}
        reader = make_reader(
            "n,north/1:holding:0,int16\ns1,south/1:holding:0,int16\ns2,south/1:holding:1,int16\n", devices=devices,
            timeout=0.5,
        )  # fmt: skip
        batch_where(reader, lambda rows: rows.keys() == {"n", "s1", "s2"})
        found = numbers(reader)
        assert [found[("source_tags", f"modbus:test/{name}")] for name in devices] == [1, 2]
        assert [found[("source_connected", f"modbus:test/{name}")] for name in devices] == [1, 1]
        port = other.port
        other.kill()
        batch_where(reader, lambda rows: "s1" in rows and rows["s1"]["quality"] == "bad" and "n" in rows)
        found = numbers(reader)
        assert [found[("source_connected", f"modbus:test/{name}")] for name in devices] == [1, 0]
        assert [found[("source_tags_bad", f"modbus:test/{name}")] for name in devices] == [0, 2]
        other = Device(port)
        batch_where(reader, lambda rows: "s1" in rows and rows["s1"]["quality"] == "good")
        found = numbers(reader)
        assert found[("source_reconnects_total", "modbus:test/south")] == 1
        assert found[("source_reconnects_total", "modbus:test/north")] == 0
    finally:
        other.kill()


def file_of(folder: Path, identity: str) -> dict[tuple[str, ...], float]:
    found = {}
    for family in text_string_to_metric_families((folder / f"{identity}.prom").read_text()):
        for one in family.samples:
            assert one.labels["id"] == identity
            assert one.labels["processor"] == "PollModbusReadOnly"
            found[(one.name, *(one.labels[key] for key in ("quality", "le", "service") if key in one.labels))] = (
                one.value
            )
    return found


def test_the_processors_file_goes_on_in_the_next_process(device, tmp_path, monkeypatch):
    monkeypatch.setenv("OTMIRROR_METRICS", str(tmp_path))
    emitted = 0
    for life in (1, 2):
        poll = Runner(
            "PollModbusReadOnly", devices=f"127.0.0.1:{device.port}", poll_interval="50 ms", refresh_interval="0 sec",
            tag_list="tag,address,type\np,1:holding:0,int16\nbad,7:holding:0,int16\n", request_timeout="200 ms",
        )  # fmt: skip
        poll.processor.onScheduled(poll.context)
        end = time.monotonic() + 10
        batches = 0
        while batches < 2 and time.monotonic() < end:
            device.poke(unit=1, table="holding", offset=0, type="int16", value=batches + 1)
            result = poll.create()
            if result is not None:
                batches += 1
                emitted += int(result.attributes["otmirror.samples"])
        poll.stop()
        found = file_of(tmp_path, "test")
        read = sum(found[("otmirror_samples_read_total", quality)] for quality in ("good", "uncertain", "bad"))
        assert read == emitted
        assert found[("otmirror_read_batches_total",)] == 2 * life
        assert found[("otmirror_processor_running",)] == 0
    assert poll.log.said("error") == []


def test_a_metrics_folder_that_cannot_be_is_told_once_and_samples_go_on(device, tmp_path, monkeypatch):
    folder = tmp_path / "metrics"
    folder.write_text("in the way")
    monkeypatch.setenv("OTMIRROR_METRICS", str(folder))
    poll = Runner("PollModbusReadOnly", devices=f"127.0.0.1:{device.port}", poll_interval="50 ms",
                  tag_list="tag,address,type\np,1:holding:0,int16\n", refresh_interval="50 ms")  # fmt: skip
    poll.processor.onScheduled(poll.context)
    batches, end = 0, time.monotonic() + 10
    while (batches < 5 or not poll.log.said("warn")) and time.monotonic() < end:
        batches += poll.create() is not None
    poll.stop()
    assert batches >= 5
    [told] = poll.log.said()
    assert f"metrics cannot be written to {folder}/test.prom" in told
