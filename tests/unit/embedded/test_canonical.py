"""The canonical form of flows; the rules are those of NiFi's Git flow registry clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otmirror.errors import ConfigError
from otmirror.flow.canonical import canonical, dumps, keep_local, load

ROOT = "6169eb67-6567-3b57-9270-bfcb8b3daa2c"


def exported() -> dict[str, Any]:
    """A small export as a running NiFi gives it."""
    return {
        "latest": False,
        "flowContents": {
            "identifier": ROOT,
            "instanceIdentifier": "091cdc86-01a2-1000-bb5e-7a40582dfd5f",
            "name": "mig",
            "position": {"x": 0.0, "y": 1500.0},
            "processors": [
                {
                    "identifier": "e9c", "groupIdentifier": ROOT, "instanceIdentifier": "1",
                    "properties": {"b": "1", "a": None}, "autoTerminatedRelationships": ["original", "failure"],
                    "style": {},
                },
                {"identifier": "13d", "groupIdentifier": ROOT, "properties": {"text": "µ"}, "bends": []},
            ],
            "connections": [
                {
                    "identifier": "c", "groupIdentifier": ROOT, "prioritizers": ["z.First", "a.Second"],
                    "bends": [{"x": 9.0, "y": 1.0}, {"x": 1.0, "y": 5.0}],
                    "source": {"id": "e9c", "groupId": ROOT}, "destination": {"id": "x", "groupId": "inner"},
                }
            ],
            "processGroups": [
                {
                    "identifier": "inner", "groupIdentifier": ROOT,
                    "processors": [{"identifier": "p", "groupIdentifier": "inner"}],
                }
            ],
        },
        "parameterContexts": {
            "ctx": {
                "inheritedParameterContexts": ["second", "first"],
                "parameters": [
                    {"name": "url", "value": "http://plant", "sensitive": False},
                    {"name": "password", "sensitive": True, "value": None},
                ],
            }
        },
    }  # fmt: skip


def test_the_text_is_that_of_nifis_own_writer() -> None:
    flow = {"latest": False, "flowContents": {"identifier": ROOT, "processors": [], "processGroups": [
        {"identifier": "b", "groupIdentifier": ROOT}, {"identifier": "a", "style": {}, "comments": None}]}}  # fmt: skip
    # Jackson's DefaultPrettyPrinter: a blank on both sides of the colon, lists of objects on one line with their brace.
    assert dumps(flow) == (
        "{\n"
        '  "flowContents" : {\n'
        '    "identifier" : "flow-contents-group",\n'
        '    "position" : {\n'
        '      "x" : 0.0,\n'
        '      "y" : 0.0\n'
        "    },\n"
        '    "processGroups" : [ {\n'
        '      "identifier" : "a",\n'
        '      "style" : { }\n'
        "    }, {\n"
        '      "groupIdentifier" : "flow-contents-group",\n'
        '      "identifier" : "b"\n'
        "    } ],\n"
        '    "processors" : [ ]\n'
        "  },\n"
        '  "latest" : false\n'
        "}\n"
    )


def test_it_is_json_and_idempotent() -> None:
    once = dumps(exported())
    assert dumps(json.loads(once)) == once
    assert json.loads(once) == canonical(exported())
    assert once.endswith("}\n")
    assert "µ" in once


def test_what_belongs_to_one_nifi_is_gone() -> None:
    text = dumps(exported())
    assert "instanceIdentifier" not in text
    assert ROOT not in text
    assert "null" not in text
    contents = canonical(exported())["flowContents"]
    assert contents["identifier"] == "flow-contents-group"
    assert contents["position"] == {"x": 0.0, "y": 0.0}
    assert contents["connections"][0]["source"]["groupId"] == "flow-contents-group"
    assert contents["connections"][0]["destination"]["groupId"] == "inner"
    assert contents["processGroups"][0]["processors"][0]["groupIdentifier"] == "inner"


def test_sets_are_sorted_and_what_has_an_order_keeps_it() -> None:
    flow = canonical(exported())
    contents = flow["flowContents"]
    assert [p["identifier"] for p in contents["processors"]] == ["13d", "e9c"]
    assert contents["processors"][1]["autoTerminatedRelationships"] == ["failure", "original"]
    assert contents["connections"][0]["prioritizers"] == ["z.First", "a.Second"]
    assert contents["connections"][0]["bends"] == [{"x": 9.0, "y": 1.0}, {"x": 1.0, "y": 5.0}]
    context = flow["parameterContexts"]["ctx"]
    assert context["inheritedParameterContexts"] == ["second", "first"]
    assert [p["name"] for p in context["parameters"]] == ["password", "url"]
    assert list(contents) == sorted(contents)


def test_the_input_is_not_changed() -> None:
    flow = exported()
    canonical(flow)
    assert flow == exported()


def test_an_export_keeps_the_files_name_and_parameter_values() -> None:
    file = exported()
    file["flowContents"]["name"] = "pilot"
    file["parameterContexts"]["ctx"]["parameters"][0]["value"] = "http://default"
    changed = exported()
    changed["parameterContexts"]["ctx"]["parameters"].append({"name": "new", "value": "5", "sensitive": False})
    changed["flowContents"]["comments"] = "a change on the canvas"
    kept = keep_local(changed, file)
    values = {p["name"]: p.get("value") for p in kept["parameterContexts"]["ctx"]["parameters"]}
    assert values == {"url": "http://default", "password": None, "new": "5"}
    assert kept["flowContents"]["name"] == "pilot"
    assert kept["flowContents"]["comments"] == "a change on the canvas"
    assert dumps(keep_local(exported(), exported())) == dumps(exported())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        (b"", "not JSON: Expecting value: line 1 column 1"),
        (b'{\n "flowContents": {,}}', "not JSON: .*line 2"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[]", "no flow definition"),
        (b'{"flow": 1}', "no flow definition"),
    ],
)
def test_what_is_no_flow_is_said_with_its_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "flow.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"flow {file}: .*{message}"):
        load(file)
