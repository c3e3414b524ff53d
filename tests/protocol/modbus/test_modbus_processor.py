"""PollModbusReadOnly as NiFi drives it: validated properties in, one FlowFile a cycle out."""

import json
import time

import pytest

from harness import Runner
from otmirror import samples

LIST = "tag,address,type\np,1:holding:0,float\nt,1:40003,int16\n"


def runner(device, **properties):
    defaults = {"devices": f"127.0.0.1:{device.port}", "tag_list": LIST, "poll_interval": "100 ms"}
    return Runner("PollModbusReadOnly", **(defaults | properties))


def created(runner, within=10.0):
    end = time.monotonic() + within
    while time.monotonic() < end:
        result = runner.create()
        if result is not None:
            return result
        time.sleep(0.01)
    raise AssertionError("no FlowFile")


def test_a_flowfile_of_samples(device):
    device.poke(unit=1, table="holding", offset=0, type="float", value=1.5)
    device.poke(unit=1, table="holding", offset=2, type="int16", value=-7)
    poll = runner(device)
    assert poll.validate() == []
    result = created(poll)
    lines = [json.loads(line) for line in result.getContents().splitlines()]
    assert [(line["tag"], line["value"], line["quality"]) for line in lines] == [("p", 1.5, "good"), ("t", -7, "good")]
    assert lines[0]["source"] == f"modbus:127.0.0.1:{device.port}"
    attributes = result.attributes
    assert result.getRelationship() == "success"
    assert attributes["otmirror.samples"] == "2"
    assert attributes["otmirror.bad"] == "0"
    assert attributes["mime.type"] == samples.MIME_TYPE
    poll.stop()
    assert poll.log.said() == []


def test_a_new_process_needs_no_on_scheduled(device):
    poll = runner(device)
    poll.stop()
    assert created(poll) is not None
    poll.stop()


def test_a_device_that_is_off_gives_bad_samples_and_one_bulletin(device):
    poll = runner(device, devices="127.0.0.1:1")
    for _ in range(3):
        assert created(poll).attributes["otmirror.bad"] == "2"
    poll.stop()
    [line] = poll.log.said()
    assert "127.0.0.1:1 cannot be reached (Connection refused)" in line


@pytest.mark.parametrize(
    ("properties", "messages"),
    [
        ({"devices": "a=h, i:0"}, ["'i:0' is not host:port"]),
        ({"tag_list": None}, ["Tag List File, Tag List: set exactly one of the two"]),
        ({"tag_list_file": "/nowhere/tags.csv", "tag_list": None}, ["/nowhere/tags.csv cannot be read"]),
        ({"tag_list": " \n"}, ["set exactly one of the two"]),
        ({"tag_list": LIST + "p,1:coil:1,\n"}, ["line 4, column tag: 'p' is already declared in line 2"]),
        (
            {"tag_list": LIST + "x,1:40000,int16\ny,1:holding:1,\nz,q/1:coil:0,\n"},
            ["line 4, column address", "line 5, column address", "line 6, column address: device 'q'"],
        ),
        (
            {"request_timeout": "2 hours", "max_bits_per_request": "2001", "pause_between_requests": "1 min"},
            ["Request Timeout", "Max Bits Per Request", "Pause Between Requests"],
        ),
    ],
)
def test_every_mistake_is_on_the_canvas_before_anything_connects(device, properties, messages):
    found = runner(device, **properties).validate()
    assert len(found) == len(messages), found
    for message in messages:
        assert any(message in line for line in found), (message, found)
    assert device.asked() == []


def test_a_tag_list_file_that_is_no_utf8(device, tmp_path):
    (tmp_path / "tags.csv").write_bytes(b"tag,address,type\nDruck\xfc,1:holding:0,float\n")
    [line] = runner(device, tag_list=None, tag_list_file=str(tmp_path / "tags.csv")).validate()
    assert "line 2: byte 22 is not UTF-8" in line
