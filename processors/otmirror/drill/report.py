"""The drill's figures: a table, JSON, and a page of Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from otmirror.drill.run import Outcome
from otmirror.drill.watch import Line
from otmirror.slo import rules

GOAL_S, GOAL_RIGHT = 120.0, 0.9
"""An alert within two minutes; the doctor right in nine of ten."""
_HEAD = ("fault", "alert", "noticed after, s", "the doctor's cause", "runbook works", "recovered after, s")


def rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Return a row a fault, as text."""
    return [
        (
            one.fault, one.alert or f"none of {', '.join(one.expected)}", _noticed(one),
            f"{'right' if one.named else 'wrong'}: {one.cause or '-'}", f"{one.worked}/{len(one.lines)}",
            _seconds(one.recover_s),
        )
        for one in outcomes
    ]  # fmt: skip


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return the table for a terminal."""
    made = Table(title="drill", title_justify="left")
    for number, name in enumerate(_HEAD):
        made.add_column(name, justify="right" if number in (2, 4, 5) else "left")
    for one, row in zip(outcomes, rows(outcomes), strict=True):
        good = one.named and in_time(one) and one.recover_s is not None
        made.add_row(*row, style="" if good else "red")
    return made


def in_time(outcome: Outcome) -> bool:
    """Return whether an alert came within two minutes, beyond what its rule waits by itself."""
    return outcome.detect_s is not None and outcome.detect_s <= GOAL_S + outcome.waits


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures over all faults, seconds; of times that were never reached nothing is made up."""
    # A rule that waits for minutes by itself is no slowness of what notices.
    noticed = [one.detect_s - one.waits for one in outcomes if one.detect_s is not None]
    recovered = [one.recover_s for one in outcomes if one.recover_s is not None]
    return {
        "made": len(outcomes),
        "noticed": len(noticed),
        "noticed_within_goal": sum(map(in_time, outcomes)),
        "named": sum(one.named for one in outcomes),
        "recovered": len(recovered),
        "detect_s": _spread(noticed),
        "recover_s": _spread(recovered),
        "runbook_lines": sum(len(one.lines) for one in outcomes),
        "runbook_lines_that_work": sum(one.worked for one in outcomes),
    }


def met(outcomes: Sequence[Outcome]) -> bool:
    """Return whether the goals are met: all noticed in time, nine of ten named, all recovered, every runbook works."""
    told = summary(outcomes)
    count = told["made"]
    return bool(
        count and told["noticed_within_goal"] == count and told["named"] >= GOAL_RIGHT * count
        and told["recovered"] == count and told["runbook_lines"] == told["runbook_lines_that_work"]
    )  # fmt: skip


def as_json(
    outcomes: Sequence[Outcome],
    moment: str,
    conditions: str,
    alerts: Sequence[str],
    lost: Mapping[str, Any],
    others: Mapping[str, Sequence[Line]],
) -> dict[str, Any]:
    """Return everything as JSON's types. `alerts` are all that fired; `others` the runbooks that no fault led to."""
    return {
        "time": moment,
        "conditions": conditions,
        "faults": [
            {
                "fault": one.fault, "expected": list(one.expected), "alert": one.alert,
                "detect_s": _rounded(one.detect_s), "rule_waits_s": one.waits,
                "other_alerts": list(one.others), "named": one.named, "cause": one.cause, "verdict": one.verdict,
                "doctor_s": _rounded(one.doctor_s), "runbook": one.runbook,
                "runbook_lines": [vars(line) for line in one.lines],
                "heal_s": _rounded(one.heal_s), "alert_gone_s": _rounded(one.cleared_s),
                "recover_s": _rounded(one.recover_s), "problem": one.problem,
            }
            for one in outcomes
        ],
        "alerts": list(alerts),
        "lost": dict(lost),
        "other_runbooks": {name: [vars(line) for line in lines] for name, lines in others.items()},
        **summary(outcomes),
    }  # fmt: skip


def markdown(told: Mapping[str, Any], outcomes: Sequence[Outcome]) -> str:
    """Return the table and the figures below it, as docs/drill.md has them."""
    lines = [f"| {' | '.join(_HEAD)} |", "|---|---|---:|---|---:|---:|"]
    lines += [f"| {' | '.join(row)} |" for row in rows(outcomes)]
    noticed, recovered = told["detect_s"], told["recover_s"]
    lines += [
        "",
        f"{told['time'][:16].replace('T', ' ')} UTC, {told['conditions']}. Noticed: {told['noticed']} of "
        f"{told['made']}, {told['noticed_within_goal']} within {GOAL_S:.0f} s ({_told(noticed)}). The doctor named "
        f"the cause in {told['named']}. Recovered: {told['recovered']} ({_told(recovered)}). Runbooks: "
        f"{told['runbook_lines_that_work']} of {told['runbook_lines']} queries and commands work.",
    ]
    fired = sorted(set(told["alerts"]) - {"Watchdog"})
    silent = sorted(rules.names(1) - set(told["alerts"]))
    lines += ["", f"Alerts that fired, as expected ones or beside them: {', '.join(fired) or 'none'}. "
              f"Not seen: {', '.join(silent) or 'none'}."]  # fmt: skip
    if told["other_runbooks"]:
        tried = [line for of_one in told["other_runbooks"].values() for line in of_one]
        worked = sum(line["problem"] is None for line in tried)
        lines += ["", f"The {len(told['other_runbooks'])} runbooks that no fault led to, tried while all was well: "
                  f"{worked} of {len(tried)} queries and commands work."]  # fmt: skip
    if told["lost"]:
        samples = "; ".join(
            f"{name}: {one['emitted']:,} read, {one['iceberg_lost']} not in Iceberg, {one['twice']} twice, "
            f"{one['hot_missing']} not in VictoriaMetrics" for name, one in told["lost"].items()
        )  # fmt: skip
        lines += ["", f"What left the sources, afterwards in the stores: {samples}."]
    return "\n".join(lines) + "\n"


def _told(spread: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {'-' if value is None else f'{value:.0f} s'}" for name, value in spread.items())


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {"mean": None, "median": None, "max": None}
    return {"mean": _rounded(statistics.fmean(values)), "median": _rounded(statistics.median(values)),
            "max": _rounded(max(values))}  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _noticed(outcome: Outcome) -> str:
    waits = f" (the rule waits {outcome.waits:.0f})" if outcome.waits else ""
    return _seconds(outcome.detect_s) + waits


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"
