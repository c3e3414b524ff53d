"""The published schemas, against what the encoder writes and what the decoder takes."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import fastavro
import jsonschema
import pytest
from fastavro.validation import ValidationError

from otmirror import samples
from otmirror.plant.synthetic import GasLiftWell
from otmirror.workspace import PROJECT
from peers import node_modules

JSON_SCHEMA, AVRO = PROJECT / "schema" / "sample.schema.json", PROJECT / "schema" / "sample.avsc"
FROZEN = Path(__file__).parent / "data" / "sample.v1.avsc"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(JSON_SCHEMA.read_text("utf-8")))
T0 = 1517941757000000

# Every type with a value at its edges, as split_value writes them: (type, value, text).
VALUES = [
    ("bool", 0.0, None), ("bool", 1.0, None),
    ("int8", -128.0, None), ("int16", 32767.0, None), ("int32", -(2.0**31), None),
    ("int64", float(2**53), None), ("int64", None, str(2**53 + 1)), ("int64", None, str(-(2**63))),
    ("uint8", 255.0, None), ("uint16", 65535.0, None), ("uint32", float(2**32 - 1), None),
    ("uint64", None, str(2**64 - 1)),
    ("float", 3.4028234663852886e38, None), ("float", 1e-45, None),
    ("double", 1.7976931348623157e308, None), ("double", 5e-324, None), ("double", -0.0, None),
    ("double", 0.1, None), ("double", None, "NaN"), ("double", None, "-Infinity"),
    ("string", None, ""), ("string", None, 'räk"n\u2028\t\\ \U0001f6e2 漢'), ("string", None, "x" * 10_000),
    ("datetime", None, "2018-02-06T18:29:17.000000Z"), ("bytes", None, "AAEC/w=="),
    ("enum", 3.0, "Running"), ("json", None, '{"a":[1,2,{"b":null}]}'),
]  # fmt: skip


def adversarial() -> bytes:
    """What the encoder writes of every type, in every quality, with every optional field there and absent."""
    rows: list[dict[str, Any]] = []
    for full in (False, True):
        for quality, status in (("good", 0), ("uncertain", 0x40900000), ("bad", 0x808C0000), ("bad", 0xFFFFFFFF)):
            for kind, value, text in VALUES:
                bad = quality == "bad"
                row = {"tag": f"acme/ñ/{kind} \U0001f6e2", "ts": T0 + len(rows), "type": kind, "quality": quality}
                row |= {"value": None if bad else value, "text": None if bad else text, "source": "opcua:ö 1"}
                row |= {"status": status, "unit": None, "ts_server": None, "ts_read": None, "seq": None}
                row |= {"backfill": full}
                if full:
                    row |= {"unit": "°C", "ts_server": -1, "ts_read": 2**62, "seq": 2**63 - 1}
                rows.append(row)
    return samples.encode(samples.table_from_columns(**{name: [row[name] for row in rows] for name in rows[0]}))


def ajv(lines: bytes) -> dict[str, Any]:
    """Validate with ajv, which knows nothing but the JSON Schema."""
    folder = node_modules(ajv="8.17.1")
    script = Path(__file__).with_name("validate.js")
    done = subprocess.run(
        ["node", str(script), str(folder), str(JSON_SCHEMA)], input=lines, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def avro(path: Path) -> Any:
    return fastavro.parse_schema(json.loads(path.read_text("utf-8")))


def carried(writer: Any, reader: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write rows with one schema and read them with another, by Avro's rules of schema resolution."""
    file = io.BytesIO()
    for row in rows:
        fastavro.schemaless_writer(file, writer, row, strict_allow_default=True)
    file.seek(0)
    return [fastavro.schemaless_reader(file, writer, reader) for _ in rows]


def test_what_the_encoder_writes_satisfies_the_json_schema():
    lines = adversarial().splitlines()
    assert len(lines) == 8 * len(VALUES)
    assert {kind for kind, _, _ in VALUES} == set(samples.TYPES)
    for line in lines:
        VALIDATOR.validate(json.loads(line))


def test_a_validator_that_is_no_python_agrees():
    assert ajv(adversarial()) == {"read": 8 * len(VALUES), "broken": []}


def test_a_day_of_messages_satisfies_the_json_schema():
    well = GasLiftWell(seed=3, number=1)
    rows = [(row, value) for row in range(0, 86_400, 10) for value in enumerate(well.values(row))]
    gone = [math.isnan(value) for _, (_, value) in rows]
    assert 0 < sum(gone) < 1000
    content = samples.encode(
        samples.table_from_columns(
            tag=[f"acme/north/well1/{well.sensors[index].name}" for _, (index, _) in rows],
            ts=[T0 + row * 1_000_000 for row, _ in rows],
            value=[None if bad else value for bad, (_, (_, value)) in zip(gone, rows, strict=True)],
            type=["double"] * len(rows),
            quality=["bad" if bad else "good" for bad in gone],
            status=[0x808C0000 if bad else 0 for bad in gone],
            source=["opcua:plant"] * len(rows),
            seq=list(range(T0, T0 + len(rows))),
        )
    )
    assert ajv(content) == {"read": 8640 * 8, "broken": []}


