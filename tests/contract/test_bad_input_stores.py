"""Bad input for the sinks: stores that do not take samples, and bad lines among good ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
from bad_input import ICEBERG, SECRET, T0, USER, VM, Gate, Speak, Spoken, line
from pyiceberg.catalog import load_catalog

from otmirror.embedded import victoriametrics as vm


def exported(store: vm.VictoriaMetrics, metric: str) -> dict[str, dict[int, float]]:
    """What VictoriaMetrics holds of a metric: tag -> seconds after T0 -> value."""
    requests.get(f"{store.url}/internal/force_flush", timeout=10).raise_for_status()
    query = {"match[]": metric, "start": "0", "end": "9e9", "reduce_mem_usage": "1"}
    found: dict[str, dict[int, float]] = {}
    for text in requests.get(f"{store.url}/api/v1/export", params=query, timeout=10).text.splitlines():
        series = json.loads(text)
        at = [(ms - T0 // 1000) // 1000 for ms in series["timestamps"]]
        assert len(set(at)) == len(at)
        found[series["metric"]["tag"]] = dict(zip(at, series["values"], strict=True))
    return found


def rows(warehouse: Path, table: str) -> list[dict[str, Any]]:
    """Return what an Iceberg table of the embedded catalog holds."""
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{warehouse}/catalog.db")
    return list(catalog.load_table(table).scan().to_arrow().to_pylist())


# -- sinks and their stores


def delivered(sink: Spoken, content: bytes) -> Any:
    result = sink.transform(content, **{"otmirror.error": "an earlier one"})
    assert (result.relationship, result.contents) == ("success", None)
    assert result.attributes["otmirror.error"] == "", "no stale error stays on the FlowFile"
    return result


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "answered 200 instead of 204: this is not VictoriaMetrics; check VictoriaMetrics URL"),
        (302, "answered 302, a redirect: give its target as VictoriaMetrics URL"),
        (400, "answered 400 even to an empty request: check VictoriaMetrics URL"),
        (404, "answered 404: check VictoriaMetrics URL, the path in particular"),
        (401, "answered 401: check Username and Password or Bearer Token"),
        (503, "answered 503: the server is overloaded or its disk is full"),
    ],
)
def test_victoriametrics_answers_something_else(
    store: vm.VictoriaMetrics, speak: Speak, status: int, expected: str
) -> None:
    gate, prefix = Gate(store.url, status), f"gate{status}"
    sink = speak(VM, victoriametrics_url=gate.url, metric_prefix=prefix)
    content = b"\n".join([line("a/P", 0, 1.5), line("a/T", 1, -2.25), b""])
    for _ in range(3):
        result = sink.transform(content)
        assert (result.relationship, result.contents) == ("retry", None)
        assert f"{gate.url}/api/v1/import {expected}" in result.attributes["otmirror.error"]
    assert sink.runner.java.yields == 3
    [message] = sink.told()
    assert message == result.attributes["otmirror.error"]
    assert exported(store, f"{prefix}_value") == {}
    gate.status = None
    delivered(sink, content)
    assert exported(store, f"{prefix}_value") == {"a/P": {0: 1.5}, "a/T": {1: -2.25}}
    assert sink.told() == [message]
    gate.close()


def test_nothing_listens_at_victoriametrics(store: vm.VictoriaMetrics, speak: Speak) -> None:
    store.stop()
    try:
        sink = speak(VM, victoriametrics_url=store.url, metric_prefix="refused")
        results = [sink.transform(line("a/P", 0, 1.5)) for _ in range(3)]
    finally:
        store.start()
    assert {(result.relationship, result.contents) for result in results} == {("retry", None)}
    [message] = sink.told()
    assert f"{store.url}/api/v1/import: connection refused; is it running there?" in message
    delivered(sink, line("a/P", 0, 1.5))
    assert exported(store, "refused_value") == {"a/P": {0: 1.5}}
    assert sink.told() == [message]


def test_a_warehouse_that_cannot_be_written(speak: Speak, tmp_path: Path) -> None:
    obstacle = tmp_path / "disk"
    obstacle.write_text("root may write everywhere, but not below a file")
    sink = speak(ICEBERG, warehouse="{folder}/disk/warehouse")
    content = b"\n".join([line("a/P", 0, 1.5), line("a/T", 1, -2.25)])
    for _ in range(3):
        result = sink.transform(content)
        assert (result.relationship, result.contents) == ("retry", None)
    [message] = sink.told()
    assert message == result.attributes["otmirror.error"]
    assert f"Warehouse {obstacle}/warehouse is not writable by user " in message
    assert "Not a directory" in message
    obstacle.unlink()
    assert "otmirror.iceberg.duplicate" not in delivered(sink, content).attributes
    assert delivered(sink, content).attributes["otmirror.iceberg.duplicate"] == "true"
    stored = [(row["tag"], row["value"]) for row in rows(obstacle / "warehouse", "ot.samples")]
    assert sorted(stored) == [("a/P", 1.5), ("a/T", -2.25)]
    assert sink.told() == [message]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (
            {"catalog_type": "rest", "catalog_uri": "http://127.0.0.1:1", "catalog_credential": f"{USER}:{SECRET}"},
            ("connection refused", "check Catalog URI"),
        ),
        ({"catalog_type": "sql", "catalog_uri": "sqlite:////no/where.db"}, ("unable to open database file",)),
        (
            {"catalog_type": "sql", "catalog_uri": "nosuch://db/x", "catalog_credential": f"{USER}:{SECRET}"},
            ("nosuch",),
        ),
    ],
)
def test_a_catalog_that_cannot_be_had(speak: Speak, properties: dict[str, str], expected: tuple[str, ...]) -> None:
    sink = speak(ICEBERG, **properties)
    assert sink.validate() == []
    for _ in range(2):
        result = sink.transform(line("a/P", 0, 1.5))
        assert (result.relationship, result.contents) == ("retry", None)
    [message] = sink.told()
    assert message == result.attributes["otmirror.error"]
    assert [part for part in (properties["catalog_uri"], *expected) if part not in message] == [], message


# -- lines


def sample(**changes: object) -> bytes:
    """A sample with fields changed; None leaves one out."""
    fields = json.loads(line("a/P", 9, 7.0)) | changes
    return json.dumps({key: value for key, value in fields.items() if value is not None}).encode()


def raw(value: bytes) -> bytes:
    """A sample with a value that json would not write."""
    return line("a/P", 9, "$").replace(b'"$"', value)


MALFORMED = [
    (b"P-TPT;2018-02-06;1.5", "JSON is malformed"),
    (line("a/P", 9, 7.0)[:30], "truncated"),
    (line("a/P", 9, 7.0).replace(b"a/P", b"a/\xff"), "utf-8"),
    (b"\x00\x01\x02", "JSON is malformed"),
    (b"[1, 2]", "Expected `object`"),
    (sample(tag=None), "missing required field `tag`"),
    (sample(tag=""), "`$.tag`"),
    (sample(ts="2018-02-06"), "`$.ts`"),
    (sample(quality="excellent"), "'excellent'"),
    (sample(type="float128"), "'float128'"),
    (sample(status=-1), "`$.status`"),
    (sample(quality="bad"), "its value has to be null"),
    (raw(b"NaN"), "JSON is malformed"),
    (raw(b"Infinity"), "JSON is malformed"),
    (raw(b"-Infinity"), "JSON is malformed"),
    (raw(b"1e999"), "out of range"),
    (raw(b"1" + b"0" * 5000), "out of range"),
    (sample(z=1).replace(b"1}", b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested"),
]
"""Lines neither sink can read, and a part of the reason."""
NO_NUMBERS = {
    text: line(f"a/{text[:9]}", 9, None, text=text) for text in ("NaN", "Infinity", "-Infinity", "1" + "0" * 400)
}
"""Samples whose number JSON cannot write, as ReadOpcUaTags gives them: Iceberg keeps their text."""
GOODS = {("a/P", 0): 1.5, ("a/P", 1): -2.25, ("a/T", 0): 1e12, ("a/Z", 5): 0.0}


def mixed() -> bytes:
    """Every bad line between good ones, with Windows and blank lines, and no line end at the end."""
    good = [line(tag, second, value) for (tag, second), value in GOODS.items()]
    bad = [text for text, _ in MALFORMED] + list(NO_NUMBERS.values())
    return b"\n".join([good[0], *bad[:5], good[1] + b"\r", b"", b"  ", *bad[5:], good[2], good[3]])


def places() -> dict[int, str]:
    """Line number -> the expected part of its reason, for the malformed lines."""
    lines = mixed().split(b"\n")
    return {lines.index(text) + 1: reason for text, reason in MALFORMED}


def check_malformed(found: list[dict[str, Any]]) -> None:
    """Each malformed line came once, with its number, its text and its reason."""
    lines = mixed().split(b"\n")
    assert sorted(reject["number"] for reject in found) == sorted(places())
    for reject in found:
        assert places()[reject["number"]] in reject["reason"], reject["reason"]
        assert reject["line"] == lines[reject["number"] - 1].decode("utf-8", "backslashreplace")


def test_bad_lines_among_good_ones_into_victoriametrics(
    store: vm.VictoriaMetrics, speak: Speak, tmp_path: Path
) -> None:
    sink = speak(VM, victoriametrics_url=store.url, metric_prefix="lines", username=None, password=None)
    result = sink.transform(mixed())
    assert result.relationship == "rejected"
    found = [json.loads(text) for text in result.contents.splitlines()]
    assert result.attributes["otmirror.rejects"] == str(len(found)) == str(len(MALFORMED) + len(NO_NUMBERS))
    check_malformed([reject for reject in found if "number" in reject])
    unstorable = {json.loads(r["line"])["text"]: r["reason"] for r in found if "number" not in r}
    assert unstorable == {t: f"its value is {t[:40]}, which VictoriaMetrics drops" for t in NO_NUMBERS}
    stored = exported(store, "lines_value")
    assert {(tag, at): value for tag, points in stored.items() for at, value in points.items()} == GOODS
    assert sink.told() == []
    keeper = speak(ICEBERG)
    assert keeper.transform(result.contents, **result.attributes).relationship == "success"
    kept = rows(tmp_path / "warehouse", "ot.rejects")
    assert Counter((r["reason"], r["line"]) for r in kept) == Counter((r["reason"], r["line"]) for r in found)
    assert {row["origin"] for row in kept} == {"victoriametrics"}
    assert keeper.told() == []


def test_bad_lines_among_good_ones_into_iceberg(speak: Speak, tmp_path: Path) -> None:
    sink = speak(ICEBERG)
    result = sink.transform(mixed())
    assert (result.relationship, result.contents) == ("success", None)
    assert result.attributes["otmirror.rejects"] == str(len(MALFORMED))
    stored = rows(tmp_path / "warehouse", "ot.samples")
    seconds = {(r["tag"], int(r["ts"].timestamp()) - T0 // 1_000_000): r["value"] for r in stored if not r["text"]}
    assert seconds == GOODS
    assert {r["text"]: r["value"] for r in stored if r["text"]} == dict.fromkeys(NO_NUMBERS)
    assert len(stored) == len(GOODS) + len(NO_NUMBERS)
    check_malformed(rows(tmp_path / "warehouse", "ot.rejects"))
    assert sink.told() == []
