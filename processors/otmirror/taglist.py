"""Tag lists: a CSV file that says which tags to mirror. Every mistake is found before anything connects."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from otmirror.errors import ConfigError, MistakesError
from otmirror.samples import TYPES

REQUIRED = ("tag", "address")
OPTIONAL = ("type", "unit", "interval_ms", "deadband", "scale", "offset", "order", "description")
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
"""Byte orders of a 32-bit value, A = most significant byte; 64-bit values follow the same pattern."""

SHORTEST_MS, LONGEST_MS = 10, 86_400_000
"""Bounds of every poll interval, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One declared tag. Times are milliseconds; `scale` and `offset`: mirrored = raw * scale + offset."""

    tag: str
    address: str
    type: str | None = None
    unit: str | None = None
    interval_ms: int | None = None
    deadband: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    order: str | None = None
    description: str | None = None
    line: int = 0
    deadband_percent: float | None = None
    mode: str | None = None
    sampling_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the line (from 1, the header is line 1; 0 is the whole file), the column, and what to do."""

    line: int
    column: str | None
    message: str

    def __str__(self) -> str:
        if not self.line:
            return self.message
        column = f", column {self.column}" if self.column else ""
        return f"line {self.line}{column}: {self.message}"


class TagListError(ConfigError):
    """All mistakes of a tag list at once, in `problems`."""

    def __init__(self, name: str, problems: list[Problem]):
        self.name, self.problems = name, problems
        shown = [f"{name} {problem}" for problem in problems[:20]]
        if len(problems) > len(shown):
            shown.append(f"... and {len(problems) - len(shown)} more")
        super().__init__("; ".join(shown))


AddressCheck = Callable[[Tag], str | None]
"""Returns what is wrong with a tag's address or type, or None."""

ListCheck = Callable[[list[Tag]], list[Problem]]
"""Returns what is wrong between the tags of a list."""


def from_properties(
    path: str | None, inline: str | None, check: AddressCheck, check_list: ListCheck | None = None
) -> tuple[Tag, ...]:
    """Read the tags from exactly one of the properties Tag List File and Tag List.

    Raises:
        MistakesError: with every mistake found.
    """
    if bool(path) == bool(inline):
        raise MistakesError(["Tag List File, Tag List: set exactly one of the two"])
    try:
        tags = load(path, check) if path else parse(inline or "", "Tag List", check)
        problems = check_list(tags) if check_list else []
        if problems:
            raise TagListError(Path(path).name if path else "Tag List", problems)
    except TagListError as error:
        raise MistakesError([f"{error.name} {problem}" for problem in error.problems]) from None
    return tuple(tags)


