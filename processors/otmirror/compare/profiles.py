"""What an incumbent's export looks like, as data: one TOML file a product in `profiles/`, or a file of one's own."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module, resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from otmirror.errors import ConfigError, MistakesError

_toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

_LARGEST = 256 * 1024
KINDS = ("csv", "sqlite")
_TEXTS = ("title", "kind", "layout", "tag", "time", "value", "quality", "read", "zone", "ambiguous", "decimal",
          "delimiter", "encoding", "other_quality", "tables", "query")  # fmt: skip
_LISTS = ("documented", "header", "optional", "formats", "nulls", "comments", "skip")
_BOOLS = ("opc_quality",)
_TABLES = {"qualities": ("good", "uncertain", "bad"), "states": ("bad",)}
_TABLE_NAME = re.compile(r"sqlth?_[A-Za-z0-9_]{1,60}")
_QUERY = re.compile(r"\s*SELECT\s", re.IGNORECASE)


@dataclass(frozen=True)
class Profile:
    """How to read an export; the fields are the keys of the file."""

    name: str
    title: str
    kind: str = "csv"
    layout: str = "long"
    """`long`: a row a sample; `wide`: a row a time, a column a tag."""
    documented: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    """Names of the columns of a file without a header line."""
    comments: tuple[str, ...] = ()
    """A line that begins with one of these is left out."""
    tag: str = "tag"
    time: str = "time"
    value: str = "value"
    quality: str = ""
    read: str = ""
    """The column of arrival times."""
    optional: tuple[str, ...] = ()
    """Columns that may be missing."""
    skip: tuple[str, ...] = ()
    """Columns of a wide file that are no tags."""
    formats: tuple[str, ...] = ("iso",)
    """`iso`, `epoch_s`, `epoch_ms`, or strptime formats without a fraction of seconds, which may follow them."""
    zone: str = ""
    """Zone of times that name none."""
    ambiguous: str = "raise"
    """What the hour is that comes twice when clocks go back: `earliest`, `latest`, or `raise`."""
    decimal: str = "."
    delimiter: str = ","
    encoding: str = "utf-8"
    nulls: tuple[str, ...] = ()
    """Texts that are no value."""
    qualities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    other_quality: str = ""
    """What a quality is that is not listed; empty: a mistake."""
    opc_quality: bool = False
    """Qualities are OPC DA's numbers: 192 and more good, 64 to 191 uncertain, less bad; 256 and more by Ignition's."""
    states: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Texts in the place of a value: digital states."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Texts that stand for a number: the states of a valve."""
    tables: str = ""
    query: str = ""


def names() -> list[str]:
    """Return the profiles that come with the command."""
    folder = resources.files(__package__ or "").joinpath("profiles")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name: str, zone: str | None = None) -> Profile:
    """Return a profile by its name, or from a file; `zone` takes the place of its own.

    Raises:
        MistakesError: it is not as a profile has to be.
        ConfigError: there is none of that name.
    """
    path = Path(name)
    if name in names():
        text = resources.files(__package__ or "").joinpath("profiles").joinpath(f"{name}.toml").read_text("utf-8")
    elif path.suffix == ".toml" and path.is_file():
        if path.stat().st_size > _LARGEST:
            raise ConfigError(f"{path}: larger than {_LARGEST // 1024} kB, which is no profile")
        text = path.read_text(encoding="utf-8", errors="replace")
    else:
        raise ConfigError(f"profile {name!r}: there is no such file, and no profile of that name: {', '.join(names())}")
    try:
        data = _toml.loads(text)
    except ValueError as error:
        raise ConfigError(f"profile {name}: {error}") from None
    return parse(data, name, zone)


def parse(data: Mapping[str, Any], name: str, zone: str | None = None) -> Profile:
    """Check a profile's keys and make it.

    Raises:
        MistakesError: with every mistake.
    """
    problems = [f"unknown key {key!r}" for key in data if key not in {f.name for f in fields(Profile)} - {"name"}]
    problems += [f"{key} has to be a text" for key in _TEXTS if key in data and not isinstance(data[key], str)]
    problems += [f"{key} has to be true or false" for key in _BOOLS if not isinstance(data.get(key, False), bool)]
    problems += [f"{key} has to be a list of texts" for key in _LISTS if not _is_texts(data.get(key, []))]
    for key, allowed in _TABLES.items():
        table = data.get(key, {})
        if not isinstance(table, dict) or any(k not in allowed or not _is_texts(v) for k, v in table.items()):
            problems.append(f"[{key}] may have the lists {', '.join(allowed)} only")
    numbers = data.get("numbers", {})
    if not isinstance(numbers, dict) or any(type(value) not in (int, float) for value in numbers.values()):
        problems.append("[numbers] has to give a number for each text")
    if not problems:
        tidy = {key: tuple(data[key]) if key in _LISTS else data[key] for key in data if key not in _TABLES}
        tables = {key: {k: tuple(v) for k, v in data.get(key, {}).items()} for key in _TABLES}
        given: dict[str, Any] = {"title": name, **tidy, **tables, **({"zone": zone} if zone else {})}
        profile = Profile(name=name, **given)
        problems = _problems(profile)
    if problems:
        raise MistakesError([f"profile {name}: {problem}" for problem in problems])
    return profile


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _problems(profile: Profile) -> list[str]:
    problems = []
    for key, allowed in (("kind", KINDS), ("layout", ("long", "wide")), ("ambiguous", ("raise", "earliest", "latest")),
                         ("decimal", (".", ",")), ("other_quality", ("", "good", "uncertain", "bad"))):  # fmt: skip
        if getattr(profile, key) not in allowed:
            problems.append(f"{key} is {getattr(profile, key)!r}, none of {', '.join(map(repr, allowed))}")
    if len(profile.delimiter) != 1 or profile.delimiter == profile.decimal:
        problems.append("delimiter has to be one character, and another one than decimal")
    for format_ in profile.formats:
        if format_ not in ("iso", "epoch_s", "epoch_ms") and ("%" not in format_ or "%f" in format_):
            problems.append(f"format {format_!r} is none of iso, epoch_s, epoch_ms and no strptime format without %f")
    if profile.zone:
        try:
            ZoneInfo(profile.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            problems.append(f"zone {profile.zone!r} is no zone such as Europe/Oslo")
    if profile.kind == "sqlite":
        for key in ("tables", "query"):
            if not _QUERY.match(getattr(profile, key)) or ";" in getattr(profile, key):
                problems.append(f"{key} has to be one SELECT")
        if "{table}" not in profile.query:
            problems.append("query has to name {table}")
    return problems


def table_name(text: str) -> str:
    """Return the name of a data table, which is put into a query as it is.

    Raises:
        ConfigError: it is none of Ignition's.
    """
    if not _TABLE_NAME.fullmatch(text):
        raise ConfigError(f"the database names a data table {text[:80]!r}: such a name is not put into a query")
    return text
