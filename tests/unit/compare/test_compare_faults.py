"""Twelve classes of faults, each put into copies of realistic signals: found, named, and nothing else said."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest
from historians import (
    DAY,
    Tag,
    bad_stretch,
    deadband,
    dst,
    duplicated,
    frozen,
    gain,
    late,
    missing_hour,
    offset,
    signals,
    truncated,
    write_csv,
)
from typer.testing import CliRunner

from otmirror.cli.app import app

FAULTS = {
    "missing": missing_hour,
    "clock_offset": offset,
    "gain": gain,
    "frozen": frozen,
    "duplicates": duplicated,
    "late": late,
    "dst_shift": dst,
}
MOVING = ("P", "T", "F", "L")
DIGITS = {"P": -4, "T": 1, "F": 0, "L": 0}
BANDS = {"P": 20_000.0, "T": 0.2, "F": 1.5, "L": 2.0, "V": 0.0, "SP": 0.1}


def compared(tmp_path: Path, left: dict[str, Tag], right: dict[str, Tag], *more: str) -> tuple[int, dict, str]:
    """Run the command on both as CSV; return its exit status, the JSON report and what it printed."""
    one, two = (write_csv(tmp_path / f"{name}.csv", tags) for name, tags in (("left", left), ("right", right)))
    done = CliRunner().invoke(
        app,
        ["compare", "--left", str(one), "--right", str(two), "--window", DAY, "--out", str(tmp_path / "out"), *more],
    )
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads((tmp_path / "out" / "report.json").read_text()), done.output


def by_tag(report: dict) -> dict[str, set[str]]:
    found = defaultdict(set)
    for finding in report["findings"]:
        found[finding["tag"]].add(finding["kind"])
    return dict(found)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict, dict[str, set[str]], Path]:
    """All faults at once, on four kinds of signals each, among untouched tags; with what has to be found."""
    made = signals(7)
    left: dict[str, Tag] = {}
    right: dict[str, Tag] = {}
    expected: dict[str, set[str]] = {}

    def put(name: str, one: Tag, two: Tag, kind: str | None) -> None:
        left[name], right[name] = one, two
        if kind:
            expected[name] = {kind}

    for letter, maker in made.items():
        for number in range(3):
            tag = maker()
            put(f"field/clean/{letter}-{number}", tag, tag.copy(), None)
    for kind, fault in FAULTS.items():
        for letter in MOVING:
            tag = made[letter]()
            put(f"field/{kind}/{letter}", tag, fault(tag), kind)
    for letter in MOVING:
        tag = made[letter]()
        put(f"field/precision/{letter}", tag, truncated(DIGITS[letter])(tag), "precision")
        tag = made[letter]()
        put(f"field/quality/{letter}", bad_stretch(tag), tag, "quality_lost")
        tag = made[letter]()
        put(f"field/deadband/{letter}", tag, deadband(BANDS[letter])(tag), "deadband")
        left[f"field/renamed/{letter}-101"] = right[f"FIELD.RENAMED.{letter}101.PV"] = made[letter]()
        expected[f"field/renamed/{letter}-101"] = {"renamed"}
        one, two = made[letter](), made[letter]()
        put(f"field/swapped/{letter}-a", one, two, "swapped")
        put(f"field/swapped/{letter}-b", two, one, "swapped")
    status, report, _ = compared(tmp_path_factory.mktemp("seeded"), left, right)
    return status, report, expected, tmp_path_factory.getbasetemp()


def test_every_fault_is_found_at_its_tag_and_nothing_else_anywhere(seeded) -> None:
    status, report, expected, _ = seeded
    assert by_tag(report) == expected
    assert len({kind for kinds in expected.values() for kind in kinds}) == 12
    assert status == 3
    assert not report["green"]


def test_the_evidence_says_how_much_and_when(seeded) -> None:
    _, report, _, _ = seeded
    numbers = {f["tag"]: f["numbers"] for f in report["findings"]}
    assert numbers["field/clock_offset/F"]["offset_s"] == pytest.approx(3.0, abs=0.01)
    assert numbers["field/gain/T"]["gain"] == pytest.approx(1.005, abs=1e-6)
    assert numbers["field/missing/P"]["from"] == "2026-10-25T09:59:40Z"
    assert numbers["field/missing/P"]["until"] == "2026-10-25T11:00:00Z"
    assert numbers["field/frozen/L"]["from"] == "2026-10-25T08:20:00Z"
    assert numbers["field/duplicates/P"]["rows"] == 100
    assert numbers["field/quality/P"]["rows"] == 60
    assert numbers["field/late/F"] == {
        "rows": 90, "worst_s": 1800.0, "from": "2026-10-25T11:06:40Z", "until": "2026-10-25T11:36:20Z",
    }  # fmt: skip
    assert numbers["field/dst_shift/F"] == {
        "offset_s": 3600.0, "from": "2026-10-25T01:00:00Z", "until": "2026-10-26T00:00:00Z",
    }  # fmt: skip
    assert numbers["field/renamed/F-101"]["right"] == "FIELD.RENAMED.F101.PV"
    assert numbers["field/swapped/F-a"]["other"] == "field/swapped/F-b"
    # No value is further from the last one sent than the band.
    assert numbers["field/deadband/F"]["band"] == pytest.approx(BANDS["F"], rel=0.1)


def test_the_forms_of_the_report_agree(seeded, tmp_path: Path) -> None:
    _, report, expected, base = seeded
    folder = next(base.glob("seeded*/out"))
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    metrics = dict(line.rsplit(" ", 1) for line in (folder / "metrics.prom").read_text().splitlines() if line[0] != "#")
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert "<script" not in page
    assert page.count("<svg") >= 20
    for tag in expected:
        assert tag in page
        assert tag.replace("_", "\\_") in text
    assert metrics["otmirror_compare_green"] == "0.0"
    assert metrics['otmirror_compare_finding_tags{kind="swapped",alarm="true"}'] == "8"
    assert (folder / "tag-map.csv").read_text().splitlines()[0] == "left,right"
    assert len(report["tag_map"]) == len(MOVING)


def test_identical_data_gives_no_alarm(tmp_path: Path) -> None:
    tags = {f"a/{letter}": bad_stretch(maker()) if letter == "P" else maker() for letter, maker in signals(3).items()}
    status, report, output = compared(tmp_path, tags, tags)
    assert by_tag(report) == {}
    assert report["totals"]["match"] == 1.0
    assert status == 0, output


def test_a_mere_deadband_gives_no_alarm(tmp_path: Path) -> None:
    tags = {f"a/{letter}": maker() for letter, maker in signals(4).items()}
    thin = {name: deadband(BANDS[name[2:]])(tag) for name, tag in tags.items()}
    status, report, output = compared(tmp_path, tags, thin)
    assert set().union(*by_tag(report).values()) == {"deadband"}
    assert status == 0, output


def test_two_deadbands_of_different_systems_give_no_alarm_with_their_tolerance(tmp_path: Path) -> None:
    tags = {f"a/{letter}": signals(5)[letter]() for letter in "FT"}
    one = {name: deadband(BANDS[name[2:]])(tag) for name, tag in tags.items()}
    two = {name: deadband(0.7 * BANDS[name[2:]])(tag) for name, tag in tags.items()}
    limits = tmp_path / "limits.toml"
    limits.write_text("[same]\nvalue_absolute = 1.6\n[gate]\nmax_mean_difference = 0.02\n")
    status, report, output = compared(tmp_path, one, two, "--thresholds", str(limits))
    assert not any(finding["alarm"] for finding in report["findings"]), output
    assert status == 0, output


def test_a_proposed_map_is_taken(tmp_path: Path) -> None:
    tag = signals(6)["F"]()
    status, report, _ = compared(tmp_path, {"north/well1/F": tag}, {"WELL1-F.PV": tag})
    assert status == 3
    assert report["tag_map"][0]["right"] == "WELL1-F.PV"
    mapped = tmp_path / "out" / "tag-map.csv"
    status, report, output = compared(tmp_path, {"north/well1/F": tag}, {"WELL1-F.PV": tag}, "--tag-map", str(mapped))
    assert by_tag(report) == {}
    assert status == 0, output


def test_a_clock_that_is_off_for_all_tags_is_told_once(tmp_path: Path) -> None:
    tags = {f"a/{letter}-{n}": maker() for letter, maker in signals(8).items() for n in range(2) if letter != "SP"}
    _, report, output = compared(tmp_path, tags, {name: offset(tag) for name, tag in tags.items()})
    assert set().union(*by_tag(report).values()) == {"clock_offset"}
    assert report["totals"]["clock_offset_s"] == pytest.approx(3.0, abs=0.01)
    assert output.count("clock offset on the right, +3 s: 10 tags") == 1


def test_two_causes_at_one_tag_are_two_findings(tmp_path: Path) -> None:
    tag = signals(9)["F"]()
    _, report, _ = compared(tmp_path, {"a/F": tag}, {"a/F": offset(gain(missing_hour(tag)))})
    assert by_tag(report)["a/F"] >= {"missing", "clock_offset", "gain"}


def test_an_hour_that_is_off_for_all_tags_is_told_once(tmp_path: Path) -> None:
    tags = {f"a/{letter}-{n}": maker() for letter, maker in signals(8).items() for n in range(2)}
    _, report, output = compared(tmp_path, tags, {name: dst(tag) for name, tag in tags.items()})
    assert by_tag(report) == {name: {"dst_shift"} for name in tags}
    assert output.count("one-hour shift on the right, +3600 s, 2026-10-25T01:00:00Z") == 1


def test_the_pieces_do_not_change_what_is_found(tmp_path: Path) -> None:
    made = signals(10)
    left = {f"a/{letter}": maker() for letter, maker in made.items()}
    right = {name: missing_hour(tag) if name == "a/F" else gain(tag) if name == "a/T" else tag
             for name, tag in reversed(left.items())}  # fmt: skip
    reports = []
    for pieces in ("1", "7", "1000"):
        _, report, _ = compared(tmp_path, left, right, "--pieces", pieces)
        reports.append({**report, "seconds": 0})
    assert reports[0] == reports[1] == reports[2]
    assert by_tag(reports[0]) == {"a/F": {"missing"}, "a/T": {"gain"}}


def test_rows_by_time_or_by_tag_are_the_same(tmp_path: Path) -> None:
    tags = {f"a/{letter}": maker() for letter, maker in signals(12).items()}
    by_name = write_csv(tmp_path / "by-tag.csv", tags)
    head, *rows = by_name.read_text().splitlines(keepends=True)
    by_time = tmp_path / "by-time.csv"
    by_time.write_text(head + "".join(sorted(rows, key=lambda row: row.split(",")[1])))
    done = CliRunner().invoke(app, ["compare", "--left", str(by_name), "--right", str(by_time), "--window", DAY])
    assert done.exit_code == 0, done.output
    assert "green" in done.output
