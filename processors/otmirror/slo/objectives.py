"""The service level objectives, one OpenSLO v1 file each (https://github.com/OpenSLO/OpenSLO)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml

from otmirror.errors import ConfigError, MistakesError, gathered
from otmirror.workspace import PROJECT

FOLDER = PROJECT / "monitoring" / "slo"
WINDOW = "{{.window}}"
"""Stands for the window in the query of a counter, as in sloth's files."""
WINDOW_DAYS = 30
PHASES = (1, 2)

_Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
_Text = Annotated[str, msgspec.Meta(max_length=1050)]
_Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Metadata(_Strict):
    name: _Name
    displayName: str = ""  # noqa: N815 (OpenSLO's own name, as those below)
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Query(_Strict):
    query: str


class _Source(_Strict):
    type: Literal["Prometheus"]
    spec: _Query


class _Metric(_Strict):
    metricSource: _Source  # noqa: N815


class _Ratio(_Strict):
    counter: bool
    good: _Metric
    total: _Metric


class _IndicatorSpec(_Strict):
    ratioMetric: _Ratio  # noqa: N815
    description: _Text = ""


class _Indicator(_Strict):
    metadata: _Metadata
    spec: _IndicatorSpec


class _Objective(_Strict):
    displayName: str  # noqa: N815
    target: _Share


class _TimeWindow(_Strict):
    duration: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]*[mhdwMQY]$")]
    isRolling: bool  # noqa: N815


class _Spec(_Strict):
    service: _Name
    indicator: _Indicator
    timeWindow: Annotated[list[_TimeWindow], msgspec.Meta(min_length=1, max_length=1)]  # noqa: N815
    budgetingMethod: Literal["Occurrences"]  # noqa: N815
    objectives: list[_Objective]
    description: _Text = ""


class _File(_Strict):
    apiVersion: Literal["openslo/v1"]  # noqa: N815
    kind: Literal["SLO"]
    metadata: _Metadata
    spec: _Spec


@dataclass(frozen=True)
class Objective:
    """One objective of a phase.

    `good` and `total` are PromQL for counts; with `counter` over `WINDOW`, else at this moment. `target` is a share.
    """

    name: str
    title: str
    description: str
    component: str
    pages: bool
    counter: bool
    good: str
    total: str
    target: float

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return round(1 - self.target, 10)


def load(phase: int, folder: Path = FOLDER) -> list[Objective]:
    """Return the objectives of a phase, in the order of their names.

    Raises:
        MistakesError: every mistake in the files, each with its file.
        ConfigError: there are no files.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise ConfigError(f"there are no objectives (*.yaml) in {folder}")
    problems: list[str] = []
    found: list[Objective] = []
    for file in files:
        with gathered(problems):
            found.append(_objective(file, phase))
    if problems:
        raise MistakesError(problems)
    return found


def _objective(file: Path, phase: int) -> Objective:
    try:
        told = msgspec.convert(yaml.safe_load(file.read_text(encoding="utf-8")), _File)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MistakesError([f"{file}: no YAML: {' '.join(str(error).split())}"]) from None
    except msgspec.ValidationError as error:
        raise MistakesError([f"{file}: {error}"]) from None
    problems = [f"{file}: {problem}" for problem in _problems(told, file.stem)]
    if problems:
        raise MistakesError(problems)
    ratio = told.spec.indicator.spec.ratioMetric
    targets = {objective.displayName: objective.target for objective in told.spec.objectives}
    return Objective(
        told.metadata.name,
        told.metadata.displayName or told.metadata.name,
        told.spec.description,
        told.metadata.labels["component"],
        told.metadata.annotations.get("otmirror/page", "true") == "true",
        ratio.counter,
        ratio.good.metricSource.spec.query,
        ratio.total.metricSource.spec.query,
        targets[f"phase {phase}"],
    )


def _problems(told: _File, stem: str) -> list[str]:
    ratio, spec = told.spec.indicator.spec.ratioMetric, told.spec
    queries = {"good": ratio.good.metricSource.spec.query, "total": ratio.total.metricSource.spec.query}
    wanted = [f"phase {phase}" for phase in PHASES]
    problems = [
        f"the query of {name} {'needs' if ratio.counter else 'must not have'} {WINDOW}, as counter is "
        f"{str(ratio.counter).lower()}"
        for name, query in queries.items()
        if (WINDOW in query) != ratio.counter
    ]
    if told.metadata.name != stem:
        problems.append(f"metadata.name is {told.metadata.name!r}, and the file {stem}.yaml")
    if "component" not in told.metadata.labels:
        problems.append("metadata.labels needs component, which its alerts carry")
    if sorted(objective.displayName for objective in spec.objectives) != wanted:
        problems.append(f"spec.objectives has to be {' and '.join(wanted)}, by displayName")
    if (spec.timeWindow[0].duration, spec.timeWindow[0].isRolling) != (f"{WINDOW_DAYS}d", True):
        problems.append(f"spec.timeWindow has to be {WINDOW_DAYS}d, rolling")
    return problems
