"""What the test of the audit trail needs beside servers: people at a NiFi, a processor with a bad mind, the queries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from otmirror.embedded.bundle import PROCESSORS
from otmirror.embedded.loopback import session
from otmirror.flow.api import Login, Rest
from otmirror.workspace import PROJECT

DELIVERED = PROJECT / "security" / "audit"

TAMPERED = """
from nifiapi.flowfilesource import FlowFileSource
from nifiapi.properties import PropertyDescriptor


class TamperedSource(FlowFileSource):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileSource"]

    class ProcessorDetails:
        version = "1"
        description = "Reaches into the guarded clients to write, and keeps quiet about what becomes of it."

    DEVICE = PropertyDescriptor(name="Device", description="host:port of a Modbus device", required=True)
    ENDPOINT = PropertyDescriptor(name="Endpoint", description="of an OPC UA server", required=True)

    def __init__(self, **kwargs):
        super().__init__()

    def getPropertyDescriptors(self):
        return [self.DEVICE, self.ENDPOINT]

    def create(self, context):
        import asyncio

        asyncio.run(self.both(*(context.getProperty(p).getValue() for p in (self.DEVICE, self.ENDPOINT))))
        return None

    async def both(self, device, endpoint):
        from asyncua import ua
        from pymodbus.pdu.register_message import WriteSingleRegisterRequest

        from otmirror.modbus import guard as modbus
        from otmirror.opcua import guard as opcua
        from otmirror.opcua.config import OpcUaConfig
        from otmirror.taglist import Tag

        host, port = device.split(":")
        client = modbus.GuardedClient(host, int(port), [1], 10.0)
        await client.connect()
        for _ in range(2):
            try:
                await client.request(WriteSingleRegisterRequest(address=0, registers=[7], dev_id=1))
            except Exception:
                pass
        client.close()

        client = opcua.GuardedClient(OpcUaConfig(endpoint, (Tag("a", "i=2259"),), request_timeout=20.0))
        await client.connect()
        try:
            await client._client.get_node(ua.NodeId(2259)).write_value(1)
        except Exception:
            pass
        await client.close()
"""


def tampered(folder: Path) -> Path:
    """Return a folder of processors with the bundle's library and packages, and one that tries to write."""
    folder.mkdir()
    (folder / "TamperedSource.py").write_text(TAMPERED)
    for name in ("otmirror", "NAR-INF"):
        (folder / name).symlink_to(PROCESSORS / name)
    return folder


class Person:
    """Somebody at a NiFi, known by a client certificate."""

    def __init__(self, url: str, pki: Path, name: str):
        """Take the NiFi's REST API and the folder of certificates."""
        self.identity = f"CN={name}"
        self.login = Login(
            authority=str(pki / "ca.pem"), certificate=str(pki / f"{name}.pem"), key=str(pki / f"{name}.key")
        )
        self.rest = Rest(url, login=self.login)

    def root(self) -> str:
        """Return the id of the canvas."""
        return str(self.rest.get("/flow/process-groups/root")["processGroupFlow"]["id"])

    def let_in(self, who: str, *may: str) -> None:
        """As an administrator: give somebody rights, each an action and a resource, `ROOT` for the canvas."""
        user = self.rest.post("/tenants/users", {"revision": {"version": 0}, "component": {"identity": who}})
        tenant = {"id": user["id"], "revision": user["revision"]}
        for right in may:
            action, resource = right.replace("ROOT", self.root()).split()
            policy = self.rest.find(f"/policies/{action}{resource}")
            if policy is None:
                new = {"resource": resource, "action": action, "users": [tenant]}
                self.rest.post("/policies", {"revision": {"version": 0}, "component": new})
                continue
            assert policy["component"]["resource"] == resource, policy["component"]
            component = {**policy["component"], "users": [*policy["component"]["users"], tenant]}
            self.rest.put(f"/policies/{policy['id']}", {"revision": policy["revision"], "component": component})

    def add(self, kind: str, name: str, **properties: str) -> str:
        """Put a processor on the canvas; return its id."""
        body: dict[str, Any] = {
            "revision": {"version": 0},
            "component": {"type": kind, "name": name, "position": {"x": 0, "y": 0}},
        }
        made = self.rest.post(f"/process-groups/{self.root()}/processors", body)["id"]
        if properties:
            self.configure(made, **properties)
        return str(made)

    def sees(self, processor: str, field: str, wanted: str) -> bool:
        """Return whether a field of a processor, as text, holds `wanted`."""
        told = str(self.rest.get(f"/processors/{processor}")["component"].get(field))
        return re.search(rf"\b{wanted}\b", told) is not None

    def configure(self, processor: str, ended: tuple[str, ...] = (), **properties: str) -> None:
        """Set properties of a processor, `_` for blanks in their names, and which relationships end here."""
        revision = self.rest.get(f"/processors/{processor}")["revision"]
        config: dict[str, Any] = {"properties": {name.replace("_", " "): value for name, value in properties.items()}}
        if ended:
            config["autoTerminatedRelationships"] = list(ended)
        self.rest.put(
            f"/processors/{processor}", {"revision": revision, "component": {"id": processor, "config": config}}
        )


