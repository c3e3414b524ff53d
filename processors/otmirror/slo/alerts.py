"""The operational alerts: monitoring/alerts.toml, with its thresholds of a phase put in."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from otmirror.errors import ConfigError, MistakesError
from otmirror.slo.objectives import PHASES
from otmirror.workspace import PROJECT

_toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

TABLE = PROJECT / "monitoring" / "alerts.toml"
RUNBOOKS = "docs/runbooks/"
"""Where `runbook_url` leads unless told otherwise: relative to the project."""
_PLACE = re.compile(r"@([a-z_]+)@")

Severity = Literal["page", "ticket", "none"]
Component = Literal["source", "nifi", "queue", "hot", "cold", "security", "monitoring"]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Entry(_Strict):
    name: Annotated[str, msgspec.Meta(pattern="^([A-Z][a-z0-9]+)+$")]
    severity: Severity
    component: Component
    expr: str
    summary: str
    description: str
    waits: Annotated[str, msgspec.Meta(pattern="^[0-9]+[smh]$")] = msgspec.field(name="for", default="0s")


class _File(_Strict):
    thresholds: dict[str, list[float]]
    fragments: dict[str, str]
    alert: list[_Entry]


@dataclass(frozen=True)
class Alert:
    """One alerting rule: plain PromQL, the time it has to hold, and what it says to whom."""

    name: str
    severity: str
    component: str
    expr: str
    waits: str
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        """The file name of its runbook."""
        return runbook(self.name)


def runbook(alert: str) -> str:
    """Return the file name of an alert's runbook; both burn rates of an error budget share one."""
    name = re.sub(r"^(ErrorBudgetBurn)(Fast|Slow)$", r"\1", alert)
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower() + ".md"


def load(phase: int, table: Path = TABLE) -> list[Alert]:
    """Return the alerts of a phase, in the order of the table.

    Raises:
        ConfigError: the table is missing, no TOML or of another form.
        MistakesError: every placeholder and threshold that is wrong.
    """
    try:
        told = msgspec.convert(_toml.loads(table.read_text(encoding="utf-8")), _File)
    except OSError as error:
        raise ConfigError(f"{table}: {error.strerror}") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"{table}: {error}") from None
    values = {**told.fragments, **_thresholds(told, phase, table)}
    problems = [
        f"{table}: {entry.name}: @{name}@ is neither a threshold nor a fragment"
        for entry in told.alert
        for text in (entry.expr, entry.summary, entry.description)
        for name in _PLACE.findall(text)
        if name not in values
    ]
    if problems:
        raise MistakesError(problems)

    def filled(text: str) -> str:
        return _PLACE.sub(lambda place: values[place[1]], text).strip()

    return [
        Alert(
            entry.name, entry.severity, entry.component, filled(entry.expr), entry.waits, filled(entry.summary),
            filled(entry.description),
        )
        for entry in told.alert
    ]  # fmt: skip


def _thresholds(told: _File, phase: int, table: Path) -> dict[str, str]:
    problems = [
        f"{table}: the threshold {name} needs {len(PHASES)} numbers, one a phase"
        for name, values in told.thresholds.items()
        if len(values) != len(PHASES)
    ]
    if problems:
        raise MistakesError(problems)
    return {name: f"{values[PHASES.index(phase)]:g}" for name, values in told.thresholds.items()}
