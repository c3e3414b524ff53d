"""The chart's values and their description, as the files have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from otmirror.embedded.helm import CHART

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def values(role: str) -> dict[str, Any]:
    """Return the values of an example, put over the chart's own as Helm does."""
    return _over(VALUES, yaml.safe_load((CHART / f"values-{role}.yaml").read_text()))


def _over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: _over(below.get(key), value) for key, value in above.items()}
    return above


def leaves(schema: dict[str, Any] = SCHEMA, given: Any = VALUES, path: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield path, default and description of each value; objects with properties of their own are walked through."""
    for name, about in schema["properties"].items():
        place = f"{path}{name}"
        default = given.get(name) if isinstance(given, dict) else None
        if "properties" in about:
            yield from leaves(about, default or {}, f"{place}.")
        elif name != "global":
            yield place, default, about["description"]


def table() -> str:
    """Return the table of docs/helm.md."""
    lines = ["| value | default | what |", "|---|---|---|"]
    for place, default, description in leaves():
        shown = "" if default in ("", None, {}, []) else f"`{json.dumps(default)}`".replace('"', "")
        lines.append(f"| `{place}` | {shown} | {description} |")
    return "\n".join(lines) + "\n"
