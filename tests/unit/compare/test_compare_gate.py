"""Thresholds, the days in a row, and the recorded wells against a thinned copy."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from historians import Tag, signals, write_csv
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.compare import gate
from otmirror.compare.findings import KINDS
from otmirror.errors import ConfigError
from otmirror.workspace import PROJECT

WELL = "WELL-00003_20180206182917.csv"


@pytest.fixture
def well() -> Path:
    """A recorded well."""
    for parent in PROJECT.parents:
        if (parent / "shared" / "data" / "3w" / WELL).exists():
            return parent / "shared" / "data" / "3w" / WELL
    pytest.skip(f"needs the recorded data {WELL}")


def run(*arguments: str) -> int:
    done = CliRunner().invoke(app, ["compare", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code


@pytest.fixture
def day(tmp_path: Path):
    """Write one tag's day shifted to a date; right may be wrong."""

    def made(date: str, green: bool) -> int:
        files = []
        for name in ("left", "right"):
            rows = [f"a,{date}T{n // 60:02d}:{n % 60:02d}:00Z,{n % 7 + (name == 'right' and not green) * n % 3}\n"
                    for n in range(600)]  # fmt: skip
            files.append(tmp_path / f"{date}-{name}.csv")
            files[-1].write_text("tag,time,value\n" + "".join(rows))
        limits = tmp_path / "limits.toml"
        limits.write_text("[gate]\ngreen_days = 3\n")
        kept = ("--days", str(tmp_path / "days"), "--thresholds", str(limits), "--cutover")
        return run("--left", str(files[0]), "--right", str(files[1]), "--window", date, *kept)

    return made


def test_the_cutover_opens_after_enough_green_days_in_a_row(day) -> None:
    assert day("2026-11-01", True) == 4
    assert day("2026-11-02", True) == 4
    assert day("2026-11-03", False) == 3
    assert [day(f"2026-11-0{n}", True) for n in (4, 5, 6)] == [4, 4, 0]
    # A day left out ends the row; the same day again replaces its verdict.
    assert day("2026-11-08", True) == 4
    assert day("2026-11-06", False) == 3
    assert day("2026-11-07", True) == 4


def test_a_damaged_day_is_told(day, tmp_path: Path) -> None:
    day("2026-11-01", True)
    (tmp_path / "days" / "2026-11-01.json").write_text("{")
    with pytest.raises(ConfigError, match=r"2026-11-01\.json is damaged"):
        day("2026-11-02", True)


def test_a_window_that_is_no_day_is_not_kept(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "a.csv", {"a": signals(1)["F"]()})
    with pytest.raises(ConfigError, match="no whole day"):
        run("--left", str(file), "--right", str(file), "--window", "2026-10-25T00:00Z..2026-10-25T06:00Z", "--days",
            str(tmp_path / "days"))  # fmt: skip


def test_each_threshold_turns_the_day(tmp_path: Path) -> None:
    made = signals(2)
    tag, other = made["F"](), made["T"]()
    thinner = Tag(tag.at[:-500], tag.value[:-500], tag.quality[:-500], [9.0] * (len(tag.at) - 500))
    left = write_csv(tmp_path / "left.csv", {"a": tag, "b": other})
    right = write_csv(tmp_path / "right.csv", {"a": thinner})
    sides = ("--left", str(left), "--right", str(right), "--window", "2026-10-25", "--out", str(tmp_path / "out"))

    def failed(text: str) -> set[str]:
        limits = tmp_path / "limits.toml"
        limits.write_text(text)
        status = run(*sides, "--thresholds", str(limits))
        checks = json.loads((tmp_path / "out" / "report.json").read_text())["checks"]
        names = {check["rule"] for check in checks if not check["passed"]}
        assert (status == 3) == bool(names)
        return names

    assert failed("") == {
        "coverage", "missing on the right", "tags: missing interval", "tags: only on the left",
        "time-weighted mean, 99 of 100 tags",
    }  # fmt: skip
    lenient = "[gate]\nmin_coverage = 0.5\nmax_missing_share = 0.2\nmax_mean_difference = 0.1\n"
    lenient += "max_tags = { missing = 1, only_left = 1 }\n"
    assert failed(lenient) == set()
    assert failed(lenient + "max_lag_p99_s = 5\n") == {"lag p99 of the right"}
    assert failed(lenient + "max_lag_p99_s = 10\n") == set()


def test_the_document_explains_every_kind() -> None:
    text = (PROJECT / "docs" / "parallel-run.md").read_text()
    assert {kind for kind in KINDS if f"`{kind}`" not in text} == set()


def test_the_thresholds_of_the_document_load(tmp_path: Path) -> None:
    text = (PROJECT / "docs" / "parallel-run.md").read_text()
    path = tmp_path / "thresholds.toml"
    path.write_text(text.split("```toml\n")[1].split("```")[0])
    options, rules = gate.load(path)
    assert rules.green_days == 14
    assert options.tolerance.time_us == 1_000_000


@pytest.mark.parametrize("every", [10, 60])
def test_a_recorded_well_against_every_nth_of_its_rows(every: int, well: Path, tmp_path: Path) -> None:
    with well.open() as file:
        rows = list(csv.reader(file))
    thinned = tmp_path / "thinned.csv"
    with thinned.open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *rows[1::every]])
    start, end = (rows[n][0].replace(" ", "T")[:19] + "Z" for n in (1, -1))
    status = run("--left", str(well), "--right", str(thinned), "--left-profile", "wide", "--right-profile", "wide",
                 "--window", f"{start}..{end}", "--out", str(tmp_path / "out"))  # fmt: skip
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    moving = {name for n, name in enumerate(rows[0][1:-1], 1) if len({row[n] for row in rows[1:] if row[n]}) > 1}
    found = {finding["tag"]: finding["kind"] for finding in report["findings"]}
    assert moving <= set(found)
    assert set(found.values()) <= {"sparse", "deadband"}
    assert report["totals"]["match"] == 1.0
    assert status == 0


def test_a_recorded_well_that_reports_by_exception(well: Path, tmp_path: Path) -> None:
    with well.open() as file:
        rows = list(csv.DictReader(file))
    start, end = (rows[n]["timestamp"].replace(" ", "T")[:19] + "Z" for n in (0, -1))
    exported = tmp_path / "exported.csv"
    with exported.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("tag", "time", "value", "quality"))
        for tag, band in (("P-PDG", 2e4), ("P-TPT", 5e3), ("T-TPT", 0.02), ("P-MON-CKP", 4e3)):
            last = None
            for row in rows:
                if row[tag] and (last is None or abs(float(row[tag]) - last) > band):
                    last = float(row[tag])
                    writer.writerow((tag, row["timestamp"].replace(" ", "T") + "Z", row[tag], "good"))
    tags = ("--tags", "^(P-PDG|P-TPT|T-TPT|P-MON-CKP)$", "--window", f"{start}..{end}", "--out", str(tmp_path / "out"))
    status = run("--left", str(well), "--right", str(exported), "--left-profile", "wide", *tags)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {finding["kind"] for finding in report["findings"]} == {"deadband"}
    assert status == 0
