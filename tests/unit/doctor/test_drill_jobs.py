"""What a drill does to the lakehouse: small files that maintenance puts right, and a writer in the mirror's way."""

import json
import multiprocessing
import time

import pyarrow.compute as pc
import pytest
from pyiceberg.catalog import load_catalog

from otmirror.clock import SystemClock
from otmirror.drill import jobs
from otmirror.iceberg.config import Config
from otmirror.iceberg.sink import IcebergSink
from otmirror.slo import rules


def batch(number):
    good = {"tag": "a", "ts": time.time_ns() // 1000, "value": number, "type": "double", "quality": "good"}
    return json.dumps({**good, "source": "s"}).encode() + b"\n"


@pytest.fixture
def sink(tmp_path):
    made = IcebergSink(Config(warehouse=str(tmp_path)), SystemClock())
    assert made.write(batch(0.0), {}).relationship == "success"
    yield made
    made.close()


@pytest.fixture
def table(sink, tmp_path):
    catalog = load_catalog(
        "otmirror", type="sql", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}"
    )
    return catalog.load_table("ot.samples")


def test_small_files_hold_one_sample_of_the_table_again_and_again(sink, table):
    before = table.scan().to_arrow()
    jobs.scatter(table, 20)
    table.refresh()
    assert table.current_snapshot().summary["total-data-files"] == "21"
    after = table.scan().to_arrow()
    assert after.num_rows == 21
    assert pc.count_distinct(after.column("ts")).as_py() == before.num_rows == 1
    assert sink.write(batch(1.0), {}).relationship == "success"
    (files,) = [v for (name, _), v in sink.figures.collect().numbers.items() if name.endswith("iceberg_data_files")]
    assert files == 22
    assert jobs.FILES > 10_000


def test_a_writer_that_commits_all_the_time_adds_nothing_and_costs_the_mirror_commits(sink, table, tmp_path):
    rival = multiprocessing.get_context("spawn").Process(target=jobs.main, args=([str(tmp_path), "commit"],))
    rival.start()
    try:
        conflicts, written, end = 0.0, 1, time.monotonic() + 60
        while conflicts < 2 and time.monotonic() < end:
            seen = int(table.refresh().properties.get("drill.commits", 0))
            while int(table.refresh().properties.get("drill.commits", 0)) < seen + 2 and time.monotonic() < end:
                pass  # the other one is at work
            assert sink.write(batch(float(written)), {}).relationship == "success"
            written += 1
            conflicts = sink.figures.collect().numbers["otmirror_iceberg_commit_conflicts_total", ()]
    finally:
        rival.terminate()
        rival.join(10)
    assert conflicts >= 2
    table.refresh()
    assert table.scan().to_arrow().num_rows == written


def test_shorter_windows_for_a_drill_are_recorded_and_change_nothing_else():
    short = (rules.Burn("24m", "2m", 3.0), rules.Burn("72m", "6m", 1.0))
    real, drill = rules.groups(1), rules.groups(1, slow=short)
    assert drill["alerts.yaml"] == real["alerts.yaml"]
    recorded = {one["record"] for group in drill["slo.yaml"] for one in group["rules"]}
    assert {f"slo:sli_error:ratio_rate{window}" for window in ("24m", "2m", "72m", "6m")} <= recorded
    changed = [
        one["alert"]
        for was, one in zip(real["burn.yaml"][0]["rules"], drill["burn.yaml"][0]["rules"], strict=True)
        if was != one
    ]
    assert set(changed) == {"ErrorBudgetBurnSlow"}
    assert len(changed) == 5
