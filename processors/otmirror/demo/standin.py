"""Flows whose MQTT and Kafka processors are swapped for HTTP ones, for a NiFi that has only the latter.

A publisher becomes an InvokeHTTP that posts to a relay (otmirror.demo.relay), a consumer a ListenHTTP that the relay
posts to. Names, queues, retries and the record reader and writer stay as they are in the flow.
"""

from __future__ import annotations

import copy
import json
import uuid
from typing import Any

from otmirror.flow.canonical import Flow

_STANDARD = {"group": "org.apache.nifi", "artifact": "nifi-standard-nar", "version": "2.3.0"}
_FAILURES = ["Failure", "No Retry", "Retry"]
_ABSENT = ("nifi-mqtt-nar", "nifi-kafka-nar", "nifi-kafka-3-service-nar")


def swap(flow: Flow, relay: str, ports: dict[str, int]) -> Flow:
    """Return a flow in which publishers post to `relay` (a URL) and consumers listen on `ports` by their name.

    A consumer without a port is left out with its connections.
    """
    result: Flow = copy.deepcopy(flow)
    group = result["flowContents"]
    for processor in [p for p in group["processors"] if p["bundle"]["artifact"] in _ABSENT]:
        kind = processor["type"].rpartition(".")[2]
        if kind.startswith("Publish"):
            _publisher(group, processor, relay)
        elif processor["name"] in ports:
            _consumer(group, processor, ports[processor["name"]])
        else:
            _remove(group, processor["identifier"])
    _drop_services(group)
    return result


def _publisher(group: Flow, processor: Flow, relay: str) -> None:
    told = processor["properties"]
    if processor["type"].endswith("PublishKafka"):
        url = f"{relay}/kafka/{told['Topic Name']}?key={told.get('Message Key Field', '')}"
        if "Record Reader" in told:
            _converter(group, processor, told["Record Reader"], told["Record Writer"])
    else:
        lines = "lines" if "message-demarcator" in told else "whole"
        url = f"{relay}/mqtt/{told['Topic']}?message={lines}"
    _become(
        processor, "InvokeHTTP", auto=["Original", "Response"], retried=_FAILURES,
        properties={
            "HTTP Method": "POST", "HTTP URL": url, "Request Content-Type": "application/x-ndjson",
            "Socket Read Timeout": "60 secs", "Response Body Ignored": "true", "HTTP/2 Disabled": "True",
        },
    )  # fmt: skip
    for connection in group["connections"]:
        if connection["source"]["id"] == processor["identifier"]:
            connection["selectedRelationships"] = _FAILURES


def _consumer(group: Flow, processor: Flow, port: int) -> None:
    properties = {"Base Path": "samples", "Listening Port": str(port), "Return Code": "200"}
    _become(processor, "ListenHTTP", auto=[], retried=[], properties=properties)
    for connection in list(group["connections"]):
        if connection["source"]["id"] == processor["identifier"]:
            if set(connection["selectedRelationships"]) & {"success", "Message"}:
                connection["selectedRelationships"] = ["success"]
            else:
                group["connections"].remove(connection)


def _converter(group: Flow, publisher: Flow, reader: str, writer: str) -> None:
    """Put a ConvertRecord with the publisher's own reader and writer before it."""
    converter = copy.deepcopy(publisher)
    converter["identifier"] = str(uuid.uuid5(uuid.UUID(publisher["identifier"]), "converter"))
    converter["name"] = f"{publisher['name']}: records"
    converter["position"] = {"x": publisher["position"]["x"], "y": publisher["position"]["y"] - 200.0}
    _become(converter, "ConvertRecord", auto=[], retried=[], properties={
        "record-reader": reader, "record-writer": writer,
    })  # fmt: skip
    group["processors"].append(converter)
    end = {"groupId": converter["groupIdentifier"], "id": converter["identifier"], "type": "PROCESSOR",
           "name": converter["name"], "comments": ""}  # fmt: skip
    theirs = [c for c in group["connections"] if c["destination"]["id"] == publisher["identifier"]]
    for connection in theirs:
        if connection["source"]["id"] != publisher["identifier"]:
            connection["destination"] = dict(end)
    for relationship in ("success", "failure"):
        connection = copy.deepcopy(theirs[0])
        connection["identifier"] = str(uuid.uuid5(uuid.UUID(converter["identifier"]), relationship))
        connection |= {"name": f"records {relationship}", "source": dict(end), "bends": []}
        connection["selectedRelationships"] = [relationship]
        # What cannot be converted blocks nothing and is seen: it waits before the converter again.
        connection["destination"] = dict(end) if relationship == "failure" else _end(publisher)
        group["connections"].append(connection)


def _end(processor: Flow) -> Flow:
    return {"groupId": processor["groupIdentifier"], "id": processor["identifier"], "type": "PROCESSOR",
            "name": processor["name"], "comments": ""}  # fmt: skip


def _become(processor: Flow, kind: str, auto: list[str], retried: list[str], properties: dict[str, str]) -> None:
    services = ("record-reader", "record-writer")
    processor.update(
        type=f"org.apache.nifi.processors.standard.{kind}",
        bundle=dict(_STANDARD),
        properties=properties,
        propertyDescriptors={
            name: {"name": name, "displayName": name, "sensitive": False, "dynamic": False,
                   "identifiesControllerService": name in services}
            for name in properties
        },
        autoTerminatedRelationships=auto,
        retriedRelationships=retried,
        scheduledState="ENABLED",
    )  # fmt: skip


def _remove(group: Flow, identifier: str) -> None:
    group["processors"] = [p for p in group["processors"] if p["identifier"] != identifier]
    group["connections"] = [
        c for c in group["connections"] if identifier not in (c["source"]["id"], c["destination"]["id"])
    ]


def _drop_services(group: Flow) -> None:
    """Leave out the services that no processor left uses, absent ones among them."""
    used: set[Any] = {value for p in group["processors"] for value in p["properties"].values()}
    text = json.dumps(sorted(str(value) for value in used))
    group["controllerServices"] = [s for s in group["controllerServices"] if s["identifier"] in text]
