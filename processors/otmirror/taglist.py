"""Tag lists: a CSV file that says which tags to mirror. Every mistake is found before anything connects."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from otmirror.errors import ConfigError, MistakesError
from otmirror.samples import TYPES

REQUIRED = ("tag", "address")
OPTIONAL = (
    "type", "unit", "interval_ms", "deadband", "exc_min_ms", "exc_max_ms", "range", "mode", "sampling_ms",
    "scale", "offset", "order", "description",
)  # fmt: skip
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
"""Byte orders of a 32-bit value, A = most significant byte; 64-bit values follow the same pattern."""

SHORTEST_MS, LONGEST_MS = 10, 86_400_000
"""Bounds of every poll interval, in milliseconds; other times of a tag may be 0 too."""

MODES = ("poll", "subscribe")
"""Ways to get the samples of an OPC UA tag."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One declared tag. Times are milliseconds; `scale` and `offset`: mirrored = raw * scale + offset.

    `deadband` is absolute, `deadband_percent` of the range from `low` to `high` (all but the percentage in the unit of
    the mirrored value); at most one of the two is there. `exc_min_ms` and `exc_max_ms` are the shortest and longest
    time between two samples sent (None: no rule of its own; `exc_max_ms` 0: never sent again without a change).
    `mode` and `sampling_ms` are for OPC UA (None: as the processor does by default).
    """

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
    exc_min_ms: int | None = None
    exc_max_ms: int | None = None
    low: float | None = None
    high: float | None = None
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


_INDICES = re.compile(r"(?:\[\d+\])+$")

AddressCheck = Callable[[Tag], str | None]
"""Returns what is wrong with a tag's address or type, or None."""

RowCheck = Callable[[Tag], Iterable[Problem]]
"""Returns what a protocol cannot do of a tag's other columns."""

ListCheck = Callable[[list[Tag]], list[Problem]]
"""Returns what is wrong between the tags of a list."""


def array_tag(tag: str) -> str:
    """Return the tag of the array that `tag` is an element of by its name (`x[0]`, `x[1][2]`), or `tag` itself."""
    return _INDICES.sub("", tag) if tag.endswith("]") else tag


def from_properties(
    path: str | None,
    inline: str | None,
    check: AddressCheck,
    check_list: ListCheck | None = None,
    check_row: RowCheck | None = None,
) -> tuple[Tag, ...]:
    """Read the tags from exactly one of the properties Tag List File and Tag List.

    Raises:
        MistakesError: with every mistake found.
    """
    if bool(path) == bool(inline):
        raise MistakesError(["Tag List File, Tag List: set exactly one of the two"])
    try:
        tags = load(path, check, check_row) if path else parse(inline or "", "Tag List", check, check_row)
        problems = check_list(tags) if check_list else []
        if problems:
            raise TagListError(Path(path).name if path else "Tag List", problems)
    except TagListError as error:
        raise MistakesError([f"{error.name} {problem}" for problem in error.problems]) from None
    return tuple(tags)


def load(path: str | Path, check: AddressCheck | None = None, check_row: RowCheck | None = None) -> list[Tag]:
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
    return parse(content, path.name, check, check_row)


