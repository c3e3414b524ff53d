"""Every alert fires when it should and is quiet when it should be; its unit test notices when it does not."""

import re
import shutil

import pytest
import yaml

from otmirror.embedded.vmtools import tool
from otmirror.errors import ConfigError, UnavailableError
from otmirror.slo import rules, ruletests

FILES = sorted(ruletests.TESTS.glob("*.yaml"))
BURNS = {"burn-fast.yaml", "burn-slow.yaml", "healthy.yaml"}
FLIPPED = {"<": ">", ">": "<"}


def every_alert():
    """All alerting rules as (name, labels)."""
    return [
        (rule["alert"], rule["labels"])
        for file in rules.FOLDER.glob("*.yaml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


def checks():
    return [
        (file.name, check)
        for file in FILES
        for test in yaml.safe_load(file.read_text())["tests"]
        for check in test["alert_rule_test"]
    ]


def spoilt(folder, change):
    """A copy of rules and tests in which `change` was made to each alert; also the names of those it changed."""
    shutil.copytree(rules.FOLDER, folder)
    names = set()
    for file in folder.glob("*.yaml"):
        told = yaml.safe_load(file.read_text())
        for group in told["groups"]:
            kept = []
            for rule in group["rules"]:
                changed = change(dict(rule)) if "alert" in rule else rule
                if changed != rule:
                    names.add(rule["alert"])
                kept += [changed] if changed else []
            group["rules"] = kept
        file.write_text(yaml.safe_dump(told, sort_keys=False))
    return names


def flip(rule):
    expr = rule["expr"]
    turned = expr.replace(" == 0", " == 1", 1) if " == 0" in expr else re.sub(
        r"(?<= )[<>](?= )", lambda sign: FLIPPED[sign[0]], expr
    )  # fmt: skip
    return {**rule, "expr": turned}


def remove(severity):
    return lambda rule: {} if rule["labels"]["severity"] == severity else rule


def at_once(rule):
    return {key: value for key, value in rule.items() if key != "for"}


def test_each_alert_has_a_test_in_which_it_fires_and_is_quiet_in_the_healthy_mirror():
    fires = [(check["alertname"], alert["exp_labels"]) for _, check in checks() for alert in check["exp_alerts"]]
    for name, labels in every_alert():
        assert any(fired == name and labels.items() <= seen.items() for fired, seen in fires), (name, labels)
    quiet = {check["alertname"] for file, check in checks() if file == "healthy.yaml" and check["exp_alerts"] == []}
    assert quiet == {name for name, _ in every_alert()} - {"Watchdog"}


@pytest.mark.parametrize(
    "names", [{f.name for f in FILES} - BURNS, pytest.param(BURNS, marks=pytest.mark.heavy)], ids=["alerts", "budgets"]
)
def test_the_rules_pass_with_prometheus(promtool, names):
    assert ruletests.promtool([file for file in FILES if file.name in names], promtool) is None


@pytest.mark.heavy
@pytest.mark.parametrize(
    "change", [remove("page"), remove("ticket"), flip, at_once], ids=["no pages", "no tickets", "flipped", "at once"]
)
def test_an_alert_that_is_spoilt_fails_its_test(promtool, tmp_path, change):
    names = spoilt(tmp_path / "rules", change)
    files = [file for file in sorted((tmp_path / "rules" / "tests").glob("*.yaml")) if file.name not in BURNS]
    # Burn rates take long; they are tried below.
    names -= {"ErrorBudgetBurnFast", "ErrorBudgetBurnSlow"}
    told = ruletests.promtool(files, promtool)
    assert told is not None
    assert names
    assert names - set(re.findall(r"alertname: (\w+)", told)) == set()


@pytest.mark.heavy
@pytest.mark.parametrize("change", [lambda _: {}, flip], ids=["removed", "flipped"])
def test_a_burn_rate_that_is_spoilt_fails_its_test(promtool, tmp_path, change):
    spoilt(tmp_path / "rules", change)
    for name, alert in (("burn-fast.yaml", "ErrorBudgetBurnFast"), ("burn-slow.yaml", "ErrorBudgetBurnSlow")):
        told = ruletests.promtool([tmp_path / "rules" / "tests" / name], promtool)
        assert told is not None
        # Each objective's own alert is missed, not one for all.
        missed = set(re.findall(r'Labels:\{alertname="' + alert + r'"[^}]*slo="([a-z-]+)"', told))
        assert missed >= {"availability", "coverage", "freshness-hot", "freshness-cold", "success-rate"}


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_the_same_tests_pass_with_vmalert():
    try:
        tool("vmalert-tool")
    except UnavailableError as error:
        pytest.skip(str(error))
    assert ruletests.vmalert_tool(FILES) is None


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_vmalert_notices_too(tmp_path):
    try:
        tool("vmalert-tool")
    except UnavailableError as error:
        pytest.skip(str(error))
    spoilt(tmp_path / "rules", flip)
    told = ruletests.vmalert_tool([tmp_path / "rules" / "tests" / "nifi.yaml"])
    assert told is not None
    assert {"NifiDown", "ExporterDown", "ProcessorSilent", "QueueFilling"} <= set(re.findall(r"alertname: (\w+)", told))


@pytest.mark.parametrize("text", ["", "tests: []", "rule_files: [x]\ntests: [", "rule_files: [none.yaml]\ntests: []"])
def test_what_is_no_test_is_told(tmp_path, text):
    file = tmp_path / "some.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"some\.yaml: no unit test of rules"):
        ruletests.for_vmalert(file)
