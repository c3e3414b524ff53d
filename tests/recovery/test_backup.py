"""Backups of real stores: what comes back is what was there, at its place and at another one."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from mirror import Mirror, exported, snapshots
from pyiceberg.catalog import load_catalog
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.embedded.victoriametrics import VictoriaMetrics
from otmirror.iceberg.config import Config
from otmirror.pki import development
from otmirror.recovery import manifest
from otmirror.recovery.create import Sources, create
from otmirror.recovery.manifest import Manifest
from otmirror.recovery.restore import Targets, restore
from otmirror.recovery.verify import verify

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def backup(mirror: Mirror, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Two backups; the second, of 60 samples more, is returned."""
    target = tmp_path_factory.mktemp("backups")
    first, _ = create(Sources(hot=mirror.server, lakehouse=mirror.config, data=True), target)
    mirror.write(20)
    wait_for_another_second(first)
    return create(Sources(hot=mirror.server, lakehouse=mirror.config, data=True), target)


def wait_for_another_second(backup: Path) -> None:
    from otmirror.embedded.processes import wait_until
    from otmirror.recovery.place import stamp

    assert wait_until(lambda: stamp() != backup.name, 2.0, 0.02)


def rows(warehouse: Path) -> list[dict[str, object]]:
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{warehouse}/catalog.db")
    return sorted(catalog.load_table("ot.samples").scan().to_arrow().to_pylist(), key=lambda row: row["seq"])


def test_the_manifest_tells_what_the_stores_hold(mirror: Mirror, backup: tuple[Path, Manifest]) -> None:
    folder, told = backup
    held = exported(mirror.hot.url)
    assert told.hot is not None
    assert told.hot.counts is not None
    assert told.hot.counts.series == len(held)
    by_metric: dict[str, int] = {}
    for (metric, _), points in held.items():
        by_metric[metric] = by_metric.get(metric, 0) + len(points)
    assert told.hot.counts.samples == by_metric
    assert by_metric["ot_value"] == 360
    assert told.lakehouse is not None
    assert [(table.name, table.rows) for table in told.lakehouse.tables] == [("ot.samples", 360)]
    newest = rows(mirror.warehouse)[-1]
    # VictoriaMetrics keeps milliseconds of the source time, half a millisecond before the read.
    assert 0 <= newest["ts_read"].timestamp() * 1e6 - told.consistency_point.us <= 2_000
    assert snapshots(mirror.hot.url) == []
    assert subprocess.run(["sha256sum", "-c", "manifest.sha256"], cwd=folder, check=False).returncode == 0


def test_a_further_backup_links_what_the_one_before_has(backup: tuple[Path, Manifest]) -> None:
    folder, told = backup
    assert told.previous is not None
    before = manifest.read(folder.parent / told.previous)
    old = {file.path for file in before.files}
    data = [file.path for file in told.files if file.path.endswith(".parquet")]
    linked = [path for path in data if path in old]
    assert len(linked) == 1
    assert len(data) == 2
    assert (folder / linked[0]).stat().st_nlink == 2
    assert told.new_bytes < told.bytes
    assert before.new_bytes == before.bytes
    # A part of VictoriaMetrics is linked as well, unless it was merged meanwhile.
    assert manifest.damage(folder, told) == []


def test_a_whole_backup_verifies(backup: tuple[Path, Manifest]) -> None:
    assert verify(backup[0]) == []
    assert [path.name for path in backup[0].parent.glob(".scratch-*")] == []


def test_restored_elsewhere_everything_is_there_once(
    mirror: Mirror, backup: tuple[Path, Manifest], tmp_path: Path
) -> None:
    """Read back by the servers' own means: VictoriaMetrics' export, pyiceberg from a moved warehouse."""
    data, warehouse = tmp_path / "vm" / "data", tmp_path / "moved" / "lake"
    result = restore(backup[0], Targets(hot_data=data, lakehouse=Config(warehouse=str(warehouse))))
    assert result.differences == []
    assert result.next == [f"start VictoriaMetrics with -storageDataPath={data} and the flags it had"]
    server = VictoriaMetrics(tmp_path / "vm")
    server.start()
    try:
        assert exported(server.url) == exported(mirror.hot.url)
    finally:
        server.stop()
    assert rows(warehouse) == rows(mirror.warehouse)
    assert not any(str(mirror.warehouse).encode() in path.read_bytes() for path in warehouse.rglob("*.json"))


