"""Criteria of a phase: passed, failed or unknown, from commands, files, the monitoring store and days."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.errors import ConfigError, MistakesError
from otmirror.rollout.check import FAIL, PASS, UNKNOWN, Checker, exit_code
from otmirror.rollout.phases import Limit, load
from otmirror.workspace import PROJECT

NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.timezone.utc)
SHIPPED = PROJECT / "rollout" / "phases.toml"
DRILL = 'id = "drill"\nasks = "recovery"\nremedy = "mend"\nevidence = "drill.json"\ndated = "time"\nunit = "s"\n'


def phases(folder: Path, *criteria: str):
    file = folder / "phases.toml"
    head = '[pilot]\ntitle = "Pilot"\ndays = "0-90"\nsigns = ["Owner"]\n'
    file.write_text(head + "".join(f"[[pilot.exit]]\n{text}\n" for text in criteria))
    return load(file)["pilot"]


def one(folder: Path, criterion: str, at: datetime.datetime = NOW, **options):
    checker = Checker(folder, clock=lambda: at, **options)
    (result,) = checker.check(phases(folder, criterion).criteria)
    return result


def drill(folder: Path, *recoveries: float | None, when: datetime.datetime = NOW) -> str:
    faults = [{"fault": str(n), "recover_s": seconds} for n, seconds in enumerate(recoveries)]
    text = json.dumps({"time": when.isoformat(), "faults": faults})
    (folder / "drill.json").write_text(text)
    return text


def test_a_value_is_held_against_its_limit(tmp_path: Path) -> None:
    worst = DRILL + 'value = "max(faults[].recover_s)"\nat_most = 900\n'
    text = drill(tmp_path, 30.0, 900.0, None)
    result = one(tmp_path, worst)
    assert (result.state, result.value, result.shown) == (PASS, 900.0, "900 s")
    assert result.digest == hashlib.sha256(text.encode()).hexdigest()
    drill(tmp_path, 30.0, 900.5)
    assert one(tmp_path, worst).state == FAIL
    lost = DRILL + 'value = "length(faults[?recover_s==null])"\nequals = 0\n'
    drill(tmp_path, 30.0, None)
    assert (one(tmp_path, lost).state, one(tmp_path, lost).value) == (FAIL, 1.0)


@pytest.mark.parametrize(("days", "state"), [(0, PASS), (-30, PASS), (-30.01, UNKNOWN), (0.003, PASS), (0.5, UNKNOWN)])
def test_evidence_that_is_too_old_or_from_the_future_says_nothing(tmp_path: Path, days: float, state: str) -> None:
    drill(tmp_path, 1.0, when=NOW + datetime.timedelta(days=days))
    criterion = DRILL + 'value = "max(faults[].recover_s)"\nat_most = 900\nmax_age = "30 days"\n'
    result = one(tmp_path, criterion)
    assert result.state == state
    assert bool(result.why) == (state == UNKNOWN)
    # A failure is no less unknown when it is old.
    drill(tmp_path, 9999.0, when=NOW - datetime.timedelta(days=31))
    assert one(tmp_path, criterion).state == UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"time": 5}',
        '{"time": "2026-11-26T12:00:00"}',
        '{"time": "yesterday", "faults": []}',
        '{"time": "2026-11-26T12:00:00Z", "faults": []}',
        '{"time": "2026-11-26T12:00:00Z", "faults": [{"recover_s": "9"}]}',
        '{"time": "2026-11-26T12:00:00Z", "faults": 3}',
    ],
)
def test_evidence_that_is_damaged_is_unknown_and_never_a_pass(tmp_path: Path, text: str) -> None:
    (tmp_path / "drill.json").write_text(text)
    result = one(tmp_path, DRILL + 'value = "max(faults[].recover_s)"\nat_most = 900\n')
    assert (result.state, bool(result.why)) == (UNKNOWN, True)


def test_evidence_without_a_time_of_its_own_is_as_old_as_its_file(tmp_path: Path) -> None:
    criterion = DRILL.replace('dated = "time"\n', "") + 'value = "ok"\nequals = true\nmax_age = "1 day"\n'
    file = tmp_path / "drill.json"
    file.write_text('{"ok": true}')
    os.utime(file, (NOW.timestamp() - 86300,) * 2)
    assert one(tmp_path, criterion).state == PASS
    os.utime(file, (NOW.timestamp() - 86500,) * 2)
    assert one(tmp_path, criterion).state == UNKNOWN
    file.unlink()
    assert one(tmp_path, criterion).why == f"there is no {file}"


LINT = 'id = "lint"\nasks = "lint"\nremedy = "mend"\nrun = ["flow", "lint", "FILE"]\nvalue = "exit_code"\nequals = 0\n'


def test_a_command_is_run_once_while_its_answer_is_new_enough(tmp_path: Path) -> None:
    good = LINT.replace("FILE", str(PROJECT / "flows" / "pilot.json"))
    ran: list[str] = []
    now = datetime.datetime.now(datetime.timezone.utc)
    first = one(tmp_path, good, now, say=ran.append)
    assert (first.state, len(ran)) == (PASS, 1)
    kept = json.loads((tmp_path / "lint.json").read_text())
    assert kept["command"][:3] == ["otmirror", "flow", "lint"]
    assert one(tmp_path, good, now, say=ran.append).digest == first.digest
    assert len(ran) == 1
    # Other arguments: the answer is not theirs. Too old, and not to be run: nothing is known.
    assert one(tmp_path, LINT.replace("FILE", "other.json"), now, run=False).state == UNKNOWN
    assert one(tmp_path, good, now + datetime.timedelta(days=8), run=False, say=ran.append).state == UNKNOWN
    assert len(ran) == 1


def test_a_command_that_failed_is_told_in_its_own_words(tmp_path: Path) -> None:
    kept = {"arguments": ["flow", "lint", "FILE"], "began": NOW.isoformat(), "exit_code": 1, "output": "",
            "error": "x\notmirror: FILE: no such file\n"}  # fmt: skip
    (tmp_path / "lint.json").write_text(json.dumps(kept))
    result = one(tmp_path, LINT, run=False)
    assert (result.state, result.why) == (FAIL, "otmirror: FILE: no such file")


def query(text: str, rest: str) -> str:
    return f'id = "q"\nasks = "q"\nremedy = "r"\nquery = \'{text}\'\n{rest}\n'


def test_the_monitoring_store_is_asked_and_its_answer_kept(tmp_path: Path, store, put) -> None:
    at = datetime.datetime.now(datetime.timezone.utc)
    times = [at.timestamp() - 15 * n for n in range(8)]
    put({
        'slo:sli_error:ratio_rate30d{slo="availability"}': [(t, 0.004) for t in times],
        'flag{job="victoriametrics",name="retentionPeriod",value="90d"}': [(t, 1) for t in times],
        'up{job="otmirror"}': [(t, 1) for t in times],
    })  # fmt: skip
    share = query('1 - slo:sli_error:ratio_rate30d{slo="availability"}', 'at_least = 0.995\nunit = "share"')
    result = one(tmp_path, share, at, monitoring=store.url)
    assert (result.state, result.value) == (PASS, pytest.approx(0.996))
    assert result.shown == "99.6 %"
    kept = json.loads((tmp_path / "q.json").read_text())
    assert kept["answer"][0]["value"] == pytest.approx(0.996)
    # Without a store the kept answer counts as long as it is new, and only for the same question.
    assert one(tmp_path, share, at).state == PASS
    assert one(tmp_path, share, at + datetime.timedelta(days=8)).state == UNKNOWN
    assert one(tmp_path, share.replace("availability", "coverage"), at).state == UNKNOWN
    stricter = share.replace("0.995", "0.999")
    assert one(tmp_path, stricter, at, monitoring=store.url).state == FAIL
    keeps = query('topk(1, flag{name="retentionPeriod"})', 'label = "value"\nat_least = 91\nunit = "days"')
    assert (one(tmp_path, keeps, at, monitoring=store.url).state, one(tmp_path, keeps, at).value) == (FAIL, 90.0)


@pytest.mark.parametrize(
    ("text", "rest", "why"),
    [
        ("nothing_of_that_name", "", "no data"),
        ("flag or up", "", "series"),
        ("up{", "", "does not answer"),
        ('up{job="otmirror"}', 'history = "30 days"\n', "no data of 30 days ago"),
    ],
)
def test_an_answer_that_says_nothing_is_unknown(tmp_path: Path, store, put, text: str, rest: str, why: str) -> None:
    at = datetime.datetime.now(datetime.timezone.utc)
    put({'up{job="otmirror"}': [(at.timestamp(), 1)], 'up{job="nifi"}': [(at.timestamp(), 1)]})
    result = one(tmp_path, query(text, f"{rest}at_least = 0"), at, monitoring=store.url)
    assert result.state == UNKNOWN
    assert why in result.why


def test_a_store_that_is_away_is_unknown(tmp_path: Path) -> None:
    result = one(tmp_path, query("up", "at_least = 0"), monitoring="http://127.0.0.1:9")
    assert (result.state, "cannot be read" in result.why) == (UNKNOWN, True)


DAYS = 'id = "days"\nasks = "days"\nremedy = "compare"\ngreen_days = true\nat_least = 3\nmax_age = "2 days"\n'


def days(folder: Path, **green: bool) -> None:
    (folder / "days").mkdir(exist_ok=True)
    for number, state in green.items():
        day = f"2026-11-{number[1:]}"
        (folder / "days" / f"{day}.json").write_text(json.dumps({"day": day, "green": state}))


def test_green_days_in_a_row_up_to_the_last_one(tmp_path: Path) -> None:
    assert one(tmp_path, DAYS).state == UNKNOWN
    days(tmp_path, _21=True, _22=False, _23=True, _24=True)
    assert (one(tmp_path, DAYS).state, one(tmp_path, DAYS).value) == (FAIL, 2.0)
    days(tmp_path, _25=True)
    result = one(tmp_path, DAYS)
    assert (result.state, result.value) == (PASS, 3.0)
    line = "sha256sum 2026-11-2[345].json | sha256sum"
    told = subprocess.run(["sh", "-c", line], cwd=tmp_path / "days", capture_output=True, text=True, check=True)
    assert result.digest == told.stdout.split()[0]
    # A row that ended long ago opens nothing.
    assert one(tmp_path, DAYS, NOW + datetime.timedelta(days=3)).state == UNKNOWN
    days(tmp_path, _25=False)
    assert (one(tmp_path, DAYS).state, one(tmp_path, DAYS).value) == (FAIL, 0.0)


def test_the_exit_status_tells_failed_from_unknown(tmp_path: Path) -> None:
    drill(tmp_path, 5.0)
    passing, failing, unknown = (
        DRILL.replace("drill", name, 1) + f'value = "{value}"\nat_most = 9\n'
        for name, value in (("a", "max(faults[].recover_s)"), ("b", "length(time)"), ("c", "nothing"))
    )
    checker = Checker(tmp_path, clock=lambda: NOW)

    def status(*criteria: str) -> int:
        return exit_code(checker.check(phases(tmp_path, *criteria).criteria))

    assert (status(passing), status(passing, unknown), status(passing, failing, unknown)) == (0, 2, 1)


def test_the_shipped_phases_are_complete(tmp_path: Path) -> None:
    shipped = load(SHIPPED)
    assert list(shipped) == ["pilot", "parallel", "cutover"]
    for phase in shipped.values():
        assert phase.of("entry")
        assert phase.of("exit")
        assert phase.signs
        results = Checker(tmp_path, run=False).check(phase.criteria)
        assert {result.state for result in results} == {UNKNOWN}
    # What a leader was promised: 99.5 then 99.9 %, 30 then 15 minutes, 30 then 180 days, 14 green days.
    limits = {(name, one.id): one.limit for name, phase in shipped.items() for one in phase.criteria}
    assert limits["pilot", "availability"] == Limit("at_least", 0.995, "share")
    assert limits["cutover", "availability"] == Limit("at_least", 0.999, "share")
    assert (limits["pilot", "drill"].bound, limits["parallel", "drill"].bound) == (1800, 900)
    assert (limits["pilot", "retention"].bound, limits["cutover", "retention"].bound) == (30, 180)
    assert limits["parallel", "green-days"].bound == 14


def test_every_command_of_the_shipped_criteria_exists() -> None:
    import typer

    root = typer.main.get_command(app)
    for phase in load(SHIPPED).values():
        for criterion in phase.criteria:
            if criterion.run:
                subcommands = getattr(root.commands[criterion.run[0]], "commands", None)
                assert subcommands is None or criterion.run[1] in subcommands, criterion.run


def test_the_command_tells_value_limit_and_remedy(tmp_path: Path) -> None:
    drill(tmp_path, 2000.0, when=datetime.datetime.now(datetime.timezone.utc))
    phases(tmp_path, DRILL + 'value = "max(faults[].recover_s)"\nat_most = 900\n')
    line = [
        "rollout",
        "check",
        "--phase",
        "pilot",
        "--phases",
        str(tmp_path / "phases.toml"),
        "--results",
        str(tmp_path),
    ]
    told = CliRunner().invoke(app, line)
    assert told.exit_code == 1
    assert "at most 900 s" in told.stdout
    assert "drill: outside its limit; mend" in told.stdout
    data = json.loads(CliRunner().invoke(app, [*line, "--json"]).stdout)
    assert data["counts"] == {"pass": 0, "fail": 1, "unknown": 0}
    assert (data["criteria"][0]["value"], data["criteria"][0]["remedy"]) == (2000.0, "mend")
    assert CliRunner().invoke(app, [*line[:3], "pilots", *line[4:]]).exit_code == 2


def test_mistakes_in_the_phases_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "phases.toml"
    file.write_text("""[pilot]
