"""Panels drawn as HTML and SVG from a dashboard's JSON and the values its queries gave."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from otmirror.dashboards.ask import Series
from otmirror.dashboards.units import shown

Found = Mapping[str, Sequence[Series]]
"""A query's letter -> what it gave."""
COLOURS = {"green": "#1a7f4b", "orange": "#c76a00", "red": "#c4281c", "blue": "#1f60c4", "text": "#1c2733"}
PALETTE = ("#1f60c4", "#e0752d", "#1a7f4b", "#8f3bb8", "#c4281c", "#00838f", "#9a7d0a", "#5b6b7a", "#d81b60", "#3e2723")
KINDS = ("stat", "timeseries", "bargauge", "table")
"""The kinds of panels that are drawn."""
_STEPS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600, 6 * 3600, 12 * 3600, 86400)
_LEFT, _BOTTOM, _TOP, _KEYS = 64.0, 20.0, 8.0, 9


def panel(made: Mapping[str, Any], found: Found, width: float, height: float, times: tuple[float, float]) -> str:
    """Return the inside of a panel.

    Args:
        made: The panel's JSON, variables in its links filled in.
        found: What its queries gave.
        width: Room inside of the panel, px.
        height: The same.
        times: First and last moment shown, s since 1970.
    """
    if made["type"] not in KINDS:
        return f'<div class="nothing">A panel of the kind {escape(str(made["type"]))} is shown in Grafana only</div>'
    if made["type"] == "table":
        return table(made, found, height)
    series = [one for letter in sorted(found) for one in found[letter] if one.points]
    if not series:
        return '<div class="nothing">No data</div>'
    if made["type"] == "timeseries":
        return lines(made, series, width, height, times)
    if made["type"] == "bargauge":
        return bars(made, series, width, height)
    return figures(made, series)


def figures(made: Mapping[str, Any], series: Sequence[Series]) -> str:
    """Return large figures, one a series."""
    defaults = made["fieldConfig"]["defaults"]
    cells = []
    for one in series:
        text, colour = worded(one.last, defaults)
        name = f"<small>{escape(one.name)}</small>" if made["options"].get("textMode") == "value_and_name" else ""
        cells.append(f'<div style="color:{colour}">{escape(text)}{name}</div>')
    return f'<div class="figures">{"".join(cells)}</div>'


def bars(made: Mapping[str, Any], series: Sequence[Series], width: float, height: float) -> str:
    """Return a bar a series, names left, values right."""
    defaults = made["fieldConfig"]["defaults"]
    low = float(defaults.get("min", 0.0))
    high = float(defaults.get("max", max((one.last for one in series if math.isfinite(one.last)), default=1.0)))
    each = min(34.0, height / len(series))
    left, right = width * 0.36, 70.0
    parts = []
    for place, one in enumerate(sorted(series, key=lambda one: one.name)):
        text, colour = worded(one.last, defaults)
        share = min(max((one.last - low) / ((high - low) or 1.0), 0.0), 1.0) if math.isfinite(one.last) else 0.0
        y, room = place * each, width - left - right
        parts.append(
            f'<text x="{left - 8:.0f}" y="{y + each / 2 + 4:.1f}" text-anchor="end">'
            f"{escape(_cut(one.name, left / 6.6))}</text>"
            f'<rect x="{left:.0f}" y="{y + 4:.1f}" width="{room:.0f}" height="{each - 8:.1f}" fill="#eef1f4"/>'
            f'<rect x="{left:.0f}" y="{y + 4:.1f}" width="{room * share:.1f}" height="{each - 8:.1f}" fill="{colour}"/>'
            f'<text x="{width - right + 8:.0f}" y="{y + each / 2 + 4:.1f}" style="fill:{colour}">{escape(text)}</text>'
        )
    return _svg(width, height, "".join(parts))


