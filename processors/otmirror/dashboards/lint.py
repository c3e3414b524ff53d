"""Rules of our own for a dashboard's JSON, over what Grafana would accept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from otmirror.dashboards.model import DATASOURCES

WIDTH = 24
"""Columns of Grafana's grid."""
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
_QUESTION_WORDS = ("How", "What", "Which", "Does", "Did", "Is", "Was", "When", "Since", "Where", "Why", "Who", "Are")


def problems(dashboards: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is wrong, a line each, with dashboard and panel; nothing when all is well."""
    uids = [str(made["uid"]) for made in dashboards]
    told = [
        f"{uid}: the uid is used by {uids.count(uid)} dashboards" for uid in sorted(set(uids)) if uids.count(uid) > 1
    ]
    for made in dashboards:
        told += [f"{made['uid']}: {what}" for what in _dashboard(made, set(uids))]
    return told


def _dashboard(made: dict[str, Any], uids: set[str]) -> Iterator[str]:
    if not 1 <= len(made["uid"]) <= 40:
        yield "the uid has more than 40 characters, or none"
    for name in ("title", "description"):
        if not made.get(name):
            yield f"there is no {name}"
    variables = {variable["name"]: variable for variable in made.get("templating", {}).get("list", [])}
    for variable in variables.values():
        current = variable.get("current", {}).get("value")
        if variable["type"] == "datasource" and current not in DATASOURCES.values():
            yield f"variable {variable['name']}: data source {current!r} is none of {', '.join(DATASOURCES.values())}"
    numbers = [panel.get("id") for panel in made["panels"]]
    if len(set(numbers)) != len(numbers):
        yield "two panels have the same id"
    yield from _places(made["panels"])
    for panel in made["panels"]:
        yield from (f"panel {panel.get('title')!r}: {what}" for what in _panel(panel, variables, uids))


def _places(panels: Sequence[dict[str, Any]]) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] + place["w"] > WIDTH or min(place["w"], place["h"]) < 1 or min(place["x"], place["y"]) < 0:
            yield f"panel {panel.get('title')!r}: lies outside of the grid"
        cells = [(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])]  # fmt: skip
        over = next((taken[cell] for cell in cells if cell in taken), None)
        if over:
            yield f"panel {panel.get('title')!r}: lies over {over!r}"
        taken.update(dict.fromkeys(cells, str(panel.get("title"))))


def _panel(panel: dict[str, Any], variables: dict[str, Any], uids: set[str]) -> Iterator[str]:
    title = str(panel.get("title", ""))
    if not title.endswith("?") or not title.startswith(_QUESTION_WORDS):
        yield "the title is no question"
    if not panel.get("description"):
        yield "there is no description"
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if not defaults.get("unit"):
        yield "there is no unit"
    values = [step["value"] for step in defaults.get("thresholds", {}).get("steps", [])]
    if values and (values[0] is not None or values[1:] != sorted(values[1:])):
        yield "the thresholds do not rise from null"
    if not panel.get("targets"):
        yield "there is no query"
    for target in panel.get("targets", []):
        yield from _target(target, variables)
    for link in panel.get("links", []):
        other = re.match(r"/d/([^?/]+)", link["url"])
        if other and other[1] not in uids:
            yield f"link to the dashboard {other[1]!r}, which does not exist"


def _target(target: dict[str, Any], variables: dict[str, Any]) -> Iterator[str]:
    if not str(target.get("expr", "")).strip():
        yield f"query {target.get('refId')} is empty"
    uid = str(target.get("datasource", {}).get("uid", ""))
    if uid not in DATASOURCES.values() and variables.get(uid.strip("${}"), {}).get("type") != "datasource":
        yield f"query {target.get('refId')}: the data source {uid!r} is not known"
    for name in _VARIABLE.findall(str(target.get("expr", ""))):
        if name not in variables and not name.startswith("__") and not name.isdigit():
            yield f"query {target.get('refId')}: there is no variable ${name}"
