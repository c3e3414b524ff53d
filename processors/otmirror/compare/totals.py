"""Sums over all tags."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from otmirror.compare.result import TagResult

_EDGES = np.concatenate([[-np.inf, 0.0], np.geomspace(1e-3, 1e7, 2400)])
"""Bins of lags, seconds, 1 % wide: percentiles over all samples without keeping them."""


def _no_lags() -> dict[str, Any]:
    return {"left": np.zeros(len(_EDGES), np.int64), "right": np.zeros(len(_EDGES), np.int64)}


@dataclass
class Totals:
    """What all tags have together."""

    both: int = 0
    """Tags that both sides have."""
    only_left: int = 0
    only_right: int = 0
    renamed: int = 0
    """Of the tags on one side only: pairs proposed."""
    samples: dict[str, int] = field(default_factory=lambda: {"left": 0, "right": 0})
    bad: dict[str, int] = field(default_factory=lambda: {"left": 0, "right": 0})
    duplicates: dict[str, int] = field(default_factory=lambda: {"left": 0, "right": 0})
    disorder: dict[str, int] = field(default_factory=lambda: {"left": 0, "right": 0})
    missing_us: dict[str, int] = field(default_factory=lambda: {"left": 0, "right": 0})
    compared: int = 0
    matched: float = 0.0
    quality: Any = field(default_factory=lambda: np.zeros((3, 3), np.int64))
    mean_differences: list[float] = field(default_factory=list)
    """Of the time-weighted means, a tag each, relative."""
    offsets: list[float] = field(default_factory=list)
    """Seconds, of the tags where the clocks could be compared."""
    lags: dict[str, Any] = field(default_factory=_no_lags)

    def add(self, result: TagResult) -> None:
        """Add a tag."""
        for name, side in (("left", result.left), ("right", result.right)):
            self.samples[name] += side.samples
            self.bad[name] += side.bad
            self.duplicates[name] += side.duplicates
            self.disorder[name] += side.disorder
            if side.lag is not None and len(side.lag):
                place = np.searchsorted(_EDGES, side.lag, "right") - 1
                self.lags[name] += np.bincount(place, minlength=len(_EDGES))
        self.missing_us["left"] += result.missing_left
        self.missing_us["right"] += result.missing_right
        kinds = {finding.kind for finding in result.findings}
        self.only_left += "only_left" in kinds
        self.only_right += "only_right" in kinds
        self.both += not kinds & {"only_left", "only_right"}
        if result.compared:
            self.compared += result.compared
            self.matched += result.match * result.compared
        if result.quality is not None:
            self.quality += result.quality
        if np.isfinite(result.mean_difference):
            self.mean_differences.append(float(result.mean_difference))
        if np.isfinite(result.offset_s):
            self.offsets.append(result.offset_s)

    @property
    def match(self) -> float:
        """Share of compared samples that the other side confirms; NaN when none was compared."""
        return self.matched / self.compared if self.compared else float("nan")

    @property
    def coverage(self) -> float:
        """Share of the left side's tags that the right side has under the same (or the mapped) name."""
        known = self.both + self.only_left
        return self.both / known if known else 0.0

    def lag(self, side: str, shares: Iterable[float] = (0.5, 0.95, 0.99, 1.0)) -> list[float] | None:
        """Return percentiles of a side's lag, seconds, to 1 %; None when it does not say when samples arrived."""
        counts = self.lags[side]
        total = int(counts.sum())
        if not total:
            return None
        upto = np.cumsum(counts)
        ends = np.concatenate([_EDGES[1:], _EDGES[-1:]])
        return [float(ends[int(np.searchsorted(upto, share * total))]) for share in shares]
