"""`otmirror policy` and `otmirror flow lint`: exit status, what is printed, what is logged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.flow.canonical import dumps, load
from otmirror.policy.decisions import append, records, stats
from otmirror.policy.engine import Decision, Told
from otmirror.workspace import PROJECT

# The first one may have to build OPA.
pytestmark = pytest.mark.timeout(900)
PILOT = PROJECT / "flows" / "pilot.json"
COMPOSE = PROJECT / "docker-compose.yml"
SECRET = "hunter2-canary"
runner = CliRunner()


@pytest.fixture(autouse=True)
def log(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("OPA_BINARY", str(program))
    monkeypatch.setenv("OTMIRROR_POLICY_LOG", str(tmp_path / "log" / "decisions.jsonl"))
    monkeypatch.delenv("OTMIRROR_POLICY_SITE", raising=False)
    return tmp_path / "log" / "decisions.jsonl"


@pytest.fixture
def no_opa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPA_BINARY")
    monkeypatch.setenv("OTMIRROR_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """The pilot with the value of a sensitive parameter and a queue without back-pressure."""
    flow = load(PILOT)
    (context,) = flow["parameterContexts"].values()
    (password,) = (p for p in context["parameters"] if p["name"] == "opcua.password")
    password["value"] = SECRET
    (reader,) = (p for p in flow["flowContents"]["processors"] if p["name"] == "Read OPC UA")
    (queue,) = (c for c in flow["flowContents"]["connections"] if c["source"]["id"] == reader["identifier"])
    queue["backPressureObjectThreshold"] = 0
    path = tmp_path / "bad.json"
    path.write_text(dumps(flow), encoding="utf-8")
    return path


def lines(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def test_what_is_allowed_ends_with_0_and_is_logged(log: Path) -> None:
    done = runner.invoke(app, ["policy", "check", "--waivers", str(PILOT), str(COMPOSE)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert "2 files, 0 denials, 2 waivers used" in done.stderr
    assert "http://127.0.0.1:8428 is waived until 2028-12-31" in done.stderr
    decided = [line["decision"] for line in lines(log) if line["file"] == str(PILOT)]
    assert sorted(decided) == ["allow", "waive", "waive"]
    assert [line["decision"] for line in lines(log) if line["file"] == str(COMPOSE)] == ["allow"]


def test_what_is_denied_ends_with_1_names_all_and_is_only_appended_to_the_log(log: Path, bad: Path) -> None:
    for _ in range(2):
        done = runner.invoke(app, ["policy", "check", str(bad), str(PILOT)])
        assert done.exit_code == 1
        told = done.stdout.splitlines()
        assert len(told) == 2
        assert all(line.startswith(f"{bad}: ") for line in told)
        assert any(
            "parameter opcua.password (otmirror pilot/opcua.password)" in line and "[literal-secret]" in line
            for line in told
        )
        assert any("connection Read OPC UA -> Funnel (" in line and "[no-back-pressure]" in line for line in told)
    logged = lines(log)
    denied = [line for line in logged if line["decision"] == "deny"]
    assert len(denied) == 4
    assert len({line["decision_id"] for line in logged}) == 4
    assert {len(str(line["policy"])) for line in logged} == {12}
    assert len({line["policy"] for line in logged}) == 1
    assert SECRET not in log.read_text() + done.output


def test_the_blocked_are_counted(log: Path, bad: Path) -> None:
    for files in ([bad], [bad, PILOT], [COMPOSE]):
        runner.invoke(app, ["policy", "check", *map(str, files)])
    told = json.loads(runner.invoke(app, ["policy", "stats", "--json"]).stdout)
    assert told["decisions"] == 4
    assert (told["blocked"], told["violations"], told["distinct"], told["open_files"]) == (2, 4, 2, 1)
    assert told["by_rule"] == {"literal-secret": 2, "no-back-pressure": 2}
    # Once it is mended nothing is open, and what was blocked stays counted.
    bad.write_bytes(PILOT.read_bytes())
    runner.invoke(app, ["policy", "check", str(bad)])
    told = json.loads(runner.invoke(app, ["policy", "stats", "--json"]).stdout)
    assert (told["decisions"], told["violations"], told["open_files"]) == (5, 4, 0)
    shown = runner.invoke(app, ["policy", "stats"]).stdout
    assert "literal-secret" in shown
    later = json.loads(runner.invoke(app, ["policy", "stats", "--since", "2999-01-01", "--json"]).stdout)
    assert (later["decisions"], later["first"]) == (0, "")


def test_json_for_a_pipeline(bad: Path) -> None:
    done = runner.invoke(app, ["policy", "check", "--json", str(bad), str(PILOT)])
    assert done.exit_code == 1
    first, second = json.loads(done.stdout)
    assert (first["file"], first["allowed"]) == (str(bad), False)
    assert {denial["rule"] for denial in first["denied"]} == {"literal-secret", "no-back-pressure"}
    assert all(denial["id"] and denial["remedy"] for denial in first["denied"])
    assert (second["allowed"], second["denied"], len(second["waived"])) == (True, [], 2)


def test_values_of_a_site_are_put_in() -> None:
    done = runner.invoke(
        app, ["policy", "check", str(PILOT), "--param", "victoriametrics.url=https://elsewhere.example"]
    )
    assert done.exit_code == 1
    assert "https://elsewhere.example (property VictoriaMetrics URL) is not approved" in done.stdout
    typo = runner.invoke(app, ["policy", "check", str(PILOT), "--param", "victoriametrics.ur=x"])
    assert typo.exit_code == 2
    assert "no flow given has a parameter victoriametrics.ur" in typo.stderr


def test_a_secret_in_a_file_of_values_is_denied(tmp_path: Path) -> None:
    (tmp_path / "site.env").write_text(f"opcua.password={SECRET}\n")
    done = runner.invoke(app, ["policy", "check", str(PILOT), "--params", str(tmp_path / "site.env")])
    assert done.exit_code == 1
    assert "parameter opcua.password" in done.stdout
    assert SECRET not in done.output


def test_lint_tells_the_policys_denials_too_each_defect_once(bad: Path) -> None:
    done = runner.invoke(app, ["flow", "lint", str(bad)])
    assert done.exit_code == 1
    found = done.stdout.splitlines()
    assert sorted(line.rsplit("[", 1)[1] for line in found) == ["literal-secret]", "no-back-pressure]"]
    alone = runner.invoke(app, ["flow", "lint", "--no-policy", str(bad)])
    assert alone.exit_code == 1
    found = alone.stdout.splitlines()
    assert sorted(line.rsplit("[", 1)[1] for line in found) == ["queue-unbounded]", "sensitive-literal]"]


def test_lint_tells_what_only_the_policy_knows(tmp_path: Path) -> None:
    path = tmp_path / "pilot.json"
    path.write_text(
        PILOT.read_text(encoding="utf-8").replace("127.0.0.1:8428", "elsewhere.example:8428"), encoding="utf-8"
    )
    assert runner.invoke(app, ["flow", "lint", "--no-policy", str(path)]).exit_code == 0
    done = runner.invoke(app, ["flow", "lint", "--json", str(path)])
    assert done.exit_code == 1
    assert {finding["rule"] for finding in json.loads(done.stdout)} == {"endpoint-not-approved", "plaintext-endpoint"}


@pytest.mark.usefixtures("no_opa")
def test_without_opa_lint_says_so_in_one_line_and_decides_by_itself() -> None:
    done = runner.invoke(app, ["flow", "lint", str(PILOT)])
    assert done.exit_code == 0
    assert done.stderr.splitlines()[0] == "policy not checked: there is no OPA (`otmirror setup --only opa` builds it)"
    silent = runner.invoke(app, ["flow", "lint", "--no-policy", str(PILOT)])
    assert (silent.exit_code, "policy" in silent.stderr) == (0, False)


@pytest.mark.usefixtures("no_opa")
@pytest.mark.parametrize("command", [["flow", "lint", "--policy"], ["policy", "check"]])
def test_without_opa_a_policy_that_is_asked_for_ends_with_2(command: list[str]) -> None:
    done = runner.invoke(app, [*command, str(PILOT)])
    assert done.exit_code == 2
    (told,) = done.stderr.splitlines()
    assert "there is no OPA" in told
    assert "otmirror setup --only opa" in told


@pytest.mark.usefixtures("no_opa")
def test_without_opa_a_policy_that_may_be_left_out_ends_with_0() -> None:
    done = runner.invoke(app, ["policy", "check", "--skip-without-opa", str(PILOT)])
    assert done.exit_code == 0
    assert done.stderr.splitlines() == ["policy not checked: there is no OPA (`otmirror setup --only opa` builds it)"]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
WRONG: dict[str, tuple[str, bytes, str]] = {
    "empty flow": ("f.json", b" \n", "it is empty"),
    "no json": ("f.json", b'{"flowContents": {', "not JSON"),
    "not utf-8": ("f.json", b'{"flowContents": "\xff"}', "not JSON"),
    "no flow": ("f.json", b'{"name": "package", "version": "1"}', "no flow definition"),
    "a list": ("f.json", b"[]", "no flow definition"),
    "half a flow": (
        "f.json",
        b'{"flowContents": {"processors": [{"name": "x"}]}}',
        "no flow definition as NiFi writes it",
    ),
    "of another kind": ("f.json", b'{"flowContents": {"processors": 7}}', "no flow definition as NiFi writes it"),
    "another version": ("f.json", b'{"flowContents": {}, "flowEncodingVersion": "2.0"}', "flowEncodingVersion is 2.0"),
    "deep": ("f.json", b"[" * 200_000, "nested too deeply"),
    "huge flow": ("f.json", b"[" + b" " * 32_000_001, "larger than 32 MB"),
    "empty compose file": ("c.yml", b"\n", "it is empty"),
    "no yaml": ("c.yml", b"services: [", "not YAML"),
    "not text": ("c.yml", b"\x00\x01\x02", "not YAML"),
    "no compose file": ("c.yaml", b"a: 1\n", "it has no services"),
    "a text": ("c.yaml", b"services\n", "it has no services"),
    "a service that is none": ("c.yml", b"services: {a: 7}\n", "service a is not a mapping"),
    "ports that are none": ("c.yml", b"services: {a: {ports: 80}}\n", "ports is of the wrong kind"),
    "another file's services": ("c.yml", b"services: {a: {extends: {service: b}}}\n", "docker compose config"),
    "included": ("c.yml", b"include: [x.yml]\nservices: {a: {image: 'x:1'}}\n", "docker compose config"),
    "an environment file that is not there": ("c.yml", b"services: {a: {env_file: x.env}}\n", "x.env cannot be read"),
    "a bomb": ("c.yml", (BOMB + "services: {a: {labels: *i}}\n").encode(), "200,000 values"),
    "deep yaml": ("c.yml", b"services: " + b"[" * 20_000, "compose file"),
    "huge compose file": ("c.yml", b"#" * 1_000_001, "larger than 1 MB"),
    "something else": ("notes.txt", b"hello", "give a flow (.json) or a compose file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_flow_and_no_compose_file_is_one_clear_line(tmp_path: Path, log: Path, name: str) -> None:
    file, content, expected = WRONG[name]
    path = tmp_path / file
    path.write_bytes(content)
    done = runner.invoke(app, ["policy", "check", str(path)])
    assert done.exit_code == 2
    (told,) = done.stderr.splitlines()
    assert expected in told
    assert str(path) in told
    assert not log.exists()


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    done = runner.invoke(app, ["policy", "check", str(tmp_path / "none.json")])
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [f"otmirror: flow {tmp_path / 'none.json'}: No such file or directory"]


WAIVER = '"waivers": [{"endpoint": "%s", "reason": "%s", "expires": "%s"}]'
SITES: dict[str, tuple[str, str]] = {
    "no json": ("", "site file"),
    "a misspelt part": ('"endpoint": []', "unknown field `endpoint`"),
    "a date that is none": (WAIVER % ("http://a:1", "r", "soon"), "waivers[0].expires"),
    "no reason": (WAIVER % ("http://a:1", " ", "2027-01-01"), "has no reason"),
    "a pattern": (WAIVER % ("http://*:1", "r", "2027-01-01"), "not for a pattern"),
    "a limit of nothing": ('"devices": [{"endpoint": "modbus://a:1", "shortest_poll_ms": 0}]', "above 0"),
}


@pytest.mark.parametrize("name", SITES)
def test_a_wrong_site_file_is_one_clear_line(tmp_path: Path, name: str) -> None:
    part, expected = SITES[name]
    path = tmp_path / "site.json"
    path.write_text('{"otmirror": {"site": {"name": "x", ' + part + "}}}")
    done = runner.invoke(app, ["policy", "check", "--site", str(path), str(PILOT)])
    assert done.exit_code == 2
    (told,) = done.stderr.splitlines()
    assert expected in told
    assert str(path) in told


def test_rules_that_are_broken_end_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "opa"
    broken.write_text("#!/bin/sh\necho '1 error occurred: rego_parse_error' >&2\nexit 2\n")
    broken.chmod(0o755)
    monkeypatch.setenv("OPA_BINARY", str(broken))
    for command in (["policy", "check"], ["flow", "lint"]):
        done = runner.invoke(app, [*command, str(PILOT)])
        assert done.exit_code == 2
        assert "OPA failed on the rules" in done.stderr
        assert "rego_parse_error" in done.stderr


def test_a_log_that_cannot_be_written_or_read_is_one_clear_line(tmp_path: Path, log: Path) -> None:
    (tmp_path / "file").write_text("")
    done = runner.invoke(app, ["policy", "check", "--log", str(tmp_path / "file" / "log"), str(COMPOSE)])
    assert done.exit_code == 2
    assert "cannot be written" in done.stderr
    none = runner.invoke(app, ["policy", "stats"])
    assert "there is no decision log" in str(none.exception)
    log.parent.mkdir()
    log.write_text('{"decision": "deny"}\n')
    damaged = runner.invoke(app, ["policy", "stats"])
    assert f"{log} line 1: no decision" in str(damaged.exception)


def test_decisions_made_at_once_do_not_mix_their_lines(log: Path) -> None:
    made = Decision(tuple(Told("rule", "processor", f"name {n}", "id", "x" * 2000, "r") for n in range(20)), ())

    def write(number: int) -> None:
        for _ in range(5):
            append(log, records(f"file {number}", "digest", "flow", made, "revision", "test"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    told = stats(log)
    assert (told.decisions, told.violations, told.open_files) == (40, 800, 8)
    owners = [line["decision_id"] for line in lines(log)]
    assert all(len(set(owners[n : n + 20])) == 1 for n in range(0, len(owners), 20))
