"""The collector: each event once, whatever happens to the logs, the collector or its disk in between."""

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otmirror.audit import otherlogs
from otmirror.audit.collect import Trail, collect
from otmirror.audit.sources import LogFile
from otmirror.errors import UnavailableError
from otmirror.workspace import PROJECT

NOW = datetime.datetime(2026, 11, 25, 12, tzinfo=datetime.timezone.utc)


def line(number: int) -> str:
    return json.dumps({"time": "2026-11-25T11:00:00Z", "decision": "allow", "file": f"flow-{number}"}) + "\n"


class Site:
    """A log with one event a line, and a collector that can be made anew as after a restart."""

    def __init__(self, folder: Path):
        self.log, self.out = folder / "decisions.jsonl", folder / "trail"
        self.now = NOW

    def write(self, *numbers: int) -> None:
        with self.log.open("a") as file:
            file.writelines(map(line, numbers))

    def collect(self) -> list[str]:
        source = LogFile("opa", [self.log.with_name("decisions.jsonl*")], otherlogs.decision, lambda: self.now)
        trail = Trail(self.out, lambda: self.now)
        try:
            return collect([source], trail)[1]
        finally:
            trail.close()

    def lines(self) -> list[dict]:
        files = sorted(self.out.glob("audit-*.jsonl"))
        # A line that is being written is none yet.
        whole = (file.read_text().rpartition("\n")[0] for file in files)
        return [json.loads(text) for lines in whole for text in lines.splitlines()]

    def told(self) -> list[str]:
        return [event["object"]["name"] for event in self.lines()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def names(*numbers: int) -> list[str]:
    return [f"flow-{n}" for n in numbers]


def test_each_line_once_over_restarts(site):
    site.write(1, 2)
    site.collect()
    site.collect()
    site.write(3)
    site.collect()
    assert site.told() == names(1, 2, 3)


def test_equal_lines_are_different_events(site):
    site.write(1, 1)
    site.collect()
    assert site.told() == names(1, 1)
    assert len({event["id"] for event in site.lines()}) == 2


def test_a_line_is_read_when_its_end_is_written(site):
    half = line(1)
    site.log.write_text(half[:20])
    site.collect()
    assert site.told() == []
    site.log.write_text(half + line(2)[:-5])
    site.collect()
    assert site.told() == names(1)


def test_rotation_loses_nothing(site):
    site.write(1, 2)
    site.collect()
    site.write(3)  # read by nobody before the rotation
    os.utime(site.log, (1e9, 1e9))
    site.log.rename(site.log.with_name("decisions.jsonl.2"))
    site.write(4)
    os.utime(site.log, (1.1e9, 1.1e9))
    site.log.rename(site.log.with_name("decisions.jsonl.1"))
    site.write(5)
    site.collect()
    assert site.told() == names(1, 2, 3, 4, 5)


def test_a_log_that_was_cut_is_told(site):
    site.write(1, 2, 3)
    site.collect()
    site.log.write_text(line(1))
    site.collect()
    cut = site.lines()[-1]
    assert (cut["action"], cut["outcome"], cut["source"], cut["object"]["name"]) == (
        "truncate", "failed", "collector", "decisions.jsonl",
    )  # fmt: skip
    site.write(7)
    site.collect()
    assert site.told()[-1] == "flow-7"


def test_garbage_takes_no_neighbour_along(site):
    site.write(1)
    with site.log.open("ab") as file:
        file.write(b'\xff\xfe\x00 not json\n{"time": 5}\n[]\n\n"x"\n' + b"x" * 100_000 + b"\n")
    site.write(2)
    assert site.collect() == []
    assert site.told() == names(1, 2)


def test_killed_between_writing_and_remembering(site):
    """The trail has the events, the memory does not: what a crash in that moment leaves."""
    site.write(1)
    site.collect()
    memory = (site.out / "collector.json").read_bytes()
    site.write(2, 3)
    site.collect()
    (site.out / "collector.json").write_bytes(memory)
    today = site.out / "audit-2026-11-25.jsonl"
    today.write_bytes(today.read_bytes()[:-30])  # and the last line only in part
    site.collect()
    assert site.told() == names(1, 2, 3)


def test_a_day_a_file_and_old_days_go(site):
    site.write(1)
    site.collect()
    site.now += datetime.timedelta(days=1)
    site.write(2)
    site.collect()
    assert sorted(file.name for file in site.out.glob("audit-*")) == [
        "audit-2026-11-25.jsonl",
        "audit-2026-11-26.jsonl",
    ]
    trail = Trail(site.out, lambda: NOW + datetime.timedelta(days=91))
    assert trail.expire(90) == ["audit-2026-11-25.jsonl"]
    trail.close()
    assert site.told() == names(2)


def test_nobody_else_may_read_the_trail(site):
    site.write(1)
    site.collect()
    assert (site.out / "audit-2026-11-25.jsonl").stat().st_mode & 0o007 == 0


def test_two_collectors_do_not_write_one_trail(site):
    first = Trail(site.out, lambda: NOW)
    with pytest.raises(UnavailableError, match="in use by another command"):
        Trail(site.out, lambda: NOW)
    first.close()


def test_a_damaged_memory_is_told(site):
    site.write(1)
    site.collect()
    (site.out / "collector.json").write_text("{")
    with pytest.raises(UnavailableError, match=r"collector\.json cannot be read: restore it, or remove it"):
        site.collect()


def command(site: Site, *options: str) -> list[str]:
    return [sys.executable, "-m", "otmirror", "audit", "collect", "--out", str(site.out), "--decisions", str(site.log),
            *options]  # fmt: skip


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT / "processors")}


ENDLESS = """
import datetime, pathlib, sys
from otmirror.audit import otherlogs
from otmirror.audit.collect import Trail, collect
from otmirror.audit.sources import LogFile
now = lambda: datetime.datetime(2026, 11, 25, tzinfo=datetime.timezone.utc)
log = pathlib.Path(sys.argv[1])
source = LogFile("opa", [log.with_name("decisions.jsonl*")], otherlogs.decision, now)
trail = Trail(pathlib.Path(sys.argv[2]), now)
while True:
    collect([source], trail)
"""


def test_a_collector_killed_again_and_again_while_the_log_grows(site):
    written = 0
    for _ in range(8):
        running = subprocess.Popen([sys.executable, "-c", ENDLESS, str(site.log), str(site.out)], env=ENVIRONMENT)
        try:
            before, end = len(site.lines()) if site.out.exists() else 0, time.monotonic() + 30
            while not site.out.exists() or len(site.lines()) <= before:
                written += 50
                site.write(*range(written - 50, written))
                assert time.monotonic() < end, "it collects nothing"
                time.sleep(0.05)
        finally:
            running.send_signal(signal.SIGKILL)
            running.wait(10)
    done = subprocess.run(
        command(site, "--once"), env=ENVIRONMENT, capture_output=True, text=True, timeout=30, check=True
    )
    assert "new events in" in done.stdout
    assert site.told() == names(*range(written))


def test_the_command_without_a_source_says_what_to_give(tmp_path):
    argv = [sys.executable, "-m", "otmirror", "audit", "collect", "--out", str(tmp_path), "--once"]
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "nothing to collect from: give --nifi-logs" in done.stderr


def test_a_nifi_that_does_not_answer_does_not_stop_the_others(site):
    site.write(1)
    argv = command(site, "--once", "--nifi", "http://127.0.0.1:1/nifi-api")
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "nifi-history: NiFi at http://127.0.0.1:1/nifi-api cannot be reached" in done.stderr
    assert site.told() == names(1)
