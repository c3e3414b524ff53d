r"""Influx line protocol, one line: `measurement,tag=value field=value,field=value timestamp`.

After InfluxData's line protocol reference (docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/):
a backslash escapes comma and blank in a measurement, comma, equals sign and blank in tags and field names, and
quote and backslash in a text; before anything else it is itself. Integers end in `i` (or `u`, unsigned), numbers
without a letter are doubles. Timestamps are nanoseconds. Stricter than the servers: no comments, no repeated names,
no line breaks inside a text, and a timestamp has to be there.
"""

from __future__ import annotations

import math
import re

from otmirror.telegraf.metric import FieldValue, Metric

_MEASUREMENT = re.compile(r"(?:[^, \\\x00-\x1f]|\\[, ]|\\(?![, ]))+")
_KEY = re.compile(r"(?:[^,= \\\x00-\x1f]|\\[,= ]|\\(?![,= ]))+")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_NUMBER = re.compile(r"(-?)(?:(\d+)([iu])|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)", re.ASCII)
_STAMP = re.compile(r"-?\d{1,19}", re.ASCII)
_BLANKS = re.compile(" +")
_ESCAPED, _ESCAPED_TEXT = re.compile(r"\\([,= ])"), re.compile(r'\\(["\\])')
_BOOLS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}
_WORD = re.compile("[A-Za-z]+")


def parse(line: str) -> Metric:
    """Parse one line, without its line break.

    Raises:
        ValueError: it is no line protocol; the message says what is wrong and at which character (from 1).
    """
    line = line.strip(" ")
    if line.startswith("#"):
        raise ValueError("a comment")
    name, at = _take(_MEASUREMENT, line, 0, "a measurement")
    tags: dict[str, str] = {}
    while line.startswith(",", at):
        key, at = _key(line, at + 1, "a tag")
        value, at = _take(_KEY, line, at, "a tag's value")
        _once(tags, key, at)
        tags[key] = _plain(value)
    fields, at = _fields(line, _blank(line, at, "fields"))
    if at == len(line):
        raise ValueError("it has no timestamp")
    stamp, end = _take(_STAMP, line, _blank(line, at, "a timestamp"), "a timestamp")
    if end != len(line) or not -(2**63) <= int(stamp) < 2**63:
        raise ValueError(f"character {end + 1}: the timestamp is no number of nanoseconds")
    return Metric(re.sub(r"\\([, ])", r"\1", name), tags, fields, int(stamp) // 1000)


def _fields(line: str, at: int) -> tuple[dict[str, FieldValue], int]:
    fields: dict[str, FieldValue] = {}
    while True:
        key, at = _key(line, at, "a field")
        _once(fields, key, at)
        fields[key], at = _value(line, at)
        if not line.startswith(",", at):
            return fields, at
        at += 1


def _key(line: str, at: int, what: str) -> tuple[str, int]:
    key, at = _take(_KEY, line, at, f"{what}'s name")
    if not line.startswith("=", at):
        raise ValueError(f"character {at + 1}: {what} without =")
    return _plain(key), at + 1


def _value(line: str, at: int) -> tuple[FieldValue, int]:
    if line.startswith('"', at):
        match = _TEXT.match(line, at)
        if not match:
            raise ValueError(f"character {at + 1}: the text has no end; a line break inside a text is not supported")
        return ("string", _ESCAPED_TEXT.sub(r"\1", match[1])), match.end()
    match = _NUMBER.match(line, at)
    if match:
        return _number(match, at), match.end()
    match = _WORD.match(line, at)
    if match and match[0] in _BOOLS:
        return ("bool", _BOOLS[match[0]]), match.end()
    raise ValueError(f"character {at + 1}: the field's value is neither a number, a boolean nor a text")


def _number(match: re.Match[str], at: int) -> FieldValue:
    sign, digits, kind = match.groups()
    if not digits:
        value = float(match[0])
        if math.isinf(value):
            raise ValueError(f"character {at + 1}: the number is too large")
        return "double", value
    # int() of thousands of digits takes long, and then raises.
    number = int(sign + digits) if len(digits) <= 20 else 2**64
    low, high = (-(2**63), 2**63) if kind == "i" else (0, 2**64)
    if not low <= number < high:
        raise ValueError(f"character {at + 1}: the integer does not fit 64 bits")
    return ("int64" if kind == "i" else "uint64"), number


def _take(pattern: re.Pattern[str], line: str, at: int, what: str) -> tuple[str, int]:
    match = pattern.match(line, at)
    if not match:
        raise ValueError(f"character {at + 1}: {what} is missing")
    return match[0], match.end()


def _blank(line: str, at: int, what: str) -> int:
    match = _BLANKS.match(line, at)
    if not match:
        raise ValueError(f"character {at + 1}: a blank and {what} are missing")
    return match.end()


def _once(known: dict[str, str] | dict[str, FieldValue], key: str, at: int) -> None:
    if key in known:
        raise ValueError(f"character {at + 1}: {key[:40]!r} is there twice")


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text
