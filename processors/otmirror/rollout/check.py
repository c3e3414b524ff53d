"""Whether a phase may begin or end: each criterion checked, with its value, its limit and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from otmirror.compare.gate import green_days
from otmirror.errors import ConfigError, MirrorError
from otmirror.rollout import evidence as ev
from otmirror.rollout.evidence import Evidence, Utc
from otmirror.rollout.phases import COMMAND, DAYS, QUERY, Criterion, Value, command
from otmirror.rollout.prometheus import Prometheus

PASS, FAIL, UNKNOWN = "pass", "fail", "unknown"
_DAY_FILE = re.compile(r"\d{4}-\d\d-\d\d")
# -retentionPeriod of VictoriaMetrics: no unit means months of 31 days, as its flag's help says.
_RETENTION = {"h": 1 / 24, "d": 1.0, "w": 7.0, "": 31.0, "M": 31.0, "y": 365.0}


@dataclass(frozen=True)
class Result:
    """What came of a criterion."""

    criterion: Criterion
    state: str
    """`pass`, `fail` or `unknown`."""
    value: Value | None = None
    why: str = ""
    """Why nothing is known, or what a command said that failed."""
    evidence: Path | None = None
    digest: str = ""
    dated: Utc | None = None

    @property
    def shown(self) -> str:
        """The value in its unit; `-` when there is none."""
        return "-" if self.value is None else self.criterion.limit.shown(self.value)


class Checker:
    """Checks criteria against a folder of results and a monitoring store."""

    def __init__(
        self,
        results: Path,
        monitoring: str | None = None,
        *,
        run: bool = True,
        fresh: bool = False,
        clock: Callable[[], Utc] = ev.now,
        say: Callable[[str], object] = lambda _line: None,
    ):
        """Take where evidence is kept, and how to get what is missing.

        Args:
            results: folder of the evidence; made when missing.
            monitoring: address of the monitoring store; None: only answers that were kept count.
            run: whether commands are run when their last answer is too old.
            fresh: whether they are run in any case.
            clock: the time, UTC.
            say: told what is being run.
        """
        self._results, self._run, self._fresh, self._now, self._say = results, run, fresh, clock, say
        self._store = Prometheus(monitoring) if monitoring else None

    def check(self, criteria: Iterable[Criterion]) -> list[Result]:
        """Return what came of each criterion; nothing that is missing or broken is raised, it is `unknown`."""
        return [self._checked(criterion) for criterion in criteria]

    def _checked(self, criterion: Criterion) -> Result:
        try:
            if criterion.source == DAYS:
                return self._days(criterion)
            if criterion.source == COMMAND:
                return self._command(criterion)
            if criterion.source == QUERY:
                return self._query(criterion)
            return self._judged(criterion, ev.read(self._path(criterion), criterion.dated))
        except MirrorError as error:
            return Result(criterion, UNKNOWN, why=str(error))

    def _path(self, criterion: Criterion) -> Path:
        return self._results / criterion.evidence

    def _command(self, criterion: Criterion) -> Result:
        target = self._path(criterion)
        kept = ev.read(target, "began")
        if kept is not None and kept.content.get("arguments") != list(criterion.run):
            kept = None  # of other arguments, such as another folder of certificates
        if self._run and (self._fresh or kept is None or ev.stale(kept, criterion.max_age, self._now())):
            self._say(f"running {command(criterion)}")
            ev.run(criterion.run, target)
            kept = ev.read(target, "began")
        return self._judged(criterion, kept)

    def _query(self, criterion: Criterion) -> Result:
        target = self._path(criterion)
        if self._store is not None:
            at = self._now()
            problem = self._too_short(criterion, at)
            answer = [{"labels": dict(one.labels), "value": one.value} for one in self._store.instant(criterion.query)]
            ev.write(target, {"query": criterion.query, "store": self._store.url, "answer": answer,
                              "problem": problem, "time": at.isoformat(timespec="seconds")})  # fmt: skip
        kept = ev.read(target, "time")
        if kept is None:
            return Result(criterion, UNKNOWN, why="no monitoring store was asked: give --monitoring")
        if kept.content.get("query") != criterion.query:
            return Result(criterion, UNKNOWN, why=f"{target} answers another query: give --monitoring")
        return self._judged(criterion, kept)

    def _too_short(self, criterion: Criterion, at: Utc) -> str:
        """Return why the store's data does not reach back far enough; '' when it does."""
        if not criterion.history or self._store is None:
            return ""
        day = min(86400.0, criterion.history)
        begin = at.timestamp() - criterion.history + day
        if self._store.number(f"count(present_over_time(up[{day:.0f}s]))", begin):
            return ""
        return f"the store holds no data of {criterion.history / 86400:.3g} days ago: the value says nothing yet"

    def _judged(self, criterion: Criterion, found: Evidence | None) -> Result:
        if found is None:
            return Result(criterion, UNKNOWN, why=f"there is no {self._path(criterion)}")
        try:
            value, why = _value(criterion, found)
        except ConfigError as error:
            value, why = None, f"{error}{_complaint(found.content)}"
        why = ev.stale(found, criterion.max_age, self._now()) or why
        result = _result(criterion, value, why, found.path, found.digest, found.dated)
        if result.state == FAIL:
            return replace(result, why=_complaint(found.content).removeprefix(": "))
        return result

    def _days(self, criterion: Criterion) -> Result:
        folder = self._path(criterion)
        days = sorted(f.stem for f in folder.glob("*.json") if _DAY_FILE.fullmatch(f.stem)) if folder.is_dir() else []
        if not days:
            return Result(criterion, UNKNOWN, why=f"there is no day in {folder}")
        count = green_days(folder, days[-1])
        # A day speaks for itself once it is over.
        over = Utc.fromisoformat(f"{days[-1]}T00:00:00+00:00")
        names = [f"{day}.json" for day in days[len(days) - max(1, count) :]]
        digest = ev.digest_of(folder, names)
        found = Evidence(folder, digest, None, over)
        why = ev.stale(found, criterion.max_age + 86400.0, self._now())
        return _result(criterion, float(count), why, folder, digest, over)