def load(path: str | Path, check: AddressCheck | None = None) -> list[Tag]:
    """Read and check a tag list file.

    Raises:
        TagListError: with every mistake found.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise TagListError(str(path), [Problem(0, None, f"cannot be read: {reason}")]) from None
    return parse(content, path.name, check)


def parse(content: bytes | str, name: str = "tag list", check: AddressCheck | None = None) -> list[Tag]:
    """Parse a tag list (CSV, UTF-8, header row; comma, semicolon or tab between the columns).

    Args:
        content: the file's bytes, or text.
        name: what to call it in messages.
        check: the protocol's own check of a tag's address.

    Raises:
        TagListError: with every mistake found.
    """
    text = content if isinstance(content, str) else _decode(name, content)
    header_line = text.split("\n", 1)[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header_line.count))
    try:
        header = [column.strip().lower() for column in next(rows, [])]
        _check_header(name, header)
        return _Parser(name, header, check).parse(rows)
    except csv.Error as error:
        raise TagListError(name, [Problem(rows.line_num, None, f"not CSV: {error}")]) from None


def _decode(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        message = f"byte {error.start} is not UTF-8: save the file as CSV UTF-8"
        raise TagListError(name, [Problem(line, None, message)]) from None


def _check_header(name: str, header: list[str]) -> None:
    wanted = ", ".join(REQUIRED + OPTIONAL)
    if not any(header):
        raise TagListError(name, [Problem(1, None, f"the list is empty: it needs a header row ({wanted})")])
    problems = [Problem(1, c, "this column is missing") for c in REQUIRED if c not in header]
    for column in dict.fromkeys(header):
        if column not in REQUIRED + OPTIONAL:
            problems.append(Problem(1, column or "(no name)", f"unknown column; known are {wanted}"))
        elif header.count(column) > 1:
            problems.append(Problem(1, column, "this column appears twice"))
    if problems:
        raise TagListError(name, problems)


class _Parser:
    """Turns rows into tags and gathers every problem on the way."""

    def __init__(self, name: str, header: list[str], check: AddressCheck | None):
        self.name, self.header, self.check = name, header, check
        self.problems: list[Problem] = []
        self.first_line: dict[str, int] = {}

    def parse(self, rows: csv._reader) -> list[Tag]:  # type: ignore[name-defined]
        tags = []
        for row in rows:
            if any(cell.strip() for cell in row):
                tag = self._row(rows.line_num, row)
                if tag is not None:
                    tags.append(tag)
        if not tags and not self.problems:
            self._problem(1, None, "the list declares no tag: add one row a tag")
        if self.problems:
            raise TagListError(self.name, sorted(self.problems, key=lambda problem: problem.line))
        return tags

    def _row(self, line: int, row: list[str]) -> Tag | None:
        if len(row) > len(self.header):
            self._problem(line, None, f"{len(row)} cells, but the header has {len(self.header)} columns")
            return None
        cells = {column: cell.strip() for column, cell in zip(self.header, row, strict=False)}
        before = len(self.problems)
        tag = Tag(
            tag=self._tag_name(line, cells.get("tag", "")),
            address=self._required(line, "address", cells.get("address", "")),
            type=self._choice(line, "type", cells.get("type", "").lower(), TYPES),
            unit=cells.get("unit") or None,
            interval_ms=self._interval(line, cells.get("interval_ms", "")),
            deadband=self._number(line, "deadband", cells.get("deadband", ""), minimum=0.0),
            scale=self._factor(line, cells.get("scale", "")),
            offset=self._number(line, "offset", cells.get("offset", "")) or 0.0,
            order=self._choice(line, "order", cells.get("order", "").upper(), ORDERS),
            description=cells.get("description") or None,
            line=line,
        )
        if len(self.problems) > before:
            return None
        complaint = self.check(tag) if self.check else None
        if complaint:
            self._problem(line, "address", complaint)
            return None
        return tag

    def _problem(self, line: int, column: str | None, message: str) -> None:
        self.problems.append(Problem(line, column, message))

    def _required(self, line: int, column: str, cell: str) -> str:
        if not cell:
            self._problem(line, column, "is empty")
        return cell

    def _tag_name(self, line: int, cell: str) -> str:
        name = self._required(line, "tag", cell)
        if name in self.first_line:
            self._problem(line, "tag", f"{name!r} is already declared in line {self.first_line[name]}")
        elif name:
            self.first_line[name] = line
        if any(ord(character) < 32 for character in name):
            self._problem(line, "tag", "holds a control character")
        return name

    def _choice(self, line: int, column: str, cell: str, choices: tuple[str, ...]) -> str | None:
        if cell and cell not in choices:
            self._problem(line, column, f"{cell!r} is none of {', '.join(choices)}")
        return cell or None

    def _number(self, line: int, column: str, cell: str, minimum: float | None = None) -> float | None:
        if not cell:
            return None
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self._problem(line, column, f"{cell!r} is not a number (decimal point, no unit)")
            return None
        if minimum is not None and number < minimum:
            self._problem(line, column, f"{cell} is below {minimum:g}")
        return number

    def _factor(self, line: int, cell: str) -> float:
        number = self._number(line, "scale", cell)
        if number == 0:
            self._problem(line, "scale", "is 0: every value would become the offset")
        return 1.0 if number is None else number

    def _interval(self, line: int, cell: str) -> int | None:
        if not cell:
            return None
        whole = cell.isascii() and cell.isdigit() and len(cell) < 20
        if not whole or not SHORTEST_MS <= int(cell) <= LONGEST_MS:
            bounds = f"from {SHORTEST_MS} to {LONGEST_MS} (one day)"
            self._problem(line, "interval_ms", f"{cell!r} is not a whole number of milliseconds {bounds}")
            return None
        return int(cell)
