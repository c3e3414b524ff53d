"""The dashboards' files: made of their source, what Grafana's own types know, and what our rules ask for."""

from __future__ import annotations

import copy
import enum
import json
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.dashboards import catalogue, lint
from otmirror.dashboards.units import UNITS
from otmirror.metrics.definitions import BY_NAME
from otmirror.workspace import PROJECT

FILES = sorted((PROJECT / "monitoring" / "dashboards").glob("*.json"))
PROVISIONING = PROJECT / "monitoring" / "grafana" / "provisioning"
ASKED_FOR = {"overview", "freshness", "sources", "sinks", "iceberg", "queues", "parallel", "kpis"}


def loaded() -> list[dict]:
    return [json.loads(file.read_text()) for file in FILES]


def test_the_files_are_those_of_the_source() -> None:
    assert {file.stem for file in FILES} == ASKED_FOR
    done = CliRunner().invoke(app, ["dashboards", "generate", "--check"])
    assert done.exit_code == 0, done.output


def test_a_change_by_hand_is_told(tmp_path: Path) -> None:
    made = CliRunner().invoke(
        app, ["dashboards", "generate", "--out", str(tmp_path), "--runbooks", "https://wiki/books"]
    )
    assert made.exit_code == 0, made.output
    # Another address of the runbooks is a difference in every file.
    told = CliRunner().invoke(app, ["dashboards", "generate", "--check", "--out", str(tmp_path)]).output
    assert all(f"{name}.json differs from its source" in told for name in ASKED_FOR)
    (tmp_path / "sinks.json").unlink()
    (tmp_path / "own.json").write_text("{}")
    done = CliRunner().invoke(app, ["dashboards", "generate", "--check", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "sinks.json is missing" in done.output
    assert "own.json has no source" in done.output


def test_the_address_of_the_runbooks_is_put_in(tmp_path: Path) -> None:
    CliRunner().invoke(app, ["dashboards", "generate", "--out", str(tmp_path), "--runbooks", "https://wiki/books"])
    variables = json.loads((tmp_path / "overview.json").read_text())["templating"]["list"]
    assert next(v for v in variables if v["name"] == "runbooks")["query"] == "https://wiki/books"


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "no JSON"), ("[1]", "no dashboard of Grafana"), ('{"uid": "x"}', "no dashboard of Grafana")],
)
def test_a_file_that_is_no_dashboard_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "x.json").write_text(text)
    argv = ["dashboards", "render", "--dashboards", str(tmp_path), "--out", str(tmp_path), "--no-png"]
    done = CliRunner().invoke(app, argv)
    assert "x.json" in str(done.exception)
    assert told in str(done.exception)


# What Grafana knows: Grafana Labs' own types, made of its schema. They drop what they do not know.


@pytest.fixture(scope="module")
def dashboard_type() -> typing.Any:
    if sys.version_info < (3, 11):
        pytest.skip("Grafana's types need Python 3.11")
    plugins = pytest.importorskip("grafana_foundation_sdk.cog.plugins", reason="Grafana's types are not installed")
    plugins.register_default_plugins()
    from grafana_foundation_sdk.models.dashboard import Dashboard

    return Dashboard


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_grafanas_own_types_know_every_field(file: Path, dashboard_type: typing.Any) -> None:
    made = json.loads(file.read_text())
    known = dashboard_type.from_json(made)
    assert list(lost(made, encoded(known))) == []
    assert list(ill_typed(known, "dashboard")) == []


def test_grafanas_own_types_do_find_mistakes(dashboard_type: typing.Any) -> None:
    made = json.loads(FILES[0].read_text())
    made["panels"][0]["gridpos"] = made["panels"][0].pop("gridPos")
    made["panels"][1]["title"] = 7
    made["panels"][1]["options"]["graphMode"] = "none at all"
    known = dashboard_type.from_json(made)
    assert list(lost(made, encoded(known))) == ["panels[0].gridpos"]
    told = "\n".join(ill_typed(known, "dashboard"))
    assert "title: 7 is no" in told
    assert "graph_mode: 'none at all' is no" in told


