"""Tags whose values are another tag's: renamed ones, and ones that have each other's values.

Each tag is known by its fingerprint: its held value at 128 evenly spaced times.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from otmirror.compare.findings import Finding
from otmirror.compare.matching import Tolerance
from otmirror.compare.result import UNEXPLAINED, TagResult

_BLOCK = 512
_CANDIDATES = 6
_ENOUGH = 0.9
"""Share of the times at which two fingerprints have to agree."""
_CLOSE = 0.02
"""Of a tag's spread: how far a deadband or a clock offset may take two fingerprints apart."""


@dataclass(frozen=True)
class Pair:
    """A tag of the left side and the tag of the right side that has its values."""

    left: str
    right: str
    values: float
    """Share of the times at which the values agree."""
    name: float
    """Likeness of the names, 0 to 1."""


def likeness(left: str, right: str) -> float:
    """Return how alike two names are, 0 to 1; case and separators do not count."""
    one, two = (re.sub(r"[^0-9a-z]+", "", name.lower()) for name in (left, right))
    return SequenceMatcher(None, one, two, autojunk=False).ratio()


def alike(left: Mapping[str, Any], right: Mapping[str, Any], tolerance: Tolerance) -> list[Pair]:
    """Pair tags by their fingerprints, each with one other at most, the best first."""
    names, others = list(left), list(right)
    if not names or not others:
        return []
    one, two = np.array([left[name] for name in names]), np.array([right[name] for name in others])
    found: list[tuple[float, Pair]] = []
    shape_one, shape_two = _shape(one), _shape(two)
    by_name: dict[str, list[int]] = {}
    for number, name in enumerate(others):
        by_name.setdefault(_plain(name), []).append(number)
    for start in range(0, len(names), _BLOCK):
        fit = shape_one[start : start + _BLOCK] @ shape_two.T
        count = min(_CANDIDATES, fit.shape[1])
        best = np.argpartition(-fit, count - 1, axis=1)[:, :count]
        for row, columns in enumerate(best):
            name = names[start + row]
            for column in {*columns.tolist(), *by_name.get(_plain(name), [])[:_CANDIDATES]}:
                pair = _judge(name, others[column], one[start + row], two[column], tolerance)
                if pair:
                    found.append((pair.values + pair.name / 4, pair))
    return _best(found)


def _judge(name: str, other: str, one: Any, two: Any, tolerance: Tolerance) -> Pair | None:
    both = np.isfinite(one) & np.isfinite(two)
    if both.sum() < len(one) / 4:
        return None
    one, two = one[both], two[both]
    spread = float(np.quantile(one, 0.95) - np.quantile(one, 0.05))
    exact = tolerance.of(one)
    agree = float((np.abs(one - two) <= exact + _CLOSE * spread).mean())
    equal = float((np.abs(one - two) <= exact).mean())
    alike_by_name = likeness(name, other)
    # A tag that stands still has no shape of its own: its name has to help.
    if agree < _ENOUGH or (spread <= float(exact.max()) and alike_by_name < 0.7):
        return None
    return Pair(name, other, (agree + equal) / 2, alike_by_name)


def _best(found: list[tuple[float, Pair]]) -> list[Pair]:
    pairs, taken, given = [], set(), set()
    for _, pair in sorted(found, key=lambda entry: -entry[0]):
        if pair.left not in taken and pair.right not in given:
            pairs.append(pair)
            taken.add(pair.left)
            given.add(pair.right)
    return pairs


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]+", "", re.split(r"[/\\]", name.lower())[-1])


def _shape(prints: Any) -> Any:
    known = np.isfinite(prints)
    filled = np.where(known, prints, 0.0)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    middle = filled.sum(axis=1, keepdims=True) / count
    away = np.where(known, prints - middle, 0.0)
    length = np.sqrt((away**2).sum(axis=1, keepdims=True))
    return (away / np.where(length > 0, length, 1.0)).astype(np.float32)


def renamed(only_left: Mapping[str, Any], only_right: Mapping[str, Any], tolerance: Tolerance) -> list[Pair]:
    """Propose which tags of one side only are the same under two names."""
    return alike(only_left, only_right, tolerance)


def swap(results: Sequence[TagResult], tolerance: Tolerance) -> None:
    """Find tags that have each other's values, and put that in the place of what was found at them."""
    odd = {r.tag: r for r in results if any(finding.kind in UNEXPLAINED for finding in r.findings)}
    pairs = alike({t: r.prints[0] for t, r in odd.items()}, {t: r.prints[1] for t, r in odd.items()}, tolerance)
    for pair in pairs:
        if pair.left == pair.right:
            continue
        result = odd[pair.right]
        result.findings = [finding for finding in result.findings if finding.kind not in UNEXPLAINED]
        result.findings.append(
            Finding("swapped", pair.right, "right",
                    f"has the values of {pair.left} at {pair.values:.0%} of the times looked at",
                    {"other": pair.left, "values": pair.values})
        )  # fmt: skip
