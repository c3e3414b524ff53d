"""What can go wrong with a backup does: full disks, kills, files that were changed, the wrong server, full targets."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from mirror import Mirror, snapshots

from otmirror.embedded.processes import claim, wait_until
from otmirror.embedded.victoriametrics import VictoriaMetrics
from otmirror.errors import ConfigError, MirrorError, UnavailableError
from otmirror.iceberg.config import Config
from otmirror.recovery import manifest
from otmirror.recovery.create import Sources, create
from otmirror.recovery.hot import Server
from otmirror.recovery.place import backups, stamp
from otmirror.recovery.restore import Targets, restore
from otmirror.recovery.verify import verify
from otmirror.workspace import PROJECT

pytestmark = pytest.mark.timeout(60)
_LONG = """
import time
from pathlib import Path
from otmirror.cli.signals import ended_by_signals
from otmirror.recovery import hot
from otmirror.recovery.create import Sources, create

copied = hot.back_up
hot.back_up = lambda *given: (copied(*given), Path({marker!r}).touch(), time.sleep(60))[0]
with ended_by_signals():
    create(Sources(hot=hot.Server({url!r}, Path({data!r})), count=False), Path({target!r}))
"""
KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def whole(mirror: Mirror, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed backup of both stores; tests change copies of it."""
    folder, _ = create(
        Sources(hot=mirror.server, lakehouse=mirror.config, data=True), tmp_path_factory.mktemp("whole"), KEY
    )
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of that backup that may be damaged."""
    return Path(shutil.copytree(whole, tmp_path / whole.name))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    disk = tmp_path / "small"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("a file system of its own needs root's mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


def sealed_again(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change the manifest as somebody would who knows how it is made, but has no key."""
    told = json.loads((folder / "manifest.json").read_text())
    change(told)
    text = json.dumps(told).encode()
    (folder / "manifest.json").write_bytes(text)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(text).hexdigest()}  manifest.json\n")


def test_a_disk_that_fills_in_the_middle_leaves_nothing(mirror: Mirror, small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 40_000)
    with pytest.raises(UnavailableError, match=r"[Nn]o space left on device"):
        create(Sources(hot=mirror.server, lakehouse=mirror.config, data=True), small_disk)
    assert [path for path in small_disk.iterdir() if path.name != ".lock"] == [filler]
    assert snapshots(mirror.hot.url) == []


def test_a_restore_to_a_disk_that_is_too_small_says_so(whole: Path, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * 50_000)
    with pytest.raises(UnavailableError, match=r"[Nn]o space left on device"):
        restore(whole, Targets(lakehouse=Config(warehouse=str(small_disk / "lake"))))
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def interrupted(mirror: Mirror, target: Path, sign: signal.Signals) -> None:
    """Run a backup that lasts in a process of its own and end it while it holds its snapshot."""
    marker = target.with_suffix(".copied")
    places = {"url": mirror.hot.url, "data": str(mirror.data), "target": str(target), "marker": str(marker)}
    argv = [sys.executable, "-c", _LONG.format(**places)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "processors")}
    command = subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL)
    try:
        assert wait_until(marker.exists, 40.0), "no backup"
    finally:
        command.send_signal(sign)
        command.wait(20)
    assert backups(target) == []


def test_a_command_killed_in_the_middle_is_cleaned_up_by_the_next(mirror: Mirror, tmp_path: Path) -> None:
    interrupted(mirror, tmp_path, signal.SIGKILL)
    assert len(snapshots(mirror.hot.url)) == 1
    # What the killed command had started may hold the lock a moment longer.
    assert wait_until(lambda: is_free(tmp_path / ".lock"), 20.0)
    create(Sources(hot=mirror.server), tmp_path)
    assert len(backups(tmp_path)) == 1
    assert snapshots(mirror.hot.url) == []
    assert list(tmp_path.glob(".*.partial")) == []


def test_a_command_that_is_asked_to_end_leaves_nothing(mirror: Mirror, tmp_path: Path) -> None:
    interrupted(mirror, tmp_path, signal.SIGTERM)
    assert snapshots(mirror.hot.url) == []
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def is_free(lock: Path) -> bool:
    try:
        with claim(lock, "it"):
            return True
    except UnavailableError:
        return False


def test_two_commands_do_not_share_a_folder(mirror: Mirror, tmp_path: Path) -> None:
    with (
        claim(tmp_path / ".lock", "it"),
        pytest.raises(UnavailableError, match=rf"in use by another.*pid {os.getpid()}"),
    ):
        create(Sources(hot=mirror.server), tmp_path)


