"""A Telegraf metric, and how it is read from Telegraf's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import msgspec

FieldValue = tuple[str, Any]
"""The sample's type of a field, and its value (None: the field is null)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LONGEST = 2**62


@dataclass(frozen=True, slots=True)
class Metric:
    """Fields of one measurement at one time. `ts` is microseconds since 1970 UTC."""

    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, FieldValue]
    ts: int


def is_metric(data: object) -> bool:
    """Return whether a JSON value looks like one metric: an object with `fields` and `name`."""
    return isinstance(data, dict) and isinstance(data.get("fields"), dict) and isinstance(data.get("name"), str)


def from_json(data: Mapping[str, Any]) -> Metric:
    """Return the metric a JSON object (see `is_metric`) holds.

    Raises:
        ValueError: it cannot be used; the message says why.
    """
    tags = data.get("tags") or {}
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise ValueError("its tags are no object of texts")
    if not data["name"]:
        raise ValueError("its name is empty")
    fields = {name: _field(value) for name, value in data["fields"].items()}
    return Metric(data["name"], tags, fields, _time(data.get("timestamp")))


def _field(value: object) -> FieldValue:
    """JSON does not tell 3 from 3.0: numbers are double, and an integer only where a double cannot hold it."""
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int):
        if abs(value) <= 2**53:
            return "double", float(value)
        if -(2**63) <= value < 2**63:
            return "int64", value
        return ("uint64", value) if 0 < value < 2**64 else ("double", value)
    if isinstance(value, str):
        return "string", value
    if isinstance(value, (dict, list)):
        return "json", msgspec.json.encode(value).decode()
    return "double", value


def _time(value: object) -> int:
    """Return microseconds. The unit of a number is told by its magnitude, see docs/telegraf.md."""
    if isinstance(value, str):
        return _written_time(value)
    if value is None:
        raise ValueError("it has no timestamp")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("its timestamp is neither a number nor a text")
    size = abs(value)
    if size < 1e11:
        return round(value * 1_000_000)
    if size < 1e14:
        return round(value * 1000)
    if size < 1e17:
        return round(value)
    return in_range(int(value) // 1000)


def _written_time(value: str) -> int:
    try:
        moment = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"its timestamp {value[:40]!r} is not of the form 2006-01-02T15:04:05Z")
    since = moment - _EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def in_range(ts: int) -> int:
    """Return `ts`.

    Raises:
        ValueError: it is no time a sample can have.
    """
    if not -_LONGEST <= ts <= _LONGEST:
        raise ValueError("its timestamp is out of range")
    return ts
