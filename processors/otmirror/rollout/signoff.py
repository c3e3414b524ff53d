"""The sheet that people sign at the end of a phase: made from results, and it hides none."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otmirror import __version__, tomlfile
from otmirror.errors import ConfigError, MistakesError
from otmirror.rollout.check import FAIL, PASS, UNKNOWN, Result
from otmirror.rollout.evidence import Utc
from otmirror.rollout.phases import Phase, command
from otmirror.rollout.sheet import Sheet, Table

LONGEST = 92
"""Days that an exception may last from the day of the sheet on: a phase, no longer."""
_KEYS = ("phase", "criterion", "reason", "name", "expires")
_HOW = (
    "A SHA-256 is that of the file as it was when this sheet was made: sha256sum FILE shows it. That of days is over "
    "the files of the green days in a row: (cd FOLDER; sha256sum DAY.json ... | sha256sum)."
)
_MARKS = {PASS: "passed", FAIL: "FAILED", UNKNOWN: "NOT KNOWN"}


@dataclass(frozen=True)
class Exemption:
    """A criterion of a phase that somebody answers for although it is not fulfilled, until a day."""

    phase: str
    criterion: str
    reason: str
    name: str
    expires: datetime.date


def load_exceptions(path: Path) -> list[Exemption]:
    """Read [[exception]] tables: phase, criterion, reason, name (who answers for it), expires (a date).

    Raises:
        MistakesError: a key is missing, unknown, empty or of the wrong kind, or a criterion comes twice.
        ConfigError: the file cannot be read.
    """
    data = tomlfile.read(path)
    problems = [f"{path}: unknown {key}; exceptions are [[exception]] tables" for key in data if key != "exception"]
    tables = data.get("exception", [])
    if not isinstance(tables, list):
        raise ConfigError(f"{path}: exceptions are [[exception]] tables")
    found = []
    for number, table in enumerate(tables, 1):
        mistakes = _mistakes(table)
        problems += [f"{path}: exception {number}: {mistake}" for mistake in mistakes]
        if not mistakes:
            found.append(Exemption(**table))
    pairs = [(one.phase, one.criterion) for one in found]
    problems += [f"{path}: {pair[1]} of {pair[0]} comes twice" for pair in sorted(set(pairs)) if pairs.count(pair) > 1]
    if problems:
        raise MistakesError(problems)
    return found


def _mistakes(table: Any) -> list[str]:
    if not isinstance(table, dict):
        return ["is no table"]
    mistakes = [f"unknown key {key}; it has {', '.join(_KEYS)}" for key in table if key not in _KEYS]
    for key in _KEYS:
        value = table.get(key)
        if key == "expires":
            if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
                mistakes.append("expires has to be a day, such as expires = 2027-03-31")
        elif not isinstance(value, str) or not value.strip():
            mistakes.append(f"{key} has to be text that says something")
    return mistakes


def make(phase: Phase, results: Sequence[Result], exceptions: Sequence[Exemption], at: Utc) -> Sheet:
    """Return the sign-off sheet of a phase.

    Raises:
        MistakesError: a criterion is not fulfilled and no valid exception stands for it, or an exception is of no
            criterion of the phase. There is no sheet then.
    """
    ours = {one.criterion: one for one in exceptions if one.phase == phase.name}
    problems = _problems(phase, results, ours, at)
    if problems:
        raise MistakesError(problems)
    open_ = [result for result in results if result.state != PASS]
    told = f"{len(results) - len(open_)} of {len(results)} criteria fulfilled"
    sheet = Sheet(
        f"Sign-off: {phase.title} (days {phase.days})",
        told + (f"; {len(open_)} not fulfilled, each with an exception below" if open_ else ""),
        not open_,
    )
    sheet.add(f"Made {at:%Y-%m-%d %H:%M} UTC by otmirror {__version__}. {phase.tells}")
    sheet.add(_criteria(results, ours), "Criteria")
    if open_:
        sheet.add(_exceptions(open_, ours), "Exceptions")
    sheet.add(_HOW, "Evidence")
    sheet.add(_proofs(results))
    sheet.add(Table(("role", "name", "date", "signature"), [(role, "", "", "") for role in phase.signs]), "Signatures")
    return sheet


def _problems(phase: Phase, results: Sequence[Result], ours: Mapping[str, Exemption], at: Utc) -> list[str]:
    ids = [result.criterion.id for result in results]
    problems = [f"the exception for {id} is of no criterion of {phase.name}" for id in ours if id not in ids]
    for result in results:
        if result.state == PASS:
            continue
        id, exemption = result.criterion.id, ours.get(result.criterion.id)
        state = f"{id} is {_MARKS[result.state]} ({result.why or f'{result.shown}, has to be {_limit(result)}'})"
        if exemption is None:
            problems.append(f"{state} and there is no exception for it")
        elif not result.criterion.waivable:
            problems.append(f"{state}; no exception may stand for it")
        elif exemption.expires < at.date():
            problems.append(f"{state} and its exception expired on {exemption.expires}")
        elif (exemption.expires - at.date()).days > LONGEST:
            problems.append(f"{state}; its exception runs until {exemption.expires}, longer than {LONGEST} days")
    return problems


def _limit(result: Result) -> str:
    return result.criterion.limit.shown()


def _criteria(results: Sequence[Result], ours: Mapping[str, Exemption]) -> Table:
    rows = []
    for result in results:
        by = f", exception of {ours[result.criterion.id].name}" if result.state != PASS else ""
        rows.append((result.criterion.gate, result.criterion.asks, _limit(result), result.shown,
                     f"{_MARKS[result.state]}{by}"))  # fmt: skip
    return Table(("gate", "criterion", "has to be", "is", "result"), rows)


def _exceptions(open_: Sequence[Result], ours: Mapping[str, Exemption]) -> Table:
    rows = []
    for result in open_:
        one = ours[result.criterion.id]
        why = result.why or f"{result.shown}, has to be {_limit(result)}"
        rows.append((result.criterion.asks, why, one.reason, one.name, str(one.expires), result.criterion.remedy))
    return Table(("criterion", "what is open", "reason", "who answers for it", "until", "to do"), rows)


def _proofs(results: Sequence[Result]) -> Table:
    rows = [
        (
            result.criterion.id,
            str(result.evidence) if result.evidence else "none",
            result.digest or "none",
            f"{result.dated:%Y-%m-%d %H:%M}" if result.dated else "none",
            command(result.criterion),
        )
        for result in results
    ]
    return Table(("criterion", "evidence", "SHA-256", "dated (UTC)", "checked by"), rows)
