"""The union of files at one address: whatever lies in the folder, Prometheus' own client reads the answer."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.embedded.loopback import session
from otmirror.embedded.processes import Server, free_port
from otmirror.errors import ConfigError, UnavailableError
from otmirror.exporter.server import Exporter, address
from otmirror.exporter.union import Union
from otmirror.metrics.figures import Figures
from otmirror.metrics.meter import Meter

STORED = "otmirror_samples_stored_total"
UNREADABLE, FILES = "otmirror_metrics_unreadable_total", "otmirror_metrics_files"


def processor(folder, identity, stored, kind="ToVictoriaMetrics"):
    """A processor's file, complete with a histogram."""
    figures = Figures()
    figures.add(STORED, stored)
    figures.observe("otmirror_store_seconds", 0.5)
    meter = Meter(folder, kind, identity)
    meter.watch(figures)
    meter.write()
    return meter.file


def read(text):
    """Value of each series by name and id or path; each family and series must be there once."""
    found, names = {}, []
    for family in text_string_to_metric_families(text):
        names.append(family.name)
        assert family.type != "unknown", family.name
        assert family.documentation, family.name
        for one in family.samples:
            key = (one.name, *(one.labels[label] for label in ("id", "path", "le", "kind") if label in one.labels))
            assert key not in found, key
            found[key] = one.value
    assert len(names) == len(set(names))
    return found


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "metrics"
    processor(made, "one", 5)
    processor(made, "two", 7, "WriteIceberg")
    return made


def test_the_union_of_folders(folder, tmp_path):
    other = tmp_path / "other"
    processor(other, "three", 9)
    processor(other, "one", 100)  # the first folder counts
    found = read(Union([folder, other, tmp_path / "absent"]).render())
    assert {key: value for key, value in found.items() if key[0] == STORED} == {
        (STORED, "one"): 5, (STORED, "two"): 7, (STORED, "three"): 9,
    }  # fmt: skip
    assert found[("otmirror_store_seconds_bucket", "one", "0.5")] == 1
    assert found[(FILES,)] == 3
    assert found[(UNREADABLE,)] == 0


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x00\xff\xfe", b"# EOF\n" * 3 + b"x", b"not metrics at all\n",
        b'node_load1{cpu="0"} 0.5\nnode_load1{cpu="0"} 0.5\n',
        b'otmirror_samples_stored_total{processor="ToVictoriaMetrics",id="odd"} 5\n',
        b'otmirror_samples_stored_total{processor="ToVictoriaMetrics",id="odd"} 5\n' * 2 + b"# EOF\n",
        b'otmirror_samples_stored_total{processor="ToVictoriaMetrics",id="one"} 5\n# EOF\n',
        b'otmirror_samples_stored_total{processor="ToVictoriaMetrics",id="odd"\n# EOF\n',
        b'otmirror_samples_stored_total{id="odd",id="odd"} 5\n# EOF\n',
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_ours_is_left_out_and_counted(folder, content):
    (folder / "odd.prom").write_bytes(content)
    union = Union([folder])
    for scrape in (1, 2):
        found = read(union.render())
        assert found[(UNREADABLE,)] == scrape
        assert found[(FILES,)] == 2
        assert {key[1]: value for key, value in found.items() if key[0] == STORED} == {"one": 5, "two": 7}


def test_a_copy_under_another_name_gives_no_series_twice(folder):
    (folder / "one copy.prom").write_bytes((folder / "one.prom").read_bytes())
    assert read(Union([folder]).render())[(UNREADABLE,)] == 1


def test_what_cannot_be_opened_is_counted(folder):
    (folder / "odd.prom").mkdir()
    os.mkfifo(folder / "pipe.prom")
    (folder / "gone.prom").symlink_to("/no/such/file")
    found = read(Union([folder]).render())
    assert (found[(UNREADABLE,)], found[(FILES,)]) == (2, 2)


def test_a_huge_file_is_not_read(folder):
    with (folder / "odd.prom").open("wb") as file:
        file.truncate(1 << 40)
    assert read(Union([folder]).render())[(UNREADABLE,)] == 1