class Store:
    """The OpenSearch as an auditor asks it."""

    def __init__(self, url: str):
        """Take its address."""
        self.url = url

    def put(self, path: str, file: Path) -> None:
        """Give it a delivered file."""
        with session(self.url) as asking:
            answer = asking.put(f"{self.url}/{path}", json=json.loads(file.read_text()), timeout=30)
        assert answer.ok, answer.text

    def count(self) -> int:
        """Return how many events it shows; -1 while it does not answer."""
        try:
            return int(self.ask({"size": 0, "track_total_hits": True})["hits"]["total"]["value"])
        except (requests.RequestException, KeyError):
            return -1

    def events(self, query: str) -> list[dict[str, Any]]:
        """Return the events that match a query in Lucene's notation, oldest first."""
        body = {"size": 1000, "query": {"query_string": {"query": query}}, "sort": [{"time": "asc"}]}
        return [hit["_source"] for hit in self.ask(body)["hits"]["hits"]]

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a search in the trail, with all that was written up to now."""
        with session(self.url) as asking:
            asking.post(f"{self.url}/otmirror-audit-*/_refresh", timeout=30)
            answer = asking.post(f"{self.url}/otmirror-audit-*/_search", json=body, timeout=30)
        told: dict[str, Any] = answer.json()
        assert answer.ok, told
        return told


def saved() -> dict[str, dict[str, Any]]:
    """The saved objects of the dashboard file by type and id."""
    lines = (DELIVERED / "dashboard.ndjson").read_text().splitlines()
    return {f"{one['type']}/{one['id']}": one for one in map(json.loads, lines)}


def panels() -> Iterator[tuple[str, str, list[str]]]:
    """Yield title, query and fields counted by, of each panel of the dashboard."""
    objects = saved()
    for reference in objects["dashboard/otmirror-audit"]["references"]:
        told = objects[f"{reference['type']}/{reference['id']}"]["attributes"]
        source = json.loads(told["kibanaSavedObjectMeta"]["searchSourceJSON"])
        state = json.loads(told.get("visState", '{"aggs": []}'))
        fields = [agg["params"]["field"] for agg in state["aggs"] if agg["type"] == "terms"]
        yield told["title"], source["query"]["query"], fields


def counted(store: Store, title: str) -> dict[tuple[Any, ...], int]:
    """Return what a table of the dashboard shows: count by the values of its fields."""
    query, fields = next((query, fields) for name, query, fields in panels() if name == title)
    sources = [{field: {"terms": {"field": field}}} for field in fields]
    body = {
        "size": 0,
        "query": {"query_string": {"query": query}},
        "aggs": {"rows": {"composite": {"size": 1000, "sources": sources}}},
    }
    rows = store.ask(body)["aggregations"]["rows"]["buckets"]
    return {tuple(row["key"][field] for field in fields): row["doc_count"] for row in rows}
