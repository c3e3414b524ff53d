"""WriteIceberg with a real catalog (SQLite): what is stored, read back by other readers."""

from __future__ import annotations

import glob
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batches import batch, line, well
from lakehouse import before_backfill
from pyiceberg.catalog import load_catalog
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, LongType, NestedField, StringType, TimestamptzType

from otmirror import samples
from otmirror.clock import SystemClock
from otmirror.errors import MistakesError
from otmirror.iceberg.catalog import database, open_catalog
from otmirror.iceberg.config import Config
from otmirror.iceberg.schema import SAMPLES, sample_rows
from otmirror.iceberg.sink import IcebergSink
from otmirror.iceberg.writer import TableWriter

T0 = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
DAY = 86_400_000_000


def moment(us):
    return datetime.fromtimestamp(us // 1_000_000, timezone.utc).replace(microsecond=us % 1_000_000)


def sink(folder, clock=None, **settings):
    return IcebergSink(Config(**{"warehouse": str(folder), **settings}), clock or SystemClock())


def open_table(folder, name="ot.samples"):
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    return catalog.load_table(name)


def rows(folder, name="ot.samples"):
    return open_table(folder, name).scan().to_arrow().to_pylist()


def test_a_recorded_well_is_stored_exactly_once(tmp_path):
    cells = well("WELL-00014_20170919210016.csv", 1200)
    lines = [
        line(tag, at, value, seq=n, unit="Pa" if tag[0] == "P" else None,
             **({} if value is not None else {"quality": "bad", "status": 0x808C0000}))
        for n, (tag, at, value) in enumerate(cells)
    ]  # fmt: skip
    writer = sink(tmp_path)
    for first in range(0, len(lines), 4000):
        assert writer.write(batch(*lines[first : first + 4000]), {}).relationship == "success"
    expected = Counter((tag, moment(at), value, "bad" if value is None else "good") for tag, at, value in cells)
    assert Counter((r["tag"], r["ts"], r["value"], r["quality"]) for r in rows(tmp_path)) == expected
    # An independent reader: the data files alone, without Iceberg.
    files = glob.glob(f"{tmp_path}/ot/samples/data/*/*.parquet")
    raw = pa.concat_tables([pq.ParquetFile(file).read() for file in files]).to_pylist()
    assert Counter((r["tag"], r["ts"], r["value"], r["quality"]) for r in raw) == expected
    for file in files:
        table = pq.ParquetFile(file).read()
        order = list(zip(table["tag"].to_pylist(), table["ts"].to_pylist(), strict=True))
        assert order == sorted(order)
        assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"


def test_every_column_and_the_tables_design(tmp_path):
    text = line(
        "a/b", T0 + 123456, None, type="uint64", text="18446744073709551615", quality="uncertain", status=0x40900000,
        unit="\u00b0C", ts_server=T0 + 1, ts_read=T0 + 2, source="opcua:plc-7", seq=9, backfill=True, extra="ignored",
    )  # fmt: skip
    output = sink(tmp_path).write(batch(text, line("a/c", T0, 1.5)), {})
    assert output.relationship == "success"
    assert output.contents is None
    one, other = sorted(rows(tmp_path), key=lambda row: row["tag"])
    assert one == {
        "tag": "a/b", "ts": moment(T0 + 123456), "value": None, "text": "18446744073709551615", "type": "uint64",
        "quality": "uncertain", "status": 0x40900000, "unit": "\u00b0C", "ts_server": moment(T0 + 1),
        "ts_read": moment(T0 + 2), "source": "opcua:plc-7", "seq": 9, "backfill": True,
        "batch": output.attributes["otmirror.batch"],
    }  # fmt: skip
    assert (other["value"], other["text"], other["status"], other["seq"]) == (1.5, None, 0, None)
    assert other["backfill"] is False
    table = open_table(tmp_path)
    assert str(table.current_snapshot().snapshot_id) == output.attributes["otmirror.iceberg.snapshot"]
    assert output.attributes["otmirror.iceberg.rows"] == "2"
    assert output.attributes["otmirror.iceberg.table"] == "ot.samples"
    assert [(f.name, str(f.transform)) for f in table.spec().fields] == [("ts_day", "day")]
    assert [table.schema().find_column_name(f.source_id) for f in table.sort_order().fields] == ["tag", "ts"]
    assert table.format_version == 2
    assert table.current_snapshot().summary["otmirror.batch"] == output.attributes["otmirror.batch"]


def test_a_file_a_day(tmp_path):
    stamps = [T0 + n * DAY for n in (-20000, -1, 0, 0, 1, 365)]
    sink(tmp_path).write(batch(*(line("t", at, 1) for at in stamps)), {})
    folders = {path.split("/")[-2]: pq.ParquetFile(path).metadata.num_rows
               for path in glob.glob(f"{tmp_path}/ot/samples/data/*/*.parquet")}  # fmt: skip
    expected = Counter(f"ts_day={moment(at):%Y-%m-%d}" for at in stamps)
    assert folders == dict(expected)
    found = open_table(tmp_path).scan(row_filter=f"ts >= '{moment(T0 + DAY).isoformat()}'").to_arrow()
    assert found.num_rows == 2


def test_the_same_batch_is_stored_once(tmp_path):
    content = batch(line("t", T0, 1), "broken", line("u", T0, 2))
    first = sink(tmp_path)
    outputs = [first.write(content, {}), first.write(content, {}), sink(tmp_path).write(content, {})]
    assert [o.attributes.get("otmirror.iceberg.duplicate") for o in outputs] == [None, "true", "true"]
    assert len({(o.attributes["otmirror.batch"], o.attributes["otmirror.iceberg.snapshot"]) for o in outputs}) == 1
    assert {o.relationship for o in outputs} == {"success"}
    assert len(rows(tmp_path)) == 2
    assert len(rows(tmp_path, "ot.rejects")) == 1


def test_lines_that_cannot_be_stored_are_kept_with_their_reason(tmp_path):
    odd = line("far", 2**62, 1)
    odd_server = line("far", T0, 1, ts_server=-(2**61))
    wrong = ["no json", '{"tag":"x"}', '{"tag":"x","ts":1,"value":NaN}', line("lie", T0, 4, quality="bad")]
    content = batch(line("t", T0, 1), *wrong, odd, odd_server, line("u", T0, 2)) + b"\xff\xfe\n"
    output = sink(tmp_path).write(content, {})
    assert output.relationship == "success"
    assert output.attributes["otmirror.rejects"] == "7"
    assert output.attributes["otmirror.iceberg.table"] == "ot.samples"
    assert {row["tag"] for row in rows(tmp_path)} == {"t", "u"}
    kept = rows(tmp_path, "ot.rejects")
    assert [row["line"] for row in kept][:4] == wrong
    assert [row["number"] for row in kept][:5] == [2, 3, 4, 5, 9]
    assert {row["line"] for row in kept[5:]} != set()
    assert [json.loads(row["line"])["tag"] for row in kept[5:]] == ["far", "far"]
    assert "years 1 to 9999" in kept[5]["reason"]
    assert "\\xff\\xfe" in kept[4]["line"]
    assert {(row["batch"], row["origin"]) for row in kept} == {(output.attributes["otmirror.batch"], "iceberg")}


def test_rejects_of_victoriametrics_go_to_the_rejects_table(tmp_path):
    content = b'{"reason":"too old","line":"{\\"tag\\":\\"t\\"}","number":7}\n{"what":1}\n'
    attributes = {"otmirror.content": "rejects", "otmirror.rejected.by": "victoriametrics", "otmirror.error": "x"}
    output = sink(tmp_path).write(content, attributes)
    assert output.relationship == "success"
    assert output.attributes["otmirror.iceberg.table"] == "ot.rejects"
    assert output.attributes["otmirror.rejects"] == "2"
    assert output.attributes["otmirror.error"] == ""
    kept = rows(tmp_path, "ot.rejects")
    assert [(r["reason"], r["line"], r["number"], r["origin"]) for r in kept][:1] == [
        ("too old", '{"tag":"t"}', 7, "victoriametrics")
    ]
    assert kept[1]["line"] == '{"what":1}'
    sink(tmp_path).write(content, attributes)
    assert len(rows(tmp_path, "ot.rejects")) == 2


def test_empty_batches_make_no_commit(tmp_path):
    for content in (b"", b"\n \n"):
        output = sink(tmp_path).write(content, {})
        assert (output.relationship, "otmirror.iceberg.snapshot" in output.attributes) == ("success", False)
    assert not (tmp_path / "catalog.db").exists()


def make_table(folder, *fields):
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("ot")
    return catalog.create_table("ot.samples", Schema(*fields))


def test_an_older_table_gets_the_missing_columns(tmp_path):
    table = make_table(
        tmp_path,
        NestedField(1, "value", DoubleType()),
        NestedField(2, "tag", StringType(), required=True),
        NestedField(3, "ts", TimestamptzType(), required=True),
        NestedField(4, "remark", StringType()),
    )
    old = pa.table(
        {"value": [0.5], "tag": ["old"], "ts": pa.array([T0], pa.timestamp("us", "UTC")), "remark": ["mine"]},
        schema=table.schema().as_arrow(),
    )
    table.append(old)
    assert sink(tmp_path).write(batch(line("new", T0, 1.5, unit="Pa")), {}).relationship == "success"
    found = {row["tag"]: row for row in rows(tmp_path)}
    assert (found["old"]["value"], found["old"]["remark"], found["old"]["unit"]) == (0.5, "mine", None)
    assert (found["new"]["value"], found["new"]["remark"], found["new"]["unit"]) == (1.5, None, "Pa")


def test_a_table_from_before_backfill_takes_it_also_from_many_writers_at_once(tmp_path):
    before_backfill(tmp_path)
    writers = [sink(tmp_path) for _ in range(4)]
    contents = [batch(line(f"new{n}", T0 + n, n, backfill=bool(n % 2) or None)) for n in range(len(writers))]
    start = threading.Barrier(len(writers))

    def write(n):
        start.wait(10)
        for _ in range(10):
            output = writers[n].write(contents[n], {})
            if output.relationship != "retry":
                return output.relationship
        return output.attributes["otmirror.error"]

    with ThreadPoolExecutor(len(writers)) as pool:
        assert list(pool.map(write, range(len(writers)))) == ["success"] * len(writers)
    found = {row["tag"]: row["backfill"] for row in rows(tmp_path)}
    assert found == {"old": None, "new0": False, "new1": True, "new2": False, "new3": True}
    assert [field.name for field in open_table(tmp_path).schema().fields].count("backfill") == 1


def test_a_writer_that_opened_the_table_before_another_added_the_column(tmp_path):
    before_backfill(tmp_path)
    early = TableWriter(open_catalog(Config(warehouse=str(tmp_path))), "ot.samples", SAMPLES)
    assert sink(tmp_path).write(batch(line("t", T0, 1, backfill=True)), {}).relationship == "success"
    decoded, _ = sample_rows(samples.decode(batch(line("u", T0, 2, backfill=True))).table, "c" * 32)
    assert not early.append(decoded, "c" * 32).duplicate
    assert {row["tag"]: row["backfill"] for row in rows(tmp_path)} == {"old": None, "t": True, "u": True}


def test_a_table_of_another_kind_is_a_failure_that_names_the_columns(tmp_path):
    make_table(
        tmp_path,
        NestedField(1, "tag", StringType(), required=True),
        NestedField(2, "ts", LongType()),
        NestedField(3, "value", StringType()),
        NestedField(4, "unit", StringType(), required=True),
        NestedField(5, "site", StringType(), required=True),
    )
    writer = sink(tmp_path)
    output = writer.write(batch(line("t", T0, 1)), {})
    assert (output.relationship, output.contents) == ("failure", None)
    message = output.attributes["otmirror.error"]
    for part in (
        "ot.samples",
        "column ts is long, needed is timestamptz",
        "column value is string, needed is double",
        "column unit may be empty in samples, but the table requires it",
        "column site (string) is required, but samples have none",
    ):
        assert part in message
    assert [n.level for n in writer.notices()] == ["error"]


@pytest.mark.parametrize("settings", [{}, {"catalog_type": "sql"}])
def test_a_warehouse_that_cannot_be_written_is_tried_again_and_recovers(tmp_path, settings):
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "file" / "warehouse"
    if settings:
        settings = {**settings, "uri": f"sqlite:///{tmp_path}/sql.db"}
    writer = sink(folder, **settings)
    content = batch(line("t", T0, 1))
    for _ in range(2):
        output = writer.write(content, {})
        assert (output.relationship, output.contents) == ("retry", None)
        assert f"Warehouse {folder} is not writable by user " in output.attributes["otmirror.error"]
        assert "Not a directory" in output.attributes["otmirror.error"]
    assert [n.level for n in writer.notices()] == ["warn"]
    (tmp_path / "file").unlink()
    assert writer.write(content, {}).relationship == "success"
    assert [n.level for n in writer.notices()] == ["info"]


def test_storage_that_breaks_while_running_is_tried_again_and_recovers(tmp_path):
    writer = sink(tmp_path / "w")
    assert writer.write(batch(line("t", T0, 1)), {}).relationship == "success"
    data = tmp_path / "w" / "ot" / "samples" / "data"
    data.rename(tmp_path / "aside")
    data.write_text("in the way")
    output = writer.write(batch(line("t", T0, 2)), {})
    assert output.relationship == "retry"
    assert "is not writable by user" in output.attributes["otmirror.error"]
    data.unlink()
    (tmp_path / "aside").rename(data)
    assert writer.write(batch(line("t", T0, 2)), {}).relationship == "success"
    assert sorted(row["value"] for row in rows(tmp_path / "w")) == [1, 2]


def test_a_warehouse_taken_away_while_running_is_made_again(tmp_path):
    writer = sink(tmp_path / "w")
    assert writer.write(batch(line("t", T0, 1)), {}).relationship == "success"
    (tmp_path / "w").rename(tmp_path / "gone")
    outputs = [writer.write(batch(line("t", T0, 2)), {}) for _ in range(2)]
    assert outputs[-1].relationship == "success"
    assert [row["value"] for row in rows(tmp_path / "w")] == [2]
    assert [row["value"] for row in rows_moved(tmp_path)] == [1]


def rows_moved(folder):
    files = glob.glob(f"{folder}/gone/ot/samples/data/*/*.parquet")
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def test_a_table_dropped_and_made_again_by_somebody_else(tmp_path):
    writer = sink(tmp_path)
    writer.write(batch(line("t", T0, 1)), {})
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{tmp_path}/catalog.db")
    catalog.drop_table("ot.samples")
    first = writer.write(batch(line("t", T0, 2)), {})
    assert first.relationship in ("retry", "success")
    if first.relationship == "retry":
        assert writer.write(batch(line("t", T0, 2)), {}).relationship == "success"
    sink(tmp_path).write(batch(line("t", T0, 3)), {})
    assert sorted(row["value"] for row in rows(tmp_path)) == [2, 3]
    catalog.drop_table("ot.samples")
    assert sink(tmp_path).write(batch(line("t", T0, 4)), {}).relationship == "success"
    outputs = [writer.write(batch(line("t", T0, 5)), {}).relationship for _ in range(2)]
    assert outputs in (["retry", "success"], ["success", "success"])
    assert sorted(row["value"] for row in rows(tmp_path)) == [4, 5]


class Time(SystemClock):
    def __init__(self):
        self.shift = 0

    def now_us(self):
        return super().now_us() + self.shift * 1_000_000

    def monotonic(self):
        return super().monotonic() + self.shift


def test_old_snapshots_are_expired_and_no_row_is_lost(tmp_path):
    clock = Time()
    writer = sink(tmp_path, clock, snapshot_retention=2 * 3600.0)
    for n in range(5):
        writer.write(batch(line("t", T0 + n, n)), {})
    assert len(open_table(tmp_path).metadata.snapshots) == 5
    clock.shift = 3 * 3600
    writer.write(batch(line("t", T0 + 5, 5)), {})
    assert len(open_table(tmp_path).metadata.snapshots) == 1
    recent = batch(line("t", T0 + 6, 6))
    writer.write(recent, {})
    assert sorted(row["value"] for row in rows(tmp_path)) == list(range(7))
    assert writer.write(recent, {}).attributes["otmirror.iceberg.duplicate"] == "true"
    # Documented: a batch that comes again after its snapshot has expired is stored again.
    assert "otmirror.iceberg.duplicate" not in writer.write(batch(line("t", T0, 0)), {}).attributes
    assert [notice.level for notice in writer.notices()] == ["info"]  # of the duplicate


def test_a_batch_that_was_rolled_back_is_stored_again(tmp_path):
    writer = sink(tmp_path)
    kept, undone = batch(line("t", T0, 1)), batch(line("t", T0, 2))
    before = writer.write(kept, {}).attributes["otmirror.iceberg.snapshot"]
    writer.write(undone, {})
    table = open_table(tmp_path)
    table.manage_snapshots().rollback_to_snapshot(int(before)).commit()
    assert [row["value"] for row in rows(tmp_path)] == [1]
    assert "otmirror.iceberg.duplicate" not in writer.write(undone, {}).attributes
    assert writer.write(kept, {}).attributes["otmirror.iceberg.duplicate"] == "true"
    assert sorted(row["value"] for row in rows(tmp_path)) == [1, 2]


def test_concurrent_tasks_of_one_processor(tmp_path):
    writer = sink(tmp_path)
    outputs = []

    def write(n):
        outputs.append(writer.write(batch(line("t", T0 + n % 6, n % 6)), {}).relationship)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outputs == ["success"] * 12
    assert sorted(row["value"] for row in rows(tmp_path)) == list(range(6))


def test_every_mistake_in_the_properties_is_named():
    with pytest.raises(MistakesError) as caught:
        Config(
            catalog_type="sql",
            uri="postgresql://ot:correct-horse@db/lake",
            warehouse="lake?",
            namespace="o t",
            samples_table="same table",
            rejects_table="same table",
            credential="nobody",
            s3_access_key="AK",
            snapshot_retention=60.0,
            more={"uri": "x", "s3.path-style-access": "true"},
        )
    told = caught.value.problems
    for part in (
        "Catalog URI: holds a password",
        "Warehouse: with Catalog Type sql",
        "Namespace: 'o t'",
        "Samples Table: 'same table'",
        "Rejects Table: 'same table'",
        "Rejects Table: has to be another",
        "Catalog Credential: with Catalog Type sql",
        "S3 Access Key and S3 Secret Key",
        "Snapshot Retention: shorter",
        "uri: use the property Catalog URI",
    ):
        assert sum(part in problem for problem in told) == 1, (part, told)
    assert "correct-horse" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("postgresql+psycopg2://db/lake", "postgresql+psycopg2://ot:pw@db/lake?connect_timeout=10"),
        ("postgresql+psycopg2://db/lake?connect_timeout=3", "postgresql+psycopg2://ot:pw@db/lake?connect_timeout=3"),
        ("mysql+pymysql://db/lake", "mysql+pymysql://ot:pw@db/lake?connect_timeout=10"),
        ("postgresql+pg8000://db/lake", "postgresql+pg8000://ot:pw@db/lake"),
    ],
)
def test_a_database_is_not_waited_for_for_ever(uri, opened):
    assert database(Config(catalog_type="sql", uri=uri, warehouse="/w", credential="ot:pw")).render_as_string(
        hide_password=False
    ) == opened  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "Warehouse: with Catalog Type sqlite"),
        ({"warehouse": "relative/path"}, "Warehouse: with Catalog Type sqlite"),
        ({"warehouse": "s3://bucket/x"}, "Warehouse: with Catalog Type sqlite"),
        ({"warehouse": "/w#1"}, "Warehouse: a path with"),
        ({"warehouse": "/w", "uri": "sqlite:///x"}, "Catalog URI: not used"),
        ({"catalog_type": "rest"}, "Catalog URI: needed"),
        ({"catalog_type": "rest", "uri": "host:8181"}, "Catalog URI: with Catalog Type rest"),
        ({"catalog_type": "hive", "uri": "thrift://x"}, "Catalog Type"),
    ],
)
def test_catalog_settings_that_cannot_work(settings, told):
    with pytest.raises(MistakesError, match=told):
        Config(**settings)


def test_a_driver_that_is_missing_is_named_and_nothing_is_lost(tmp_path):
    writer = sink(tmp_path, catalog_type="sql", uri="postgresql+pg8000://db/lake", credential="ot:correct-horse")
    output = writer.write(batch(line("t", T0, 1)), {})
    assert output.relationship == "retry"
    assert "pg8000" in output.attributes["otmirror.error"]
    assert "correct-horse" not in output.attributes["otmirror.error"]
    assert [n.level for n in writer.notices()] == ["error"]