@pytest.mark.parametrize(
    ("ending", "damage", "told"),
    [
        (".parquet", lambda path: path.write_bytes(path.read_bytes()[:-7]), r"\.parquet: has [\d,]+ bytes, not"),
        (".avro", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"), r"\.avro: its content is not"),
        ("catalog.db", Path.unlink, r"catalog\.db: is missing"),
        ("", lambda path: (path.parent / "added").write_text("x"), r"added: is not in the manifest"),
    ],
)
def test_damaged_files_are_named_and_nothing_is_restored(
    copy: Path, tmp_path: Path, ending: str, damage: Callable[[Path], object], told: str
) -> None:
    damage(next(path for path in sorted(manifest.content(copy)) if path.name.endswith(ending)))
    (problem,) = verify(copy)
    assert re.search(told, problem)
    with pytest.raises(ConfigError, match=f"is damaged, nothing was restored.*{told}"):
        restore(copy, Targets(hot_data=tmp_path / "new", lakehouse=Config(warehouse=str(tmp_path / "lake"))))
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "lake").exists()


def test_a_damaged_backup_is_not_built_upon(mirror: Mirror, tmp_path: Path) -> None:
    """A file that is cut costs the links, not the next backup."""
    first, _ = create(Sources(lakehouse=mirror.config, data=True), tmp_path)
    cut = next(path for path in manifest.content(first) if path.suffix == ".parquet")
    cut.write_bytes(cut.read_bytes()[:-100])
    assert wait_until(lambda: stamp() != first.name, 2.0, 0.02)
    said: list[str] = []
    second, told = create(Sources(lakehouse=mirror.config, data=True), tmp_path, say=said.append)
    assert any("is damaged, this one is a full one" in line for line in said)
    assert (told.previous, told.new_bytes) == (None, told.bytes)
    assert verify(second) == []


def test_a_changed_manifest_is_refused(copy: Path) -> None:
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"rows": 300', '"rows": 299'))
    with pytest.raises(ConfigError, match="is not what the backup wrote"):
        verify(copy)


def test_a_manifest_changed_with_its_digest_is_refused_by_the_seal(copy: Path) -> None:
    assert manifest.read(copy, KEY).format == 1
    sealed_again(copy, lambda told: told["files"].pop())
    with pytest.raises(ConfigError, match="does not bear the seal of this key"):
        verify(copy, KEY)
    (copy / "manifest.hmac").unlink()
    with pytest.raises(ConfigError, match="not sealed with a key"):
        verify(copy, KEY)


def test_figures_of_the_manifest_are_counted_again(copy: Path) -> None:
    """Without a key, digests prove nothing against somebody who makes them anew: the counts still do."""

    def change(told: dict) -> None:
        told["hot"]["counts"].update(series=7)
        told["hot"]["counts"]["samples"].update(ot_value=301)
        told["lakehouse"]["tables"][0].update(rows=1)

    sealed_again(copy, change)
    series, samples, rows = verify(copy)
    assert "9 series, the manifest says 7" in series
    assert "300 samples of ot_value, the manifest says 301" in samples
    assert "ot.samples has 300 rows, the manifest says 1" in rows
    sealed_again(copy, lambda told: told["hot"].update(rows=1))
    assert "rows, the manifest says 1" in verify(copy)[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m["files"][0].update(path="../../etc/passwd"), "leads out of the backup"),
        (lambda m: m["lakehouse"]["tables"][0]["copies"].update({"x": "/etc/passwd"}), "leads out of the backup"),
        (lambda m: m["configuration"].append({"source": "/a", "path": "../a"}), "leads out of the backup"),
        (lambda m: m.update(format=2), "a backup of format 2; this version of otmirror reads format 1"),
        (lambda m: m.update(hot="all of it"), "is no manifest"),
        (lambda m: m.pop("files"), "is no manifest"),
    ],
)
def test_a_hostile_manifest_is_refused(copy: Path, change: Callable[..., object], told: str) -> None:
    sealed_again(copy, change)
    with pytest.raises(ConfigError, match=told):
        verify(copy)


def test_a_location_that_leads_out_of_the_warehouse_is_refused(copy: Path, tmp_path: Path) -> None:
    def change(told: dict) -> None:
        table = told["lakehouse"]["tables"][0]
        path = next(iter(table["copies"].values()))
        table["copies"] = {f"{told['lakehouse']['root']}/../../escaped": path}

    sealed_again(copy, change)
    with pytest.raises(MirrorError, match="not in the warehouse"):
        restore(copy, Targets(lakehouse=Config(warehouse=str(tmp_path / "a" / "lake"))))
    assert list(tmp_path.rglob("escaped")) == []


def test_no_backup_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no whole backup: there is no manifest\.json"):
        verify(tmp_path)
    with pytest.raises(ConfigError, match="there is no folder"):
        backups(tmp_path / "absent")
    with pytest.raises(ConfigError, match="nothing to back up"):
        Sources()


