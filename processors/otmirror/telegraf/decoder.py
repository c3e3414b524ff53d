"""Lines of Telegraf, in its JSON or in line protocol, as samples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from otmirror.samples import UNREADABLE, Line, Reject, split_value
from otmirror.status import BAD, quality_of
from otmirror.telegraf.lineprotocol import parse
from otmirror.telegraf.metric import Metric, from_json, in_range, is_metric
from otmirror.telegraf.template import DEFAULT_SOURCE, DEFAULT_TAG, source_template, tag_template

QUALITY, DATA_TYPE = "Quality", "DataType"
"""Fields that inputs.opcua adds to every metric: no values of their own."""

# gopcua's StatusCode.Error(): "OK (0x0)", "... StatusBadSensorFailure (0x808C0000)", or the code alone.
_CODE = re.compile(r"(?:.*\()?0x([0-9A-Fa-f]{1,8})\)?", re.DOTALL)

Found = tuple[list[Line], list[Reject]]


class TelegrafDecoder:
    """Turns a line that is no sample into the samples of a Telegraf metric, one a field."""

    def __init__(self, tag: str = DEFAULT_TAG, source: str = DEFAULT_SOURCE):
        """Take the templates of the samples' tag and source.

        Raises:
            ConfigError: a template is none.
        """
        self._tag, self._source = tag_template(tag), source_template(source)

    def __call__(self, raw: bytes, reason: str) -> Found:
        """Read one line, without its line break; `reason` says why it is no sample. Never raises.

        Returns the samples, and the rejects: of the line itself when it is no metric either, or of the parts of it
        that cannot be used.
        """
        shown = raw.decode("utf-8", "backslashreplace")
        if raw.lstrip()[:1] == b"{":
            try:
                data = msgspec.json.decode(raw)
            except UNREADABLE:
                return [], [Reject(reason, shown)]
            return self._from_json(data, reason, shown)
        try:
            return self._samples(parse(raw.decode("utf-8").rstrip("\r")), shown)
        except UnicodeDecodeError:
            return [], [Reject(reason, shown)]
        except ValueError as error:
            return [], [Reject(f"{reason}; no line protocol: {error}", shown)]

    def _from_json(self, data: Any, reason: str, shown: str) -> Found:
        if is_metric(data):
            return self._metric(data, shown)
        if not isinstance(data.get("metrics"), list):
            return [], [Reject(reason, shown)]
        lines: list[Line] = []
        rejects: list[Reject] = []
        for one in data["metrics"]:
            part = msgspec.json.encode(one).decode()
            if is_metric(one):
                found, refused = self._metric(one, part)
            else:
                found, refused = [], [Reject("no Telegraf metric: it lacks name or fields", part)]
            lines += found
            rejects += refused
        return lines, rejects

    def _metric(self, data: Any, shown: str) -> Found:
        try:
            metric = from_json(data)
        except (ValueError, OverflowError) as error:
            return [], [Reject(f"a Telegraf metric, but {error}", shown)]
        return self._samples(metric, shown)

    def _samples(self, metric: Metric, shown: str) -> Found:
        try:
            source, ts = self._source.render(metric.measurement, metric.tags), in_range(metric.ts)
        except ValueError as error:
            return [], [Reject(f"a Telegraf metric, but {error}", shown)]
        lines: list[Line] = []
        rejects: list[Reject] = []
        given: set[str] = set()
        status = _status(metric)
        quality = quality_of(status or 0)
        for name, kind, value in _values(metric, status):
            try:
                tag = self._name(metric, name, given)
                number, text = (None, None) if quality == BAD else _split(value, name)
            except ValueError as error:
                rejects.append(Reject(f"a Telegraf metric, but {error}", shown))
                continue
            lines.append(Line(tag, ts, number, kind, quality, source, text, status or 0))  # type: ignore[arg-type]
        return lines, rejects

    def _name(self, metric: Metric, field: str, given: set[str]) -> str:
        """Return the tag of a field, one that no other field of the metric was given.

        Raises:
            ValueError: there is none.
        """
        tag = self._tag.render(metric.measurement, metric.tags, field)
        if tag in given:
            raise ValueError(f"two of its fields would be the tag {tag!r}")
        given.add(tag)
        return tag


def _values(metric: Metric, status: int | None) -> Iterator[tuple[str, str, Any]]:
    """Yield name, type and value of the fields that are values.

    inputs.opcua leaves out a field whose value is null, and its name with it: that becomes a field without a name.
    """
    found = False
    for name, (kind, value) in metric.fields.items():
        if status is None or name not in (QUALITY, DATA_TYPE):
            found = True
            yield name, kind, value
    if not found:
        yield "", "double", None


def _status(metric: Metric) -> int | None:
    """Return the status in the field Quality; None when there is none (a Quality without a code is a value)."""
    kind, text = metric.fields.get(QUALITY, ("", None))
    match = _CODE.fullmatch(text.strip()) if kind == "string" else None
    return int(match[1], 16) if match else None


def _split(value: Any, name: str) -> tuple[float | None, str | None]:
    if value is None:
        raise ValueError(f"its field {name[:80]!r} is null" if name else "it has no value")
    try:
        return split_value(value)
    except OverflowError:
        raise ValueError(f"its field {name[:80]!r} is too large") from None
