"""The sample's codec. Expected lines are written by hand, and Python's own json is the second reader."""

import json
import math
import random
import struct
import tracemalloc

import msgspec
import pyarrow as pa
import pytest

from otmirror import samples

GOOD = {
    "tag": "acme/n/w1/P", "ts": 1517941757000000, "value": 12.5, "type": "double", "quality": "good",
    "source": "opcua:a",
}  # fmt: skip


def line(**changes):
    fields = {**GOOD, **changes}
    return json.dumps({k: v for k, v in fields.items() if v is not ...}).encode() + b"\n"


def table(**columns):
    base = {"tag": ["a"], "ts": [1], "type": ["double"], "quality": ["good"], "source": ["s"], "value": [1.0]}
    return samples.table_from_columns(**{**base, **columns})


def test_a_line_holds_exactly_what_was_said_and_no_more():
    batch = table(unit=["Pa"], ts_server=[2], ts_read=[3], seq=[7], status=[0x40900000], quality=["uncertain"])
    assert json.loads(samples.encode(batch)) == {
        "tag": "a", "ts": 1, "value": 1.0, "type": "double", "quality": "uncertain", "source": "s",
        "status": 0x40900000, "unit": "Pa", "ts_server": 2, "ts_read": 3, "seq": 7,
    }  # fmt: skip
    assert set(json.loads(samples.encode(table()))) == set(GOOD)


def test_only_what_was_backfilled_says_so():
    batch = table(tag=["a", "b"], ts=[1, 2], type=["double"] * 2, quality=["good"] * 2, source=["s"] * 2,
                  value=[1.0, 2.0], backfill=[False, True])  # fmt: skip
    first, second = map(json.loads, samples.encode(batch).splitlines())
    assert "backfill" not in first
    assert second["backfill"] is True
    assert samples.decode(samples.encode(batch)).table.equals(batch)


@pytest.mark.parametrize(("written", "read"), [(..., False), (False, False), (None, False), (True, True)])
def test_a_sample_that_says_nothing_of_it_was_not_backfilled(written, read):
    assert samples.decode(line(backfill=written)).table.column("backfill").to_pylist() == [read]


def test_a_bad_sample_is_written_with_a_null_value():
    batch = table(value=[None], quality=["bad"], status=[0x80310000])
    assert json.loads(samples.encode(batch))["value"] is None


@pytest.mark.parametrize("rows", [1, 1000])
def test_a_batch_read_back_is_the_same(rows):
    batch = samples.table_from_columns(
        tag=[f"t{i}" for i in range(rows)],
        ts=[10**15 + i for i in range(rows)],
        value=[i / 7 if i % 3 else None for i in range(rows)],
        text=[None if i % 3 else 'räk"n\u2028' for i in range(rows)],
        type=["double" if i % 3 else "string" for i in range(rows)],
        quality=["good"] * rows,
        source=["s"] * rows,
        seq=list(range(rows)),
    )
    decoded = samples.decode(samples.encode(batch))
    assert decoded.rejects == []
    assert decoded.table.equals(batch)


