"""Grafana's JSON from a dashboard. Fields: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from typing import Any

from otmirror.dashboards.model import DATASOURCES, HOT, MONITORING, Column, Dashboard, Panel, Query, Steps, Variable

SCHEMA = 39
"""The version of the JSON model, that of Grafana 10.4 and 11.0; later ones migrate it on loading."""
TAG = "otmirror"
RUNBOOKS = "/public/runbooks"
"""Where runbooks are unless told: Grafana serves the folder `public/runbooks` of its home there."""
_NAMES = {MONITORING: "Monitoring", HOT: "Hot store"}


def dashboard(made: Dashboard, runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """Return the JSON model of a dashboard.

    Args:
        made: The dashboard.
        runbooks: The address of the folder with the runbooks.
    """
    return {
        "uid": made.uid,
        "title": made.title,
        "description": made.question,
        "tags": [TAG],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": made.refresh,
        "time": {"from": f"now-{made.span}", "to": "now"},
        "annotations": {"list": []},
        "links": [_to_the_others()],
        "templating": {"list": [*_fixed(runbooks), *(_variable(variable) for variable in made.variables)]},
        "panels": list(_panels(made)),
    }


def _panels(made: Dashboard) -> Iterator[dict[str, Any]]:
    y = number = 0
    for row in made.rows:
        x = 0
        for panel in row.panels:
            number += 1
            yield _panel(panel, number, {"h": row.height, "w": panel.width, "x": x, "y": y})
            x += panel.width
        y += row.height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    asked = list(_targets(panel))
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "gridPos": place,
        "datasource": asked[0]["datasource"],
        "targets": asked,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
        "links": [*(_runbook(name) for name in panel.runbooks), *(_page(uid) for uid in panel.see)],
        **({"transformations": _transformations(panel)} if panel.kind == "table" else {}),
    }


def _options(panel: Panel) -> dict[str, Any]:
    named = panel.kind == "stat" and any(query.legend for query in panel.queries)
    return {**_OPTIONS[panel.kind], **({"textMode": "value_and_name"} if named else {})}


def _targets(panel: Panel) -> Iterator[dict[str, Any]]:
    queries = [*panel.queries, *(Query(column.expr, "", column.store) for column in panel.columns)]
    for letter, query in zip(string.ascii_uppercase, queries, strict=False):
        # What is asked for as of now cannot be the last value before it fell silent.
        kind = {"range": True} if panel.kind == "timeseries" else {"instant": True, "range": False}
        yield {
            "refId": letter,
            "datasource": {"type": "prometheus", "uid": f"${{{query.store}}}"},
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "format": "table" if panel.kind == "table" else "time_series",
            **kind,
        }


def _defaults(panel: Panel) -> dict[str, Any]:
    bounds = {"min": panel.minimum, "max": panel.maximum, "decimals": panel.decimals}
    lines = {"drawStyle": "line", "lineWidth": 2, "fillOpacity": 10, "showPoints": "never"}
    if panel.stacked:
        lines |= {"fillOpacity": 40, "stacking": {"mode": "normal", "group": "A"}}
    if panel.kind == "timeseries" and panel.steps:
        lines |= {"thresholdsStyle": {"mode": "line"}}
    return {
        "unit": panel.unit,
        **{name: value for name, value in bounds.items() if value is not None},
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": _thresholds(panel.steps),
        "mappings": _mappings(panel.words),
        "custom": {"timeseries": lines, "table": {"align": "auto"}}.get(panel.kind, {}),
    }


def _thresholds(steps: Steps) -> dict[str, Any]:
    return {
        "mode": "absolute",
        "steps": [{"value": value, "color": colour} for value, colour in steps or ((None, "green"),)],
    }


def _mappings(words: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
    shown = {
        value: {"text": text, "color": colour, "index": n} for n, (value, (text, colour)) in enumerate(words.items())
    }
    return [{"type": "value", "options": shown}] if shown else []


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    made = [_override(column.title, _properties(column)) for column in panel.columns]
    if panel.label_link:
        title, url = panel.label_link
        links = [{"title": title, "url": url, "targetBlank": True}]
        made.append(_override(title, [{"id": "links", "value": links}]))
    return made


def _override(name: str, properties: list[dict[str, Any]]) -> dict[str, Any]:
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def _properties(column: Column) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [{"id": "unit", "value": column.unit}]
    if column.steps:
        made.append({"id": "thresholds", "value": _thresholds(column.steps)})
    if column.words:
        made.append({"id": "mappings", "value": _mappings(column.words)})
    if column.steps or column.words:
        made.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    return made


def _transformations(panel: Panel) -> list[dict[str, Any]]:
    """Rows with the same labels become one; labels first, then a column a query; nothing else."""
    alone = len(panel.columns) == 1
    values = {"Value" if alone else f"Value #{letter}": column.title
              for letter, column in zip(string.ascii_uppercase, panel.columns, strict=False)}  # fmt: skip
    named = {**panel.labels, **values}
    return [
        {"id": "filterFieldsByName", "options": {"include": {"names": list(named)}}},
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {},
                "indexByName": {name: place for place, name in enumerate(named)},
                "renameByName": named,
            },
        },
    ]


_REDUCED = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {
        "reduceOptions": _REDUCED, "colorMode": "value", "graphMode": "none", "justifyMode": "auto",
        "orientation": "auto", "textMode": "auto",
    },
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "bargauge": {
        "reduceOptions": _REDUCED, "displayMode": "basic", "orientation": "horizontal", "showUnfilled": True,
        "valueMode": "color", "minVizWidth": 8, "minVizHeight": 10,
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
}  # fmt: skip


def _runbook(name: str) -> dict[str, Any]:
    return {"title": f"Runbook: {name.replace('-', ' ')}", "url": f"${{runbooks}}/{name}.md", "targetBlank": True}


def _page(uid: str) -> dict[str, Any]:
    title = f"Dashboard: {uid.removeprefix('otmirror-').replace('-', ' ')}"
    return {"title": title, "url": f"/d/{uid}?${{__url_time_range}}", "targetBlank": False}


def _to_the_others() -> dict[str, Any]:
    return {
        "title": "OT mirror", "type": "dashboards", "tags": [TAG], "icon": "external link", "tooltip": "", "url": "",
        "asDropdown": False, "targetBlank": False, "includeVars": True, "keepTime": True,
    }  # fmt: skip


def _fixed(runbooks: str) -> Iterator[dict[str, Any]]:
    for store, uid in DATASOURCES.items():
        chosen = {"selected": True, "text": f"OT mirror {_NAMES[store].lower()}", "value": uid}
        yield {
            "name": store, "label": _NAMES[store], "type": "datasource", "query": "prometheus", "regex": "",
            "current": chosen, "hide": 0, "includeAll": False, "multi": False, "options": [], "refresh": 1,
            "skipUrlSync": False,
        }  # fmt: skip
    yield {
        "name": "runbooks", "label": "Runbooks at", "type": "constant", "query": runbooks, "hide": 2,
        "skipUrlSync": True, "current": {"selected": True, "text": runbooks, "value": runbooks},
        "options": [{"selected": True, "text": runbooks, "value": runbooks}],
    }  # fmt: skip


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.label})"
    return {
        "name": variable.name, "label": variable.name.capitalize(), "type": "query",
        "datasource": {"type": "prometheus", "uid": f"${{{variable.store}}}"},
        "query": {"query": query, "refId": "variable"}, "regex": "", "refresh": 2, "sort": 1,
        "includeAll": True, "multi": True, "allValue": ".*", "hide": 0, "skipUrlSync": False, "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }  # fmt: skip
