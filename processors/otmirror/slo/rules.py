"""The rules made of objectives and alerts, in the format of Prometheus, which vmalert reads too.

Windows, factors and the pairing of a long window with a short one are those of the Site Reliability Workbook,
chapter 5, "Alerting on SLOs" (table 5-8). The names of the recorded series are sloth's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from otmirror.errors import ConfigError
from otmirror.slo import alerts, objectives
from otmirror.slo.alerts import RUNBOOKS, Alert
from otmirror.slo.objectives import WINDOW, WINDOW_DAYS, Objective
from otmirror.workspace import PROJECT

FOLDER = PROJECT / "monitoring" / "rules"
WINDOWS = ("5m", "30m", "1h", "2h", "6h")
LONG_WINDOWS = ("1d", "3d", f"{WINDOW_DAYS}d")
_HEADER = (
    "# `otmirror slo generate --phase {phase}` makes this of monitoring/slo and monitoring/alerts.toml: edit those.\n"
)

Rule = dict[str, Any]
Group = dict[str, Any]


@dataclass(frozen=True)
class Burn:
    """An alert when the budget burns `factor` times too fast over the long and over the short window."""

    long: str
    short: str
    factor: float


FAST = (Burn("1h", "5m", 14.4), Burn("6h", "30m", 6.0))
SLOW = (Burn("1d", "2h", 3.0), Burn("3d", "6h", 1.0))


def groups(phase: int, base: str = RUNBOOKS, slow: Sequence[Burn] = SLOW) -> dict[str, list[Group]]:
    """Return the rules of a phase by file name.

    Args:
        phase: 1 or 2.
        base: precedes the runbook's file name in `runbook_url`.
        slow: the windows of ErrorBudgetBurnSlow; a drill that lasts an hour has shorter ones.

    Raises:
        ConfigError: a mistake in the objectives or in the table of alerts.
    """
    wanted = objectives.load(phase)
    return {
        "slo.yaml": [
            {"name": "slo-indicators", "rules": [rule for slo in wanted for rule in _indicators(slo)]},
            {"name": "slo-windows", "rules": _ratios(wanted, _windows(slow))},
            # Long to read, and slow to change.
            {"name": "slo-budget", "interval": "1m", "rules": _ratios(wanted, LONG_WINDOWS) + _budget(wanted)},
        ],
        "burn.yaml": [{"name": "slo-burn", "rules": [rule for slo in wanted for rule in _burns(slo, base, slow)]}],
        "alerts.yaml": [{"name": "operation", "rules": [_alert(alert, base) for alert in alerts.load(phase)]}],
    }


def files(phase: int, base: str = RUNBOOKS, folder: Path = FOLDER, slow: Sequence[Burn] = SLOW) -> dict[Path, str]:
    """Return what the rule files of a phase hold."""
    return {
        folder / name: _HEADER.format(phase=phase) + _yaml({"groups": found})
        for name, found in groups(phase, base, slow).items()
    }


def names(phase: int) -> set[str]:
    """Return the names of all alerts of a phase."""
    return {
        rule["alert"] for file in groups(phase).values() for one in file for rule in one["rules"] if "alert" in rule
    }


def stale(wanted: dict[Path, str]) -> list[Path]:
    """Return the files that do not hold what they should."""
    return [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def write(wanted: dict[Path, str]) -> None:
    """Write the files and their folders.

    Raises:
        ConfigError: a file cannot be written.
    """
    for path, text in wanted.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None


def _indicators(slo: Objective) -> list[Rule]:
    labels = {"slo": slo.name}
    rules: list[Rule] = [
        {"record": "slo:objective:ratio", "labels": labels, "expr": f"vector({slo.target:g})"},
        {"record": "slo:error_budget:ratio", "labels": labels, "expr": f"vector({slo.budget:g})"},
    ]
    if not slo.counter:
        rules += [
            {"record": "slo:sli_good:count", "labels": labels, "expr": slo.good},
            {"record": "slo:sli_total:count", "labels": labels, "expr": slo.total},
        ]
    return rules


def _windows(slow: Sequence[Burn]) -> list[str]:
    more = (window for burn in slow for window in (burn.short, burn.long))
    return list(dict.fromkeys((*WINDOWS, *(window for window in more if window not in LONG_WINDOWS))))


def _ratios(wanted: Sequence[Objective], windows: Sequence[str]) -> list[Rule]:
    return [
        {"record": f"slo:sli_error:ratio_rate{window}", "labels": {"slo": slo.name}, "expr": _error(slo, window)}
        for slo in wanted
        for window in windows
    ]


def _error(slo: Objective, window: str) -> str:
    good, total = _over(slo, slo.good, "good", window), _over(slo, slo.total, "total", window)
    return f"1 - (\n{good}\n) / ((\n{total}\n) > 0)"


def _over(slo: Objective, query: str, kind: str, window: str) -> str:
    if slo.counter:
        return query.replace(WINDOW, window)
    return f'sum(sum_over_time(slo:sli_{kind}:count{{slo="{slo.name}"}}[{window}]))'


def _budget(wanted: Sequence[Objective]) -> list[Rule]:
    return [
        {
            "record": "slo:error_budget_remaining:ratio",
            "labels": {"slo": slo.name},
            "expr": f'1 - slo:sli_error:ratio_rate{WINDOW_DAYS}d{{slo="{slo.name}"}} / {slo.budget:g}',
        }
        for slo in wanted
    ] + [
        {
            "record": "slo:current_burn_rate:ratio",
            "labels": {"slo": slo.name},
            "expr": f'slo:sli_error:ratio_rate5m{{slo="{slo.name}"}} / {slo.budget:g}',
        }
        for slo in wanted
    ]


def _burns(slo: Objective, base: str, slow: Sequence[Burn]) -> list[Rule]:
    return [
        _alert(
            Alert(
                f"ErrorBudgetBurn{speed}", severity, slo.component, "\nor\n".join(_burn(slo, burn) for burn in burns),
                "0s", f"{slo.title} uses up its error budget {how}", _budget_text(slo, burns),
            ),
            base,
            {"slo": slo.name},
        )
        for speed, severity, how, burns in (
            ("Fast", "page" if slo.pages else "ticket", "fast", FAST),
            ("Slow", "ticket", "slowly", slow),
        )
    ]  # fmt: skip


def _burn(slo: Objective, burn: Burn) -> str:
    def above(window: str) -> str:
        return f'slo:sli_error:ratio_rate{window}{{slo="{slo.name}"}} > {burn.factor:g} * {slo.budget:g}'

    # Before the short window has passed once, the first minutes of a new installation fill it.
    seen = f'slo:objective:ratio{{slo="{slo.name}"}} offset {burn.short}'
    return f"(\n  {above(burn.long)}\n  and {above(burn.short)}\n  and on (slo) {seen}\n)"


def _budget_text(slo: Objective, burns: Sequence[Burn]) -> str:
    speeds = " or ".join(f"{burn.factor:g} times too fast over {burn.long} and {burn.short}" for burn in burns)
    return f"The objective is {slo.target * 100:g} % in {WINDOW_DAYS} days. Its error budget burns {speeds}."


def _alert(alert: Alert, base: str, labels: dict[str, str] | None = None) -> Rule:
    rule: Rule = {"alert": alert.name, "expr": alert.expr}
    if alert.waits != "0s":
        rule["for"] = alert.waits
    rule["labels"] = {"severity": alert.severity, "component": alert.component, **(labels or {})}
    rule["annotations"] = {
        "summary": alert.summary,
        "description": alert.description,
        "runbook_url": base + alert.runbook,
    }
    return rule


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Shows texts of several lines as such and repeats what is said twice instead of an anchor."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(value: object) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True))