def test_every_row_is_written_as_its_line_alone_would_be():
    chance = random.Random(7)
    for rows in (1, 2, 40, 400):
        for kinds, odd in ((["double"], 0.0), (["double", "int16", "bool"], 0.1), (["double", "string"], 0.6)):
            columns = {
                "tag": [chance.choice(["a", "b/ä", 'c"']) for _ in range(rows)],
                "ts": [chance.choice([10**15, 10**15 + row]) for row in range(rows)],
                "value": [chance.choice([None, 0.0, 1.5, -0.0, 1e-7, -(2.0**30)]) for _ in range(rows)],
                "text": [chance.choice(["", "räk"]) if chance.random() < odd else None for _ in range(rows)],
                "type": [chance.choice(kinds) for _ in range(rows)],
                "quality": [chance.choice(["good", "bad"]) if odd else "good" for _ in range(rows)],
                "status": [2**31 if chance.random() < odd else 0 for _ in range(rows)],
                "unit": [chance.choice([None, "m³"]) if odd else "bar" for _ in range(rows)],
                "ts_server": [chance.choice([None, 5]) for _ in range(rows)],
                "ts_read": [7] * rows,
                "source": [chance.choice(["s", "t"]) for _ in range(rows)],
                "seq": chance.choice([None, list(range(rows))]),
                "backfill": [chance.random() < odd for _ in range(rows)],
            }
            batch = samples.table_from_columns(**columns)
            lines = [samples.Line(**row) for row in batch.to_pylist()]
            assert samples.encode(batch) == b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def test_every_double_is_written_as_the_number_it_is():
    chance = random.Random(11)
    patterns = [chance.getrandbits(64) for _ in range(20_000)] + [1, 2**63, 0x7FEFFFFFFFFFFFFF, 0x4340000000000000]
    numbers = [n for n in (struct.unpack("<d", struct.pack("<Q", one))[0] for one in patterns) if math.isfinite(n)]
    numbers += [chance.choice([1, -1]) * 10.0**power for power in range(-323, 309)] + [float(n) for n in range(-50, 50)]
    chance.shuffle(numbers)
    count = len(numbers)
    batch = samples.table_from_columns(
        tag=["t"] * count,
        ts=[1] * count,
        value=numbers,
        type=["double"] * count,
        quality=["good"] * count,
        source=["s"] * count,
    )
    read = [json.loads(line)["value"] for line in samples.encode(batch).splitlines()]
    assert [struct.pack("<d", value) for value in read] == [struct.pack("<d", value) for value in numbers]
    assert {type(value) for value in read} == {float}
    assert samples.decode(samples.encode(batch)).table.equals(batch)


def test_lines_beyond_those_that_are_written_together_are_written_too():
    rows = 120_001
    batch = samples.table_from_columns(
        tag=[f"t{row}" for row in range(rows)], ts=list(range(rows)), value=[1.5] * rows, type=["double"] * rows,
        quality=["good"] * rows, source=["s"] * rows, status=[0] * (rows - 1) + [5],
    )  # fmt: skip
    part = batch.slice(1, rows - 1)
    assert [json.loads(line)["ts"] for line in samples.encode(part).splitlines()] == list(range(1, rows))


def test_many_units_are_no_obstacle():
    rows = 5000
    batch = samples.table_from_columns(
        tag=["a"] * rows, ts=[1] * rows, value=[1.0] * rows, type=["double"] * rows, quality=["good"] * rows,
        source=["s"] * rows, unit=[f"u{row}" for row in range(rows)],
    )  # fmt: skip
    assert samples.decode(samples.encode(batch)).table.equals(batch)


def test_batches_concatenate():
    joined = samples.encode(table()) + samples.encode(table(tag=["b"]))
    assert samples.decode(joined).table.column("tag").to_pylist() == ["a", "b"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"\n{\n", "truncated"),
        (b"\xff\xfe\n", "malformed"),
        (line(tag=...), "missing required field `tag`"),
        (line(tag=""), "length >= 1"),
        (line(ts="now"), "Expected `int`"),
        (line(ts=1e300), "$.ts"),
        (line(value="12"), "$.value"),
        (line(quality="fine"), "$.quality"),
        (line(type="float8"), "$.type"),
        (line(status=-1), "$.status"),
        (line(status=2**32), "$.status"),
        (line(backfill="yes"), "$.backfill"),
        (line(value=1, quality="bad"), "a bad sample carries a value"),
        (b'{"tag":"a","ts":1,"value":NaN,"type":"double","quality":"good","source":"s"}\n', "malformed"),
        (
            b'{"tag":"a","ts":1,"value":-Infinity,"type":"double","quality":"good","source":"s"}\n',
            "malformed",
        ),
        (b'{"tag":"a","ts":1,"value":1e999,"type":"double","quality":"good","source":"s"}\n', "out of range"),
        (b"[1,2]\n", "Expected `object`"),
    ],
)
def test_a_bad_line_never_takes_its_neighbours_along(bad, reason):
    decoded = samples.decode(line(tag="before") + bad + line(tag="after"))
    assert decoded.table.column("tag").to_pylist() == ["before", "after"]
    assert len(decoded.rejects) == 1
    assert reason in decoded.rejects[0].reason
    assert decoded.rejects[0].number == 2 + bad.startswith(b"\n")