colour = "red"
[[pilot.exit]]
id = "a"
asks = "x"
remedy = "y"
run = ["prove"]
query = "up"
at_most = 1
at_least = 2
[[pilot.exit]]
id = "b"
asks = "x"
remedy = "y"
evidence = "b.json"
value = "max(("
at_most = "much"
max_age = "soon"
[[pilot.exit]]
evidence = "c.json"
value = "x"
equals = 1
run = [3]
waivable = "no"
[[pilot.exit]]
id = "d"
asks = "x"
remedy = "y"
run = ["pki", "check", "{place}"]
value = "exit_code"
equals = 0
""")
    with pytest.raises(MistakesError) as told:
        load(file)
    text = "\n".join(told.value.problems)
    for part in ("has no colour", "give one of them", "give one of at_least", "a: value is missing", "no JMESPath",
                 "at_most has to be a number", "max_age", "id is missing", "asks is missing", "remedy is missing",
                 "run has to be a list", "waivable is true or false", "{place} is not in [site]"):  # fmt: skip
        assert part in text, part
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "absent.toml")
    file.write_text("[pilot\n")
    with pytest.raises(ConfigError, match="phases"):
        load(file)
    file.write_text("")
    with pytest.raises(ConfigError, match="no phase"):
        load(file)


def test_places_of_the_site_are_filled_in(tmp_path: Path) -> None:
    found = load(SHIPPED, {"pki": "/etc/certificates"})["pilot"]
    assert next(one.run for one in found.criteria if one.id == "certificates") == ("pki", "check", "/etc/certificates")
    with pytest.raises(ConfigError, match="--set ca"):
        load(SHIPPED, {"ca": "x"})


def test_files_of_the_project_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from otmirror.rollout import evidence

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evidence.sys, "executable", "/bin/echo")
    (tmp_path / ".pki").mkdir()
    evidence.run(["flows/*.json", "docker-compose.yml", ".pki", "absent.yml", "--json"], tmp_path / "out.json")
    said = json.loads((tmp_path / "out.json").read_text())["output"].split()[2:]
    flows = sorted(str(file) for file in (PROJECT / "flows").glob("*.json"))
    assert said == [*flows, str(PROJECT / "docker-compose.yml"), ".pki", "absent.yml", "--json"]