def encoded(known: typing.Any) -> typing.Any:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    return json.loads(JSONEncoder().encode(known))


def lost(ours: typing.Any, theirs: typing.Any, path: str = "") -> Iterator[str]:
    """Where `theirs` lacks or changes something of `ours`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            place = f"{path}.{name}".removeprefix(".")
            yield from lost(value, theirs[name], place) if name in theirs else [place]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(one, other, f"{path}[{place}]")
    elif ours != theirs:
        yield path


def ill_typed(made: typing.Any, path: str) -> Iterator[str]:
    """Which attributes of an object of Grafana's types hold something else than is declared."""
    for name, declared in typing.get_type_hints(type(made), vars(sys.modules[type(made).__module__])).items():
        value = getattr(made, name)
        if not fits(value, declared):
            yield f"{path}.{name}: {value!r} is no {declared}"
        for one in value if isinstance(value, list) else [value]:
            if type(one).__module__.startswith("grafana_foundation_sdk.") and not isinstance(one, enum.Enum):
                yield from ill_typed(one, f"{path}.{name}")


def fits(value: typing.Any, declared: typing.Any) -> bool:
    origin, parts = typing.get_origin(declared), typing.get_args(declared)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if origin is list:
        return isinstance(value, list) and all(fits(one, parts[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, parts[1]) for one in value.values())
    if isinstance(value, dict) and hasattr(declared, "from_json"):
        # Some they leave as they were.
        known = declared.from_json(value)
        return not list(lost(value, encoded(known))) and not list(ill_typed(known, "")) and bool(value)
    if isinstance(declared, enum.EnumMeta):
        # Read from JSON they stay what they were.
        return isinstance(value, declared) or value in [one.value for one in declared]
    if declared in (float, int):
        return isinstance(value, (int, float) if declared is float else int) and not isinstance(value, bool)
    return declared in (object, typing.Any) or isinstance(value, declared)


# What our own rules ask for.


def test_no_rule_is_broken() -> None:
    assert lint.problems(loaded()) == []


def _set(path: str, value: object):
    def change(made: dict) -> None:
        *way, last = re.findall(r"[^.\[\]]+", path)
        for part in way:
            made = made[int(part) if part.isdigit() else part]
        made[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("uid", "otmirror-sources"), "is used by 2 dashboards"),
        (_set("description", ""), "there is no description"),
        (_set("panels[0].description", ""), "there is no description"),
        (_set("panels[0].title", "Freshness"), "the title is no question"),
        (_set("panels[0].fieldConfig.defaults.unit", ""), "there is no unit"),
        (_set("panels[1].gridPos.x", 4), "lies over"),
        (_set("panels[0].gridPos.w", 25), "outside of the grid"),
        (_set("panels[1].id", 1), "same id"),
        (_set("panels[0].targets[0].expr", " "), "is empty"),
        (_set("panels[0].targets[0].expr", 'up{area="$zone"}'), "there is no variable $zone"),
        (_set("panels[0].targets[0].datasource.uid", "prom"), "'prom' is not known"),
        (_set("panels[0].targets", []), "there is no query"),
        (_set("panels[0].links", [{"title": "x", "url": "/d/otmirror-lake"}]), "which does not exist"),
        (_set("templating.list[0].current.value", "P4169E866C3094E38"), "is none of otmirror-monitoring, otmirror-hot"),
        (
            _set("panels[0].fieldConfig.defaults.thresholds.steps", [{"value": None}, {"value": 2}, {"value": 1}]),
            "do not rise",
        ),
    ],
)  # fmt: skip
def test_each_rule_finds_its_fault(change: typing.Callable[[dict], None], told: str) -> None:
    made = copy.deepcopy(loaded())
    change(next(one for one in made if one["uid"] == "otmirror-freshness"))
    found = lint.problems(made)
    assert any(told in line for line in found), found


