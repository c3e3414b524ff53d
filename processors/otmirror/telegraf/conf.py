"""Telegraf's configuration file, as far as its inputs of tags go."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from otmirror.errors import ConfigError
from otmirror.taglist import LONGEST_MS, SHORTEST_MS, AddressCheck, Tag
from otmirror.telegraf.template import Template

_toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DEFAULT_INTERVAL = "10s"
"""Telegraf's own, of the agent."""
_FILTERS = (
    "namepass", "namedrop", "fieldpass", "fieldinclude", "fielddrop", "fieldexclude", "tagpass", "tagdrop",
    "taginclude", "tagexclude", "metricpass",
)  # fmt: skip


@dataclass
class Imported:
    """A tag list made of one input, and the settings that go with it."""

    protocol: str
    number: int
    where: str
    tags: list[Tag] = field(default_factory=list)
    settings: list[tuple[str, str]] = field(default_factory=list)
    """What to set: a parameter or property, and its value or what to do."""

    @property
    def file(self) -> str:
        """Name of the tag list's file."""
        return f"{self.protocol}-{self.number}.csv"


@dataclass
class Left:
    """What could not be carried over: where it is in the file, and why."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


class Names:
    """Names the tags of one import, each once."""

    def __init__(self, template: Template):
        """Take the template of the property Telegraf Tag."""
        self._template = template
        self._first: dict[str, str] = {}

    def give(self, where: str, measurement: str, tags: Mapping[str, str], name: str) -> str:
        """Return the tag the decoder gives to a field of a live metric.

        Raises:
            ValueError: it cannot be named, or has the name of another one.
        """
        if not name:
            raise ValueError("it has no name")
        tag = self._template.render(measurement, tags, name)
        if tag in self._first:
            raise ValueError(
                f"its tag {tag!r} is already that of {self._first[tag]}; tell them apart by a tag of Telegraf, as in "
                "--tag 'telegraf/{id|slave_id}/{field}', and set the sinks' Telegraf Tag to the same"
            )
        self._first[tag] = where
        return tag


class Input:
    """One `[[inputs.…]]` of the file, with what the agent adds to it."""

    def __init__(self, kind: str, number: int, table: Mapping[str, Any], whole: Mapping[str, Any]):
        """Take the input's table, its number from 1, and the whole file."""
        self.where, self.table = f"inputs.{kind}[{number}]", table
        self._agent, self._global = mapping(whole.get("agent")), texts(whole.get("global_tags"))

    @property
    def interval(self) -> str:
        """How often it is read, in Telegraf's notation."""
        return str(self.table.get("interval") or self._agent.get("interval") or DEFAULT_INTERVAL)

    def measurement(self, own: str) -> str:
        """Return the measurement's name in the output."""
        table = self.table
        name = table.get("name_override") or own
        return f"{table.get('name_prefix', '')}{name}{table.get('name_suffix', '')}"

    def tags(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return the tags of a metric in the output; what is more special wins."""
        agent = self._agent
        host = {} if agent.get("omit_hostname") or not agent.get("hostname") else {"host": str(agent["hostname"])}
        return {**host, **self._global, **texts(self.table.get("tags")), **own}

    def problems(self) -> Iterator[Left]:
        """Yield the settings of any input that the mirror does not have."""
        for name in _FILTERS:
            if name in self.table:
                yield Left(f"{self.where}.{name}", "filters are not applied: every tag is in the list")


def load(text: str) -> dict[str, Any]:
    """Parse the file.

    Raises:
        ConfigError: it is not TOML.
    """
    try:
        parsed: dict[str, Any] = _toml.loads(text)
    except (_toml.TOMLDecodeError, RecursionError) as error:
        hint = "; put ${VARIABLES} in quotes" if "${" in text else ""
        raise ConfigError(f"not TOML: {error}{hint}") from None
    return parsed


def seconds(duration: object) -> float:
    """Return a duration of Telegraf (`1m30s`, or a number of seconds) in seconds.

    Raises:
        ValueError: it is none.
    """
    text = str(duration).strip()
    try:
        return float(text)
    except ValueError:
        pass
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration such as 10s")
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def period(duration: object) -> str:
    """Return a duration in NiFi's notation.

    Raises:
        ValueError: it is no duration, or none that can be polled at.
    """
    milliseconds = seconds(duration) * 1000
    if not SHORTEST_MS <= milliseconds <= LONGEST_MS:
        raise ValueError(f"{duration} is not between {SHORTEST_MS} ms and one day")
    whole = milliseconds / 1000
    return f"{whole:g} sec" if whole == int(whole) else f"{milliseconds:g} ms"


def mapping(value: object) -> Mapping[str, Any]:
    """Return a TOML table, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def tables(value: object) -> list[Mapping[str, Any]]:
    """Return the tables of a TOML array of tables; anything else in it becomes an empty one."""
    return [mapping(item) for item in value] if isinstance(value, list) else []


def texts(value: object) -> dict[str, str]:
    """Return a TOML table's entries as texts."""
    return {str(name): str(content) for name, content in mapping(value).items()}


def whole(value: object, name: str, low: int, high: int, default: int | None = None) -> int:
    """Return a whole number of a table.

    Raises:
        ValueError: it is none, or out of its bounds.
    """
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} {value!r} is not a whole number from {low} to {high}")
    return value


def checked(tag: Tag, check: AddressCheck) -> Tag:
    """Return the tag.

    Raises:
        ValueError: a tag list could not hold it.
    """
    if any(ord(character) < 32 for character in tag.tag):
        raise ValueError(f"its tag {tag.tag!r} holds a control character")
    complaint = check(tag)
    if complaint:
        raise ValueError(complaint)
    return tag


def attempt(left: list[Left], where: str, make: Callable[[], Tag]) -> list[Tag]:
    """Return the one tag `make` makes, or none and the reason in `left`."""
    try:
        return [make()]
    except ValueError as error:
        left.append(Left(where, str(error)))
        return []