def table(made: Mapping[str, Any], found: Found, height: float) -> str:
    """Return a table: rows with the same labels are one, names and order of columns as the panel says."""
    organised = next(one["options"] for one in made["transformations"] if one["id"] == "organize")
    names, order = organised["renameByName"], organised["indexByName"]
    rows: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for letter, series in found.items():
        for one in series:
            labels = {label: value for label, value in one.labels.items() if label in names}
            row = rows.setdefault(tuple(sorted(labels.items())), dict(labels))
            row["Value" if len(found) == 1 else f"Value #{letter}"] = one.last
    if not rows:
        return '<div class="nothing">No data</div>'
    columns = sorted(names, key=order.get)
    overrides = {one["matcher"]["options"]: one["properties"] for one in made["fieldConfig"]["overrides"]}
    lines = [f"<tr>{''.join(_cell(row.get(column), overrides.get(names[column], [])) for column in columns)}</tr>"
             for row in _sorted(list(rows.values()), columns)]  # fmt: skip
    most = max(1, int(height / 25) - 2)
    more = f'<div class="more">and {len(lines) - most} more</div>' if len(lines) > most else ""
    head = "".join(f"<th>{escape(names[column])}</th>" for column in columns)
    return f"<table><tr>{head}</tr>{''.join(lines[:most])}</table>{more}"


def lines(
    made: Mapping[str, Any], series: Sequence[Series], width: float, height: float, times: tuple[float, float]
) -> str:
    """Return lines over time with their scale and the names of the first of them."""
    defaults = made["fieldConfig"]["defaults"]
    stacked = "stacking" in defaults.get("custom", {})
    drawn = _stack(series) if stacked else [(one.name, one.points) for one in series]
    values = [value for _, points in drawn for _, value in points if math.isfinite(value)]
    low, high, ticks = _scale(values, defaults)
    legend = 18.0 * math.ceil(min(len(drawn), _KEYS) / 3) + 4
    bottom = height - _BOTTOM - legend
    x = _placer(times, _LEFT, width - 10)
    y = _placer((low, high), bottom, _TOP)
    parts = [_grid(ticks, y, width, defaults.get("unit", "none")), _times(times, x, bottom + 14)]
    for number, (_, points) in enumerate(drawn):
        parts.append(_line(points, x, y, PALETTE[number % len(PALETTE)], bottom if stacked else None))
    parts.append(_limits(defaults, (low, high), y, width))
    parts.append(_legend([name for name, _ in drawn], width, bottom + 34))
    return _svg(width, height, "".join(parts))