def test_a_moved_warehouse_is_written_read_and_maintained_on(
    mirror: Mirror, backup: tuple[Path, Manifest], tmp_path: Path
) -> None:
    """The sink still knows the batches it had before: the same bytes again are not stored twice."""
    from otmirror.clock import SystemClock
    from otmirror.iceberg import upkeep
    from otmirror.iceberg.maintenance import Options
    from otmirror.iceberg.sink import IcebergSink

    config = Config(warehouse=str(tmp_path / "lake"))
    restore(backup[0], Targets(lakehouse=config))
    shutil.move(mirror.warehouse, tmp_path / "away")
    try:
        sink = IcebergSink(config, SystemClock())
        line = {"tag": "t", "ts": 1_700_000_000_000_000, "value": 1.5, "type": "double", "quality": "good"}
        content = json.dumps({**line, "source": "s", "seq": 10**9}).encode() + b"\n"
        assert sink.write(content, {}).relationship == "success"
        assert sink.write(content, {}).attributes["otmirror.iceberg.duplicate"] == "true"
        (report,) = upkeep.maintain(config, Options(include_today=True), SystemClock())
        assert (report.left, report.after.rows) == ({}, 361)
        assert len(rows(tmp_path / "lake")) == 361
    finally:
        shutil.move(tmp_path / "away", mirror.warehouse)


def test_a_catalog_without_data_goes_back_beside_its_files(mirror: Mirror, tmp_path: Path) -> None:
    folder, told = create(Sources(lakehouse=mirror.config), tmp_path / "backups")
    assert told.lakehouse is not None
    assert told.consistency_point.us is not None
    assert verify(folder) == []
    before, database = rows(mirror.warehouse), mirror.warehouse / "catalog.db"
    lost = database.rename(tmp_path / "lost.db")
    try:
        assert restore(folder, Targets(lakehouse=mirror.config)).differences == []
        assert rows(mirror.warehouse) == before
    finally:
        lost.replace(database)


def test_tables_of_a_catalog_in_a_database_are_registered_again(mirror: Mirror, tmp_path: Path) -> None:
    """The way of REST and SQL catalogs: register_table in an empty catalog, its lost files put back."""
    from otmirror.clock import SystemClock
    from otmirror.iceberg.sink import IcebergSink

    lake = tmp_path / "lake"
    lake.mkdir()
    config = Config(catalog_type="sql", uri=f"sqlite:///{tmp_path}/one.db", warehouse=str(lake), namespace="deep.ot")
    line = {"tag": "t", "ts": 1, "value": 1.5, "type": "double", "quality": "good", "source": "s"}
    for one in (config, dataclasses.replace(config, namespace="somebody_elses")):
        assert IcebergSink(one, SystemClock()).write(json.dumps(line).encode() + b"\n", {}).relationship == "success"
    folder, told = create(Sources(lakehouse=config, data=True), tmp_path / "backups")
    shutil.rmtree(lake)
    lake.mkdir()
    fresh = Config(catalog_type="sql", uri=f"sqlite:///{tmp_path}/two.db", warehouse=str(lake), namespace="deep.ot")
    assert restore(folder, Targets(lakehouse=fresh)).differences == []
    catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{tmp_path}/two.db")
    assert catalog.load_table("deep.ot.samples").scan().to_arrow().column("value").to_pylist() == [1.5]
    assert told.lakehouse is not None
    assert [table.name for table in told.lakehouse.tables] == ["deep.ot.samples"]
    assert catalog.load_table("deep.ot.samples").metadata_location == told.lakehouse.tables[0].metadata


