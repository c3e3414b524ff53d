"""What running stores take: against their files on disk, and against hand-computed growth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mirror import TAGS, Mirror, exported
from typer.testing import CliRunner

from otmirror import sizing
from otmirror.cli.app import app
from otmirror.embedded.processes import wait_until
from otmirror.errors import ConfigError
from otmirror.iceberg.config import Config
from otmirror.recovery.hot import Server
from otmirror.recovery.measure import measure

pytestmark = pytest.mark.timeout(60)


def test_bytes_and_rates_are_those_of_the_files(mirror: Mirror) -> None:
    # A snapshot brings everything into files; the server's own metrics follow within some seconds.
    mirror.server.snapshots("delete", snapshot=mirror.server.snapshots("create")["snapshot"])
    assert wait_until(lambda: measure(mirror.server, None).hot_rows == 306, 15.0)
    found = measure(mirror.server, mirror.config)
    held = exported(mirror.hot.url)
    samples = sum(len(points) for (metric, _), points in held.items() if metric == "ot_value")
    assert found.tags == len(TAGS) == 3
    # 100 rounds, 10 ms apart, of 3 tags.
    assert found.samples_s == pytest.approx(300, rel=0.02)
    assert found.hot_rows == sum(map(len, held.values()))
    assert found.hot_rows_sample == pytest.approx(found.hot_rows / samples)
    parts = ("values.bin", "timestamps.bin", "index.bin", "metaindex.bin", "items.bin", "lens.bin")
    on_disk = sum(file.stat().st_size for part in parts for file in mirror.data.glob(f"data/*/*/*/{part}"))
    assert found.hot_bytes == pytest.approx(on_disk, rel=0.02)
    files = list((mirror.warehouse / "ot" / "samples" / "data").rglob("*.parquet"))
    assert found.cold_bytes == sum(file.stat().st_size for file in files)
    assert (found.cold_rows, found.cold_files) == (300, len(files))
    assert found.cold_sample_b == pytest.approx(found.cold_bytes / 300)
    assert found.hot_sample_b == pytest.approx(found.hot_bytes / samples)


def test_growth_is_the_arithmetic_of_a_day() -> None:
    """10,000 /s x 86,400 s x 30 days x 2 bytes = 51.84 GB; 365 days of 15 bytes = 4,730.4 GB."""
    grown = {need.name: need.value for need in sizing.growth(10_000, 2.0, 15.0)}
    assert grown["VictoriaMetrics, 30 days"] == pytest.approx(51.84)
    assert grown["VictoriaMetrics, 365 days"] == pytest.approx(51.84 * 365 / 30)
    assert grown["Iceberg, 365 days"] == pytest.approx(4730.4)
    assert [need.name for need in sizing.growth(1, None, 1.0)] == [f"Iceberg, {d} days" for d in (30, 90, 180, 365)]
    rows = sizing.growth_table(2.0, 15.0).splitlines()
    assert len(rows) == 2 + 8
    assert rows[5].startswith("| 10,000 | 1 | 51.8 |")


def test_the_command_measures_and_extrapolates(mirror: Mirror) -> None:
    asked = ["sizing", "measure", "--hot", mirror.hot.url, "--warehouse", str(mirror.warehouse)]
    shown = CliRunner().invoke(app, [*asked, "--table"])
    assert shown.exit_code == 0, shown.output
    assert "bytes a sample, VictoriaMetrics" in shown.stdout
    assert "| 1,000,000 | 1 |" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert told["growth_gb"]["Iceberg, 30 days"] == pytest.approx(
        told["samples_s"] * 86400 * 30 * told["cold_bytes"] / told["cold_rows"] / 1e9
    )


def test_what_cannot_be_measured_is_said(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to measure"):
        measure(None, None)
    with pytest.raises(ConfigError, match="has no sample of other_value"):
        measure(Server(mirror.hot.url), None, prefix="other")
    with pytest.raises(ConfigError, match=r"there is no table ot\.samples"):
        measure(None, Config(warehouse=str(tmp_path)))
