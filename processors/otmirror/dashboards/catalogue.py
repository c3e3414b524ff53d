"""All dashboards, and the files made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from otmirror.dashboards import grafana
from otmirror.dashboards.freshness import FRESHNESS
from otmirror.dashboards.iceberg import ICEBERG
from otmirror.dashboards.kpis import KPIS
from otmirror.dashboards.overview import OVERVIEW
from otmirror.dashboards.parallel import PARALLEL
from otmirror.dashboards.queues import QUEUES
from otmirror.dashboards.sinks import SINKS
from otmirror.dashboards.sources import SOURCES
from otmirror.errors import ConfigError
from otmirror.workspace import PROJECT

DASHBOARDS = (OVERVIEW, FRESHNESS, SOURCES, SINKS, ICEBERG, QUEUES, PARALLEL, KPIS)
FOLDER = PROJECT / "monitoring" / "dashboards"
PROVISIONING = PROJECT / "monitoring" / "grafana" / "provisioning"


def files(folder: Path = FOLDER, runbooks: str = grafana.RUNBOOKS) -> dict[Path, str]:
    """Return every dashboard's file with the JSON it should hold.

    Args:
        folder: Where the files belong.
        runbooks: The address of the folder with the runbooks.
    """
    return {
        folder / f"{made.uid.removeprefix('otmirror-')}.json": json.dumps(
            grafana.dashboard(made, runbooks), indent=1, ensure_ascii=False
        )
        + "\n"
        for made in DASHBOARDS
    }


def stale(folder: Path = FOLDER) -> list[str]:
    """Return what differs between the folder and the source, a line a file; nothing when all is as it should be."""
    wanted = files(folder)
    told = [f"{file.name} is missing" for file in wanted if not file.is_file()]
    told += [
        f"{file.name} differs from its source"
        for file, text in wanted.items()
        if file.is_file() and _read(file) != text
    ]
    return told + [f"{file.name} has no source" for file in sorted(folder.glob("*.json")) if file not in wanted]


def load(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Return the dashboards in a folder as Grafana would read them, in the order of the source, others after.

    Raises:
        ConfigError: there is none, or a file is no dashboard.
    """
    order = [made.uid for made in DASHBOARDS]
    found = []
    for file in sorted(folder.glob("*.json")):
        try:
            made = json.loads(_read(file))
        except ValueError as error:
            raise ConfigError(f"{file} is no JSON: {error}") from None
        if (
            not isinstance(made, dict)
            or not isinstance(made.get("uid"), str)
            or not isinstance(made.get("panels"), list)
        ):
            raise ConfigError(f"{file} is no dashboard of Grafana: uid or panels is missing")
        found.append(made)
    if not found:
        raise ConfigError(f"there is no dashboard (*.json) in {folder}: run `otmirror dashboards generate`")
    return sorted(found, key=lambda made: order.index(made["uid"]) if made["uid"] in order else len(order))


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