def parse(
    content: bytes | str,
    name: str = "tag list",
    check: AddressCheck | None = None,
    check_row: RowCheck | None = None,
) -> list[Tag]:
    """Parse a tag list (CSV, UTF-8, header row; comma, semicolon or tab between the columns).

    Args:
        content: the file's bytes, or text.
        name: what to call it in messages.
        check: the protocol's own check of a tag's address.
        check_row: its check of the other columns.

    Raises:
        TagListError: with every mistake found.
    """
    text = content if isinstance(content, str) else _decode(name, content)
    header_line = text.split("\n", 1)[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header_line.count))
    try:
        header = [column.strip().lower() for column in next(rows, [])]
        _check_header(name, header)
        return _Parser(name, header, check, check_row).parse(rows)
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

    def __init__(self, name: str, header: list[str], check: AddressCheck | None, check_row: RowCheck | None):
        self.name, self.header, self.check, self.check_row = name, header, check, check_row
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
        deadband, percent = self._deadband(line, cells.get("deadband", ""))
        low, high = self._range(line, cells.get("range", ""))
        tag = Tag(
            tag=self._tag_name(line, cells.get("tag", "")),
            address=self._required(line, "address", cells.get("address", "")),
            type=self._choice(line, "type", cells.get("type", "").lower(), TYPES),
            unit=cells.get("unit") or None,
            interval_ms=self._milliseconds(line, "interval_ms", cells.get("interval_ms", ""), SHORTEST_MS),
            deadband=deadband,
            deadband_percent=percent,
            exc_min_ms=self._milliseconds(line, "exc_min_ms", cells.get("exc_min_ms", "")),
            exc_max_ms=self._milliseconds(line, "exc_max_ms", cells.get("exc_max_ms", "")),
            low=low,
            high=high,
            mode=self._choice(line, "mode", cells.get("mode", "").lower(), MODES),
            sampling_ms=self._milliseconds(line, "sampling_ms", cells.get("sampling_ms", "")),
            scale=self._factor(line, cells.get("scale", "")),
            offset=self._number(line, "offset", cells.get("offset", "")) or 0.0,
            order=self._choice(line, "order", cells.get("order", "").upper(), ORDERS),
            description=cells.get("description") or None,
            line=line,
        )
        self._together(tag)
        if len(self.problems) > before:
            return None
        complaint = self.check(tag) if self.check else None
        if complaint:
            self._problem(line, "address", complaint)
        if self.check_row:
            self.problems += self.check_row(tag)
        return tag if len(self.problems) == before else None

    def _together(self, tag: Tag) -> None:
        """Look for columns of a row that contradict each other."""
        if tag.exc_min_ms and tag.exc_max_ms and tag.exc_max_ms < tag.exc_min_ms:
            self._problem(tag.line, "exc_max_ms", f"{tag.exc_max_ms} is below exc_min_ms, which is {tag.exc_min_ms}")
        if tag.mode == "poll" and tag.sampling_ms is not None:
            message = "is for subscribed tags, and mode is poll: interval_ms says how often a tag is polled"
            self._problem(tag.line, "sampling_ms", message)

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

    def _milliseconds(self, line: int, column: str, cell: str, shortest: int = 0) -> int | None:
        if not cell:
            return None
        whole = cell.isascii() and cell.isdigit() and len(cell) < 20
        if not whole or not shortest <= int(cell) <= LONGEST_MS:
            bounds = f"from {shortest} to {LONGEST_MS} (one day)"
            self._problem(line, column, f"{cell!r} is not a whole number of milliseconds {bounds}")
            return None
        return int(cell)

    def _deadband(self, line: int, cell: str) -> tuple[float | None, float | None]:
        """Return the absolute deadband and the one in percent, of which at least one is None."""
        if not cell.endswith("%"):
            return self._number(line, "deadband", cell, minimum=0.0), None
        percent = self._number(line, "deadband", cell[:-1].rstrip() or cell, minimum=0.0)
        if percent is not None and percent > 100:
            self._problem(line, "deadband", f"{cell} is more than the whole range")
        return None, percent

    def _range(self, line: int, cell: str) -> tuple[float | None, float | None]:
        if not cell:
            return None, None
        try:
            low, high = (float(end) for end in cell.partition("..")[::2])
        except ValueError:
            low = high = math.nan
        if not math.isfinite(high - low):
            self._problem(line, "range", f"{cell!r} is no range: write its ends as numbers, low..high, such as 0..16")
        elif low >= high:
            self._problem(line, "range", f"{cell!r}: the lower end comes first, and the ends are not equal")
        return low, high
