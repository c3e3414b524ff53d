"""Swapping the broker processors of a small flow for HTTP ones."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from otmirror.demo.standin import swap

RELAY = "http://127.0.0.1:1234"
SSL, KAFKA, READER, WRITER = "ssl-id", "kafka-id", "reader-id", "writer-id"
UUIDS = {name: f"00000000-0000-0000-0000-00000000000{n}" for n, name in enumerate(("source", "out", "in", "sink"))}


def processor(name: str, kind: str, artifact: str, **told: Any) -> dict[str, Any]:
    return {
        "identifier": UUIDS[name], "groupIdentifier": "group", "name": name, "position": {"x": 10.0, "y": 400.0},
        "type": f"org.apache.nifi.some.{kind}", "bundle": {"group": "g", "artifact": artifact, "version": "2.3.0"},
        "schedulingPeriod": "7 sec", "maxBackoffPeriod": "30 secs", "scheduledState": "DISABLED",
        "autoTerminatedRelationships": ["success"], "retriedRelationships": ["failure"], **told,
    }  # fmt: skip


def connection(source: str, relationship: str, destination: str) -> dict[str, Any]:
    ends = {
        end: {"groupId": "group", "id": UUIDS[name], "type": "PROCESSOR", "name": name, "comments": ""}
        for end, name in (("source", source), ("destination", destination))
    }
    return {
        "identifier": f"{source}-{relationship}-{destination}", "name": "", "bends": [{"x": 1.0, "y": 2.0}],
        "selectedRelationships": [relationship], "backPressureObjectThreshold": 77, **ends,
    }  # fmt: skip


def flow(publisher: dict[str, Any]) -> dict[str, Any]:
    """A flow source -> out (again on failure), in -> sink."""
    listener = processor("in", "ConsumeKafka", "nifi-kafka-nar", properties={"Kafka Connection Service": KAFKA})
    return {
        "flowContents": {
            "processors": [
                processor("source", "GenerateFlowFile", "nifi-standard-nar", properties={}),
                publisher,
                listener,
                processor("sink", "LogAttribute", "nifi-standard-nar", properties={}),
            ],
            "connections": [
                connection("source", "success", "out"),
                connection("out", "failure", "out"),
                connection("in", "success", "sink"),
                connection("in", "parse.failure", "sink"),
            ],
            "controllerServices": [{"identifier": i} for i in (SSL, KAFKA, READER, WRITER)],
        }
    }


def mqtt(**more: str) -> dict[str, Any]:
    told = {"Topic": "#{mqtt.topic}/_batch/${source}", "SSL Context Service": SSL, **more}
    return processor("out", "PublishMQTT", "nifi-mqtt-nar", properties=told)


def kafka(**more: str) -> dict[str, Any]:
    told = {"Topic Name": "#{kafka.topic}", "Kafka Connection Service": KAFKA, **more}
    return processor("out", "PublishKafka", "nifi-kafka-nar", properties=told)


def swapped(publisher: dict[str, Any], ports: dict[str, int]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The group of the swapped flow, and its processors by name; the flow given is as it was."""
    given = flow(publisher)
    before = copy.deepcopy(given)
    group = swap(given, RELAY, ports)["flowContents"]
    assert given == before
    return group, {p["name"]: p for p in group["processors"]}


def edges(group: dict[str, Any]) -> set[tuple[str, str, str]]:
    found = [(c["source"]["name"], r, c["destination"]["name"]) for c in group["connections"]
             for r in c["selectedRelationships"]]  # fmt: skip
    assert len(found) == len(set(found))
    return set(found)


def test_a_publisher_becomes_a_post_that_is_retried_like_it():
    group, by_name = swapped(mqtt(), {"in": 5})
    out = by_name["out"]
    assert out["type"] == "org.apache.nifi.processors.standard.InvokeHTTP"
    assert out["bundle"]["artifact"] == "nifi-standard-nar"
    assert out["properties"]["HTTP Method"] == "POST"
    assert out["properties"]["HTTP URL"] == f"{RELAY}/mqtt/#{{mqtt.topic}}/_batch/${{source}}?message=whole"
    assert set(out["propertyDescriptors"]) == set(out["properties"])
    kept = ("identifier", "position", "schedulingPeriod", "maxBackoffPeriod")
    assert {key: out[key] for key in kept} == {key: mqtt()[key] for key in kept}
    # InvokeHTTP's relationships; each of them goes somewhere.
    auto, retried = set(out["autoTerminatedRelationships"]), set(out["retriedRelationships"])
    assert auto == {"Original", "Response"}
    assert retried == {"Failure", "Retry", "No Retry"}
    assert edges(group) == {("source", "success", "out"), ("in", "success", "sink")} | {
        ("out", relationship, "out") for relationship in retried
    }
    assert {c["backPressureObjectThreshold"] for c in group["connections"]} == {77}


@pytest.mark.parametrize(("properties", "ending"), [({}, "whole"), ({"message-demarcator": "\n"}, "lines")])
def test_one_message_a_batch_or_a_line(properties, ending):
    _, by_name = swapped(mqtt(**properties), {})
    assert by_name["out"]["properties"]["HTTP URL"].endswith(f"?message={ending}")


def test_a_publisher_of_records_gets_a_converter_with_its_reader_and_writer():
    told = {"Record Reader": READER, "Record Writer": WRITER, "Message Key Field": "tag"}
    group, by_name = swapped(kafka(**told), {"in": 5})
    assert by_name["out"]["properties"]["HTTP URL"] == f"{RELAY}/kafka/#{{kafka.topic}}?key=tag"
    converter = by_name["out: records"]
    assert converter["type"] == "org.apache.nifi.processors.standard.ConvertRecord"
    assert converter["properties"] == {"record-reader": READER, "record-writer": WRITER}
    assert {s["identifier"] for s in group["controllerServices"]} == {READER, WRITER}
    assert len({p["identifier"] for p in group["processors"]}) == len(group["processors"])
    assert len({c["identifier"] for c in group["connections"]}) == len(group["connections"])
    assert {("source", "success", "out: records"), ("out: records", "success", "out")} <= edges(group)
    assert ("source", "success", "out") not in edges(group)
    assert "failure" in {relationship for name, relationship, _ in edges(group) if name == "out: records"}


def test_a_consumer_listens_or_is_left_out():
    group, by_name = swapped(mqtt(), {"in": 5})
    assert by_name["in"]["type"] == "org.apache.nifi.processors.standard.ListenHTTP"
    assert by_name["in"]["properties"]["Listening Port"] == "5"
    assert by_name["in"]["scheduledState"] == "ENABLED"
    assert group["controllerServices"] == []
    group, by_name = swapped(mqtt(), {})
    assert set(by_name) == {"source", "out", "sink"}
    assert not [edge for edge in edges(group) if "in" in edge]


def test_all_else_is_as_it_was():
    _, by_name = swapped(kafka(), {"in": 5})
    for name, kind in (("source", "GenerateFlowFile"), ("sink", "LogAttribute")):
        assert by_name[name] == processor(name, kind, "nifi-standard-nar", properties={})