def worded(value: float, field: Mapping[str, Any]) -> tuple[str, str]:
    """Return a value's text and colour: a word that stands for it, or the number with its unit and threshold."""
    for mapping in field.get("mappings", []):
        word = mapping["options"].get(f"{value:g}")
        if word:
            return word["text"], COLOURS.get(word["color"], COLOURS["text"])
    colour = "text"
    for step in field.get("thresholds", {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    return shown(value, field.get("unit", "none"), field.get("decimals")), COLOURS.get(colour, COLOURS["text"])


def _cell(value: Any, properties: Sequence[Mapping[str, Any]]) -> str:
    field = {one["id"].removeprefix("custom."): one["value"] for one in properties}
    if not isinstance(value, float):
        text = escape(str(value or ""))
        if text and "links" in field:
            text = f'<a href="{escape(field["links"][0]["url"].replace("${__value.text}", str(value)))}">{text}</a>'
        return f"<td>{text}</td>"
    text, colour = worded(value, field)
    style = f' style="color:{colour}"' if "cellOptions" in field else ""
    return f'<td class="n"{style}>{escape(text)}</td>'


def _sorted(rows: list[dict[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Largest first where there is one figure a row; by their labels otherwise."""
    if columns and columns[-1] == "Value":
        return sorted(rows, key=lambda row: -row.get("Value", 0.0))
    return sorted(
        rows, key=lambda row: [str(row.get(column, "")) for column in columns if not column.startswith("Value")]
    )


def _stack(series: Sequence[Series]) -> list[tuple[str, list[tuple[float, float]]]]:
    """Add each line to those below it; the topmost first, so that lower ones are drawn over it."""
    total: dict[float, float] = {}
    made = []
    for one in series:
        for moment, value in one.points:
            total[moment] = total.get(moment, 0.0) + value
        made.append((one.name, [(moment, total[moment]) for moment, _ in one.points]))
    return made[::-1]


def _scale(values: Sequence[float], defaults: Mapping[str, Any]) -> tuple[float, float, list[float]]:
    low = float(defaults.get("min", min(values, default=0.0)))
    high = float(defaults.get("max", max(values, default=1.0)))
    if high <= low:
        apart = abs(low) * 0.1 or 1.0
        # What is as high as it can be is drawn at the top.
        low, high = (low - apart, high) if high == defaults.get("max") else (low, low + apart)
    step = _step((high - low) / 4, defaults.get("unit", "none"))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [step * number for number in range(first, last + 1)]
    return min(low, ticks[0]), max(high, ticks[-1]), ticks


def _step(rough: float, unit: str) -> float:
    """Return the next round step that is not smaller; of times above a minute one that people use."""
    if unit == "s" and 30 < rough < 86400:
        return next(step for step in _STEPS if step >= rough * 0.999)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)


def _placer(values: tuple[float, float], start: float, end: float) -> Any:
    return lambda value: start + (value - values[0]) / ((values[1] - values[0]) or 1.0) * (end - start)


def _grid(ticks: Sequence[float], y: Any, width: float, unit: str) -> str:
    digits = None
    if unit == "percentunit" and len(ticks) > 1:
        digits = max(0, math.ceil(-math.log10((ticks[1] - ticks[0]) * 100) - 1e-9))
    return "".join(
        f'<path d="M{_LEFT} {y(tick):.1f}H{width - 10:.0f}" stroke="#e3e8ec"/>'
        f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{escape(shown(tick, unit, digits))}</text>'
        for tick in ticks
    )


def _times(times: tuple[float, float], x: Any, y: float) -> str:
    span = times[1] - times[0]
    form = "%H:%M:%S" if span < 1800 else "%H:%M" if span <= 2 * 86400 else "%m-%d"
    moments = [times[0] + span * part / 5 for part in range(1, 5)]
    texts = [datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime(form) for moment in moments]
    return "".join(f'<text x="{x(moment):.1f}" y="{y:.1f}" text-anchor="middle">{text}</text>'
                   for moment, text in zip(moments, texts, strict=True))  # fmt: skip


def _line(points: Sequence[tuple[float, float]], x: Any, y: Any, colour: str, floor: float | None) -> str:
    apart = 1.5 * min((later[0] - one[0] for one, later in pairwise(points)), default=0.0)
    path, before = "", None
    for moment, value in points:
        if not math.isfinite(value):
            before = None
            continue
        # Where there is no value there is no line.
        joined = before is not None and moment - before <= apart
        path += f"{'L' if joined else 'M'}{x(moment):.1f} {y(value):.1f}"
        before = moment
    dot = path.count("L") == 0
    ends = f' stroke-linecap="round" stroke-width="{5 if dot else 1.8}"'
    # A point alone is seen as a dot.
    path += "h0" if dot and path else ""
    area = ""
    if floor is not None and not dot:
        area = (f'<path d="{path}L{x(points[-1][0]):.1f} {floor:.1f}L{x(points[0][0]):.1f} {floor:.1f}Z" '
                f'fill="{_light(colour)}"/>')  # fmt: skip
    return f'{area}<path d="{path}" fill="none" stroke="{colour}"{ends}/>'


def _light(colour: str) -> str:
    """Return a colour with two parts of white: opaque, so that those below do not shine through."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{(part + 2 * 255) // 3:02x}" for part in parts)


def _limits(defaults: Mapping[str, Any], bounds: tuple[float, float], y: Any, width: float) -> str:
    if "thresholdsStyle" not in defaults.get("custom", {}):
        return ""
    steps = [step for step in defaults["thresholds"]["steps"] if step["value"] is not None]
    return "".join(
        f'<path d="M{_LEFT} {y(step["value"]):.1f}H{width - 10:.0f}" '
        f'stroke="{COLOURS[step["color"]]}" stroke-dasharray="5 4"/>'
        for step in steps
        if bounds[0] <= step["value"] <= bounds[1]
    )


def _legend(names: Sequence[str], width: float, y: float) -> str:
    shown_names = list(names[:_KEYS])
    if len(names) > _KEYS:
        shown_names[-1] = f"and {len(names) - _KEYS + 1} more"
    each = (width - _LEFT) / 3
    return "".join(
        f'<rect x="{_LEFT + place % 3 * each:.0f}" y="{y + place // 3 * 18 - 5:.0f}" width="14" height="4" '
        f'fill="{PALETTE[place % len(PALETTE)]}"/><text x="{_LEFT + place % 3 * each + 20:.0f}" '
        f'y="{y + place // 3 * 18:.0f}">{escape(_cut(name, each / 6.8))}</text>'
        for place, name in enumerate(shown_names)
    )


def _svg(width: float, height: float, inside: str) -> str:
    return f'<svg width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">{inside}</svg>'


def _cut(text: str, most: float) -> str:
    return text if len(text) <= most else text[: max(1, int(most) - 1)] + "…"
