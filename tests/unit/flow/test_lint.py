"""Seeded defects: each is found by the rule that is for it, and by no other."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otmirror.errors import ConfigError
from otmirror.flow.canonical import dumps, load
from otmirror.flow.lint import lint, rules
from otmirror.workspace import PROJECT

FLOWS = PROJECT / "flows"
Flow = dict[str, Any]


def find(flow: Flow, kind: str, name: str) -> dict[str, Any]:
    found = [c for c in flow["flowContents"][kind] if c["name"] == name]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return found[0]


def field(kind: str, name: str, key: str, value: object) -> Callable[[Flow], object]:
    return lambda flow: find(flow, kind, name).__setitem__(key, value)


def prop(name: str, key: str, value: object, kind: str = "processors") -> Callable[[Flow], object]:
    return lambda flow: find(flow, kind, name)["properties"].__setitem__(key, value)


def parameter(**told: object) -> Callable[[Flow], object]:
    def add(flow: Flow) -> None:
        (context,) = flow["parameterContexts"].values()
        known = {p["name"]: p for p in context["parameters"]}
        if told["name"] in known:
            known[str(told["name"])].update(told)
        else:
            context["parameters"].append({"description": "", "provided": False, "sensitive": False, **told})

    return add


def used_parameter(**told: object) -> Callable[[Flow], object]:
    def add(flow: Flow) -> None:
        parameter(**told)(flow)
        find(flow, "processors", "Poll Modbus")["properties"]["Source Name"] = f"#{{{told['name']}}}"
        (context,) = flow["parameterContexts"].values()
        context["parameters"] = [p for p in context["parameters"] if p["name"] != "modbus.source"]

    return add


def remove(kind: str, name: str) -> Callable[[Flow], object]:
    return lambda flow: flow["flowContents"][kind].remove(find(flow, kind, name))


def drop_parameter(name: str) -> Callable[[Flow], object]:
    def drop(flow: Flow) -> None:
        (context,) = flow["parameterContexts"].values()
        context["parameters"] = [p for p in context["parameters"] if p["name"] != name]

    return drop


def without(processor: str, name: str, only_use_of: str) -> Callable[[Flow], object]:
    def drop(flow: Flow) -> None:
        find(flow, "processors", processor)["properties"].pop(name)
        drop_parameter(only_use_of)(flow)

    return drop


def ended(processor: str, *names: str) -> Callable[[Flow], object]:
    return field("processors", processor, "autoTerminatedRelationships", list(names))


def dropped_failure(flow: Flow) -> None:
    remove("connections", "VictoriaMetrics failed")(flow)
    ended("To VictoriaMetrics", "original", "success", "failure")(flow)


def to_disabled(flow: Flow) -> None:
    find(flow, "processors", "Write Iceberg")["scheduledState"] = "DISABLED"


def to_source(flow: Flow) -> None:
    source = find(flow, "processors", "Poll Modbus")
    find(flow, "connections", "VictoriaMetrics failed")["destination"].update(
        id=source["identifier"], name=source["name"], type="PROCESSOR"
    )


def no_key(flow: Flow) -> None:
    del find(flow, "processors", "To Kafka")["properties"]["Message Key Field"]


def unused_service(flow: Flow) -> None:
    service = copy.deepcopy(find(flow, "controllerServices", "Samples in"))
    flow["flowContents"]["controllerServices"].append({**service, "identifier": "another", "name": "Spare"})


def wrong_service(flow: Flow) -> None:
    writer = find(flow, "controllerServices", "Samples out")["identifier"]
    find(flow, "processors", "To Kafka")["properties"]["Record Reader"] = writer


def same_id(flow: Flow) -> None:
    find(flow, "connections", "merged")["identifier"] = find(flow, "connections", "merge failed")["identifier"]


VM, OPC = "To VictoriaMetrics", "Read OPC UA"
DEFECTS: list[tuple[str, str, Callable[[Flow], object]]] = [
    ("unknown-type", "pilot", field("processors", "Poll Modbus", "type", "PollModbusReadWrite")),
    ("bundle", "pilot", lambda f: find(f, "processors", VM)["bundle"].update(version="2025.1.0")),
    ("bundle", "edge", lambda f: find(f, "processors", "To Kafka")["bundle"].update(version="2.9.0")),
    ("unknown-property", "pilot", prop(VM, "Compresion", "zstd")),
    ("unknown-property", "edge", prop("To MQTT, a batch", "Quality of Service", "1")),
    ("value-not-allowed", "pilot", prop(VM, "Compression", "lzma")),
    ("value-not-allowed", "edge", parameter(name="kafka.security.protocol", value="TLS")),
    ("required-property", "pilot", without(VM, "VictoriaMetrics URL", "victoriametrics.url")),
    ("required-property", "edge", without("To Kafka", "Topic Name", "kafka.topic")),
    ("relationship-loose", "pilot", remove("connections", "merge failed")),
    ("relationship-loose", "edge", remove("connections", "no bus chosen")),
    ("relationship-unknown", "pilot", ended(VM, "original", "success", "done")),
    ("relationship-unknown", "edge", lambda f: find(f, "connections", "to Kafka")["selectedRelationships"].append("x")),
    ("relationship-both", "pilot", ended("Merge for Iceberg", "original", "merged")),
    ("failure-dropped", "pilot", dropped_failure),
    ("retry", "pilot", field("processors", VM, "retriedRelationships", ["failure"])),
    ("retry", "edge", field("processors", "To Kafka", "retryCount", 0)),
    ("retry", "hub", field("processors", "Write Iceberg", "maxBackoffPeriod", "0 sec")),
    ("queue-unbounded", "pilot", field("connections", "merged", "backPressureObjectThreshold", 0)),
    ("queue-unbounded", "edge", field("connections", "to Kafka", "backPressureDataSizeThreshold", "0 B")),
    ("queue-default", "pilot", field("connections", "merged", "backPressureDataSizeThreshold", "1 GB")),
    ("queue-expires", "edge", field("connections", "to Kafka", "flowFileExpiration", "1 hour")),
    (
        "dangling-connection",
        "pilot",
        lambda f: find(f, "connections", "rejected lines")["destination"].update(id="gone"),
    ),
    ("no-input", "hub", remove("connections", "to VictoriaMetrics")),
    ("unwanted-input", "pilot", to_source),
    ("dead-end", "pilot", to_disabled),
    ("running", "pilot", field("processors", OPC, "scheduledState", "RUNNING")),
    ("no-pause", "pilot", field("processors", OPC, "yieldDuration", "0 sec")),
    ("source-node", "pilot", field("processors", OPC, "executionNode", "ALL")),
    ("source-tasks", "edge", field("processors", "Poll Modbus", "concurrentlySchedulableTaskCount", 2)),
    ("source-run-duration", "pilot", field("processors", OPC, "runDurationMillis", 25)),
    ("mqtt-qos", "edge", prop("To MQTT, a batch", "Quality of Service(QoS)", "0")),
    ("mqtt-version", "hub", prop("From MQTT", "MQTT Specification Version", "4")),
    ("mqtt-session", "hub", prop("From MQTT", "Session state", "true")),
    ("kafka-acks", "edge", prop("To Kafka", "acks", "1")),
    ("kafka-transactions", "hub", prop("Kafka", "isolation.level", "read_uncommitted", "controllerServices")),
    ("kafka-key", "edge", no_key),
    ("kafka-commit", "hub", prop("From Kafka", "Commit Offsets", "false")),
    ("kafka-offset", "hub", lambda f: find(f, "processors", "From Kafka")["properties"].pop("auto.offset.reset")),
    ("sensitive-literal", "pilot", prop(VM, "Bearer Token", "hunter2")),
    ("sensitive-literal", "edge", parameter(name="opcua.password", value="hunter2")),
    ("secret-parameter", "pilot", parameter(name="victoriametrics.password", sensitive=False)),
    ("secret-parameter", "hub", parameter(name="victoriametrics.url", value="http://u:hunter2@127.0.0.1:8428")),
    ("parameter-undefined", "pilot", drop_parameter("poll.interval")),
    ("parameter-undefined", "hub", drop_parameter("mqtt.group")),
    ("parameter-unused", "edge", parameter(name="left.over", value="1")),
    ("service-missing", "edge", prop("To Kafka", "Record Reader", "gone")),
    ("service-missing", "edge", wrong_service),
    ("service-unused", "edge", unused_service),
    ("duplicate-name", "hub", field("processors", "From MQTT", "name", "From Kafka")),
    ("duplicate-id", "pilot", same_id),
    ("local-path", "edge", parameter(name="opcua.tags", value="/home/me/opcua.csv")),
    ("local-path", "pilot", used_parameter(name="modbus.name", value="C:\\tags")),
]


@pytest.mark.parametrize(("wanted", "name", "seed"), DEFECTS)
def test_a_seeded_defect_is_found_by_its_rule_and_no_other(
    wanted: str, name: str, seed: Callable[[Flow], object], tmp_path: Path
) -> None:
    flow = load(FLOWS / f"{name}.json")
    seed(flow)
    file = tmp_path / f"{name}.json"
    file.write_text(dumps(flow))
    found = lint([file])
    assert [f.rule for f in found if f.rule != wanted] == []
    assert found, "not found"
    assert all(f.file == str(file) and f.component and f.message and f.remedy for f in found)
    assert not any("hunter2" in str(f) for f in found)


def test_every_rule_has_a_seeded_defect() -> None:
    assert {rule.id for rule in rules()} == {wanted for wanted, _, _ in DEFECTS} | {"not-canonical"}


def test_a_file_out_of_form_is_found(tmp_path: Path) -> None:
    file = tmp_path / "pilot.json"
    file.write_text(json.dumps(load(FLOWS / "pilot.json"), indent=2))
    assert [f.rule for f in lint([file])] == ["not-canonical"]


@pytest.mark.parametrize("path", sorted(FLOWS.glob("*.json")), ids=lambda path: path.stem)
def test_the_shipped_flows_are_clean(path: Path) -> None:
    assert [str(finding) for finding in lint([path])] == []


def test_what_is_no_flow_of_nifi_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"flowContents": {"processors": [{}]}}')
    with pytest.raises(ConfigError, match=r"x\.json: no flow definition as NiFi writes it"):
        lint([file])


def test_the_document_lists_every_rule_with_its_remedy() -> None:
    text = (PROJECT / "docs" / "flows.md").read_text(encoding="utf-8")
    missing = [rule.id for rule in rules() if f"| `{rule.id}` |" not in text or rule.remedy not in text]
    assert missing == []
