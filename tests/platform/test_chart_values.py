"""The chart's values: their schema, their defaults, what is documented of them, and the zones they speak of."""

from __future__ import annotations

import json

import pytest
from chart import SCHEMA, VALUES, leaves, table, values

from otmirror.workspace import PROJECT
from otmirror.zones import model

jsonschema = pytest.importorskip("jsonschema")


def test_every_object_is_closed_and_every_value_described() -> None:
    waiting = [("", SCHEMA)]
    while waiting:
        place, schema = waiting.pop()
        assert schema.get("description"), place
        if "properties" in schema:
            assert schema["additionalProperties"] is False, place
            waiting += [(f"{place}.{name}", about) for name, about in schema["properties"].items()]


def test_the_defaults_and_the_examples_are_valid() -> None:
    checker = jsonschema.Draft7Validator(SCHEMA)
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    for given in (VALUES, values("edge"), values("hub")):
        assert not [error.message for error in checker.iter_errors(given)]
    known = {place for place, _, _ in leaves()}

    def places(given: object, path: str = "") -> set[str]:
        if path in known or not isinstance(given, dict):
            return {path}
        return set().union(*(places(value, f"{path}.{name}".lstrip(".")) for name, value in given.items()))

    assert places(VALUES) == known, "values.yaml and the schema name different values"


def test_members_conduits_and_zones_are_those_of_the_table() -> None:
    matrix = model.load()
    network = SCHEMA["properties"]["network"]["properties"]
    assert network["addresses"]["propertyNames"]["enum"] == list(matrix.members)
    assert network["ports"]["propertyNames"]["enum"] == [conduit.name for conduit in matrix.of("full")]
    assert network["namespaces"]["propertyNames"]["enum"] == sorted({m.zone for m in matrix.members.values()})
    assert {f"{role}-nifi" for role in SCHEMA["properties"]["role"]["enum"]} <= set(matrix.members)


@pytest.mark.parametrize("role", ["edge", "hub"])
def test_the_examples_parameters_are_those_of_the_flow_and_none_is_sensitive(role: str) -> None:
    contexts = json.loads((PROJECT / f"flows/{role}.json").read_text())["parameterContexts"].values()
    known = {p["name"]: p.get("sensitive", False) for context in contexts for p in context["parameters"]}
    given = values(role)["flow"]["parameters"]
    assert set(given) <= set(known)
    assert not [name for name in given if known[name]]


def test_the_values_are_documented_with_their_defaults() -> None:
    assert table() in (PROJECT / "docs/helm.md").read_text(), f"docs/helm.md: the table of values is\n{table()}"