def test_tables_of_a_rest_catalog_are_registered_again(tmp_path: Path) -> None:
    from otmirror.clock import SystemClock
    from otmirror.iceberg.sink import IcebergSink

    uri = os.environ.get("OTMIRROR_TEST_ICEBERG_REST")
    if not uri:
        pytest.skip("needs an Iceberg REST catalog: set OTMIRROR_TEST_ICEBERG_REST to its URL")
    config = Config(catalog_type="rest", uri=uri, namespace=f"ot_{uuid.uuid4().hex[:8]}")
    line = {"tag": "t", "ts": 1, "value": 1.5, "type": "double", "quality": "good", "source": "s"}
    assert IcebergSink(config, SystemClock()).write(json.dumps(line).encode() + b"\n", {}).relationship == "success"
    folder, _ = create(Sources(lakehouse=config), tmp_path)
    catalog = load_catalog("any", type="rest", uri=uri)
    catalog.drop_table(f"{config.namespace}.samples")
    assert restore(folder, Targets(lakehouse=config)).differences == []
    assert catalog.load_table(f"{config.namespace}.samples").scan().to_arrow().column("value").to_pylist() == [1.5]


def test_configuration_comes_without_keys_unless_asked_for(tmp_path: Path) -> None:
    pki, tags = tmp_path / "pki", tmp_path / "tags.csv"
    development.make(pki, development.Wanted(servers=("nifi",), clients=(), kind="ec"))
    tags.write_text("tag,address\nacme/p,ns=2;i=1\n")
    folder, told = create(Sources(config=[pki, tags]), tmp_path / "backups")
    kept = {Path(one.source).name for one in told.configuration}
    left = {Path(one.what).name for one in told.not_included}
    assert {"ca.pem", "nifi.pem", "tags.csv"} <= kept
    assert {"nifi.key", "nifi.p12", "nifi.password", "ca.key"} <= left
    assert kept.isdisjoint(left)
    secret = (pki / "nifi.password").read_bytes().strip()
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"PRIVATE KEY-----" not in everything
    assert secret not in everything
    wait_for_another_second(folder)
    folder, told = create(Sources(config=[pki, tags], with_keys=True), tmp_path / "backups")
    result = restore(folder, Targets(config=tmp_path / "back"))
    assert result.differences == []
    assert (tmp_path / "back" / str(pki / "nifi.key").lstrip("/")).read_bytes() == (pki / "nifi.key").read_bytes()
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("nifi.key")}
    assert modes == {0o600}


def test_the_command_says_what_it_did(mirror: Mirror, tmp_path: Path) -> None:
    where = ["--hot", mirror.hot.url, "--hot-data", str(mirror.data), "--warehouse", str(mirror.warehouse)]
    made = CliRunner().invoke(app, ["backup", "create", "--to", str(tmp_path), "--quick", *where])
    assert made.exit_code == 0, made.output
    assert "consistency point: 20" in made.stdout
    assert "not included: data files of the Iceberg tables" in made.stdout
    listed = CliRunner().invoke(app, ["backup", "list", str(tmp_path), "--json"])
    (entry,) = json.loads(listed.stdout)
    assert (entry["parts"], entry["rows"]) == (["hot", "lakehouse"], len(rows(mirror.warehouse)))
    assert CliRunner().invoke(app, ["backup", "verify", str(tmp_path / entry["name"]), "--digests-only"]).exit_code == 0


def test_a_table_of_no_rows_and_an_empty_server(tools: None, tmp_path: Path) -> None:
    """Nothing stored yet is a backup too: no consistency point, no rows, and it restores."""
    server = VictoriaMetrics(tmp_path / "vm")
    server.start()
    try:
        from otmirror.recovery.hot import Server

        folder, told = create(Sources(hot=Server(server.url, tmp_path / "vm" / "data")), tmp_path / "backups")
    finally:
        server.stop()
    assert told.hot is not None
    assert told.hot.counts is not None
    assert (told.hot.rows, told.hot.counts.series, told.consistency_point.time) == (0, 0, None)
    assert restore(folder, Targets(hot_data=tmp_path / "new")).differences == []
