"""What a rollback has to know of a NiFi's canvas: as NiFi tells it, or from its flow file when it tells nothing."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otmirror.errors import ConfigError, MirrorError, UnavailableError
from otmirror.flow.client import NifiApi

SOURCES = ("ReadOpcUaTags", "PollModbusReadOnly")
HOT, COLD = "ToVictoriaMetrics", "WriteIceberg"
PUBLISHERS = re.compile(r"Publish\w+")
"""Processors that hand samples to others outside: PublishMQTT, PublishKafka and their kin."""
RUNNING, STOPPED, DISABLED = "RUNNING", "STOPPED", "DISABLED"

_PARAMETER = re.compile(r"#\{'?([^}']+)'?\}")
# In the flow file a stopped component is called enabled.
_STORED = {"RUNNING": RUNNING, "ENABLED": STOPPED, "DISABLED": DISABLED}


@dataclass(frozen=True)
class Part:
    """One processor: its id in REST, class without package, state; properties with their parameters filled in."""

    id: str
    name: str
    kind: str
    state: str
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def reads(self) -> bool:
        """Whether it talks to devices."""
        return self.kind in SOURCES

    @property
    def publishes(self) -> bool:
        """Whether it hands samples to others outside."""
        return PUBLISHERS.fullmatch(self.kind) is not None


@dataclass(frozen=True)
class Canvas:
    """All processors of a NiFi; `root` is the id of its root canvas, which stays the same over restarts."""

    root: str
    parts: tuple[Part, ...]

    def of(self, *kinds: str) -> tuple[Part, ...]:
        """Return the processors of some classes."""
        return tuple(part for part in self.parts if part.kind in kinds)


def live(api: NifiApi) -> Canvas:
    """Return what a NiFi tells.

    Raises:
        MirrorError: it tells nothing.
    """
    root = str(api.rest.get("/flow/process-groups/root")["processGroupFlow"]["id"])
    told = api.rest.get(f"/process-groups/{root}/processors", includeDescendantGroups="true")["processors"]
    contexts: dict[str, Mapping[str, str | None]] = {}
    parts = []
    for entity in told:
        one = entity["component"]
        group = one["parentGroupId"]
        if group not in contexts:
            contexts[group] = {}
            # Without the right to see parameters a rollback goes on.
            with suppress(MirrorError):
                contexts[group] = api.parameters(group)
        state = RUNNING if one["state"] == "RUN_ONCE" else one["state"]
        properties = _filled(one["config"].get("properties") or {}, contexts[group])
        parts.append(Part(entity["id"], one["name"], one["type"].rpartition(".")[2], state, properties))
    return Canvas(root, tuple(parts))


def flow_file(home: Path) -> Path:
    """Return where an embedded NiFi keeps its flow."""
    return home / "conf" / "flow.json.gz"


def stored(home: Path) -> Canvas:
    """Return what the flow file of a NiFi holds.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    flow = _load(flow_file(home))
    contexts = {
        context["name"]: {p["name"]: None if p.get("sensitive") else p.get("value") for p in context["parameters"]}
        for context in flow.get("parameterContexts") or ()
    }
    parts = []
    for group in _groups(flow["rootGroup"]):
        known: Mapping[str, str | None] = contexts.get(group.get("parameterContextName") or "", {})
        for one in group.get("processors") or ():
            state = _STORED.get(one.get("scheduledState") or "ENABLED", STOPPED)
            properties = _filled(one.get("properties") or {}, known)
            parts.append(Part(_id(one), one["name"], one["type"].rpartition(".")[2], state, properties))
    return Canvas(_id(flow["rootGroup"]), tuple(parts))


def hold(home: Path, stop: set[str], disable: set[str]) -> None:
    """Set processors stopped or disabled in the flow file of a NiFi that does not run, so that its next start is quiet.

    The file as it was stays beside it as flow.before-rollback.json.gz.

    Raises:
        ConfigError: the file cannot be read.
        UnavailableError: it cannot be written.
    """
    file = flow_file(home)
    flow = _load(file)
    changed = False
    for group in _groups(flow["rootGroup"]):
        for one in group.get("processors") or ():
            wanted = "DISABLED" if _id(one) in disable else "ENABLED" if _id(one) in stop else None
            if wanted and one.get("scheduledState") != wanted:
                one["scheduledState"] = wanted
                changed = True
    if not changed:
        return
    try:
        before = file.with_name("flow.before-rollback.json.gz")
        before.write_bytes(file.read_bytes())
        fresh = file.with_name("flow.json.gz.rollback")
        with fresh.open("wb") as raw:
            raw.write(gzip.compress(json.dumps(flow).encode()))
            raw.flush()
            os.fsync(raw.fileno())
        before.chmod(0o600)
        fresh.chmod(file.stat().st_mode & 0o777)
        os.replace(fresh, file)
    except OSError as error:
        raise UnavailableError(f"{file}: cannot be written: {error.strerror}") from None


def _load(file: Path) -> Any:
    try:
        flow = json.loads(gzip.decompress(file.read_bytes()))
        flow["rootGroup"]["processGroups"]
    except FileNotFoundError:
        raise ConfigError(f"{file}: there is no flow") from None
    except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    return flow


def _groups(group: Any) -> Iterator[Any]:
    yield group
    for child in group.get("processGroups") or ():
        yield from _groups(child)


def _id(component: Any) -> str:
    return str(component.get("instanceIdentifier") or component["identifier"])


def _filled(properties: Mapping[str, str | None], parameters: Mapping[str, str | None]) -> dict[str, str]:
    """Return the properties that have a value, with their parameters' values; sensitive ones have none."""
    return {
        name: _PARAMETER.sub(lambda match: parameters.get(match[1]) or "", value)
        for name, value in properties.items()
        if value
    }
