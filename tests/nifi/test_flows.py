"""The shipped flows in a real NiFi. The embedded one lacks the MQTT and Kafka components: with it they have to show as
missing and everything else as valid; with a full NiFi (NIFI_HOME) all of them have to be valid."""

import os

import pytest

from otmirror.errors import ConfigError
from otmirror.flow import canonical
from otmirror.plant.tags import MODBUS_FILE, OPCUA_FILE
from otmirror.workspace import PROJECT

from .keystores import keystores

pytestmark = pytest.mark.timeout(900)
FLOWS = PROJECT / "flows"
# What a NiFi without its MQTT and Kafka archives does not have, by the name on the canvas.
LACKING = {
    "edge": {"Kafka", "To Kafka", "To MQTT, a batch", "To MQTT, a sample"},
    "hub": {"Kafka", "From Kafka", "From MQTT", "From Telegraf", "Dead letters"},
}


@pytest.fixture(scope="module")
def parameters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    opcua, modbus = folder / OPCUA_FILE, folder / MODBUS_FILE
    opcua.write_text("tag,address\nacme/north/T1,ns=2;s=T1\n")
    modbus.write_text("tag,address,type\nacme/north/R1,1:holding:0,float\n")
    stores = keystores(folder, "a-password-of-a-test")
    return {
        "edge": {"opcua.tags": str(opcua), "modbus.tags": str(modbus), **stores},
        "hub": {"iceberg.warehouse": str(folder / "warehouse"), **stores},
    }


@pytest.fixture(scope="module", params=["edge", "hub"])
def imported(request, api, parameters):
    name = request.param
    full = bool(os.environ.get("NIFI_HOME"))
    group = api.import_flow(FLOWS / f"{name}.json", name, parameters[name], allow_missing=not full)
    yield name, group
    api.delete_group(group)


def test_only_what_this_nifi_does_not_have_is_missing_and_nothing_else_is_invalid(imported, api):
    name, group = imported
    expected = set() if os.environ.get("NIFI_HOME") else LACKING[name]
    assert set(api.missing(group).values()) == expected
    wrong = {c.name: c.errors for c in api.components(group) if c.validation != "VALID" and c.name not in expected}
    assert wrong == {}
    services = api.rest.get(f"/flow/process-groups/{group}/controller-services")["controllerServices"]
    states = {s["component"]["name"]: s["component"]["state"] for s in services}
    assert {n for n, state in states.items() if state != "ENABLED"} == expected & set(states)


def test_the_file_is_what_nifi_exports(imported, api):
    name, group = imported
    file = FLOWS / f"{name}.json"
    exported = canonical.keep_local(api.export_flow(group), canonical.load(file), api.missing(group))
    assert canonical.dumps(exported) == file.read_text()


def test_a_missing_component_that_is_dragged_changes_its_position_only(imported, api):
    name, group = imported
    wanted = {"edge": "To Kafka", "hub": "From Kafka"}[name]
    component = api.processor_by_name(group, wanted)
    entity = api.rest.get(f"/processors/{component.id}")
    before = entity["component"]["position"]
    moved = {"id": component.id, "position": {"x": 3210.0, "y": -45.0}}
    api.rest.put(f"/processors/{component.id}", {"revision": entity["revision"], "component": moved})
    try:
        file = FLOWS / f"{name}.json"
        exported = canonical.keep_local(api.export_flow(group), canonical.load(file), api.missing(group))
        old, new = file.read_text().splitlines(), canonical.dumps(exported).splitlines()
    finally:
        entity = api.rest.get(f"/processors/{component.id}")
        back = {"id": component.id, "position": before}
        api.rest.put(f"/processors/{component.id}", {"revision": entity["revision"], "component": back})
    assert len(old) == len(new)
    assert [line.strip() for was, line in zip(old, new, strict=True) if was != line] == [
        '"x" : 3210.0,',
        '"y" : -45.0',
    ]


@pytest.mark.skipif(bool(os.environ.get("NIFI_HOME")), reason="a full NiFi lacks none of the components")
def test_a_flow_with_components_this_nifi_lacks_is_refused_unless_asked_for(api):
    with pytest.raises(ConfigError, match=r"PublishKafka.*PublishMQTT"):
        api.import_flow(FLOWS / "edge.json", "refused")
    assert "refused" not in api.groups()
