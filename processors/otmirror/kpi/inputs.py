"""What only people know: costs, the window, and where the measured parts are, from a TOML file (docs/kpi.md)."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from otmirror import tomlfile
from otmirror.errors import MistakesError
from otmirror.nifi import parse_period

_LICENCE, _COST = ("name", "a_year", "removed"), ("name", "a_year")


@dataclass(frozen=True)
class Cost:
    """An amount a year; a licence of the incumbent may have a day from which on it is not paid any more."""

    name: str
    a_year: float
    removed: datetime.date | None = None


@dataclass(frozen=True)
class Places:
    """Where the measured parts are: addresses, files and folders; None: not given."""

    monitoring: str | None = None
    """The monitoring store, such as http://127.0.0.1:8429."""
    hot: str | None = None
    """The hot store, such as http://127.0.0.1:8428."""
    lakehouse: str | None = None
    """Folder or location of the Iceberg warehouse."""
    nifi: str | None = None
    """NiFi's REST API."""
    drill: str | None = None
    """What `otmirror drill` wrote."""
    provision: str | None = None
    """What `otmirror kpi provision` wrote."""
    audit: str | None = None
    """Folder of the audit trail."""
    decisions: str | None = None
    """The policy's decision log."""
    secrets: str | None = None
    """Folder in which `otmirror secrets sync` remembers what it set."""


@dataclass(frozen=True)
class Inputs:
    """The inputs; `window` in seconds."""

    currency: str
    window: float
    licences: tuple[Cost, ...]
    costs: tuple[Cost, ...]
    places: Places = field(default_factory=Places)
    machines: tuple[str, ...] = ()
    """Names of actors in the audit trail that are no people."""


def load(path: Path) -> Inputs:
    """Read the inputs.

    Raises:
        MistakesError: some of it is wrong; all mistakes at once.
        ConfigError: the file cannot be read.
    """
    data = tomlfile.read(path)
    problems: list[str] = []
    known = ("currency", "window", "licence", "cost", "from", "machines")
    problems += [f"unknown key {key}; known are {', '.join(known)}" for key in data if key not in known]
    currency = data.get("currency", "")
    if not isinstance(currency, str) or not currency.strip():
        problems.append('currency is missing, such as currency = "EUR"')
    window = 0.0
    try:
        window = parse_period(str(data.get("window", "30 days")))
        if window < 60:
            problems.append("window: has to be 1 min at least")
    except ValueError as error:
        problems.append(f"window: {error}")
    licences = _costs("licence", data.get("licence", []), _LICENCE, problems)
    costs = _costs("cost", data.get("cost", []), _COST, problems)
    places = _places(data.get("from", {}), path.parent, problems)
    machines = data.get("machines", [])
    if not isinstance(machines, list) or not all(isinstance(one, str) for one in machines):
        problems.append('machines has to be a list of names, such as ["CN=node1"]')
        machines = []
    if problems:
        raise MistakesError([f"{path}: {problem}" for problem in problems])
    return Inputs(currency.strip(), window, licences, costs, places, tuple(machines))


def over(places: Places, given: Mapping[str, str | None]) -> Places:
    """Return places with those that were given on the command line in their stead."""
    return replace(places, **{name: value for name, value in given.items() if value})


def _costs(kind: str, tables: Any, known: tuple[str, ...], problems: list[str]) -> tuple[Cost, ...]:
    if not isinstance(tables, list):
        problems.append(f"[[{kind}]] has to be tables")
        return ()
    found = []
    for number, table in enumerate(tables, 1):
        where = f"[[{kind}]] {number}"
        if not isinstance(table, dict):
            problems.append(f"{where}: is no table")
            continue
        mistakes = [f"{where}: unknown key {key}; known are {', '.join(known)}" for key in table if key not in known]
        name, amount, removed = table.get("name"), table.get("a_year"), table.get("removed")
        if not isinstance(name, str) or not name.strip():
            mistakes.append(f"{where}: name is missing")
        if not isinstance(amount, (int, float)) or isinstance(amount, bool) or not 0 <= amount < math.inf:
            amount = math.nan
            mistakes.append(f"{where}: a_year has to be an amount from 0 on")
        if removed is not None and (not isinstance(removed, datetime.date) or isinstance(removed, datetime.datetime)):
            mistakes.append(f"{where}: removed has to be a day, such as removed = 2027-06-30")
        problems += mistakes
        if not mistakes:
            found.append(Cost(str(name), float(amount), removed))
    return tuple(found)


def _places(table: Any, beside: Path, problems: list[str]) -> Places:
    names = [one.name for one in fields(Places)]
    if not isinstance(table, dict):
        problems.append('[from] has to be NAME = "text"')
        return Places()
    problems += [f"[from] has no {name}; it may have {', '.join(names)}" for name in table if name not in names]
    problems += [f"[from] {name} has to be text" for name, text in table.items() if not isinstance(text, str)]
    told = {name: text for name, text in table.items() if name in names and isinstance(text, str) and text}
    # Files are named as seen from the inputs file.
    return Places(**{name: text if "://" in text else os.path.normpath(beside / text) for name, text in told.items()})