def _result(criterion: Criterion, value: Value | None, why: str, path: Path, digest: str, dated: Utc) -> Result:
    if value is not None and not why and not criterion.limit.fits(value):
        why = f"{path}: {value!r} cannot be held against {criterion.limit.shown()}"
    if why or value is None:
        state = UNKNOWN
    else:
        state = PASS if criterion.limit.holds(value) else FAIL
    return Result(criterion, state, value, why, path, digest, dated)


def _value(criterion: Criterion, found: Evidence) -> tuple[Value | None, str]:
    """Return the value that counts, and why there is none."""
    if criterion.source == QUERY:
        return _answered(criterion, found.content)
    value = ev.found(found.content, criterion.value, found.path)
    if isinstance(value, (bool, str)):
        return value, ""
    if isinstance(value, (int, float)):
        return float(value), ""
    return None, f"{found.path} has no single value at {criterion.value}{_complaint(found.content)}"


def _complaint(content: Any) -> str:
    """Return the last line of what a command said, after a colon; '' when it said nothing."""
    told = [content.get("error"), content.get("output")] if isinstance(content, dict) else []
    lines = [line.strip() for text in told if isinstance(text, str) for line in text.splitlines() if line.strip()]
    return f": {lines[-1][:200]}" if lines else ""


def _answered(criterion: Criterion, content: Any) -> tuple[Value | None, str]:
    answer, problem = content["answer"], content.get("problem") or ""
    if not answer:
        return None, "the store has no data for it"
    if len(answer) > 1:
        return None, f"the query answers with {len(answer)} series; it has to sum them or take the worst"
    if criterion.label:
        return _retention(str(answer[0]["labels"].get(criterion.label, ""))), problem
    return float(answer[0]["value"]), problem


def _retention(text: str) -> float:
    """Return a retention period of VictoriaMetrics in days.

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdwMy]?)", text)
    if not match:
        raise ConfigError(f"{text!r} is no retention period such as 90d")
    return float(match[1]) * _RETENTION[match[2]]


def exit_code(results: Sequence[Result]) -> int:
    """Return 0 when all passed, 1 when one failed, 2 when one is unknown and none failed."""
    states = {result.state for result in results}
    return 1 if FAIL in states else 2 if UNKNOWN in states else 0


def data(phase: str, results: Sequence[Result], at: Utc) -> dict[str, Any]:
    """Return the results as plain values for JSON; values in the unit of their limit, times in ISO 8601."""
    return {
        "phase": phase,
        "time": at.isoformat(timespec="seconds"),
        "counts": {state: sum(r.state == state for r in results) for state in (PASS, FAIL, UNKNOWN)},
        "criteria": [_row(result) for result in results],
    }


def _row(result: Result) -> dict[str, Any]:
    criterion = result.criterion
    return {
        "gate": criterion.gate,
        "id": criterion.id,
        "asks": criterion.asks,
        "state": result.state,
        "value": result.value,
        "limit": {"rule": criterion.limit.rule, "bound": criterion.limit.bound, "unit": criterion.limit.unit},
        "why": result.why,
        "remedy": "" if result.state == PASS else criterion.remedy,
        "checked_by": command(criterion),
        "evidence": str(result.evidence) if result.evidence else None,
        "sha256": result.digest,
        "dated": result.dated.isoformat(timespec="seconds") if result.dated else None,
    }


def dumps(phase: str, results: Sequence[Result], at: Utc) -> str:
    """Return `data` as JSON text."""
    return json.dumps(data(phase, results, at), indent=2, ensure_ascii=False)
