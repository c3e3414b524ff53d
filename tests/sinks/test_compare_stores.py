"""The same samples in VictoriaMetrics, in Iceberg and in a CSV export: each pair agrees, and a difference shows."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from batches import batch, line
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.clock import SystemClock
from otmirror.errors import MirrorError
from otmirror.iceberg.config import Config as IcebergConfig
from otmirror.iceberg.sink import IcebergSink
from otmirror.victoriametrics.config import Config as VmConfig
from otmirror.victoriametrics.sink import VictoriaMetricsSink

DAY = "2026-11-20"
T0 = round(datetime(2026, 11, 20, tzinfo=timezone.utc).timestamp()) * 1_000_000
BAD_SENSOR = 0x808C0000
COUNT = 600
STEP = 120_000_000


def samples(lag_us: int = 250_000) -> list[tuple[str, int, float | None, int]]:
    """(tag, time, value, status): two moving tags with a bad stretch in one, and a valve."""
    rng = np.random.default_rng(5)
    pressure = np.round(np.cumsum(rng.normal(0, 1, COUNT)) + 200, 6)
    flow = np.round(rng.normal(12, 1, COUNT), 6)
    valve = np.cumsum(rng.random(COUNT) < 0.05) % 2
    rows: list[tuple[str, int, float | None, int]] = []
    for n in range(COUNT):
        at = T0 + n * STEP + 123_456
        bad = 100 <= n < 130
        rows.append(("pad/P", at, None if bad else float(pressure[n]), BAD_SENSOR if bad else 0))
        rows.append(("pad/F", at, float(flow[n]), 0))
        rows.append(("pad/V", at, float(valve[n]), 0))
    return rows


def lines_of(rows: list[tuple[str, int, float | None, int]]) -> bytes:
    return batch(*(
        line(tag, at, value, ts_read=at + 250_000, **({"quality": "bad", "status": status} if status else {}))
        for tag, at, value, status in rows
    ))  # fmt: skip


@pytest.fixture(scope="module")
def stores(history, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The three sides as the command takes them."""
    folder = tmp_path_factory.mktemp("stores")
    rows = samples()
    hot = VictoriaMetricsSink(VmConfig(url=history.url, prefix="cmp", retention=36500 * 86400.0), SystemClock())
    cold = IcebergSink(IcebergConfig(warehouse=str(folder / "lake")), SystemClock())
    for first in range(0, len(rows), 300):
        for sink in (hot, cold):
            assert sink.write(lines_of(rows[first : first + 300]), {}).relationship == "success"
    history.get("/internal/force_flush")
    with (folder / "export.csv").open("w") as file:
        file.write("tag,time,value,quality\n")
        for tag, at, value, status in rows:
            moment = datetime.fromtimestamp(at // 1_000_000, timezone.utc).replace(microsecond=at % 1_000_000)
            shown = "" if value is None else repr(value)
            file.write(f"{tag},{moment.isoformat()},{shown},{'bad' if status else 'good'}\n")
    return {
        "vm": f"{history.url}?prefix=cmp",
        "iceberg": f"iceberg:{folder / 'lake'}",
        "csv": str(folder / "export.csv"),
    }


def report(left: str, right: str, out: Path) -> tuple[int, dict]:
    done = CliRunner().invoke(app, ["compare", "--left", left, "--right", right, "--window", DAY, "--out", str(out)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads((out / "report.json").read_text())


@pytest.mark.parametrize(("left", "right"), list(permutations(("vm", "iceberg", "csv"), 2)))
def test_each_pair_of_stores_agrees(stores: dict[str, str], left: str, right: str, tmp_path: Path) -> None:
    status, found = report(stores[left], stores[right], tmp_path)
    assert found["findings"] == []
    assert status == 0
    totals = found["totals"]
    assert totals["samples"] == {"left": 3 * COUNT - 30, "right": 3 * COUNT - 30}
    assert totals["match"] == 1.0
    assert totals["tags"]["both"] == 3
    assert totals["mean_difference"]["max"] < 1e-7  # times are cut to milliseconds
    quality = np.array(totals["quality"])
    assert quality[0, 0] >= 1  # bad on both sides
    assert quality.sum() == np.trace(quality)
    told = totals["lag_s"]
    assert (told["left"] is None) == (left != "iceberg")
    if left == "iceberg":
        assert told["left"]["p99"] == pytest.approx(0.25, rel=0.02)


def test_what_victoriametrics_lost_is_named(stores: dict[str, str], history, tmp_path: Path) -> None:
    rows = [row for row in samples() if row[0] != "pad/P" or not T0 + 300 * STEP <= row[1] < T0 + 340 * STEP]
    hot = VictoriaMetricsSink(VmConfig(url=history.url, prefix="less", retention=36500 * 86400.0), SystemClock())
    assert hot.write(lines_of(rows), {}).relationship == "success"
    history.get("/internal/force_flush")
    status, found = report(stores["iceberg"], f"{history.url}?prefix=less", tmp_path)
    assert [(f["kind"], f["tag"], f["side"]) for f in found["findings"]] == [("missing", "pad/P", "right")]
    assert found["findings"][0]["numbers"]["rows"] == 40
    assert status == 3


def test_a_batch_delivered_twice_is_told_as_duplicates_of_the_table(tmp_path: Path) -> None:
    rows = samples()
    cold = IcebergSink(IcebergConfig(warehouse=str(tmp_path / "lake")), SystemClock())
    for part in (rows, rows[:90]):
        assert cold.write(lines_of(part), {}).relationship == "success"
    once = IcebergSink(IcebergConfig(warehouse=str(tmp_path / "once")), SystemClock())
    assert once.write(lines_of(rows), {}).relationship == "success"
    _, found = report(f"iceberg:{tmp_path / 'once'}", f"iceberg:{tmp_path / 'lake'}", tmp_path / "out")
    assert {(f["kind"], f["side"], f["numbers"]["rows"]) for f in found["findings"]} == {("duplicates", "right", 30)}


def test_a_metric_prefix_nobody_wrote_has_no_samples(stores: dict[str, str], history, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["compare", "--left", stores["csv"], "--right", f"{history.url}?prefix=none", "--window", DAY]
    )
    assert "there are no samples in 2026-11-20" in str(done.exception)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, "<html>a proxy's page</html>\n"), "the answer is no export of VictoriaMetrics"),
        ((200, '{"metric":{"__name__":"ot_value","tag":"a"},"values":["x"],"timestamps":[1]}\n'), "is no export"),
        ((422, "cannot parse match[]"), "answers 422: cannot parse match[]"),
        ((401, "unauthorized"), "answers 401"),
        (None, "cannot be read"),
        ((200, ""), "there are no samples"),
    ],
)
def test_what_is_no_export_of_victoriametrics_is_one_line(scripted, answer, expected, tmp_path: Path) -> None:
    server = scripted(lambda _: answer)
    file = tmp_path / "a.csv"
    file.write_text("tag,time,value\na,2026-11-20T00:00:00Z,1\n")
    done = CliRunner().invoke(app, ["compare", "--left", server.url, "--right", str(file), "--window", DAY])
    assert isinstance(done.exception, MirrorError), done.output
    assert expected in str(done.exception)
    assert "\n" not in str(done.exception)


def test_the_bearer_token_is_sent_and_never_shown(scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTMIRROR_COMPARE_LEFT_TOKEN", "s3cr3t-token")
    server = scripted(lambda _: (403, "no"))
    file = tmp_path / "a.csv"
    file.write_text("tag,time,value\na,2026-11-20T00:00:00Z,1\n")
    done = CliRunner().invoke(app, ["compare", "--left", server.url, "--right", str(file), "--window", DAY])
    assert server.requests[0].headers["Authorization"] == "Bearer s3cr3t-token"
    assert "s3cr3t" not in str(done.exception) + done.output