def test_a_target_that_is_not_empty_is_refused_or_put_aside(whole: Path, tmp_path: Path) -> None:
    data, lake = tmp_path / "data", tmp_path / "lake"
    lake.mkdir()
    (lake / "mine").write_text("precious")
    with pytest.raises(ConfigError, match=r"--warehouse .*lake: is not empty"):
        restore(whole, Targets(hot_data=data, lakehouse=Config(warehouse=str(lake))))
    assert not data.exists()
    said: list[str] = []
    restore(whole, Targets(lakehouse=Config(warehouse=str(lake))), force=True, say=said.append)
    (aside,) = tmp_path.glob("lake.before-*")
    assert (aside / "mine").read_text() == "precious"
    assert any(str(aside) in line for line in said)
    assert (lake / "catalog.db").is_file()


def test_a_running_server_is_not_restored_over(mirror: Mirror, whole: Path) -> None:
    with pytest.raises(ConfigError, match="a VictoriaMetrics runs on it; stop it first"):
        restore(whole, Targets(hot_data=mirror.data), force=True)


def test_a_backup_of_a_later_version_is_refused(copy: Path, tmp_path: Path) -> None:
    sealed_again(copy, lambda told: told["versions"].update(otmirror="2099.1.0"))
    targets = Targets(lakehouse=Config(warehouse=str(tmp_path / "lake")))
    with pytest.raises(ConfigError, match=r"made by otmirror 2099\.1\.0, this is"):
        restore(copy, targets)
    assert restore(copy, targets, force=True).differences == []


def test_parts_that_are_not_there_are_named(mirror: Mirror, tmp_path: Path) -> None:
    folder, _ = create(Sources(lakehouse=mirror.config), tmp_path / "backups")
    with pytest.raises(ConfigError, match="--hot-data: that part is not in this backup"):
        restore(folder, Targets(hot_data=tmp_path / "new"))
    with pytest.raises(ConfigError, match="holds no data files: its tables are those in"):
        restore(folder, Targets(lakehouse=Config(warehouse=str(tmp_path / "elsewhere"))))
    with pytest.raises(ConfigError, match=r"there is a catalog\.db; put it aside with --force"):
        restore(folder, Targets(lakehouse=mirror.config))


def test_the_wrong_victoriametrics_is_told(mirror: Mirror, tmp_path: Path) -> None:
    """Another server's folder: its snapshot is nowhere in it, and is not left behind."""
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="keeps its data somewhere else"):
        create(Sources(hot=Server(mirror.hot.url, tmp_path / "other")), tmp_path / "backups")
    assert snapshots(mirror.hot.url) == []
    assert backups(tmp_path / "backups") == []


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (200, "<html>welcome</html>", "is not the address of a VictoriaMetrics"),
        (200, '{"data": {"result": []}}', "is not the address of a VictoriaMetrics"),
        (404, "no", "answers 404"),
        (401, "no", "lets us not in: check --hot-user"),
    ],
)
def test_something_else_than_a_victoriametrics(tmp_path: Path, status: int, text: str, told: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        Thread(target=other.serve_forever, args=(0.02,), daemon=True).start()
        server = Server(f"http://127.0.0.1:{other.server_address[1]}", tmp_path)
        with pytest.raises(MirrorError, match=told):
            create(Sources(hot=server), tmp_path / "backups")
        other.shutdown()
    assert backups(tmp_path / "backups") == []


def test_a_server_with_a_password_and_a_snapshot_key(tools: None, tmp_path: Path) -> None:
    """Both are read from files; neither is in an argument, a message or the backup."""
    password, key = tmp_path / "password", tmp_path / "key"
    password.write_text("open-sesame-1")
    key.write_text("open-sesame-2")
    server = VictoriaMetrics(
        tmp_path / "vm",
        more=["-httpAuth.username=ot", f"-httpAuth.password=file://{password}", f"-snapshotAuthKey=file://{key}"],
    )
    server.start()
    try:
        at = Server(server.url, tmp_path / "vm" / "data", "ot", password, key)
        folder, _ = create(Sources(hot=at, count=False), tmp_path / "backups")
        with pytest.raises(MirrorError) as refused:
            create(Sources(hot=Server(server.url, at.data, "ot", key, key)), tmp_path / "others")
    finally:
        server.stop()
    assert "lets us not in" in str(refused.value)
    assert b"open-sesame" not in b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
    assert "open-sesame" not in str(refused.value)


def test_a_damaged_catalog_is_not_backed_up(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 8192)
    with pytest.raises(UnavailableError, match=r"catalog.*(damaged|cannot be copied)"):
        create(Sources(lakehouse=Config(warehouse=str(tmp_path))), tmp_path / "backups")
    assert backups(tmp_path / "backups") == []
