"""What the shipped flows say: no component of theirs can write to a device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otmirror.prove.report import Line, judged

_NIFI = "org.apache.nifi."
NO_DEVICE = frozenset({
    *("ReadOpcUaTags", "PollModbusReadOnly", "ToVictoriaMetrics", "WriteIceberg"),
    *(_NIFI + name for name in (
        "kafka.processors.ConsumeKafka", "kafka.processors.PublishKafka", "kafka.service.Kafka3ConnectionService",
        "processors.mqtt.ConsumeMQTT", "processors.mqtt.PublishMQTT", "ssl.StandardRestrictedSSLContextService",
        "json.JsonRecordSetWriter", "json.JsonTreeReader", "processors.standard.GenerateFlowFile",
        "processors.standard.MergeContent", "processors.standard.PartitionRecord",
        "processors.standard.RouteOnAttribute", "processors.standard.SplitText",
    )),
})  # fmt: skip
"""Types that write to no device, run no program and open no socket of the flow author's choice: all others fail."""


def line(folder: Path) -> Line:
    """Look at every flow of a folder."""
    files = sorted(folder.glob("*.json"))
    broken, count = [], 0
    for file in files:
        for name, kind in _told(file):
            count += 1
            if kind not in NO_DEVICE:
                broken.append(f"{file.name}: {name} is of type {kind}, which is not known to write to no device")
    if not files:
        broken.append(f"there is no flow in {folder}: name the folder with --flows")
    return judged(
        "flows", "No shipped flow holds a component that can write to a device",
        "types of all processors and services, against a list", broken, f"{count} components in {len(files)} flows",
    )  # fmt: skip


def _told(file: Path) -> Iterator[tuple[str, str]]:
    try:
        yield from _components(json.loads(file.read_bytes())["flowContents"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield file.name, f"unreadable ({type(error).__name__})"


def _components(group: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("processors", "controllerServices"):
        for component in group.get(kind) or ():
            yield component["name"], component["type"]
    for kind in ("remoteProcessGroups",):
        for component in group.get(kind) or ():
            yield component["name"], "remote process group"
    for inner in group.get("processGroups") or ():
        yield from _components(inner)