def test_the_file_of_a_removed_processor_is_left_out_after_a_day(folder):
    now = time.time()
    for age, there in ((86_300, True), (86_500, False)):
        os.utime(folder / "one.prom", (now - age, now - age))
        found = read(Union([folder], wall=lambda: now).render())
        assert ((STORED, "one") in found) is there
        assert found[(UNREADABLE,)] == 0
    assert (folder / "one.prom").exists()


def test_what_a_newer_version_adds_does_not_break_the_scrape(folder):
    file = folder / "one.prom"
    file.write_text(file.read_text().replace("# EOF", 'otmirror_of_tomorrow{id="one"} 1\n# EOF'))
    found = read(Union([folder]).render())
    assert ("otmirror_of_tomorrow", "one") not in found
    assert found[(STORED, "one")] == 5


def test_disks(folder, tmp_path):
    found = read(Union([folder], [tmp_path, tmp_path / "absent"]).render())
    disk = os.statvfs(tmp_path)
    assert found[("otmirror_disk_size_bytes", str(tmp_path))] == disk.f_blocks * disk.f_frsize
    assert 0 < found[("otmirror_disk_free_bytes", str(tmp_path))] <= disk.f_bavail * disk.f_frsize * 1.1
    assert ("otmirror_disk_free_bytes", str(tmp_path / "absent")) not in found


def test_scrapes_at_once_while_files_change(folder):
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            processor(folder, "one", number)
            file = folder / f"{number % 7}.prom"
            file.write_bytes(b"half") if number % 2 else file.unlink(missing_ok=True)

    with Exporter(("127.0.0.1", 0), Union([folder])) as server:
        threads = [threading.Thread(target=server.serve_forever, args=(0.05,)), threading.Thread(target=write)]
        for thread in threads:
            thread.start()
        try:
            with ThreadPoolExecutor(8) as pool, session(server.url) as asking:
                answers = list(pool.map(lambda _: asking.get(server.url, timeout=10), range(60)))
                wrong = asking.get(server.url.replace("/metrics", "/else"), timeout=10)
        finally:
            stop.set()
            server.shutdown()
            for thread in threads:
                thread.join()
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert read(answer.text)[(STORED, "two")] == 7
    assert wrong.status_code == 404


def test_the_command(folder, tmp_path):
    port = free_port()
    server = Server("exporter", tmp_path / "server")
    argv = [sys.executable, "-m", "otmirror", "metrics", "serve", f"--folder={folder}", f"--listen=127.0.0.1:{port}"]
    url = f"http://127.0.0.1:{port}"

    def answers():
        try:
            return session(url).get(f"{url}/health", timeout=2).ok
        except requests.RequestException:
            return False

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    server.start([*argv, f"--disk={tmp_path}"], answers, env=environment)
    try:
        found = read(session(url).get(f"{url}/metrics", timeout=5).text)
        assert (found[(STORED, "one")], found[(STORED, "two")]) == (5, 7)
        assert found[("otmirror_disk_free_bytes", str(tmp_path))] > 0
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{port} cannot be listened on: Address already in use"):
            Exporter(("127.0.0.1", port), Union([]))
    finally:
        server.stop()


@pytest.mark.parametrize("text", ["", "9478", "localhost", "localhost:", ":9478", "localhost:http", "localhost:70000"])
def test_a_wrong_address_is_one_clear_line(text):
    with pytest.raises(ConfigError, match="write host:port"):
        address(text)


def test_addresses():
    assert address("0.0.0.0:9478") == ("0.0.0.0", 9478)
    assert address("[::1]:9478") == ("::1", 9478)
    with pytest.raises(UnavailableError, match=r"192\.0\.2\.1:9478 cannot be listened on"):
        Exporter(("192.0.2.1", 9478), Union([]))


def test_without_a_folder_the_command_says_what_to_do(monkeypatch):
    monkeypatch.delenv("OTMIRROR_METRICS", raising=False)
    with pytest.raises(ConfigError, match="--folder, or set OTMIRROR_METRICS"):
        CliRunner().invoke(app, ["metrics", "serve"], catch_exceptions=False)
