"""What is known of a tag after the comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from otmirror.compare.findings import Finding

FINGERPRINT = 128
"""Points of the grid at which both sides' held values are kept, for plots and to find renamed and swapped tags."""
UNEXPLAINED = ("value_mismatch", "gain", "frozen")
"""Kinds that another tag's values may explain better."""


@dataclass
class Side:
    """What was counted on one side."""

    samples: int
    """Usable ones."""
    bad: int
    duplicates: int
    disorder: int
    mean: float = float("nan")
    """Time-weighted."""
    lag: Any = None
    """Seconds between a sample's time and its arrival; None when the side does not say."""


@dataclass
class TagResult:
    """What is known of a tag after the comparison."""

    tag: str
    left: Side
    right: Side
    match: float = float("nan")
    """Share of the samples of the side with fewer that the other side confirms, after the clocks were put right."""
    compared: int = 0
    worst: float = 0.0
    """Largest difference beyond what the other side said around that time."""
    offset_s: float = float("nan")
    """Clock of the right side ahead of the left one, where it can be told."""
    quality: Any = None
    """3 x 3 counts: left quality (bad, uncertain, good) by right quality, of samples at the same time."""
    missing_left: int = 0
    missing_right: int = 0
    """Microseconds in missing intervals."""
    findings: list[Finding] = field(default_factory=list)
    prints: tuple[Any, Any] = (None, None)

    @property
    def mean_difference(self) -> float:
        """Difference of the time-weighted means beyond the band found, of the left side's magnitude."""
        bands = [
            float(finding.numbers["band"])
            for finding in self.findings
            if "band" in finding.numbers and not finding.alarm
        ]
        beyond = max(0.0, abs(self.right.mean - self.left.mean) - max(bands, default=0.0))
        known = self.prints[0][np.isfinite(self.prints[0])] if self.prints[0] is not None else np.empty(0)
        spread = float(np.ptp(known)) if len(known) else 0.0
        return float(beyond / max(abs(self.left.mean), spread, 1e-9)) if np.isfinite(beyond) else float("nan")
