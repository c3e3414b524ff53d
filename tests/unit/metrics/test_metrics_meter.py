"""A processor's metrics file: counts go on over restarts, and nothing that is wrong with it is more than a notice."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from otmirror.metrics.figures import Figures
from otmirror.metrics.meter import Meter, meter_for

STORED, LAG, TAGS = "otmirror_samples_stored_total", "otmirror_store_lag_seconds", "otmirror_store_tags"
SUCCESS = "otmirror_store_last_success_timestamp_seconds"
ERRORS, RUNNING = "otmirror_metrics_errors_total", "otmirror_processor_running"
IDENTITY = "0190c9a1-0198-1000-ffff-ffffb5a5a5a5"


def meter(folder, every=3600.0):
    return Meter(folder, "ToVictoriaMetrics", IDENTITY, every)


def read(folder):
    """Each series in the file, by its name and labels beside processor and id, as Prometheus' own client reads it."""
    found = {}
    for family in text_string_to_metric_families((folder / f"{IDENTITY}.prom").read_text()):
        for one in family.samples:
            assert (one.labels.pop("processor"), one.labels.pop("id")) == ("ToVictoriaMetrics", IDENTITY)
            found[(one.name, *one.labels.values())] = one.value
    return found


def part(stored, lags=(), success=None):
    figures = Figures()
    figures.add(STORED, stored)
    figures.put(TAGS, stored, area="a")
    figures.observe_all(LAG, np.array(lags, np.float64))
    if success:
        figures.put(SUCCESS, success)
    return figures


def run(folder, *parts):
    """A processor's life in one process: each part in turn."""
    one = meter(folder)
    one.start()
    for figures in parts:
        one.watch(figures)
    one.stop()
    return read(folder)


def test_counts_go_on_in_the_next_process_and_states_do_not(tmp_path):
    first = run(tmp_path, part(5, [0.1, 400], success=1000))
    assert first[(STORED,)] == 5
    assert first[(TAGS, "a")] == 5
    second = run(tmp_path, part(3, [2.0], success=900))
    assert second[(STORED,)] == 8
    assert second[(TAGS, "a")] == 3
    assert second[(SUCCESS,)] == 1000, "what happened last goes back"
    assert (second[(f"{LAG}_count",)], second[(f"{LAG}_bucket", "300")]) == (3, 2)
    assert second[(f"{LAG}_sum",)] == pytest.approx(402.1)
    third = run(tmp_path)
    assert third[(STORED,)] == 8
    assert third[(SUCCESS,)] == 1000
    assert (TAGS, "a") not in third


def test_counts_go_on_in_the_next_part(tmp_path):
    last = run(tmp_path, part(5, [1.0]), part(7, [1.0]), part(1, [1.0]))
    assert (last[(STORED,)], last[(f"{LAG}_count",)], last[(TAGS, "a")]) == (13, 3, 1)


def test_the_same_part_is_not_counted_twice(tmp_path):
    figures = part(5)
    one = meter(tmp_path)
    for _ in range(3):
        one.watch(figures)
        one.write()
    assert read(tmp_path)[(STORED,)] == 5


def test_stop_says_so_and_start_again(tmp_path):
    one = meter(tmp_path)
    one.watch(part(5))
    one.start()
    one.start()
    one.stop()
    one.stop()
    assert read(tmp_path)[(RUNNING,)] == 0
    one.start()
    one.write()
    assert read(tmp_path)[(RUNNING,)] == 1
    one.stop()
    assert read(tmp_path)[(STORED,)] == 5


def test_the_heartbeat_goes_on_while_nothing_is_called(tmp_path):
    one = meter(tmp_path, every=0.05)
    one.start()
    beats = set()
    end = time.monotonic() + 10
    while len(beats) < 3 and time.monotonic() < end:
        if one.file.exists():
            beats.add(read(tmp_path)[("otmirror_heartbeat_timestamp_seconds",)])
    one.stop()
    assert len(beats) >= 3
    last = one.file.stat().st_mtime_ns
    time.sleep(0.3)
    assert one.file.stat().st_mtime_ns == last, "it goes on after the stop"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text[: text.rindex("\n# EOF")],
        lambda text: text.replace("# EOF", ""),
        lambda text: "\x00" * len(text),
        lambda text: text.replace(f"{STORED}{{", f"{STORED}{{{{"),
        lambda text: text.replace('"} 5\n', '"} five\n'),
        lambda text: text.replace('"} 5\n', '"} -5\n'),
        lambda text: text.replace('"} 5\n', '"} NaN\n'),
        lambda text: text.replace('le="+Inf"} 2', 'le="+Inf"} 1'),
        lambda text: text.replace(f"{LAG}_count", f"{LAG}_counted").replace("# EOF", f"{STORED}_sum 1\n# EOF"),
    ],
)
def test_a_file_that_is_not_whole_is_set_aside_and_counted(tmp_path, damage):
    run(tmp_path, part(5, [1.0, 2.0]))
    file = tmp_path / f"{IDENTITY}.prom"
    whole = file.read_text()
    assert damage(whole) != whole
    file.write_text(damage(whole))
    found = run(tmp_path, part(3))
    assert found[(STORED,)] == 3
    assert found[(ERRORS, "read")] == 1
    assert (tmp_path / f"{IDENTITY}.unreadable").read_text() == damage(whole)
    assert run(tmp_path)[(ERRORS, "read")] == 1, "the count of errors is lost"