def test_panels_ask_few_questions_and_can_be_drawn_without_grafana() -> None:
    for made in loaded():
        assert 6 <= len(made["panels"]) <= 12, made["uid"]
        titles = [panel["title"] for panel in made["panels"]]
        assert len(set(titles)) == len(titles)
        for panel in made["panels"]:
            units = [panel["fieldConfig"]["defaults"]["unit"]]
            units += [
                p["value"] for o in panel["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "unit"
            ]
            assert set(units) <= set(UNITS), panel["title"]
            # A stat of Grafana cuts its title: at 1480 pixels a column has room for seven letters.
            assert len(panel["title"]) <= 7 * panel["gridPos"]["w"], panel["title"]


def test_every_variable_is_used_and_choices_are_by_source_and_area() -> None:
    chosen = {}
    for made in loaded():
        text = json.dumps(made["panels"])
        for variable in made["templating"]["list"]:
            if variable["type"] == "query":
                assert f"${variable['name']}" in text, (made["uid"], variable["name"])
                chosen[made["uid"]] = variable["name"]
    assert chosen == {"otmirror-freshness": "area", "otmirror-sources": "source"}


def test_queries_ask_for_nothing_that_nobody_gives() -> None:
    text = " ".join(target["expr"] for made in loaded() for panel in made["panels"] for target in panel["targets"])
    ours = set(re.findall(r"otmirror_(?!compare_|kpi_)\w+", text))
    assert len(ours) > 25
    assert {re.sub("_bucket$", "", name) for name in ours} <= set(BY_NAME)
    rules = [yaml.safe_load(file.read_text()) for file in (PROJECT / "monitoring" / "rules").glob("*.yaml")]
    recorded = {rule.get("record") for made in rules for group in made["groups"] for rule in group["rules"]}
    asked = set(re.findall(r"slo:[\w:]+", text))
    assert asked
    assert asked <= recorded


def test_every_runbook_is_linked_from_a_panel_and_none_that_is_not_there() -> None:
    books = {file.stem for file in (PROJECT / "docs" / "runbooks").glob("*.md")} - {"README"}
    links = [link["url"] for made in loaded() for panel in made["panels"] for link in panel["links"]]
    assert {url.split("/")[-1].removesuffix(".md") for url in links if "${runbooks}" in url} == books


def test_provisioning_names_the_data_sources_that_the_dashboards_use() -> None:
    sources = yaml.safe_load((PROVISIONING / "datasources" / "otmirror.yaml").read_text())["datasources"]
    variables = [variable for made in loaded() for variable in made["templating"]["list"]]
    used = {variable["current"]["value"] for variable in variables if variable["type"] == "datasource"}
    assert {source["uid"] for source in sources} == used == {"otmirror-monitoring", "otmirror-hot"}
    named = {(variable["current"]["text"], variable["current"]["value"]) for variable in variables
             if variable["type"] == "datasource"}  # fmt: skip
    assert named == {(source["name"], source["uid"]) for source in sources}
    for source in sources:
        store = source["uid"].removeprefix("otmirror-").upper()
        assert source["url"] == f"${{OTMIRROR_{store}_URL}}"
        assert source["secureJsonData"] == {"basicAuthPassword": f"${{OTMIRROR_{store}_PASSWORD}}"}
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "otmirror.yaml").read_text())["providers"]
    assert (provider["type"], provider["options"]) == ("file", {"path": "${OTMIRROR_DASHBOARDS}"})


def test_dashboards_of_others_come_after_ours(tmp_path: Path) -> None:
    for file in FILES:
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "a.json").write_text('{"uid": "own", "panels": []}')
    assert [made["uid"] for made in catalogue.load(tmp_path)][::8] == ["otmirror-overview", "own"]
