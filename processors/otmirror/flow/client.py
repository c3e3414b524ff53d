"""NiFi's REST API as this project uses it: flows in and out, run, watched, traced.

Plain requests, not nipyapi: nipyapi keeps its address in one global per process, refuses answers with a value its
generated models do not list, and sends every parameter as not sensitive.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from otmirror.embedded.processes import wait_until
from otmirror.errors import ConfigError, MirrorError, UnavailableError
from otmirror.flow import status as view
from otmirror.flow.api import Json, Rest
from otmirror.flow.canonical import Flow, load
from otmirror.flow.parameters import Parameters, check_known
from otmirror.flow.provenance import Event, Provenance
from otmirror.flow.status import Bulletin, Component, FlowStatus, Queue

_PAUSE = 0.25
_TYPED = (
    ("processors", "/flow/processor-types", "processorTypes"),
    ("controllerServices", "/flow/controller-service-types", "controllerServiceTypes"),
)


class NifiApi(Parameters, Provenance):
    """One NiFi. Every method raises ConfigError or UnavailableError with one line when NiFi says no or nothing."""

    def __init__(self, url: str, timeout: float = 60.0):
        """Take the address of the REST API, such as http://127.0.0.1:8643/nifi-api."""
        self.rest = Rest(url, timeout)

    def about(self) -> str:
        """Return NiFi's version."""
        return str(self.rest.get("/flow/about")["about"]["version"])

    # Groups: a flow is a process group on the root canvas.

    def groups(self) -> dict[str, str]:
        """Return the id of every process group on the root canvas by its name."""
        told = self.rest.get("/process-groups/root/process-groups")
        return {entity["component"]["name"]: entity["id"] for entity in told["processGroups"]}

    def group(self, name: str) -> str:
        """Return the id of the process group `name` on the root canvas.

        Raises:
            ConfigError: there is none; the message lists those there are.
        """
        groups = self.groups()
        if name not in groups:
            known = ", ".join(sorted(groups)) or "none"
            raise ConfigError(f"there is no flow {name!r} in this NiFi (there are: {known})")
        return groups[name]

    def import_flow(
        self,
        path: Path,
        name: str | None = None,
        params: Mapping[str, str] | None = None,
        *,
        replace: bool = False,
        drop_queued: bool = False,
        allow_missing: bool = False,
        timeout: float = 360.0,
        say: Callable[[str], object] = lambda _line: None,
    ) -> str:
        """Put a flow file on the root canvas, set parameters, wait for its processors; return the group's id.

        A parameter context that NiFi already has under the flow's name keeps the values it has. A flow that does not
        get ready is removed again. `say` is told what was dropped. With `allow_missing`, components of a type this
        NiFi does not have come in as they are (`missing` lists them).

        Raises:
            ConfigError: no such file or parameter, a processor this NiFi does not have or cannot load, or a flow of
                that name is there and `replace` is not set, or FlowFiles wait in it and `drop_queued` is not set.
            UnavailableError: NiFi does not answer, or its Python processors are not ready after `timeout` seconds.
        """
        flow = load(path)
        _check_names(flow, params or {}, path)
        wanted = name or str(flow["flowContents"].get("name") or path.stem)
        existing = self.groups().get(wanted)
        if existing and not replace:
            raise ConfigError(f"a flow {wanted!r} is in this NiFi already; choose another name or replace it")
        if not allow_missing:
            self._check_types(flow)
        if existing:
            dropped = self.delete_group(existing, drop_queued=drop_queued)
            if dropped:
                say(f"dropped from the old {wanted!r}: {_counts(dropped)}")
        group = self._upload(flow, wanted)
        try:
            self._prepare(group, params or {}, timeout)
        except BaseException:
            with suppress(MirrorError):
                self.delete_group(group)
            raise
        return group

    def export_flow(self, group: str) -> Flow:
        """Return a process group's flow definition as NiFi gives it."""
        flow: Flow = self.rest.get(f"/process-groups/{group}/download")
        return flow

    def missing(self, group: str) -> dict[str, str]:
        """Return the components of a flow whose type this NiFi does not have: identifier in its file -> name."""
        path = f"/process-groups/{group}/processors"
        told = self.rest.get(path, includeDescendantGroups="true")["processors"]
        every = [entity["component"] for entity in (*told, *self._services(group))]
        return {c["versionedComponentId"]: c["name"] for c in every if c.get("extensionMissing")}

    def delete_group(self, group: str, *, drop_queued: bool = False) -> dict[str, int]:
        """Stop a flow and remove it; return how many FlowFiles it dropped, by queue. Its parameter context stays.

        Raises:
            ConfigError: FlowFiles wait in it and `drop_queued` is not set; the flow goes on as before.
        """
        running = [c.id for c in self.components(group) if c.state == "RUNNING"]
        waiting = self._waiting(group)
        if drop_queued or not waiting:
            self.stop(group)
            # Until it stood still its sources could add to the queues.
            waiting = self._waiting(group)
        if waiting and not drop_queued:
            for component in self.components(group):
                if component.id in running and component.state != "RUNNING":
                    self.schedule(component.id, "RUNNING")
            raise ConfigError(
                f"FlowFiles wait in its queues: {_counts(waiting)}; let them drain, or drop them (--drop-queued)"
            )
        if waiting:
            self.empty_queues(group)
        self.rest.put(f"/flow/process-groups/{group}/controller-services", {"id": group, "state": "DISABLED"})
        self._await("controller services to be disabled", lambda: not self._services(group, "ENABLED", "DISABLING"))
        revision = self.rest.get(f"/process-groups/{group}")["revision"]["version"]
        self.rest.delete(f"/process-groups/{group}", version=revision)
        return waiting

    # Running.

    def enable_services(self, group: str) -> None:
        """Enable the controller services of a flow, each by itself, so that one that is not valid stops no other."""
        while True:
            # One that names another one is valid only once that one is enabled.
            enabled = False
            for service in self._services(group, "DISABLED"):
                told = self._validated(service["id"])
                if told["component"]["validationStatus"] == "VALID":
                    body = {"revision": told["revision"], "state": "ENABLED"}
                    self.rest.put(f"/controller-services/{service['id']}/run-status", body)
                    enabled = True
            if not enabled:
                return
            self._await("controller services to be enabled", lambda: not self._services(group, "ENABLING"))

    def invalid_services(self, group: str) -> list[str]:
        """Return a line for each mistake of a controller service; those of a type this NiFi lacks are left out."""
        found = []
        for service in self._services(group, "DISABLED"):
            told = self._validated(service["id"])["component"]
            if told["validationStatus"] == "INVALID" and not told.get("extensionMissing"):
                found += [f"{told['name']}: {' '.join(error.split())}" for error in told.get("validationErrors") or ()]
        return found

    def _validated(self, service: str) -> Json:
        """Return a controller service once NiFi has made up its mind about it."""
        told: Json = {}

        def validated() -> bool:
            nonlocal told
            told = self.rest.get(f"/controller-services/{service}")
            return bool(told["component"].get("validationStatus") != "VALIDATING")

        self._await("controller services to be validated", validated)
        return told

    def await_ready(self, group: str, timeout: float = 360.0) -> None:
        """Wait until every Python processor is initialised and every processor validated.

        Raises:
            UnavailableError: some are not after `timeout` seconds.
        """

        def ready() -> bool:
            try:
                return not any(_awaited(c) for c in self.components(group))
            except UnavailableError:
                # A cluster fails to merge what its nodes tell of a processor that not all of them have loaded.
                return False

        try:
            self._await("processors to be initialised", ready, timeout)
        except UnavailableError:
            names = ", ".join(c.name for c in self.components(group) if _awaited(c))
            raise UnavailableError(f"not initialised after {timeout:.0f} s: {names}; see nifi-app.log") from None

    def start(self, group: str, timeout: float = 180.0) -> None:
        """Start every processor of a flow and verify that they run.

        Controller services that have become valid since the import, as by a parameter that was set, are enabled first.

        Raises:
            ConfigError: some cannot run; the message says which and why. Nothing was started.
        """
        self.enable_services(group)
        self.await_ready(group)
        invalid = self.status(group).invalid
        if invalid:
            told = [*self.invalid_services(group), *(f"{c.name}: {', '.join(_brief(c.errors))}" for c in invalid)]
            raise ConfigError("; ".join(told))
        self.rest.put(f"/flow/process-groups/{group}", {"id": group, "state": "RUNNING"})
        self._await("the flow to run", lambda: self.status(group).running, timeout)

    def stop(self, group: str, timeout: float = 60.0) -> None:
        """Stop every processor of a flow and wait until none has work in hand; what hangs is terminated."""
        self.rest.put(f"/flow/process-groups/{group}", {"id": group, "state": "STOPPED"})
        try:
            self._await("the flow to stop", lambda: not self._busy(group), timeout)
        except UnavailableError:
            for component in self._busy(group):
                self.terminate(component.id)
            self._await("terminated processors to end", lambda: not self._busy(group), timeout)

    def stop_processor(self, group: str, name: str, timeout: float = 180.0) -> None:
        """Stop one processor of a flow and wait until it has no work in hand."""
        processor = self.processor_by_name(group, name).id
        self.schedule(processor, "STOPPED")
        self._await(f"{name} to stop", lambda: not any(c.id == processor for c in self._busy(group)), timeout)

    def schedule(self, processor: str, state: str) -> None:
        """Set one processor to RUNNING, STOPPED, DISABLED or RUN_ONCE."""
        revision = self.rest.get(f"/processors/{processor}")["revision"]
        self.rest.put(f"/processors/{processor}/run-status", {"revision": revision, "state": state})

    def terminate(self, processor: str) -> None:
        """Interrupt the work of a stopped processor that does not end; its FlowFiles go back to their queue."""
        self.rest.delete(f"/processors/{processor}/threads")

    def empty_queues(self, group: str) -> None:
        """Drop every FlowFile that waits in a flow."""
        path = f"/process-groups/{group}/empty-all-connections-requests"
        self._request(path, None, "dropRequest", "emptying queues")

    # Watching.

    def components(self, group: str, queues: tuple[Queue, ...] = ()) -> tuple[Component, ...]:
        """Return a flow's processors, those of inner groups included, by name."""
        told = self.rest.get(f"/process-groups/{group}/processors", includeDescendantGroups="true")
        return tuple(sorted((view.component(e, queues) for e in told["processors"]), key=lambda c: c.name))

    def processor_by_name(self, group: str, name: str) -> Component:
        """Return the processor `name` of a flow.

        Raises:
            ConfigError: there is none.
        """
        for component in self.components(group, self.queues(group)):
            if component.name == name:
                return component
        raise ConfigError(f"the flow has no processor {name!r}")

    def queues(self, group: str) -> tuple[Queue, ...]:
        """Return a flow's connections with what waits in them."""
        return self._queues(view.group_ids(self._snapshot(group)))

    def active_threads(self, group: str) -> int:
        """Return how many threads work in a flow now."""
        return sum(c.threads for c in self.components(group))

    def created(self, group: str, name: str, limit: int = 100_000) -> list[Event]:
        """Return the CREATE events of a source processor with their attributes, newest first."""
        processor = self.processor_by_name(group, name).id
        return self.provenance_query({"EventType": "CREATE", "ProcessorID": processor}, limit)

    def bulletins(self, group: str, after: int = 0) -> tuple[Bulletin, ...]:
        """Return what a flow's components told the operator in the last minutes, oldest first, past id `after`."""
        groups = "|".join(view.group_ids(self._snapshot(group)))
        told = self.rest.get("/flow/bulletin-board", groupId=groups, after=after, limit=1000)
        return tuple(sorted(map(view.bulletin, told["bulletinBoard"]["bulletins"]), key=lambda b: b.id))

    def post_bulletin(self, level: str, category: str, message: str) -> None:
        """Tell the operator something on the canvas (INFO, WARNING or ERROR); it is of no component of a flow."""
        self.rest.post("/controller/bulletin", {"bulletin": {"level": level, "category": category, "message": message}})

    def status(self, group: str) -> FlowStatus:
        """Return a flow's processors, queues and bulletins."""
        snapshot = self._snapshot(group)
        queues = self._queues(view.group_ids(snapshot))
        return FlowStatus(group, snapshot["name"], self.components(group, queues), queues, self.bulletins(group))

    # The rest is how.

    def _upload(self, flow: Flow, name: str) -> str:
        lowest = self.rest.get("/process-groups/root/process-groups")["processGroups"]
        # Under what is there, so that flows do not cover each other on the canvas.
        y = max((entity["position"]["y"] + 250.0 for entity in lowest), default=0.0)
        told = self.rest.post(
            "/process-groups/root/process-groups/upload",
            files={"file": (f"{name}.json", json.dumps(flow).encode(), "application/json")},
            data={"groupName": name, "positionX": "0", "positionY": str(y), "clientId": "otmirror"},
        )
        return str(told["id"])

    def _prepare(self, group: str, params: Mapping[str, str], timeout: float) -> None:
        # NiFi takes every property of a Python processor for sensitive until its process is up.
        self.await_ready(group, timeout)
        broken = [c.name for c in self.components(group) if c.broken]
        if broken:
            raise ConfigError(f"NiFi cannot load the Python code of {', '.join(broken)}; nifi-app.log says why")
        if params:
            self.set_parameters(group, params)
        self.enable_services(group)
        self.await_ready(group, timeout)

    def _check_types(self, flow: Flow) -> None:
        missing: set[str] = set()
        for kind, path, key in _TYPED:
            wanted = set(_types(flow["flowContents"], kind))
            if wanted:
                missing |= wanted - {entry["type"] for entry in self.rest.get(path)[key]}
        if missing:
            raise ConfigError(
                f"this NiFi has no {', '.join(sorted(missing))}: is its NAR or folder loaded? (--allow-missing)"
            )

    def _snapshot(self, group: str) -> dict[str, Any]:
        told = self.rest.get(f"/flow/process-groups/{group}/status", recursive="true")
        snapshot: dict[str, Any] = told["processGroupStatus"]["aggregateSnapshot"]
        return snapshot

    def _queues(self, groups: Iterable[str]) -> tuple[Queue, ...]:
        told = (self.rest.get(f"/process-groups/{group}/connections")["connections"] for group in groups)
        return tuple(view.queue(entity) for entities in told for entity in entities)

    def _waiting(self, group: str) -> dict[str, int]:
        waiting: Counter[str] = Counter()
        for queue in self.queues(group):
            waiting[f"{queue.source} -> {queue.destination}"] += queue.count
        return dict(+waiting)

    def _busy(self, group: str) -> list[Component]:
        return [c for c in self.components(group) if c.state == "RUNNING" or c.threads]

    def _services(self, group: str, *states: str) -> list[Json]:
        path = f"/flow/process-groups/{group}/controller-services"
        told = self.rest.get(path, includeAncestorGroups="false", includeDescendantGroups="true")
        return [s for s in told["controllerServices"] if not states or s["component"]["state"] in states]

    def _await(self, what: str, done: Callable[[], bool], timeout: float = 180.0) -> None:
        if not wait_until(done, timeout, _PAUSE):
            raise UnavailableError(f"NiFi at {self.rest.url}: waited {timeout:.0f} s for {what}")


def _types(group: Json, kind: str) -> list[str]:
    inner = [name for child in group.get("processGroups") or () for name in _types(child, kind)]
    return [c["type"] for c in group.get(kind) or ()] + inner


def _counts(queues: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count:,} FlowFiles" for name, count in queues.items())


def _check_names(flow: Flow, params: Mapping[str, str], path: Path) -> None:
    contexts = (flow.get("parameterContexts") or {}).values()
    check_known(params, {p["name"] for context in contexts for p in context.get("parameters") or ()}, str(path))


def _awaited(component: Component) -> bool:
    # NiFi never finishes validating a disabled processor of a type it does not have.
    return component.initialising and component.state != "DISABLED"


def _brief(errors: tuple[str, ...]) -> list[str]:
    return [" ".join(error.split()) for error in errors]
