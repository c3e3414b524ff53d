"""Small plots as SVG, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 320, 130, 62, 18
COLOURS = {"left": "#1f77b4", "right": "#d9601a"}


def tag_plot(left: Any, right: Any, marked: Sequence[tuple[float, float]] = ()) -> str:
    """Return both sides' fingerprints as two stepped lines, the left one wider and below.

    Args:
        left: Values, NaN for none; None when the side has no such tag.
        right: The same.
        marked: Parts of the window, from 0 to 1, with a shade behind them.
    """
    sides = {name: values for name, values in (("left", left), ("right", right)) if values is not None}
    known = np.concatenate([values[np.isfinite(values)] for values in sides.values()]) if sides else np.empty(0)
    if not len(known):
        return _frame("", "no values", [], "")
    low, high = float(known.min()), float(known.max())
    margin = (high - low) * 0.06 or max(abs(high), 1.0) * 0.01
    low, high = low - margin, high + margin
    lines = [
        f'<rect x="{_LEFT + first * (_WIDTH - 4 - _LEFT):.1f}" y="16" height="{_HEIGHT - _BOTTOM - 14}" '
        f'width="{max((last - first) * (_WIDTH - 4 - _LEFT), 1.5):.1f}" fill="#f4c7a1" fill-opacity="0.55"/>'
        for first, last in marked
    ]
    for name, values in sides.items():
        width = 3.2 if name == "left" else 1.3
        for run in _runs(values):
            y = _place(values[run], low, high)
            x = np.linspace(_LEFT, _WIDTH - 4, len(values))[run]
            path = f"M{x[0]:.1f} {y[0]:.1f}" + "".join(f"H{a:.1f}V{b:.1f}" for a, b in zip(x[1:], y[1:], strict=True))
            lines.append(f'<path d="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="{width}" '
                         f'stroke-opacity="{0.45 if name == "left" else 1}"/>')  # fmt: skip
    return _frame("".join(lines), "left wide and blue, right narrow and orange", [(low, high)], "")


def match_plot(shares: Sequence[float]) -> str:
    """Return how many tags have which share of confirmed samples."""
    edges = [0.0, 0.5, 0.9, 0.99, 0.999, 0.99999, 1.0000001]
    names = ["< 50 %", "50-90 %", "90-99 %", "99-99.9 %", "99.9 %", "all"]
    counts = np.histogram(shares, edges)[0]
    return _bars("confirmed samples: tags", names, counts.tolist())


def lag_plot(lags: Mapping[str, Sequence[float]]) -> str:
    """Return the distribution of lags, percentiles over a logarithmic axis of seconds."""
    top = max(3.0, *(np.log10(max(values[-1], 1e-3)) for values in lags.values()))
    lines = []
    for side, values in lags.items():
        x = _LEFT + (np.log10(np.maximum(values, 1e-3)) + 3) / (top + 3) * (_WIDTH - _LEFT - 24)
        y = _place(np.linspace(0.01, 0.999, len(values)), 0, 1)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[side]}" stroke-width="2"/>')
    ticks = "".join(
        f'<text x="{_LEFT + (power + 3) / (top + 3) * (_WIDTH - _LEFT - 24):.0f}" y="{_HEIGHT - 4}" font-size="10" '
        f'text-anchor="middle">{10.0**power:g}</text>'
        for power in range(-3, int(top) + 1)
    )
    return _frame("".join(lines), "lag in seconds: share of samples below", [(0, 1)], ticks)


def _bars(title: str, names: Sequence[str], counts: Sequence[int]) -> str:
    most = max(*counts, 1)
    step = (_WIDTH - 10) / len(names)
    parts = []
    for place, (name, count) in enumerate(zip(names, counts, strict=True)):
        height = (_HEIGHT - 52) * count / most
        x, y = 6 + place * step, _HEIGHT - _BOTTOM - height
        colour = "#2e8b57" if place == len(names) - 1 else "#d9601a"
        middle = x + step / 2 - 3
        parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{step - 6:.1f}" height="{height:.1f}" fill="{colour}"/>'
                     f'<text x="{middle:.1f}" y="{y - 3:.1f}" font-size="10" text-anchor="middle">{count:,}</text>'
                     f'<text x="{middle:.1f}" y="{_HEIGHT - 5}" font-size="9" text-anchor="middle">'
                     f"{name.replace('<', '&lt;')}</text>")  # fmt: skip
    return _frame("".join(parts), title, [], "")


def _runs(values: Any) -> list[slice]:
    known = np.concatenate([[False], np.isfinite(values), [False]])
    edges = np.flatnonzero(np.diff(known.astype(np.int8)))
    return [slice(first, last) for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]


def _place(values: Any, low: float, high: float) -> Any:
    return 18 + (high - values) / (high - low) * (_HEIGHT - _BOTTOM - 20)


def _frame(inside: str, title: str, span: list[tuple[float, float]], below: str) -> str:
    scale = "".join(
        f'<text x="{_LEFT - 4}" y="{y}" font-size="10" text-anchor="end">{value:.4g}</text>'
        for low, high in span
        for y, value in ((24, high), (_HEIGHT - _BOTTOM, low))
    )
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" role="img" '
            f'font-family="system-ui,sans-serif" fill="#33414e"><title>{title}</title>'
            f'<text x="6" y="12" font-size="11">{title}</text>{scale}{inside}{below}</svg>')  # fmt: skip
