"""The view of each sample once: in DuckDB for real, Trino's and Spark's text by way of sqlglot."""

from __future__ import annotations

import random
from datetime import datetime, timezone

import duckdb
import pyarrow as pa
import pytest

from otmirror.errors import ConfigError
from otmirror.iceberg import views
from otmirror.iceberg.rewrite import once
from otmirror.iceberg.schema import SAMPLES, SAMPLES_ARROW

sqlglot = pytest.importorskip("sqlglot", reason="needs sqlglot, part of the test extra")
FIELDS = SAMPLES_ARROW.names


def at(us):
    return datetime.fromtimestamp(us / 1_000_000, timezone.utc)


def samples(seed):
    """Rows with few tags, times and sources, so that many meet, and with nulls wherever they may be."""
    rng = random.Random(seed)
    for n in range(400):
        yield {
            "tag": f"t{rng.randrange(4)}", "ts": at(rng.randrange(5)), "source": f"s{rng.randrange(2)}",
            "value": rng.choice([None, 1.5, -2.0, float(n)]), "text": rng.choice([None, "x", "\u00e4", "Z"]),
            "type": "double", "quality": rng.choice(["good", "bad"]), "status": rng.choice([0, 2156658688]),
            "unit": rng.choice([None, "Pa"]), "ts_server": rng.choice([None, at(7)]),
            "ts_read": rng.choice([None, at(1), at(2)]), "seq": rng.choice([None, 1, 2]),
            "backfill": rng.choice([None, False, True]), "batch": f"{rng.randrange(3):032x}",
        }  # fmt: skip


def last(value):
    """A sort key that puts None behind everything."""
    return (value is None, value)


def expected(listed):
    kept = {}
    rest = ("value", "text", "type", "quality", "status", "unit", "ts_server", "backfill")
    for row in listed:
        rank = tuple(last(row[name]) for name in ("ts_read", "seq", "batch", *rest))
        key = (row["tag"], row["ts"], row["source"])
        if key not in kept or rank < kept[key][0]:
            kept[key] = (rank, row)
    return {tuple(row[name] for name in FIELDS) for _, row in kept.values()}


def run(select, listed):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("samples", pa.Table.from_pylist(listed, schema=SAMPLES_ARROW))
    return connection.sql(select).to_arrow_table()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("dialect", views.DIALECTS)
def test_each_dialect_shows_each_sample_once(dialect, seed):
    listed = list(samples(seed))
    text = views.query(dialect, "samples")
    (parsed,) = sqlglot.parse(text, dialect=dialect)
    shown = run(text if dialect == "duckdb" else parsed.sql(dialect="duckdb"), listed)
    assert shown.column_names == FIELDS
    assert len(expected(listed)) == shown.num_rows == 40
    assert {tuple(row[name] for name in FIELDS) for row in shown.to_pylist()} == expected(listed)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_maintenance_keeps_the_rows_that_the_view_shows_in_whatever_order_they_come(seed):
    listed, results = list(samples(seed)), []
    for shuffle in range(3):
        random.Random(shuffle).shuffle(listed)
        kept = once(pa.Table.from_pylist(listed, schema=SAMPLES_ARROW), SAMPLES)
        results.append(kept)
        keys = [(row["tag"], row["ts"]) for row in kept.to_pylist()]
        assert keys == sorted(keys)
    assert results[0].equals(results[1])
    assert results[0].equals(results[2])
    assert {tuple(row[name] for name in FIELDS) for row in results[0].to_pylist()} == expected(listed)


@pytest.mark.parametrize("dialect", views.DIALECTS)
def test_the_statement_names_view_and_table_as_they_are_given(dialect):
    (parsed,) = sqlglot.parse(views.statement(dialect, "lake.ot.samples", "lake.ot.samples_once"), dialect=dialect)
    assert isinstance(parsed, sqlglot.exp.Create)
    tables = [[part.name for part in table.parts] for table in parsed.find_all(sqlglot.exp.Table)]
    assert sorted(tables) == [["lake", "ot", "samples"], ["lake", "ot", "samples_once"]]


@pytest.mark.parametrize(
    ("dialect", "relation", "view", "told"),
    [
        ("oracle", "samples", "v", "--dialect: 'oracle' is none of trino, spark, duckdb"),
        ("trino", "samples; DROP TABLE x", "v", "--relation"),
        ("spark", 'a"b', "v", "--relation"),
        ("duckdb", "samples", "v v", "--name"),
    ],
)
def test_what_is_no_name_is_refused(dialect, relation, view, told):
    with pytest.raises(ConfigError, match=told):
        views.statement(dialect, relation, view)
