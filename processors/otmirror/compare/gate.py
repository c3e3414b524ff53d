"""Whether a day is green by the thresholds of a file, and how many days in a row were."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from otmirror import tomlfile
from otmirror.compare.findings import KINDS
from otmirror.compare.matching import Tolerance
from otmirror.compare.options import Options, Window
from otmirror.compare.run import Comparison
from otmirror.errors import ConfigError, MistakesError

_SAME = ("value_relative", "value_absolute", "time_s")
_FAULTS = ("gap_s", "frozen_s", "late_s", "late_share", "deadband", "disorder_share", "min_match")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Rules:
    """The section [gate] of a thresholds file; a limit of None is not looked at."""

    min_coverage: float | None = 1.0
    """Share of the left side's tags that the right side has."""
    min_match: float | None = 0.999
    """Share of all compared samples that the other side confirms."""
    max_mean_difference: float | None = 0.001
    """Of the time-weighted means, relative: what 99 of 100 tags stay below."""
    max_missing_share: float | None = 0.0005
    """Time in missing intervals of the right side, by tags times window."""
    max_lag_p99_s: float | None = None
    """Lag of the right side."""
    max_tags: Mapping[str, int] = field(default_factory=dict)
    """Kind of finding -> tags that may have it; 0 for the kinds that are alarms and not named."""
    green_days: int = 14
    """Days in a row that have to be green for a cutover."""


@dataclass(frozen=True)
class Check:
    """One rule, applied."""

    rule: str
    limit: str
    measured: str
    passed: bool


def load(path: Path | None) -> tuple[Options, Rules]:
    """Read a thresholds file; without one everything is as `Options` and `Rules` say.

    Raises:
        MistakesError: a key is not known or no number.
        ConfigError: the file cannot be read.
    """
    if path is None:
        return Options(), Rules()
    data = tomlfile.read(path)
    numbers = [f for f in Rules.__dataclass_fields__ if f != "max_tags"]
    known = {"same": _SAME, "fault": (*_FAULTS, "interpolation"), "gate": (*numbers, "max_tags")}
    problems = [f"unknown section [{section}]" for section in data if section not in known]
    for section, keys in known.items():
        for key, value in dict(data.get(section, {})).items():
            if key not in keys:
                problems.append(f"[{section}] has no {key}; it may have {', '.join(keys)}")
            elif key == "interpolation":
                problems += [] if value in ("step", "line") else ["[fault] interpolation is `step` or `line`"]
            elif key == "max_tags":
                problems += _tag_problems(value)
            elif (
                isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 or not math.isfinite(value)
            ):
                problems.append(f"[{section}] {key} has to be a number from 0 on")
    if problems:
        raise MistakesError([f"{path}: {problem}" for problem in problems])
    limits: dict[str, Any] = {k: int(v) if k == "green_days" else v for k, v in data.get("gate", {}).items()}
    return _options(data.get("same", {}), data.get("fault", {})), Rules(**limits)


def _tag_problems(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return ["[gate.max_tags] has to be a table of kinds"]
    problems = [
        f"[gate.max_tags] {kind} is no kind of finding: {', '.join(KINDS)}" for kind in value if kind not in KINDS
    ]
    return problems + [f"[gate.max_tags] {kind} has to be a whole number from 0 on" for kind, count in value.items()
                       if isinstance(count, bool) or not isinstance(count, int) or count < 0]  # fmt: skip


def _options(same: Mapping[str, float], fault: Mapping[str, Any]) -> Options:
    default = Tolerance()
    tolerance = Tolerance(
        same.get("value_relative", default.relative),
        same.get("value_absolute", default.absolute),
        round(same.get("time_s", default.time_us / 1e6) * 1e6),
    )
    named = {key: fault[key] for key in _FAULTS if key in fault}
    return Options(tolerance=tolerance, stepped=fault.get("interpolation", "step") == "step", **named)


def check(found: Comparison, rules: Rules) -> list[Check]:
    """Apply the rules to a comparison."""
    totals, window = found.totals, found.window
    checks: list[Check] = []

    def at_least(rule: str, limit: float | None, measured: float) -> None:
        if limit is not None:
            checks.append(Check(rule, f"at least {limit:.4%}", f"{measured:.4%}", bool(measured >= limit)))

    def at_most(rule: str, limit: float | None, measured: float, shown: Callable[[float], str]) -> None:
        if limit is not None:
            checks.append(Check(rule, f"at most {shown(limit)}", shown(measured), bool(measured <= limit)))

    at_least("coverage", rules.min_coverage, totals.coverage)
    at_least("match", rules.min_match, totals.match)
    means = totals.mean_differences
    at_most("time-weighted mean, 99 of 100 tags", rules.max_mean_difference,
            float(np.quantile(means, 0.99)) if means else math.nan, lambda x: f"{x:.4%}")  # fmt: skip
    time = max(1, totals.both) * (window.end - window.start)
    at_most("missing on the right", rules.max_missing_share, totals.missing_us["right"] / time, lambda x: f"{x:.4%}")
    lag = totals.lag("right")
    at_most("lag p99 of the right", rules.max_lag_p99_s, lag[2] if lag else math.nan, lambda x: f"{x:.3g} s")
    tags: dict[str, set[str]] = {}
    for finding in found.findings:
        tags.setdefault(finding.kind, set()).add(finding.tag)
    for kind, what in KINDS.items():
        limit = rules.max_tags.get(kind, 0 if what.alarm else None)
        if limit is not None and (kind in tags or kind in rules.max_tags):
            count = len(tags.get(kind, ()))
            checks.append(Check(f"tags: {what.title}", f"at most {limit:,}", f"{count:,}", count <= limit))
    if not any(finding.alarm for finding in found.findings):
        checks.append(Check("tags with a fault", "none", "0", True))
    return checks


def require_day(window: Window) -> None:
    """Make sure that a window's verdict can be kept as a day's.

    Raises:
        ConfigError: it is no whole day in UTC.
    """
    if not _DAY.fullmatch(window.name):
        raise ConfigError(f"--days: the window {window.name} is no whole day in UTC")


def remember(folder: Path, found: Comparison, passed: bool) -> None:
    """Keep a day's verdict in a folder: one small file a day; a day run again replaces what was there.

    Raises:
        ConfigError: the folder cannot be written.
    """
    day = found.window.name
    data = {"day": day, "green": passed, "left": found.left, "right": found.right, "tags": found.totals.both,
            "match": None if math.isnan(found.totals.match) else found.totals.match}  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f".{day}.json"
        fresh.write_text(json.dumps(data, indent=1) + "\n")
        os.replace(fresh, folder / f"{day}.json")
    except OSError as error:
        raise ConfigError(f"--days {folder}: cannot be written: {error.strerror}") from None


def green_days(folder: Path, last: str) -> int:
    """Count the green days in a row that end with `last`; a day without a result ends the row.

    Raises:
        ConfigError: a day's file is damaged.
    """
    day, count = date.fromisoformat(last), 0
    while (path := folder / f"{day.isoformat()}.json").is_file():
        try:
            data = json.loads(path.read_text())
            green = data["green"] is True and data["day"] == day.isoformat()
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{path} is damaged: run the comparison of that day again") from None
        if not green:
            break
        count += 1
        day -= timedelta(days=1)
    return count
