"""The delivered configuration fits the schema and itself. What can be run is run in tests/nifi/test_audit_trail.py."""

import json
import re
import subprocess

import pytest

from otmirror.embedded import rsyslog
from otmirror.errors import UnavailableError
from otmirror.workspace import PROJECT

DELIVERED = PROJECT / "security" / "audit"
SCHEMA = json.loads((DELIVERED / "schema.json").read_text())
PATTERN = "otmirror-audit-*"


def fields(properties: dict, prefix: str = "") -> set[str]:
    """The paths of the leaves of a JSON Schema or of a mapping."""
    found = set()
    for name, told in properties.items():
        inner = told.get("properties")
        found |= fields(inner, f"{prefix}{name}.") if inner else {prefix + name}
    return found


FIELDS = fields(SCHEMA["properties"])


def test_the_index_template_has_the_schemas_fields_and_takes_no_others():
    template = json.loads((DELIVERED / "index-template.json").read_text())
    mappings = template["template"]["mappings"]
    assert template["index_patterns"] == [PATTERN]
    assert mappings["dynamic"] == "strict"
    assert fields(mappings["properties"]) == FIELDS


def test_the_retention_policy_deletes_after_a_year_and_is_complete():
    policy = json.loads((DELIVERED / "retention-policy.json").read_text())["policy"]
    assert policy["ism_template"][0]["index_patterns"] == [PATTERN]
    states = {state["name"]: state for state in policy["states"]}
    seen, name, ages = [], policy["default_state"], []
    while name:
        seen.append(name)
        transitions = states[name]["transitions"]
        name = transitions[0]["state_name"] if transitions else None
        ages += [transition["conditions"]["min_index_age"] for transition in transitions]
    assert set(seen) == set(states)
    assert states[seen[-1]]["actions"] == [{"delete": {}}]
    assert ages == ["2d", "365d"]


def objects() -> dict[tuple[str, str], dict]:
    told = [json.loads(line) for line in (DELIVERED / "dashboard.ndjson").read_text().splitlines()]
    return {(one["type"], one["id"]): one for one in told}


def test_the_dashboard_leads_nowhere_that_is_not_in_the_file():
    for one in objects().values():
        for reference in one["references"]:
            assert (reference["type"], reference["id"]) in objects(), one["id"]
    dashboard = objects()["dashboard", "otmirror-audit"]
    panels = json.loads(dashboard["attributes"]["panelsJSON"])
    assert {panel["panelRefName"] for panel in panels} == {one["name"] for one in dashboard["references"]}
    assert objects()["index-pattern", "otmirror-audit"]["attributes"] == {"title": PATTERN, "timeFieldName": "time"}


def test_the_dashboard_asks_for_fields_that_exist():
    for (kind, name), one in objects().items():
        if kind not in ("search", "visualization"):
            continue
        told = one["attributes"]
        query = json.loads(told["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]
        assert query["language"] == "lucene"
        assert set(re.findall(r"([a-z][\w.]*):", query["query"])) <= FIELDS, name
        state = json.loads(told.get("visState", '{"aggs": []}'))
        asked = {agg["params"]["field"] for agg in state["aggs"] if "field" in agg["params"]}
        assert asked | set(told.get("columns", ())) <= FIELDS, name


def test_the_sources_of_the_page_are_the_schemas():
    page = (PROJECT / "docs" / "audit.md").read_text().partition("|---|")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([\w-]+)`", page, re.MULTILINE)) == set(SCHEMA["properties"]["source"]["enum"])


def test_alloys_components_are_joined_and_its_labels_exist():
    text = re.sub(r"//.*", "", (DELIVERED / "alloy-loki.alloy").read_text())
    assert text.count("{") == text.count("}")
    made = {f"{kind}.{label}" for kind, label in re.findall(r'^([\w.]+) "(\w+)" \{', text, re.MULTILINE)}
    assert made == {"local.file_match.audit", "loki.source.file.audit", "loki.process.audit", "loki.write.audit"}
    used = set(re.findall(r"\b((?:local|loki)\.[\w.]+)\.(?:targets|receiver)\b", text))
    assert used == made - {"loki.source.file.audit"}
    for block in ("expressions", "values"):
        names = re.search(rf"{block}\s*= \{{(.*?)\}}", text)[1]
        assert set(re.findall(r"(\w+) =", names)) <= FIELDS


def test_rsyslog_accepts_its_configuration_and_refuses_one_without_its_variables(tmp_path):
    try:
        binary = rsyslog.install()
    except UnavailableError as error:
        pytest.skip(str(error))
    argv = [str(binary), "-N1", "-f", str(rsyslog.CONFIGURATION)]
    text = rsyslog.CONFIGURATION.read_text()
    named = set(re.findall(r"echo \$(OTMIRROR_\w+)", text))
    assert named == set(re.findall(r"OTMIRROR_\w+", text.partition("# Nothing is lost")[0]))
    settings = dict.fromkeys(named, str(tmp_path)) | {"OTMIRROR_OPENSEARCH_RETRY": "30"}
    good = subprocess.run(argv, env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert (good.returncode, "error" in good.stderr) == (0, False), good.stderr
    bad = subprocess.run(argv, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert bad.returncode != 0


def test_the_unit_sets_what_the_configuration_asks_for_and_empties_the_scratch():
    unit = (DELIVERED / "otmirror-audit-shipper.service").read_text()
    wanted = set(re.findall(r"echo \$(OTMIRROR_\w+)", rsyslog.CONFIGURATION.read_text()))
    settings = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))
    assert set(settings) == wanted - {"OTMIRROR_OPENSEARCH_PASSWORD"}  # that is in a file of its own
    runtime = re.search(r"^RuntimeDirectory=(\S+)$", unit, re.MULTILINE)[1]
    assert settings["OTMIRROR_AUDIT_SCRATCH"] == f"/run/{runtime}"
