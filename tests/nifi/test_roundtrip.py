"""A drag on the canvas, exported, is a change of two lines; and the catalogue of the lint is what this NiFi reports."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.testing import CliRunner

from otmirror.cli.flow import app
from otmirror.flow.canonical import dumps, keep_local, load
from otmirror.flow.catalogue import OWN, catalogue
from otmirror.flow.diff import diff
from otmirror.workspace import PROJECT

pytestmark = pytest.mark.timeout(900)
PILOT = PROJECT / "flows" / "pilot.json"


@pytest.fixture(scope="module")
def imported(api):
    group = api.import_flow(PILOT, "round-trip", {"poll.interval": "7 sec"})
    yield group
    api.delete_group(group)


def drag(api, processor: str, by: tuple[float, float]) -> None:
    entity = api.rest.get(f"/processors/{processor}")
    x, y = (entity["component"]["position"][axis] + step for axis, step in zip("xy", by, strict=True))
    moved = {"id": processor, "position": {"x": x, "y": y}}
    api.rest.put(f"/processors/{processor}", {"revision": entity["revision"], "component": moved})


def test_a_drag_is_a_change_of_its_position_only(imported, api, nifi, tmp_path):
    file = tmp_path / "round-trip.json"
    file.write_text(PILOT.read_text())
    run, url = CliRunner(), ["--url", nifi.url]
    site = "parameter poll.interval: 1 sec -> 7 sec"
    before = run.invoke(app, ["diff", str(file), "live:round-trip", *url])
    assert (before.stdout.splitlines(), before.exit_code) == ([site], 1)
    processor = api.processor_by_name(imported, "Poll Modbus").id
    drag(api, processor, (120.0, 40.0))
    try:
        live = run.invoke(app, ["diff", str(file), "live:round-trip", *url])
        exported = run.invoke(app, ["export", "round-trip", "-o", str(file), *url])
    finally:
        drag(api, processor, (-120.0, -40.0))
    assert live.stdout.splitlines() == ["Poll Modbus moved by (120, 40)", site]
    assert exported.exit_code == 0, exported.output
    assert diff(load(PILOT), load(file)) == ["Poll Modbus moved by (120, 40)"]
    old, new = PILOT.read_text().splitlines(), file.read_text().splitlines()
    assert len(old) == len(new)
    changed = [(was.split()[0], now.split()[0]) for was, now in zip(old, new, strict=True) if was != now]
    assert changed == [('"x"', '"x"'), ('"y"', '"y"')]
    assert dumps(keep_local(api.export_flow(imported), load(PILOT))) == PILOT.read_text()


def test_what_this_nifi_lacks_is_said_and_what_follows_from_it_is_no_failure(api, nifi, tmp_path):
    flow = load(PROJECT / "flows" / "edge.json")
    reader = next(s for s in flow["flowContents"]["controllerServices"] if s["name"] == "Samples in")
    reader["type"] = "org.example.GoneReader"
    file = tmp_path / "lacking.json"
    # A context that NiFi has already keeps its values, such as another test's tag lists.
    file.write_text(dumps(flow).replace("otmirror edge", "otmirror lacking"))
    line = ["import", str(file), "--name", "lacking", "--url", nifi.url]
    refused = CliRunner().invoke(app, line)
    assert re.match(r"this NiFi has no .*org\.example\.GoneReader", str(refused.exception))
    assert "lacking" not in api.groups()
    told = CliRunner().invoke(app, [*line, "--allow-missing"])
    group = api.group("lacking")
    try:
        said = told.stderr.splitlines()
        lacks = [text.split(";")[0] for text in said if "this NiFi has no" in text]
        assert "Samples in: this NiFi has no controller service GoneReader" in lacks
        # It reads with that service and so is invalid, but that is no finding of its own.
        assert api.processor_by_name(group, "One FlowFile a tag").validation == "INVALID"
        own = {text.split(":")[0] for text in said if "this NiFi has no" not in text}
        # Tag lists and keystores are what only a site has; a full NiFi has publishers too, which need the latter.
        publishers = {"To Kafka", "To MQTT, a batch", "To MQTT, a sample"}
        assert own - publishers - {"Kafka"} == {"Read OPC UA", "Poll Modbus", "Broker TLS"}
        assert publishers <= {text.split(":")[0] for text in said}
        assert told.exit_code == 1
    finally:
        api.delete_group(group)


def reported(api, kind: str, path: str) -> dict[str, Any]:
    listed = {entry["type"]: entry for entry in api.rest.get(f"/flow/{path}-types")[f"{kind}Types"]}
    group = api.rest.post(
        "/process-groups/root/process-groups",
        {"revision": {"version": 0}, "component": {"name": f"catalogue {kind}", "position": {"x": 0, "y": 9000}}},
    )["id"]
    found = {}
    try:
        for name in sorted((catalogue().keys() - set(OWN)) & listed.keys()):
            body = {"revision": {"version": 0}, "component": {"type": name, "bundle": listed[name]["bundle"]}}
            found[name] = api.rest.post(f"/process-groups/{group}/{path}s", body)["component"]
    finally:
        revision = api.rest.get(f"/process-groups/{group}")["revision"]["version"]
        api.rest.delete(f"/process-groups/{group}", version=revision)
    return found


@pytest.mark.parametrize(
    ("kind", "path", "least"), [("processor", "processor", 17), ("controllerService", "controller-service", 5)]
)
def test_the_catalogue_is_what_this_nifi_reports(api, kind, path, least):
    if api.about() != "2.3.0":
        pytest.skip("the catalogue is that of 2.3.0")
    found = reported(api, kind, path)
    assert len(found) >= least
    for name, told in found.items():
        mine, config = catalogue()[name], told.get("config", told)
        descriptors = {key: d for key, d in config["descriptors"].items() if not d.get("dynamic")}
        assert set(mine.properties) == set(descriptors), name
        for key, descriptor in descriptors.items():
            declared = mine.properties[key]
            service = descriptor.get("identifiesControllerService")
            values = [] if service else [v["allowableValue"]["value"] for v in descriptor.get("allowableValues") or ()]
            assert (declared.required, declared.sensitive) == (descriptor["required"], descriptor["sensitive"]), key
            assert (declared.default, declared.service) == (descriptor.get("defaultValue"), service), key
            assert list(declared.values) == values, key
        assert mine.artifact == told["bundle"]["artifact"], name
        assert mine.relationships == {r["name"] for r in told.get("relationships") or ()}, name
        if kind == "processor":
            assert mine.input == told["inputRequirement"].removeprefix("INPUT_").lower(), name
