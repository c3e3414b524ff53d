"""Telegraf's lines as samples: what a real Telegraf wrote, and whatever else may come."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from otmirror import samples
from otmirror.errors import ConfigError
from otmirror.telegraf.decoder import TelegrafDecoder

DATA = Path(__file__).parent / "data"
"""Written by Telegraf 1.37.2 that read a plant; telegraf.conf is its configuration."""
BAD_SENSOR = 0x808C0000
SAMPLE = b'{"tag":"a/b","ts":1,"value":1.5,"type":"double","quality":"good","source":"s"}\n'


def decode(
    content: bytes | str, tag: str = "{name|well|measurement}/{field}", source: str = "telegraf:{host|measurement}"
):
    raw = content.encode() if isinstance(content, str) else content
    return samples.decode(raw, TelegrafDecoder(tag, source))


def rows(content: bytes | str, **templates: str):
    found = decode(content, **templates)
    assert found.rejects == []
    return [{k: v for k, v in row.items() if v is not None} for row in found.table.to_pylist()]


def one(fields: object, timestamp: object = 1700000000, **more: object):
    metric = {"fields": fields, "name": "m", "tags": {}, "timestamp": timestamp, **more}
    return decode(json.dumps(metric))


def reason(content: bytes | str, **templates: str) -> str:
    found = decode(content, **templates)
    assert found.table.num_rows == 0
    (reject,) = found.rejects
    return reject.reason


@pytest.mark.parametrize("name", ["telegraf.influx", "telegraf.json"])
def test_what_a_real_telegraf_wrote(name):
    found = rows((DATA / name).read_bytes(), tag="acme/{name|well|measurement}/{id|field}")
    exact = name.endswith("influx")
    # The recording: P-PDG is 3.2e7 + row * 0.625, the other two sensors gave nothing yet. Over Modbus it is a float32.
    at = {row: 1_700_000_000_000_000 + row * 1_000_000 for row in range(3)}
    opcua = [(row["ts"], row["value"]) for row in found if row["tag"] == "acme/north, 1/ns=2;s=Well1.P-PDG"]
    assert opcua == [(at[0], 32000000.0), (at[1], 32000000.625), (at[2], 32000001.25)]
    for sensor in ("T-TPT", "P-MON-CKP"):
        bad = [row for row in found if row["tag"] == f"acme/north, 1/ns=2;s=Well1.{sensor}"]
        assert [(row["ts"], row["quality"], row["status"]) for row in bad] == [
            (t, "bad", BAD_SENSOR) for t in at.values()
        ]
        assert not any("value" in row or "text" in row for row in bad)
    plc = {tag: [row for row in found if row["tag"] == f"acme/{tag}"] for tag in
           ("plc a/P-PDG", "plc a/row", "plc a/setpoint", "plc a/time", "plc a/online", "plc-b/P-PDG")}  # fmt: skip
    assert [row["value"] for row in plc["plc a/P-PDG"]] == [32000000.0, 32000000.0, 32000002.0]
    assert [row["value"] for row in plc["plc-b/P-PDG"]] == [32000.0, 32000.0, 32000.002]
    assert [row["value"] for row in plc["plc a/row"]] == [0, 1, 2]
    assert [row["value"] for row in plc["plc a/time"]] == list(at.values())
    assert {row["type"] for row in plc["plc a/online"]} == {"bool"}
    assert {row["type"] for row in plc["plc a/row"]} == {"uint64" if exact else "double"}
    assert {row["type"] for row in plc["plc a/setpoint"]} == {"int64" if exact else "double"}
    assert plc["plc-b/P-PDG"][0]["ts"] == 1795524407502335
    (text,) = {row["text"] for row in found if row["tag"] == "acme/opcua/ns=0;i=2261"}
    assert text == "FreeOpcUa Python Server"
    assert {row["source"] for row in found} == {"telegraf:edge-7"}
    assert not any({"seq", "ts_read", "ts_server", "unit"} & set(row) for row in found)


def test_both_formats_of_one_run_give_the_same_samples():
    def told(name):
        keys = ("tag", "ts", "value", "text", "quality", "status", "source")
        return [
            tuple(row.get(key) for key in keys) for row in rows((DATA / name).read_bytes(), tag="{id|name}/{id|field}")
        ]

    # Telegraf puts the fields of a metric into any order.
    assert sorted(told("telegraf.influx"), key=repr) == sorted(told("telegraf.json"), key=repr)
    assert len(told("telegraf.json")) == 6 + 3 + 9 + 3 + 15


def test_a_batch_of_telegraf_is_one_line():
    found = rows((DATA / "batch.json").read_bytes())
    assert [(row["tag"], row["ts"], row.get("value")) for row in found] == [
        ("plc-b/P-PDG", 1795523878000000, 23414328.0),
        ("plc-b/P-TPT", 1795523878000000, 16035.244),
        ("plc-b/row", 1795523878000000, 1.0),
        ("plc a/online", 1795523878000000, 1.0),
        ("plc a/P-PDG", 1795523878000000, 25436140.0),
        ("plc a/row", 1795523878000000, 1.0),
        ("plc a/time", 1795523878000000, 1767225601000000.0),
        ("opcua/ServerState", 1795523878000000, 0.0),
        ("Well1/P-PDG", 1767225601000000, 25436139.737359002),
    ]


def test_the_default_templates():
    line = b'{"fields":{"x":1},"name":"cpu","tags":{"host":"h"},"timestamp":1}\nmodbus,name=plc y=2 1000\n'
    found = samples.decode(line, TelegrafDecoder()).table.to_pylist()
    assert [(row["tag"], row["source"]) for row in found] == [
        ("telegraf/cpu/x", "telegraf:h"), ("telegraf/plc/y", "telegraf:modbus"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        ("OK (0x0)", ("good", 0)),
        ("The operation succeeded. StatusGood (0x0)", ("good", 0)),
        ("The value is good but a limit. (0x00960000)", ("good", 0x00960000)),
        ("Whatever. StatusUncertainLastUsableValue (0x40900000)", ("uncertain", 0x40900000)),
        ("There has been a failure StatusBadSensorFailure (0x808C0000)", ("bad", BAD_SENSOR)),
        ("0x80310000", ("bad", 0x80310000)),
        ("0xFFFFFFFF", ("bad", 0xFFFFFFFF)),
    ],
)
def test_quality_becomes_status_and_is_no_sample_itself(quality, expected):
    (row,) = one({"x": 1.5, "Quality": quality, "DataType": "Double"}).table.to_pylist()
    assert (row["tag"], row["quality"], row["status"]) == ("m/x", *expected)
    assert row["value"] == (None if expected[0] == "bad" else 1.5)


def test_a_quality_without_a_code_is_a_value_like_any_other():
    (row,) = one({"Quality": "A+"}).table.to_pylist()
    assert (row["tag"], row["text"], row["quality"]) == ("m/Quality", "A+", "good")
    assert {row["tag"] for row in one({"Quality": 3, "DataType": "x"}).table.to_pylist()} == {"m/Quality", "m/DataType"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, ("double", 3.0, None)),
        (2**53, ("double", 2.0**53, None)),
        (2**53 + 1, ("int64", None, "9007199254740993")),
        (-(2**63), ("int64", None, "-9223372036854775808")),
        (2**64 - 1, ("uint64", None, "18446744073709551615")),
        (1.5, ("double", 1.5, None)),
        (True, ("bool", 1.0, None)),
        (False, ("bool", 0.0, None)),
        ("räk\nn", ("string", None, "räk\nn")),
        ({"a": [1, None]}, ("json", None, '{"a":[1,null]}')),
    ],
)
def test_json_values(value, expected):
    (row,) = one({"x": value}).table.to_pylist()
    assert (row["type"], row["value"], row["text"]) == expected


@pytest.mark.parametrize(
    ("timestamp", "microseconds"),
    [
        (1458229140, 1458229140_000_000),
        (1458229140.25, 1458229140_250_000),
        (1458229140123, 1458229140_123_000),
        (1458229140123456, 1458229140_123_456),
        (1458229140123456789, 1458229140_123_456),
        (0, 0),
        (-1, -1_000_000),
        ("2016-03-17T15:39:00Z", 1458229140_000_000),
        ("2016-03-17T16:39:00.123456+01:00", 1458229140_123_456),
    ],
)
def test_the_unit_of_a_timestamp_is_told_by_its_size(timestamp, microseconds):
    assert one({"x": 1}, timestamp).table.column("ts").to_pylist() == [microseconds]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"fields":{"x":1},"name":"m"}', "it has no timestamp"),
        ('{"fields":{"x":1},"name":"m","timestamp":"yesterday"}', "is not of the form"),
        ('{"fields":{"x":1},"name":"m","timestamp":"2016-03-17T15:39:00"}', "is not of the form"),
        ('{"fields":{"x":1},"name":"m","timestamp":true}', "neither a number nor a text"),
        ('{"fields":{"x":1},"name":"m","timestamp":1e300}', "out of range"),
        ('{"fields":{"x":null},"name":"m","timestamp":1}', "'x' is null"),
        ('{"fields":{},"name":"m","timestamp":1}', "needs field"),
        ('{"fields":{"Quality":"OK (0x0)"},"name":"m","timestamp":1}', "needs field"),
        ('{"fields":{"x":1},"name":"","timestamp":1}', "its name is empty"),
        ('{"fields":{"x":1},"name":"m","tags":{"a":1},"timestamp":1}', "its tags are no object of texts"),
        ('{"fields":[1],"name":"m","timestamp":1}', "missing required field `tag`"),
        ('{"metrics":[{"name":"m"}]}', "lacks name or fields"),
        ('{"metrics":1}', "missing required field `tag`"),
        ("{", "truncated"),
        ("[1]", "no line protocol"),
        ("hello world", "no line protocol: character 12: a field without ="),
        ("m f=1", "no line protocol: it has no timestamp"),
        (b"\xff\xfe f=1 1", "malformed"),
        ("[" * 100_000, "no line protocol"),
        ('{"fields":{"x":' + "[" * 100_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_neither_keeps_its_reason(content, said):
    assert said in reason(content)


def test_parts_that_cannot_be_used_take_nothing_along():
    batch = b'{"metrics":[{"fields":{"x":1,"y":null},"name":"m","tags":{},"timestamp":1},{"name":"q"}]}\n'
    contradiction = SAMPLE.replace(b'"good"', b'"bad"')
    content = SAMPLE + b"rubbish\n" + batch + b"\nm f=1i 1000\r\n" + contradiction
    found = decode(content)
    assert found.table.column("tag").to_pylist() == ["a/b", "m/x", "m/f"]
    assert [reject.number for reject in found.rejects] == [2, 3, 3, 6]
    assert json.loads(found.rejects[2].line) == {"name": "q"}
    assert "a bad sample carries a value" in found.rejects[3].reason


def test_a_bad_sample_without_a_field_is_named_by_what_the_template_has_beside_it():
    line = r'opcua,id=ns\=3;s\=T Quality="StatusBadSensorFailure (0x808C0000)" 1000'
    assert "needs field" in reason(line)
    (row,) = rows(line, tag="plant/{id|field}")
    assert (row["tag"], row["quality"], row["status"], row["ts"]) == ("plant/ns=3;s=T", "bad", BAD_SENSOR, 1)
    assert "it has no value" in reason(line.replace("Bad", "Good").replace("0x808C0000", "0x0"), tag="plant/{id|field}")


def test_two_fields_never_become_one_tag():
    found = decode(r"opcua,id=i\=1 a[0]=1,a[1]=2 1000", tag="{id|field}")
    assert found.table.column("tag").to_pylist() == ["i=1"]
    assert "two of its fields would be the tag 'i=1'" in found.rejects[0].reason


@pytest.mark.parametrize(
    ("tag", "source", "said"),
    [
        ("", "s", "Telegraf Tag: is empty"),
        ("a/b", "s", "Telegraf Tag: 'a/b' has no {field}"),
        ("{field", "s", "brace without its partner"),
        ("{field}}", "s", "brace without its partner"),
        ("{field}/{}", "s", "lacks a name"),
        ("{a||field}", "s", "lacks a name"),
        ("{field}", "x:{field}", "Telegraf Source: 'x:{field}' names {field}"),
        ("{field}", "{", "Telegraf Source: '{' has a brace"),
        ("{field}", " ", "Telegraf Source: is empty"),
    ],
)
def test_templates_that_cannot_work_are_refused(tag, source, said):
    with pytest.raises(ConfigError) as caught:
        TelegrafDecoder(tag, source)
    assert said in str(caught.value)


def test_a_template_that_the_metric_cannot_fill():
    assert "needs site or area, which the metric has not" in reason("m f=1 1", tag="{site|area}/{field}")
    assert "needs host" in reason("m f=1 1", source="{host}")


@pytest.mark.parametrize("depth", [10, 200, 500, 900, 1000, 2000, 5000])
@pytest.mark.parametrize("form", ['{"metrics":[{"x":%s}]}', '{"fields":{"x":%s},"name":"m","timestamp":1}'])
def test_brackets_inside_each_other_do_not_raise(form, depth):
    found = decode(form % ("[" * depth + "]" * depth))
    assert found.table.num_rows + len(found.rejects) == 1


def mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    """A line made of pieces of real lines and of bytes that nobody expects."""
    raw = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(12)):
        at = rng.randrange(len(raw) + 1)
        piece = rng.choice([
            rng.randbytes(rng.randrange(4)), b"\\", b'"', b",", b"=", b" ", b"{", b"}", b"[" * 50, b"null", b"1e999",
            b"-", b"9" * 30, b"\x00", b"\xed\xa0\x80", b"\\ud800", b"\r", b"i", b"u", b"0x808C0000",
        ])  # fmt: skip
        raw[at : at + rng.randrange(3)] = piece
    return bytes(raw)


def test_nothing_makes_the_decoder_raise_and_every_line_is_accounted_for():
    rng = random.Random(20261124)
    seeds = [line for name in ("telegraf.influx", "telegraf.json", "batch.json")
             for line in (DATA / name).read_bytes().splitlines()] + [SAMPLE.strip(), b""]  # fmt: skip
    stored = refused = 0
    for number in range(8_000):
        raw = rng.randbytes(rng.randrange(60)) if number % 5 == 0 else mutated(rng, seeds)
        found = decode(raw)
        stored, refused = stored + found.table.num_rows, refused + len(found.rejects)
        if raw.strip():
            assert found.table.num_rows + len(found.rejects) >= 1, raw
        again = samples.decode(samples.encode(found.table))
        assert again.rejects == [], raw
        assert again.table.equals(found.table), raw
        samples.encode_rejects(found.rejects)
    assert stored > 800
    assert refused > 800
