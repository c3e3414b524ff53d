"""Samples, Telegraf's JSON, line protocol and rubbish in one batch, through both sinks into real stores."""

from __future__ import annotations

import json

import pytest
from batches import batch, line
from test_to_victoriametrics import rejects, stored
from test_to_victoriametrics import sink as hot
from test_write_iceberg import moment, rows
from test_write_iceberg import sink as cold

import harness
from otmirror.errors import MistakesError
from otmirror.iceberg.config import Config as IcebergConfig
from otmirror.victoriametrics.config import Config as VictoriaConfig

T0 = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
BAD_SENSOR = 0x808C0000
TAG, SOURCE = "acme/{plc|measurement}/{field}", "telegraf:{host}"

MIXED = batch(
    line("acme/own", T0, 1.5, unit="Pa"),
    '{"fields":{"level":2.5,"Quality":"OK (0x0)"},"name":"opcua","tags":{"host":"edge"},"timestamp":1700000001}',
    "rubbish",
    f'modbus,host=edge,plc=p\\ 1 flow=3.5,run=t,total=9007199254740993u,state="on" {T0 + 2_000_000}000',
    '{"tag":"acme/broken"}',
    f'opcua,host=edge level=9,Quality="StatusBadSensorFailure (0x808C0000)" {T0 + 3_000_000}123',
    '{"metrics":[{"fields":{"a":1},"name":"m","tags":{"host":"edge"},"timestamp":1700000004000},'
    '{"fields":{"b":2},"name":"m","tags":{},"timestamp":1700000004000}]}',
    line("acme/own", T0 + 5_000_000, 2.5, unit="Pa"),
)
REFUSED = [(3, "no line protocol"), (5, "missing required field `ts`"), (7, "needs host, which the metric has not")]
EXPECTED = [
    ("acme/m/a", T0 + 4_000_000, 1.0, None, "double", "good", 0, "telegraf:edge"),
    ("acme/opcua/level", T0 + 1_000_000, 2.5, None, "double", "good", 0, "telegraf:edge"),
    ("acme/opcua/level", T0 + 3_000_000, None, None, "double", "bad", BAD_SENSOR, "telegraf:edge"),
    ("acme/own", T0, 1.5, None, "double", "good", 0, "test"),
    ("acme/own", T0 + 5_000_000, 2.5, None, "double", "good", 0, "test"),
    ("acme/p 1/flow", T0 + 2_000_000, 3.5, None, "double", "good", 0, "telegraf:edge"),
    ("acme/p 1/run", T0 + 2_000_000, 1.0, None, "bool", "good", 0, "telegraf:edge"),
    ("acme/p 1/state", T0 + 2_000_000, None, "on", "string", "good", 0, "telegraf:edge"),
    ("acme/p 1/total", T0 + 2_000_000, None, "9007199254740993", "uint64", "good", 0, "telegraf:edge"),
]


def test_a_mixed_batch_into_victoriametrics(history):
    found = rejects(hot(history, "mixed", telegraf_tag=TAG, telegraf_source=SOURCE).write(MIXED, {}))
    assert [(reject["number"], said) for reject, (_, said) in zip(found, REFUSED, strict=True)] == REFUSED
    assert all(said in reject["reason"] for reject, (_, said) in zip(found, REFUSED, strict=True))
    series = stored(history, "mixed")
    values = {key[1]: at for key, at in series.items() if key[0] == "mixed_value"}
    ms = T0 // 1000
    assert values == {
        "acme/own": {ms: 1.5, ms + 5000: 2.5},
        "acme/opcua/level": {ms + 1000: 2.5},
        "acme/p 1/flow": {ms + 2000: 3.5},
        "acme/p 1/run": {ms + 2000: 1.0},
        "acme/p 1/total": {ms + 2000: 2.0**53},
        "acme/m/a": {ms + 4000: 1.0},
    }
    level = series["mixed_quality", "acme/opcua/level", "", "telegraf:edge"]
    assert level == {ms + 1000: 2, ms + 3000: 0}


def test_a_mixed_batch_into_iceberg(tmp_path):
    output = cold(tmp_path, telegraf_tag=TAG, telegraf_source=SOURCE).write(MIXED, {})
    assert (output.relationship, output.attributes["otmirror.rejects"]) == ("success", "3")
    keys = ("tag", "ts", "value", "text", "type", "quality", "status", "source")
    found = sorted(rows(tmp_path), key=lambda row: (row["tag"], row["ts"]))
    assert [tuple(row[key] for key in keys) for row in found] == [(e[0], moment(e[1]), *e[2:]) for e in EXPECTED]
    assert {(row["seq"], row["ts_read"]) for row in found} == {(None, None)}
    refused = sorted(rows(tmp_path, "ot.rejects"), key=lambda row: row["number"])
    assert [row["number"] for row in refused] == [number for number, _ in REFUSED]
    assert all(said in row["reason"] for row, (_, said) in zip(refused, REFUSED, strict=True))


def test_a_batch_of_telegraf_that_comes_again_is_stored_once(tmp_path):
    writer = cold(tmp_path, telegraf_tag=TAG, telegraf_source=SOURCE)
    for _ in range(3):
        assert writer.write(MIXED, {}).relationship == "success"
    assert len(rows(tmp_path)) == len(EXPECTED)


@pytest.mark.parametrize("make", [
    lambda **told: VictoriaConfig("http://127.0.0.1:1", **told),
    lambda **told: IcebergConfig(warehouse="/tmp/w", **told),
])  # fmt: skip
def test_both_templates_are_checked_at_once(make):
    with pytest.raises(MistakesError) as caught:
        make(telegraf_tag="{", telegraf_source="{field}")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["Telegraf Tag", "Telegraf Source"]


@pytest.mark.parametrize(
    ("name", "rest"),
    [("ToVictoriaMetrics", {"victoriametrics_url": "http://127.0.0.1:1"}), ("WriteIceberg", {"warehouse": "/tmp/w"})],
)
def test_the_canvas_lists_a_template_that_cannot_work(name, rest):
    assert harness.Runner(name, **rest).validate() == []
    (said,) = harness.Runner(name, **rest, telegraf_tag="acme/{name}").validate()
    assert "Telegraf Tag: 'acme/{name}' has no {field}" in said


def test_the_properties_reach_the_sink(tmp_path):
    runner = harness.Runner("WriteIceberg", warehouse=str(tmp_path), telegraf_tag="x/{field}", telegraf_source="me")
    result = runner.transform(json.dumps({"fields": {"a": 1}, "name": "m", "timestamp": 1700000000}).encode())
    assert result.getRelationship() == "success"
    assert [(row["tag"], row["source"]) for row in rows(tmp_path)] == [("x/a", "me")]
    runner.stop()