def test_rejects_survive_their_own_journey():
    rejects = samples.decode(b"\xff\xfe\n" + line(ts="x")).rejects
    back = samples.decode_rejects(samples.encode_rejects(rejects))
    assert [(r.reason, r.line, r.number) for r in back] == [(r.reason, r.line, r.number) for r in rejects]
    assert back[0].line == "\\xff\\xfe"


def test_unknown_fields_are_ignored_and_blank_lines_skipped():
    decoded = samples.decode(b"\n" + line(colour="red") + b"   \n")
    assert decoded.table.num_rows == 1
    assert decoded.rejects == []


def test_nothing_is_no_error():
    assert samples.decode(b"").table.num_rows == 0


@pytest.mark.parametrize(
    ("value", "split"),
    [
        (None, (None, None)),
        (True, (1.0, None)),
        (2**53, (float(2**53), None)),
        (2**53 + 1, (None, "9007199254740993")),
        (-(2**63), (None, "-9223372036854775808")),
        (math.nan, (None, "NaN")),
        (math.inf, (None, "Infinity")),
        (-math.inf, (None, "-Infinity")),
        ("text", (None, "text")),
    ],
)
def test_a_value_is_split_without_loss(value, split):
    assert samples.split_value(value) == split


def test_a_large_integer_from_elsewhere_keeps_its_digits():
    decoded = samples.decode(line(value=...)[:-2] + b',"value":9007199254740993}\n')
    assert decoded.table.column("value").to_pylist() == [None]
    assert decoded.table.column("text").to_pylist() == ["9007199254740993"]


def test_a_number_that_json_lacks_is_refused_when_writing():
    with pytest.raises(ValueError, match="NaN or infinite"):
        samples.encode(table(value=[math.nan]))


def test_a_missing_column_is_named():
    with pytest.raises(KeyError, match="quality"):
        samples.table_from_columns(tag=["a"], ts=[1], type=["double"], source=["s"])


def test_the_id_of_a_batch_is_the_digest_of_its_content():
    # Computed with coreutils: printf 'otmirror' | b2sum -l 128
    assert samples.batch_id(b"otmirror") == "ce0a410770d363d8208cf3ce8df8d092"
    assert samples.batch_id(b"otmirror ") != samples.batch_id(b"otmirror")


def test_the_attributes_sum_up_the_batch():
    batch = table(
        tag=["a", "b"],
        ts=[5, 3],
        value=[1.0, None],
        type=["double"] * 2,
        quality=["good", "bad"],
        source=["s"] * 2,
    )
    attributes = samples.batch_attributes(batch, samples.encode(batch))
    assert len(attributes) <= 8
    assert all(isinstance(value, str) for value in attributes.values())
    assert attributes["otmirror.samples"] == "2"
    assert attributes["otmirror.bad"] == "1"
    assert (attributes["otmirror.ts.first"], attributes["otmirror.ts.last"]) == ("3", "5")


def test_every_declared_type_is_accepted_by_the_reader():
    for name in samples.TYPES:
        assert samples.decode(line(type=name)).table.num_rows == 1
    assert isinstance(samples.SCHEMA, pa.Schema)
    assert msgspec.json.decode(line())["type"] in samples.TYPES


def test_encoding_holds_on_to_nothing() -> None:
    """Batches of a year must not add up: an iterator given to msgspec 0.22 was never let go of."""
    rows = 5_000
    table = samples.table_from_columns(
        tag=[f"acme/north/{n}" for n in range(rows)], ts=list(range(10**15, 10**15 + rows)),
        value=[n / 7 for n in range(rows)], type=["double"] * rows, quality=["good"] * rows,
        ts_read=list(range(2 * 10**15, 2 * 10**15 + rows)), source=["plc"] * rows, seq=list(range(rows)),
    )  # fmt: skip
    rejects = [samples.Reject(f"reason {n}", "x" * 50, n) for n in range(rows)]
    samples.encode(table)
    tracemalloc.start()
    try:
        samples.encode(table)
        samples.encode_rejects(iter(rejects))
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            samples.encode(table)
            samples.encode_rejects(iter(rejects))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200_000, "bytes, of 50,000 lines of more than 100 each"
