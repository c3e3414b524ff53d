"""The phases of a rollout and their criteria, from a TOML file (docs/rollout.md)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from otmirror import tomlfile
from otmirror.errors import ConfigError, MistakesError
from otmirror.nifi import parse_period

ENTRY, EXIT = "entry", "exit"
AT_LEAST, AT_MOST, EQUALS = "at_least", "at_most", "equals"
COMMAND, EVIDENCE, QUERY, DAYS = "command", "evidence", "query", "days"
"""Where a value comes from: a command run now, a file that a drill left, the monitoring store, a folder of days."""

_TEXTS = ("id", "asks", "evidence", "how", "query", "history", "label", "value", "dated", "max_age", "unit", "remedy")
_PHASE = ("title", "days", "tells", "signs", ENTRY, EXIT)
_PLACE = re.compile(r"\{(\w+)\}")
_RULES = (AT_LEAST, AT_MOST, EQUALS)
_DEFAULT_AGE = "7 days"

Value = float | str | bool


@dataclass(frozen=True)
class Limit:
    """What a value has to be: at least or at most a number, or equal to something."""

    rule: str
    bound: Value
    unit: str = ""

    def fits(self, value: Value) -> bool:
        """Return whether a value is of the kind that the limit is about: a number, yes or no, a text."""
        kinds = (bool, str)
        return all(isinstance(value, kind) == isinstance(self.bound, kind) for kind in kinds)

    def holds(self, value: Value) -> bool:
        """Return whether a value is within the limit; a value of another kind is not."""
        if not self.fits(value):
            return False
        if self.rule == EQUALS or isinstance(value, str):
            return value == self.bound
        return value >= float(self.bound) if self.rule == AT_LEAST else value <= float(self.bound)

    def shown(self, value: Value | None = None) -> str:
        """Write the limit, or a value in its unit."""
        if value is None:
            return f"{'' if self.rule == EQUALS else self.rule.replace('_', ' ') + ' '}{self.shown(self.bound)}"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, str):
            return value
        if self.unit == "share":
            return f"{value * 100:.4g} %"
        number = f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
        return f"{number} {self.unit}".strip()


@dataclass(frozen=True)
class Criterion:
    """One thing that has to hold, and how it is checked."""

    id: str
    gate: str
    """`entry` or `exit`."""
    asks: str
    source: str
    limit: Limit
    remedy: str
    evidence: str = ""
    """File (or folder) in the results folder."""
    run: tuple[str, ...] = ()
    """Arguments of `otmirror`; its answer becomes the evidence."""
    how: str = ""
    """What a person runs to get the evidence."""
    query: str = ""
    history: float = 0.0
    """Seconds of data that the monitoring store has to hold for the query to mean what it says."""
    label: str = ""
    """Take this label of the answer, a period such as `90d`, as days, in the place of its value."""
    value: str = ""
    """JMESPath into the evidence."""
    dated: str = ""
    """JMESPath of the evidence's time; without it the file's own."""
    max_age: float = 7 * 86400.0
    """Seconds after which evidence says nothing any more."""
    waivable: bool = True
    """Whether a written exception may stand in its place."""


@dataclass(frozen=True)
class Phase:
    """A phase: from day to day, what it is for, who signs, and its criteria."""

    name: str
    title: str
    days: str
    tells: str
    signs: tuple[str, ...]
    criteria: tuple[Criterion, ...]

    def of(self, gate: str) -> tuple[Criterion, ...]:
        """Return the criteria of a gate; of both when `gate` is empty."""
        return tuple(one for one in self.criteria if gate in ("", one.gate))


def load(path: Path, site: Mapping[str, str] | None = None) -> dict[str, Phase]:
    """Read the phases; `{name}` in a command or query stands for a value of [site], which `site` overrides.

    Raises:
        MistakesError: some of it makes no phase; all mistakes at once.
        ConfigError: the file cannot be read.
    """
    data = tomlfile.read(path)
    problems: list[str] = []
    declared = data.pop("site", {})
    if not isinstance(declared, dict) or not all(isinstance(text, str) for text in declared.values()):
        raise ConfigError(f'{path}: [site] has to be NAME = "text"')
    unknown = sorted(set(site or {}) - set(declared))
    if unknown:
        raise ConfigError(f"--set {unknown[0]}: [site] of {path} has {', '.join(sorted(declared)) or 'nothing'}")
    places = {**declared, **(site or {})}
    phases = {}
    for name, table in data.items():
        phases[name] = _phase(name, table, places, problems)
    if not phases and not problems:
        problems.append("there is no phase in it")
    if problems:
        raise MistakesError([f"{path}: {problem}" for problem in problems])
    return {name: phase for name, phase in phases.items() if phase is not None}


def _phase(name: str, table: Any, places: Mapping[str, str], problems: list[str]) -> Phase | None:
    if not isinstance(table, dict):
        problems.append(f"{name} has to be a table")
        return None
    problems += [f"[{name}] has no {key}; it may have {', '.join(_PHASE)}" for key in table if key not in _PHASE]
    criteria: list[Criterion] = []
    for gate in (ENTRY, EXIT):
        entries = table.get(gate, [])
        if not isinstance(entries, list):
            problems.append(f"[{name}] {gate} has to be tables: [[{name}.{gate}]]")
            continue
        for number, entry in enumerate(entries, 1):
            where = f"[[{name}.{gate}]] {entry.get('id') or number}" if isinstance(entry, dict) else f"[{name}] {gate}"
            found: list[str] = []
            one = _criterion(gate, entry, places, found)
            problems += [f"{where}: {problem}" for problem in found]
            criteria += [one] if one else []
    ids = [one.id for one in criteria]
    problems += [f"[{name}] {id} comes twice" for id in sorted({id for id in ids if ids.count(id) > 1})]
    if not criteria:
        problems.append(f"[{name}] has no criteria")
    signs = table.get("signs", [])
    texts = {key: str(table.get(key, "")) for key in ("title", "days", "tells")}
    return Phase(name, texts["title"] or name, texts["days"], texts["tells"], tuple(map(str, signs)), tuple(criteria))


def _criterion(gate: str, entry: Any, places: Mapping[str, str], problems: list[str]) -> Criterion | None:
    if not isinstance(entry, dict):
        problems.append("has to be a table")
        return None
    known = (*_TEXTS, *_RULES, "run", "green_days", "waivable")
    problems += [f"unknown key {key}; known are {', '.join(known)}" for key in entry if key not in known]
    problems += [f"{key} has to be text" for key in _TEXTS if key in entry and not isinstance(entry[key], str)]
    problems += [f"{key} is missing" for key in ("id", "asks", "remedy") if not entry.get(key)]
    limit = _limit(entry, problems)
    source = _source(entry, problems)
    for key in ("value", "dated"):
        try:
            if entry.get(key):
                jmespath.compile(entry[key])
        except (JMESPathError, TypeError) as error:
            problems.append(f"{key} is no JMESPath expression: {' '.join(str(error).split())[:200]}")
    ages = {key: _period(key, entry.get(key), default, problems)
            for key, default in (("max_age", _DEFAULT_AGE), ("history", "0 sec"))}  # fmt: skip
    run = entry.get("run", [])
    if not isinstance(run, list) or not all(isinstance(part, str) for part in run):
        problems.append('run has to be a list of arguments of otmirror, such as ["prove", "--json"]')
        run = []
    if not isinstance(entry.get("waivable", True), bool):
        problems.append("waivable is true or false")
    filled = [_filled(part, places, problems) for part in run]
    query = _filled(entry.get("query", ""), places, problems)
    how = _filled(entry.get("how", ""), places, problems)
    if problems or limit is None:
        return None
    evidence = entry.get("evidence", "") or (f"{entry['id']}.json" if source in (COMMAND, QUERY) else "days")
    return Criterion(
        entry["id"], gate, entry["asks"], source, limit, entry["remedy"], evidence, tuple(filled), how, query,
        ages["history"], entry.get("label", ""), entry.get("value", ""), entry.get("dated", ""), ages["max_age"],
        entry.get("waivable", True),
    )  # fmt: skip


def _source(entry: Mapping[str, Any], problems: list[str]) -> str:
    """Return where the value comes from, by the key that says so."""
    kinds = [kind for kind, key in ((COMMAND, "run"), (QUERY, "query"), (DAYS, "green_days")) if entry.get(key)]
    if len(kinds) > 1:
        problems.append("run, query and green_days: give one of them")
    source = kinds[0] if kinds else EVIDENCE
    if source == EVIDENCE and not entry.get("evidence"):
        problems.append("says not how it is checked: give run, query, green_days or evidence")
    if source in (COMMAND, EVIDENCE) and not entry.get("value"):
        problems.append("value is missing: which part of the evidence counts (JMESPath)")
    return source


def _limit(entry: Mapping[str, Any], problems: list[str]) -> Limit | None:
    given = [rule for rule in _RULES if rule in entry]
    if len(given) != 1:
        problems.append(f"give one of {', '.join(_RULES)}")
        return None
    bound = entry[given[0]]
    number = isinstance(bound, (int, float)) and not isinstance(bound, bool) and math.isfinite(bound)
    if not number and (given[0] != EQUALS or not isinstance(bound, (bool, str))):
        problems.append(f"{given[0]} has to be a number{'' if given[0] != EQUALS else ', text, true or false'}")
        return None
    return Limit(given[0], float(bound) if number else bound, str(entry.get("unit", "")))


def _period(key: str, raw: Any, default: str, problems: list[str]) -> float:
    try:
        return parse_period(raw if isinstance(raw, str) else default)
    except ValueError as error:
        problems.append(f"{key}: {error}")
        return 0.0


def _filled(text: Any, places: Mapping[str, str], problems: list[str]) -> str:
    if not isinstance(text, str):
        return ""
    # PromQL has braces too, but never around a bare word.
    missing = [name for name in _PLACE.findall(text) if name not in places]
    problems += [f"{{{name}}} is not in [site]" for name in missing]
    return _PLACE.sub(lambda match: places.get(match[1], ""), text)


def chosen(phases: Mapping[str, Phase], name: str) -> Phase:
    """Return a phase by its name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    if name not in phases:
        raise ConfigError(f"--phase {name}: there is no such phase (there are: {', '.join(phases)})")
    return phases[name]


def command(criterion: Criterion) -> str:
    """Return what a person types to get the evidence of a criterion."""
    if criterion.run:
        return "otmirror " + " ".join(_quoted(criterion.run))
    return criterion.how or criterion.query


def _quoted(parts: Sequence[str]) -> list[str]:
    return [f"'{part}'" if re.search(r"[\s'\"*]", part) else part for part in parts]
