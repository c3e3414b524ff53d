"""`otmirror flow diff`: every single change is one line, and what does not count is none."""

from __future__ import annotations

import copy
import json
import random
import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from typer.testing import CliRunner

from otmirror.cli.flow import app
from otmirror.flow.canonical import dumps, load
from otmirror.flow.diff import diff
from otmirror.workspace import PROJECT

NAMES = ("pilot", "edge", "hub")
KINDS = ("processors", "controllerServices", "connections", "funnels", "labels")
# What a change of is not a change of its own: the identifier, and copies of what stands elsewhere.
APART = {"identifier", "groupIdentifier", "propertyDescriptors", "name", "comments", "source", "destination"}


def flow(name: str = "pilot") -> dict[str, Any]:
    return load(PROJECT / "flows" / f"{name}.json")


def find(told: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    return next(c for c in told["flowContents"][kind] if c["name"] == name)


def words(kind: str, name: str, key: str, value: Any) -> list[str]:
    changed = flow()
    find(changed, kind, name)[key] = value
    return diff(flow(), changed)


def test_changes_are_told_in_words() -> None:
    old = find(flow(), "processors", "Poll Modbus")["position"]
    moved = {"x": old["x"] + 120, "y": old["y"] + 40}
    assert words("processors", "Poll Modbus", "position", moved) == ["Poll Modbus moved by (120, 40)"]
    assert words("processors", "Poll Modbus", "name", "Modbus") == ["Poll Modbus renamed to 'Modbus'"]
    assert words("connections", "Iceberg retry", "backPressureObjectThreshold", 20_000) == [
        "connection Iceberg retry (Write Iceberg -> Write Iceberg): back-pressure 10,000 -> 20,000"
    ]
    properties = {**find(flow(), "processors", "Poll Modbus")["properties"], "Poll Interval": "5 s"}
    assert words("processors", "Poll Modbus", "properties", properties) == [
        "Poll Modbus: Poll Interval #{poll.interval} -> 5 s"
    ]
    bundle = {"group": "org.apache.nifi", "artifact": "python-extensions", "version": "9"}
    version = find(flow(), "processors", "Poll Modbus")["bundle"]["version"]
    assert words("processors", "Poll Modbus", "bundle", bundle) == [
        f"Poll Modbus: version python-extensions:{version} -> python-extensions:9"
    ]
    assert words("processors", "To VictoriaMetrics", "retriedRelationships", ["retry"]) == [
        "To VictoriaMetrics: retried relationships failure, retry -> retry"
    ]


def test_added_and_removed_components_are_named() -> None:
    changed = flow("edge")
    gone = find(changed, "processors", "To Kafka")
    changed["flowContents"]["processors"].remove(gone)
    assert diff(flow("edge"), changed) == ["removed PublishKafka 'To Kafka'"]
    assert diff(changed, flow("edge")) == ["added PublishKafka 'To Kafka'"]


def test_sensitive_values_are_never_shown() -> None:
    changed = flow()
    find(changed, "processors", "To VictoriaMetrics")["properties"]["Password"] = "hunter2"
    (context,) = changed["parameterContexts"].values()
    next(p for p in context["parameters"] if p["name"] == "opcua.password")["value"] = "hunter3"
    lines = diff(flow(), changed)
    assert len(lines) == 2
    assert "hunter" not in "".join(lines)
    assert lines[1] == "parameter opcua.password: (none) -> (sensitive)"


@pytest.mark.parametrize("name", NAMES)
def test_order_and_instance_ids_do_not_count(name: str) -> None:
    changed = flow(name)
    for kind in KINDS:
        random.Random(1).shuffle(changed["flowContents"][kind])
        for component in changed["flowContents"][kind]:
            component["instanceIdentifier"] = str(uuid.uuid4())
    assert diff(flow(name), changed) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_with_other_identifiers_is_the_same_flow(name: str) -> None:
    text = dumps(flow(name))
    for kind in ("processors", "controllerServices"):
        for component in flow(name)["flowContents"][kind]:
            text = text.replace(component["identifier"], str(uuid.uuid4()))
    assert text != dumps(flow(name))
    assert diff(flow(name), json.loads(text)) == []


def mutations(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every single change of a value: of each field, property and parameter of each component."""
    for kind in KINDS:
        for place, component in enumerate(told["flowContents"][kind]):
            for key in sorted(component.keys() - APART):
                inner = sorted(component[key]) if key == "properties" else [None]
                for name in inner:
                    changed = copy.deepcopy(told)
                    target = changed["flowContents"][kind][place]
                    if name is None:
                        target[key] = other(target[key])
                    else:
                        target[key][name] = other(target[key][name])
                    yield f"{kind} {component.get('name')} {key} {name or ''}", changed
    for context, content in told["parameterContexts"].items():
        for place, parameter in enumerate(content["parameters"]):
            for key in ("value", "description", "sensitive"):
                changed = copy.deepcopy(told)
                target = changed["parameterContexts"][context]["parameters"][place]
                target[key] = other(target.get(key))
                yield f"parameter {parameter['name']} {key}", changed


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, {"x": 1.0, "y": 2.0}] if value and isinstance(value[0], dict) else [*value, "more"]
    if isinstance(value, dict):
        return {key: other(item) for key, item in value.items()} or {"colour": "red"}
    return f"{value or ''}\nmore"


@pytest.mark.parametrize("name", NAMES)
def test_any_single_change_is_exactly_one_line(name: str) -> None:
    told = flow(name)
    wrong, count = [], 0
    # Of the two larger flows every third, for time.
    for what, changed in islice(mutations(told), None, None, 1 if name == "pilot" else 3):
        lines = diff(told, changed)
        count += 1
        if len(lines) != 1 or "\n" in lines[0] or not diff(changed, told):
            wrong.append((what, lines))
    assert count > 150
    assert wrong == []


def test_the_command_answers_like_diff() -> None:
    run = CliRunner()
    same = run.invoke(app, ["diff", "pilot", "pilot"])
    assert (same.exit_code, same.stdout) == (0, "")
    different = run.invoke(app, ["diff", "pilot", "edge"])
    assert different.exit_code == 1
    assert "added PublishKafka 'To Kafka'" in different.stdout
    trouble = run.invoke(app, ["diff", "git:no-such-revision:flows/pilot.json", "pilot"])
    assert trouble.exit_code == 2
    assert run.invoke(app, ["diff", "git:HEAD", "pilot"]).exit_code == 2
