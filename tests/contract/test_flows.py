"""The catalogue of the flow lint, against what NiFi's own Python side and a running NiFi say of the components."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harness
from otmirror.flow.catalogue import NIFI, catalogue
from otmirror.workspace import PROJECT

REFERENCE = PROJECT.parent / "shared" / "nifi" / f"components-{NIFI}.json"


@pytest.mark.parametrize("name", harness.PROCESSORS)
def test_our_processors_are_as_nifi_reads_them(name: str) -> None:
    kind = catalogue()[name]
    processor = harness.load(name)(jvm=None)
    descriptors = {d.name: d for d in processor.getPropertyDescriptors()}
    assert set(kind.properties) == set(descriptors)
    for key, descriptor in descriptors.items():
        mine = kind.properties[key]
        assert mine.required == descriptor.required, key
        assert mine.sensitive == descriptor.sensitive, key
        assert mine.default == descriptor.defaultValue, key
        assert list(mine.values) == list(descriptor.allowableValues or ()), key
        depends = [(d.property_descriptor.name, tuple(d.dependent_values or ())) for d in descriptor.dependencies or ()]
        assert list(mine.depends) == depends, key
    if hasattr(processor, "getRelationships"):
        assert {r.name for r in processor.getRelationships()} <= kind.relationships
    assert kind.version == harness.details(name).version


def reference() -> dict[str, Any]:
    if not REFERENCE.exists():
        pytest.skip("the reference list of a running NiFi is not here")
    told = json.loads(REFERENCE.read_text(encoding="utf-8"))
    every = (*told["processors"].values(), *told["controllerServices"].values())
    return {entry["type"]: entry for entry in every}


def test_stock_components_are_as_the_reference_list_has_them() -> None:
    known = catalogue()
    both = known.keys() & reference().keys()
    assert len(both) >= 14
    for name in both:
        mine, told = known[name], reference()[name]
        assert set(mine.properties) == set(told["properties"]), name
        assert mine.dynamic == told["dynamicProperties"], name
        assert mine.relationships == {r["name"] for r in told["relationships"]}, name
        for key, entry in told["properties"].items():
            declared = mine.properties[key]
            assert declared.required == entry.get("required", False), (name, key)
            assert declared.sensitive == entry.get("sensitive", False), (name, key)
            assert declared.service == entry.get("service"), (name, key)
            assert list(declared.values) == entry.get("allowable", []), (name, key)


def _out_of_form(node: Any, where: str) -> Iterator[str]:
    """The rules of NiFi's JacksonFlowSnapshotSerializer, read off the data, without the code that writes the files."""
    if isinstance(node, dict):
        if list(node) != sorted(node):
            yield f"{where}: keys are not sorted"
        for key, value in node.items():
            if value is None or key in ("instanceIdentifier", "instanceGroupId"):
                yield f"{where}.{key} belongs to one NiFi or is null"
            yield from _out_of_form(value, f"{where}.{key}")
    if isinstance(node, list):
        ids = [item["identifier"] for item in node if isinstance(item, dict) and "identifier" in item]
        if ids != sorted(ids):
            yield f"{where}: not by identifier"
        for place, item in enumerate(node):
            yield from _out_of_form(item, f"{where}[{place}]")


@pytest.mark.parametrize("path", sorted((PROJECT / "flows").glob("*.json")), ids=lambda path: path.stem)
def test_a_flow_file_is_what_the_git_flow_registry_client_writes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    flow = json.loads(text)
    assert list(_out_of_form(flow, path.stem)) == []
    contents = flow["flowContents"]
    assert (contents["identifier"], contents["position"]) == ("flow-contents-group", {"x": 0.0, "y": 0.0})
    assert {c["groupIdentifier"] for c in contents["processors"]} == {"flow-contents-group"}
    # Jackson's default pretty printer: two blanks a level, a blank on both sides of the colon.
    assert text.startswith('{\n  "externalControllerServices" : { },\n  "flowContents" : {\n')
    assert [line for line in text.splitlines() if re.match(r' *"[^"]+":', line)] == []
    # The client takes the name of a file in the folder of a bucket for the name of a flow.
    assert contents["name"] == path.stem