def test_bytes_that_are_no_text_are_set_aside(tmp_path):
    (tmp_path / f"{IDENTITY}.prom").write_bytes(b"\xff\xfe\x00otmirror")
    assert run(tmp_path, part(3))[(ERRORS, "read")] == 1


def test_what_another_version_wrote_is_passed_over(tmp_path):
    run(tmp_path, part(5, [1.0]))
    file = tmp_path / f"{IDENTITY}.prom"
    text = file.read_text().replace('le="90"', 'le="91"')
    file.write_text(text.replace("# EOF", 'otmirror_of_tomorrow_total{x="1"} 4\n# EOF'))
    found = run(tmp_path, part(3, [1.0]))
    assert found[(STORED,)] == 8
    assert found[(f"{LAG}_count",)] == 1
    assert found[(ERRORS, "read")] == 0


def test_a_disk_that_cannot_be_written_is_a_notice_and_no_more(tmp_path):
    folder = tmp_path / "metrics"
    folder.write_text("a file in the place of the folder")
    one = meter(folder)
    one.watch(part(5))
    one.start()
    one.write()
    assert one.problem is not None
    assert str(one.file) in one.problem
    folder.unlink()
    one.write()
    assert one.problem is None
    one.stop()
    found = read(folder)
    assert found[(STORED,)] == 5
    assert found[(ERRORS, "write")] >= 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    one = meter(tmp_path)
    one.watch(part(5))
    one.write()
    before = one.file.read_text()
    (tmp_path / f".{one.file.name}.{os.getpid()}").symlink_to("/dev/full")
    one.write()
    assert "No space left on device" in one.problem
    assert one.file.read_text() == before
    one.write()
    assert one.problem is None


def test_whoever_reads_never_sees_half_a_file(tmp_path):
    one = meter(tmp_path, every=0.0005)
    figures = part(1)
    one.watch(figures)
    one.start()
    counts = []
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        figures.add(STORED)
        if one.file.exists():
            counts.append(read(tmp_path)[(STORED,)])
    one.stop()
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert [file.name for file in tmp_path.iterdir()] == [one.file.name]


@pytest.mark.parametrize(
    ("variable", "identity"),
    [(None, IDENTITY), ("", IDENTITY), ("here", None), ("here", "../../etc/passwd"), ("here", "a/b"), ("here", ".x")],
)
def test_without_the_variable_or_an_id_there_is_no_file(tmp_path, variable, identity):
    folder = str(tmp_path / variable) if variable else variable
    assert meter_for("ToVictoriaMetrics", identity, {"OTMIRROR_METRICS": folder}.get) is None
    assert not list(tmp_path.iterdir())


def test_it_keeps_no_process_alive(tmp_path):
    code = (
        "import sys; from pathlib import Path; from otmirror.metrics.meter import Meter; "
        f"Meter(Path(sys.argv[1]), 'ToVictoriaMetrics', '{IDENTITY}').start()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=30, check=True, env=environment)


def test_a_disk_that_hangs_holds_up_neither_start_nor_stop(tmp_path, monkeypatch):
    monkeypatch.setattr("otmirror.metrics.meter.PATIENCE", 0.2)
    os.mkfifo(tmp_path / f"{IDENTITY}.prom")  # whoever opens it to read waits for a writer, for good
    one = meter(tmp_path)
    began = time.monotonic()
    one.start()
    one.watch(part(5))
    one.fault()
    one.stop()
    assert time.monotonic() - began < 2
    (tmp_path / f"{IDENTITY}.prom").open("w").close()  # frees the thread
