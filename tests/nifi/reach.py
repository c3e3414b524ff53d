"""Who may do what: the table of docs/sso.md, each of its requests, and the things they act on."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from otmirror.embedded.processes import wait_until
from otmirror.workspace import PROJECT

from .site import Site

STOCK = "org.apache.nifi.processors.standard"


def reach() -> tuple[list[str], dict[str, dict[str, int]]]:
    """The roles and, for each request, the status of each role, from the table in docs/sso.md."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (PROJECT / "docs" / "sso.md").read_text("utf-8").splitlines()
        if re.match(r"\| (request|[^|]*`(GET|PUT|POST|DELETE) )", line)
    ]
    roles = rows[0][1:]
    table = {}
    for first, *statuses in rows[1:]:
        named = re.search(r"`(.*)`", first)
        assert named
        table[named[1]] = dict(zip(roles, map(int, statuses), strict=True))
    return roles, table


ROLES, REACH = reach()


def new(**component: Any) -> dict[str, Any]:
    return {"revision": {"version": 0}, "component": component}


def at(x: float = 0.0) -> dict[str, float]:
    return {"x": x, "y": 0.0}


@dataclass
class Things:
    """A group with a processor that feeds a queue, and a parameter context."""

    group: dict[str, Any]
    processor: dict[str, Any]
    queue: str
    context: str
    empty: dict[str, Any]


@contextmanager
def made_anew(site: Site) -> Iterator[Things]:
    """Yield things that the administrator made, so that one request does not spoil them for the next."""
    rest = site.admin
    name = f"things {secrets.token_hex(4)}"
    group = rest.post("/process-groups/root/process-groups", new(name=name, position=at()))
    inside = f"/process-groups/{group['id']}"
    config = {"autoTerminatedRelationships": []}
    kind = f"{STOCK}.GenerateFlowFile"
    source = rest.post(f"{inside}/processors", new(type=kind, name="source", position=at(), config=config))
    funnel = rest.post(f"{inside}/funnels", new(position=at(400.0)))
    ends = {
        "source": {"id": source["id"], "groupId": group["id"], "type": "PROCESSOR"},
        "destination": {"id": funnel["id"], "groupId": group["id"], "type": "FUNNEL"},
    }
    queue = rest.post(f"{inside}/connections", new(**ends, selectedRelationships=["success"]))
    context = rest.post("/parameter-contexts", new(name=name, parameters=[]))
    empty = rest.post("/process-groups/root/process-groups", new(name=f"empty {name}", position=at(800.0)))
    yield Things(group, rest.get(f"/processors/{source['id']}"), queue["id"], context["id"], empty)
    for one in (group["id"], empty["id"]):
        if rest.find(f"/process-groups/{one}"):
            site.api.delete_group(one, drop_queued=True)
    made = rest.get(f"/parameter-contexts/{context['id']}")
    rest.delete(f"/parameter-contexts/{context['id']}", version=made["revision"]["version"])


def renamed(things: Things) -> dict[str, Any]:
    return {
        "revision": things.processor["revision"],
        "component": {"id": things.processor["id"], "name": "renamed"},
    }


REQUESTS: dict[str, Callable[[Things], tuple[str, Any]]] = {
    "GET /flow/current-user": lambda _: ("/flow/current-user", None),
    "GET /flow/process-groups/root": lambda _: ("/flow/process-groups/root", None),
    "GET /processors/{id}": lambda t: (f"/processors/{t.processor['id']}", None),
    "GET /flow/bulletin-board": lambda _: ("/flow/bulletin-board", None),
    "PUT /processors/{id}/run-status": lambda t: (
        f"/processors/{t.processor['id']}/run-status",
        {"revision": t.processor["revision"], "state": "RUNNING"},
    ),
    "POST /flowfile-queues/{id}/drop-requests": lambda t: (f"/flowfile-queues/{t.queue}/drop-requests", None),
    "POST /flowfile-queues/{id}/listing-requests": lambda t: (f"/flowfile-queues/{t.queue}/listing-requests", None),
    "PUT /processors/{id}": lambda t: (f"/processors/{t.processor['id']}", renamed(t)),
    "POST /process-groups/{id}/processors": lambda t: (
        f"/process-groups/{t.group['id']}/processors",
        new(type=f"{STOCK}.MergeContent", name="added", position=at()),
    ),
    "POST /process-groups/{id}/processors, restricted": lambda t: (
        f"/process-groups/{t.group['id']}/processors",
        new(type=f"{STOCK}.ExecuteProcess", name="added", position=at()),
    ),
    "DELETE /process-groups/{id}": lambda t: (
        f"/process-groups/{t.empty['id']}?version={t.empty['revision']['version']}",
        None,
    ),
    "GET /parameter-contexts/{id}": lambda t: (f"/parameter-contexts/{t.context}", None),
    "POST /parameter-contexts": lambda _: (
        "/parameter-contexts",
        new(name=f"added {secrets.token_hex(4)}", parameters=[]),
    ),
    "POST /provenance": lambda _: (
        "/provenance",
        {"provenance": {"request": {"maxResults": 1, "summarize": True, "incrementalResults": False}}},
    ),
    "GET /counters": lambda _: ("/counters", None),
    "GET /system-diagnostics": lambda _: ("/system-diagnostics", None),
    "GET /flow/history": lambda _: ("/flow/history?offset=0&count=1", None),
    "GET /tenants/users": lambda _: ("/tenants/users", None),
    "POST /tenants/users": lambda _: ("/tenants/users", new(identity=f"intruder {secrets.token_hex(4)}")),
    "GET /policies/read/flow": lambda _: ("/policies/read/flow", None),
    "POST /policies": lambda _: (
        "/policies",
        new(action="write", resource="/policies", users=[], userGroups=[]),
    ),
    "PUT /controller/config": lambda _: (
        "/controller/config",
        new(maxTimerDrivenThreadCount=11),
    ),
    "POST /controller/reporting-tasks": lambda _: (
        "/controller/reporting-tasks",
        new(type="org.apache.nifi.reporting.SiteToSiteStatusReportingTask"),
    ),
}


def stop(site: Site, things: Things) -> None:
    if things.processor["component"]["state"] == "RUNNING":
        body = {"revision": things.processor["revision"], "state": "STOPPED"}
        where = f"/processors/{things.processor['id']}"
        site.admin.put(f"{where}/run-status", body)
        assert wait_until(lambda: not site.admin.get(where)["status"]["aggregateSnapshot"]["activeThreadCount"], 30)
        things.processor = site.admin.get(where)
