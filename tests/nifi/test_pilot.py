"""The pilot in a real NiFi: everything arrives, can be traced back, and the flow file is what NiFi writes."""

import copy
import json

import pytest

from otmirror.demo import run
from otmirror.demo.stack import FLOW, Stack
from otmirror.errors import ConfigError
from otmirror.flow import canonical
from otmirror.flow.trace import origins

from .pilots import folder, pilot

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def stack():
    with pilot(folder("pilot"), ["--tags", "16"], start=False) as started:
        yield started


@pytest.fixture(scope="module")
def result(stack: Stack):
    """Twenty seconds of mirroring, its queues drained and both stores audited."""
    return run.record(stack, 20)


def test_every_component_is_valid_with_nothing_but_parameters_set(stack):
    status = stack.api.status(stack.group)
    assert {component.type.rpartition(".")[2] for component in status.components} == {
        "ReadOpcUaTags", "PollModbusReadOnly", "ToVictoriaMetrics", "MergeContent", "WriteIceberg",
    }  # fmt: skip
    assert [(c.name, c.errors) for c in status.components if c.validation != "VALID"] == []


def test_everything_that_left_the_sources_is_in_both_stores_once(stack, result):
    assert {source.source for source in result.audit.sources} == {"opcua:plant", "modbus:plant"}
    for source in result.audit.sources:
        assert source.emitted >= 10 * 16
        assert source.stored == source.emitted
    assert result.audit.complete, result.audit
    assert stack.api.bulletins(stack.group) == ()


def test_a_row_leads_back_to_the_source_that_read_it(stack, result):
    """From a row's batch, by NiFi's REST API alone, to the processor that created its FlowFile."""
    rows = stack.lakehouse.samples()
    for source, processor in (("opcua:plant", "ReadOpcUaTags"), ("modbus:plant", "PollModbusReadOnly")):
        row = next(row for row in rows.to_pylist() if row["source"] == source)
        created = origins(stack.api, row["batch"])
        assert {event.component_type for event in created} == {"ReadOpcUaTags", "PollModbusReadOnly"}
        covering = [
            event
            for event in created
            if event.attributes["otmirror.source"] == source
            and int(event.attributes["otmirror.ts.first"]) <= row["ts"] <= int(event.attributes["otmirror.ts.last"])
        ]
        assert [event.component_type for event in covering] == [processor]


def test_a_batch_nobody_knows_is_said_to_be_unknown(stack, result):
    with pytest.raises(ConfigError, match="no event of batch 0123"):
        origins(stack.api, "0123")


def test_the_flow_file_is_what_nifi_exports(stack, result):
    exported = canonical.keep_local(stack.api.export_flow(stack.group), canonical.load(FLOW))
    assert canonical.dumps(exported) == FLOW.read_text()


def test_a_drag_on_the_canvas_is_a_diff_of_one_position(stack, result):
    api = stack.api
    component = api.processor_by_name(stack.group, "Merge for Iceberg")
    entity = api.rest.get(f"/processors/{component.id}")
    moved = {"id": component.id, "position": {"x": 1000.5, "y": 444.0}}
    api.rest.put(f"/processors/{component.id}", {"revision": entity["revision"], "component": moved})
    try:
        exported = canonical.keep_local(api.export_flow(stack.group), canonical.load(FLOW))
    finally:
        entity = api.rest.get(f"/processors/{component.id}")
        back = {"id": component.id, "position": {"x": 800.0, "y": 400.0}}
        api.rest.put(f"/processors/{component.id}", {"revision": entity["revision"], "component": back})
    before, after = FLOW.read_text().splitlines(), canonical.dumps(exported).splitlines()
    changed = [(old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [('"x" : 800.0,', '"x" : 1000.5,'), ('"y" : 400.0', '"y" : 444.0')]


def test_the_flow_holds_no_secret_and_no_address_of_its_own(stack):
    flow = json.loads(FLOW.read_text())
    parameters = next(iter(flow["parameterContexts"].values()))["parameters"]
    assert all("value" not in parameter for parameter in parameters if parameter["sensitive"])
    assert {p["name"] for p in parameters if p["sensitive"]} == {
        "opcua.password", "victoriametrics.password", "iceberg.catalog.credential",
        "iceberg.s3.access.key", "iceberg.s3.secret.key",
    }  # fmt: skip
    for processor in flow["flowContents"]["processors"]:
        for name, value in processor["properties"].items():
            if name == "Password" or any(
                word in name for word in ("URL", "Warehouse", "Devices", "List File", "Credential")
            ):
                assert value is None or (value.startswith("#{") and value.endswith("}")), (processor["name"], name)


def test_queues_block_and_nothing_expires_or_is_dropped():
    contents = copy.deepcopy(json.loads(FLOW.read_text()))["flowContents"]
    for connection in contents["connections"]:
        assert connection["flowFileExpiration"] == "0 sec", connection["name"]
        assert connection["backPressureObjectThreshold"] > 0, connection["name"]
    for processor in contents["processors"]:
        assert set(processor["autoTerminatedRelationships"]) <= {"success", "original"}, processor["name"]
        if processor["type"] in ("ReadOpcUaTags", "PollModbusReadOnly"):
            schedule = (processor["executionNode"], processor["concurrentlySchedulableTaskCount"])
            assert (*schedule, processor["runDurationMillis"]) == ("PRIMARY", 1, 0)
