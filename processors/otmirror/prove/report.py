"""Lines of the proof: a claim, how it was checked, what was seen, and the verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

HOLDS, FAILS, UNCHECKED = "holds", "FAILS", "not checked here"
_STYLES = {HOLDS: "green", FAILS: "bold red", UNCHECKED: "yellow"}
_SHOWN = 5


@dataclass(frozen=True)
class Line:
    """One claim. `verdict` is `HOLDS`, `FAILS` or `UNCHECKED`; `id` is short and stays the same over versions."""

    id: str
    claim: str
    how: str
    seen: str
    verdict: str


def judged(id: str, claim: str, how: str, broken: Sequence[str], good: str) -> Line:
    """Return a line that fails by what is broken, of which the first five are told, else holds as `good` says."""
    if not broken:
        return Line(id, claim, how, good, HOLDS)
    more = f"; and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
    return Line(id, claim, how, "; ".join(broken[:_SHOWN]) + more, FAILS)


def counted(counts: Mapping[str, int]) -> str:
    """Return counts as text, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ordered) or "nothing"


def failed(lines: Iterable[Line]) -> list[Line]:
    """Return the lines that fail."""
    return [line for line in lines if line.verdict == FAILS]


def as_json(lines: Sequence[Line]) -> str:
    """Return `{"holds": ..., "lines": [...]}`: `holds` is false when a line fails."""
    return json.dumps({"holds": not failed(lines), "lines": [asdict(line) for line in lines]}, indent=2)


def as_table(lines: Iterable[Line]) -> Table:
    """Return the lines as a table for a terminal."""
    table = Table("", "claim", "how it was checked", "what was seen", "verdict", show_lines=True)
    for line in lines:
        style = _STYLES[line.verdict]
        table.add_row(line.id, line.claim, line.how, line.seen, f"[{style}]{line.verdict}[/{style}]")
    return table