GOOD = {"tag": "a", "ts": T0, "value": 1.5, "type": "double", "quality": "good", "source": "s"}
REFUSED: list[dict[str, Any]] = [
    {k: v for k, v in GOOD.items() if k != left_out} for left_out in GOOD
] + [
    {**GOOD, **change}
    for change in (
        {"tag": ""}, {"tag": 1}, {"source": ""}, {"ts": "2018-02-06"}, {"ts": 1.5}, {"ts": 2**63}, {"ts": None},
        {"value": "1"}, {"value": True}, {"value": [1]}, {"type": "float8"}, {"type": None}, {"quality": "fine"},
        {"quality": "bad"}, {"status": -1}, {"status": 2**32}, {"status": None}, {"status": "0"}, {"unit": 1},
        {"text": 1}, {"ts_read": "now"}, {"ts_server": 2**63}, {"seq": -1}, {"seq": 1.5},
        {"backfill": 1}, {"backfill": "true"},
    )
]  # fmt: skip
TAKEN: list[dict[str, Any]] = [
    GOOD,
    {**GOOD, "colour": "red", "more": {"a": 1}},
    {**GOOD, "text": None, "unit": None, "ts_server": None, "ts_read": None, "seq": None, "backfill": None},
    {**GOOD, "backfill": True},
    {**GOOD, "value": 2**60},
    {**GOOD, "value": None, "quality": "bad", "status": 0x80000000},
]


@pytest.mark.parametrize("document", REFUSED, ids=json.dumps)
def test_what_the_decoder_refuses_the_schema_refuses(document):
    assert len(samples.decode(json.dumps(document).encode()).rejects) == 1
    assert not VALIDATOR.is_valid(document)


@pytest.mark.parametrize("document", TAKEN, ids=json.dumps)
def test_what_the_schema_takes_the_decoder_takes(document):
    VALIDATOR.validate(document)
    assert samples.decode(json.dumps(document).encode()).rejects == []


def test_ajv_refuses_the_same():
    content = "".join(json.dumps(document) + "\n" for document in REFUSED + TAKEN).encode()
    assert [number for number, _ in ajv(content)["broken"]] == list(range(1, len(REFUSED) + 1))


def test_every_sample_survives_avro():
    rows = [json.loads(line) for line in adversarial().splitlines()]
    schema = avro(AVRO)
    absent = {"text": None, "status": 0, "unit": None, "ts_server": None, "ts_read": None, "seq": None}
    absent |= {"backfill": None}
    assert carried(schema, schema, rows) == [absent | row for row in rows]


def test_both_schemas_are_the_table_of_the_document():
    document = (PROJECT / "docs" / "sample.md").read_text("utf-8")
    table = re.findall(r"^\| `(\w+)` \| (\w+)", document, re.MULTILINE)[:13]
    names = [name for name, _ in table]
    json_schema, avro_schema = json.loads(JSON_SCHEMA.read_text("utf-8")), json.loads(AVRO.read_text("utf-8"))
    assert list(json_schema["properties"]) == names
    assert [field["name"] for field in avro_schema["fields"]] == names
    assert all(field["doc"] for field in avro_schema["fields"])
    assert (avro_schema["namespace"], avro_schema["name"]) == ("io.otmirror.v1", "Sample")
    assert json_schema["properties"]["type"]["enum"] == list(samples.TYPES)


def test_the_record_readers_of_the_flows_know_the_same_fields():
    fields = {field["name"] for field in json.loads(AVRO.read_text("utf-8"))["fields"]}
    texts = []
    for flow in (PROJECT / "flows").glob("*.json"):
        services = json.loads(flow.read_text("utf-8"))["flowContents"].get("controllerServices", [])
        texts += [s["properties"]["schema-text"] for s in services if s["type"].endswith(".JsonTreeReader")]
    assert texts
    for text in texts:
        assert {field["name"] for field in json.loads(text)["fields"]} == fields


def test_version_1_of_today_and_of_its_first_day_read_each_other():
    """The frozen copy is never changed: a field that is renamed, retyped or added without a default breaks this."""
    first, today = avro(FROZEN), avro(AVRO)
    rows = [json.loads(line) for line in adversarial().splitlines()]
    known = {field["name"] for field in json.loads(FROZEN.read_text("utf-8"))["fields"]}
    of_then = [{name: value for name, value in row.items() if name in known} for row in rows]
    for writer, reader, sent_rows in ((first, today, of_then), (today, first, rows)):
        for sent, got in zip(of_then, carried(writer, reader, sent_rows), strict=True):
            assert {name: got[name] for name in sent} == sent
    assert {got["backfill"] for got in carried(first, today, of_then)} == {None}


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.append({"name": "new", "type": "string"}),
        lambda fields: fields[0].update(name="tag_name"),
        lambda fields: fields[1].update(type="string"),
        lambda fields: fields[8].update(type="string", default=""),
    ],
    ids=["a field without a default", "a renamed field", "another type", "no null any more"],
)
def test_a_change_that_breaks_old_readers_would_be_seen(change):
    schema = json.loads(AVRO.read_text("utf-8"))
    change(schema["fields"])
    changed, rows = fastavro.parse_schema(schema), [json.loads(line) for line in adversarial().splitlines()]
    known = {field["name"] for field in json.loads(FROZEN.read_text("utf-8"))["fields"]}
    rows = [{name: value for name, value in row.items() if name in known} for row in rows]
    with pytest.raises((fastavro.read.SchemaResolutionError, ValueError, TypeError, KeyError)):
        carried(avro(FROZEN), changed, rows)


def test_avro_refuses_what_is_no_sample():
    schema = avro(AVRO)
    for change in ({"ts": "now"}, {"value": "1"}, {"tag": None}, {"status": None}, {"seq": 1.5}):
        with pytest.raises(ValidationError):
            fastavro.validate({**GOOD, "status": 0, **change}, schema)
