"""The rules are made of the objectives and the table, and say what the Site Reliability Workbook says."""

import re
import subprocess

import pytest
import yaml
from jsonschema import Draft202012Validator
from slo_names import NIFI, named, ours
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.errors import ConfigError
from otmirror.slo import alerts, objectives, rules, runbooks
from otmirror.workspace import PROJECT

SLOS = ["availability", "coverage", "freshness-cold", "freshness-hot", "success-rate"]
# The Site Reliability Workbook, chapter 5, table 5-8, and the two windows below each.
WORKBOOK = {
    "Fast": {("1h", "5m", "14.4"), ("6h", "30m", "6")},
    "Slow": {("1d", "2h", "3"), ("3d", "6h", "1")},
}
BUDGETS = {1: "0.005", 2: "0.001"}
# Written by the text of OpenSLO v1: general schema, SLO, objectives, SLI, ratio metric.
NAME = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
METADATA = {
    "type": "object", "required": ["name"], "additionalProperties": False,
    "properties": {
        "name": NAME, "displayName": {"type": "string"},
        "labels": {"type": "object", "propertyNames": {"pattern": "^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?$"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}  # fmt: skip
METRIC = {
    "type": "object", "required": ["metricSource"],
    "properties": {"metricSource": {
        "type": "object", "required": ["spec"], "additionalProperties": False,
        "properties": {"type": {"type": "string"}, "metricSourceRef": {"type": "string"}, "spec": {"type": "object"}},
    }},
}  # fmt: skip
OPENSLO = {
    "type": "object", "required": ["apiVersion", "kind", "metadata", "spec"], "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "openslo/v1"}, "kind": {"const": "SLO"}, "metadata": METADATA,
        "spec": {
            "type": "object", "required": ["service", "indicator", "budgetingMethod", "objectives"],
            "additionalProperties": False,
            "properties": {
                "description": {"type": "string", "maxLength": 1050}, "service": NAME,
                "budgetingMethod": {"enum": ["Occurrences", "Timeslices"]}, "alertPolicies": {"type": "array"},
                "timeWindow": {"type": "array", "minItems": 1, "maxItems": 1, "items": {
                    "type": "object", "required": ["duration", "isRolling"],
                    "properties": {"duration": {"pattern": "^[1-9][0-9]*[mhdwMQY]$"}, "isRolling": {"type": "boolean"}},
                }},
                "objectives": {"type": "array", "minItems": 1, "items": {
                    "type": "object", "additionalProperties": False,
                    "properties": {
                        "displayName": {"type": "string"},
                        "target": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                    },
                    "required": ["target"],
                }},
                "indicator": {"type": "object", "required": ["metadata", "spec"], "properties": {
                    "metadata": METADATA,
                    "spec": {"type": "object", "required": ["ratioMetric"], "properties": {"ratioMetric": {
                        "type": "object", "required": ["counter", "good", "total"], "additionalProperties": False,
                        "properties": {"counter": {"type": "boolean"}, "good": METRIC, "total": METRIC},
                    }}},
                }},
            },
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Rules as the command writes them, by phase: all rules in their order."""
    found = {}
    for phase in (1, 2):
        folder = tmp_path_factory.mktemp(f"phase{phase}")
        done = CliRunner().invoke(app, ["slo", "generate", "--phase", str(phase), "--folder", str(folder)])
        assert done.exit_code == 0, done.output
        groups = [
            group for file in sorted(folder.glob("*.yaml")) for group in yaml.safe_load(file.read_text())["groups"]
        ]
        found[phase] = folder, [rule for group in groups for rule in group["rules"]]
    return found


def test_what_is_committed_is_what_the_command_makes(tmp_path):
    run = CliRunner().invoke(app, ["slo", "generate", "--check"])
    assert run.exit_code == 0, run.output
    stale = CliRunner().invoke(app, ["slo", "generate", "--check", "--folder", str(tmp_path)])
    assert stale.exit_code == 1
    assert isinstance(stale.exception, ConfigError)
    assert str(tmp_path / "burn.yaml") in str(stale.exception)


@pytest.mark.parametrize("slo", SLOS)
def test_objectives_are_openslo(slo):
    told = yaml.safe_load((objectives.FOLDER / f"{slo}.yaml").read_text())
    Draft202012Validator(OPENSLO).validate(told)
    assert [objective["target"] for objective in told["spec"]["objectives"]] == [0.995, 0.999]
    assert told["spec"]["timeWindow"] == [{"duration": "30d", "isRolling": True}]


@pytest.mark.parametrize("phase", [1, 2])
def test_prometheus_takes_the_rules(made, promtool, phase):
    files = sorted(made[phase][0].glob("*.yaml"))
    done = subprocess.run([promtool, "check", "rules", *files], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall("SUCCESS", done.stdout)) == 3


@pytest.mark.parametrize("phase", [1, 2])
@pytest.mark.parametrize("speed", WORKBOOK)
def test_burn_rates_are_those_of_the_workbook(made, phase, speed):
    found = {rule["labels"]["slo"]: rule for rule in made[phase][1] if rule.get("alert") == f"ErrorBudgetBurn{speed}"}
    assert sorted(found) == SLOS
    for slo, rule in found.items():
        above = rf'ratio_rate(\w+){{slo="{slo}"}} > ([0-9.]+) \* ([0-9.]+)'
        pairs = re.findall(rf"{above}\s+and slo:sli_error:{above}", rule["expr"])
        assert {(long, short, factor) for long, factor, _, short, _, _ in pairs} == WORKBOOK[speed]
        for _, factor, budget, _, again, last in pairs:
            assert (factor, budget) == (again, last) == (again, BUDGETS[phase])
        wakes = speed == "Fast" and slo != "coverage"
        assert rule["labels"]["severity"] == ("page" if wakes else "ticket")


def test_every_window_is_recorded_for_every_objective(made):
    recorded = {(rule["record"], rule["labels"]["slo"]) for rule in made[1][1] if "record" in rule}
    for slo in SLOS:
        for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"):
            assert (f"slo:sli_error:ratio_rate{window}", slo) in recorded
        assert ("slo:error_budget_remaining:ratio", slo) in recorded


def test_alerts_name_severity_component_and_a_runbook(made):
    for rule in made[1][1]:
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"page", "ticket", "none"}
            assert rule["labels"]["component"] in {"source", "nifi", "queue", "hot", "cold", "security", "monitoring"}
            assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
            assert (PROJECT / rule["annotations"]["runbook_url"]).is_file()


def test_a_site_has_its_runbooks_elsewhere(tmp_path):
    run = CliRunner().invoke(
        app, ["slo", "generate", "--folder", str(tmp_path), "--runbooks", "https://wiki.example/mirror/"]
    )
    assert run.exit_code == 0, run.output
    assert "runbook_url: https://wiki.example/mirror/nifi-down.md\n" in (tmp_path / "alerts.yaml").read_text()


def test_every_metric_exists(made, store):
    from otmirror.embedded.loopback import session

    with session(store.url) as asking:
        theirs = set(re.findall(r"^(\w+)", asking.get(f"{store.url}/metrics", timeout=10).text, re.MULTILINE))
    known = ours() | NIFI | theirs
    recorded = {rule["record"] for rule in made[1][1] if "record" in rule}
    expressions = [rule["expr"] for rule in made[1][1]]
    expressions += [
        block.text
        for file in runbooks.FOLDER.glob("[!R]*.md")
        for block in runbooks.read(file).blocks
        if block.language == "promql"
    ]
    used = [named(expr) for expr in expressions]
    assert set().union(*(metrics for metrics, _ in used)) - known == set()
    assert set().union(*(series for _, series in used)) - recorded == set()


SPOILT_SLO = [
    ("openslo/v1", "openslo/v2", "apiVersion"),
    ("kind: SLO", "kind: Service", "kind"),
    ("target: 0.995", "target: 1.5", "target"),
    ("displayName: phase 2", "displayName: phase 3", "phase 1 and phase 2"),
    ("duration: 30d", "duration: 28d", "30d"),
    ("duration: 30d", "duration: month", "duration"),
    ("name: success-rate\n  display", "name: other\n  display", "success-rate.yaml"),
    ("component: hot", "team: hot", "component"),
    ("{{.window}}", "5m", "{{.window}}"),
    ("counter: true", "counter: false", "{{.window}}"),
    ("spec:\n  description", "spec:\n  weather: fine\n  description", "weather"),
    ("metadata:", "metadata: [", "no YAML"),
]


@pytest.mark.parametrize(("old", "new", "told"), SPOILT_SLO)
def test_a_wrong_objective_is_one_clear_message(tmp_path, old, new, told):
    text = (objectives.FOLDER / "success-rate.yaml").read_text()
    assert old in text
    (tmp_path / "success-rate.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=r"success-rate\.yaml: ") as error:
        objectives.load(1, tmp_path)
    assert told in str(error.value)


SPOILT_ALERTS = [
    ('severity = "page"', 'severity = "loud"', "severity"),
    ('component = "source"', 'component = "cloud"', "component"),
    ('name = "NifiDown"', 'name = "nifi down"', "name"),
    ("source_stale_seconds = [60, 30]", "source_stale_seconds = [60]", "source_stale_seconds needs 2 numbers"),
    ("> @source_stale_seconds@", "> @source_stale@", "SourceStale: @source_stale@"),
    ('for = "30s"', 'for = "soon"', "for"),
    ("[[alert]]", "[[alert]", "line"),
]


@pytest.mark.parametrize(("old", "new", "told"), SPOILT_ALERTS)
def test_a_wrong_alert_is_one_clear_message(tmp_path, old, new, told):
    text = alerts.TABLE.read_text()
    assert old in text
    table = tmp_path / "alerts.toml"
    table.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=r"alerts\.toml: ") as error:
        alerts.load(1, table)
    assert told in str(error.value)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(ConfigError, match="there are no objectives"):
        objectives.load(1, tmp_path)
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        alerts.load(1, tmp_path / "none.toml")
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(ConfigError, match="file"):
        rules.write({taken / "alerts.yaml": ""})


def test_alertmanager_takes_its_configuration(amtool):
    file = PROJECT / "monitoring" / "alertmanager.yaml"
    done = subprocess.run([amtool, "check-config", file], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    for labels, receiver in {
        ("alertname=Watchdog", "severity=none", "component=monitoring"): "watchdog",
        ("alertname=HotStoreDown", "severity=page", "component=hot"): "pages",
        ("alertname=GuardRefused", "severity=page", "component=security"): "security",
        ("alertname=TagsBad", "severity=ticket", "component=source"): "tickets",
    }.items():
        told = subprocess.run(
            [amtool, "config", "routes", "test", f"--config.file={file}", *labels],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert told.stdout.strip() == receiver


def test_what_alertmanager_keeps_quiet_are_alerts_there_are(made):
    config = yaml.safe_load((PROJECT / "monitoring" / "alertmanager.yaml").read_text())
    every = {rule["alert"] for rule in made[1][1] if "alert" in rule}
    matchers = [
        m for rule in config["inhibit_rules"] for side in ("source_matchers", "target_matchers") for m in rule[side]
    ]
    names = [name for m in matchers if m.startswith("alertname") for name in m.split('"')[1].split("|")]
    assert set(names) <= every
    assert {"NifiDown", "ProcessorSilent", "HotStoreDown"} <= set(names)
