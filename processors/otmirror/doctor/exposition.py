"""Prometheus' text format, as far as the doctor needs it: lines of a name, labels and a number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_LINE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?[ \t]+(\S+)')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPES = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Point:
    """One line: a series and its present value."""

    name: str
    labels: Mapping[str, str]
    value: float


def points(text: str) -> Iterator[Point]:
    """Yield what a text holds; lines that are none are left out."""
    for line in text.splitlines():
        match = _LINE.match(line)
        if not match:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        labels = {name: _ESCAPES.sub(_unescaped, raw) for name, raw in _LABEL.findall(match[2] or "")}
        yield Point(match[1], labels, value)


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
