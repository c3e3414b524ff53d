"""An incumbent's export as CSV: one file, or a folder's files one after the other."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from otmirror.compare.options import Window
from otmirror.compare.profiles import Profile
from otmirror.compare.rowtimes import Times, numbers
from otmirror.compare.series import BAD, GOOD, NO_TIME, UNCERTAIN, UNKNOWN
from otmirror.compare.spill import ROWS
from otmirror.errors import ConfigError

_BLOCK = 8 * 2**20
_QUALITY = {"good": GOOD, "uncertain": UNCERTAIN, "bad": BAD}


@dataclass(frozen=True)
class CsvSource:
    """Files with one profile; read in blocks of some MB."""

    paths: tuple[Path, ...]
    profile: Profile

    @property
    def title(self) -> str:
        """The files and the profile."""
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.paths[0]}{more} ({self.profile.name})"

    def batches(self, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the rows in the window; see `run.Source`."""
        for path in self.paths:
            yield from _File(path, self.profile).batches(window)


class _File:
    def __init__(self, path: Path, profile: Profile):
        self.path, self.profile = path, profile

    def batches(self, window: Window) -> Iterator[pa.RecordBatch]:
        columns, skipped = self._columns()
        wide = self.profile.layout == "wide"
        times = Times(self.profile, self.profile.time, self._complain)
        reads = Times(self.profile, self.profile.read, self._complain)
        for block in self._blocks(columns, skipped):
            at = self._need(times.read(block.column(self.profile.time)), block, self.profile.time)
            inside = pc.and_(pc.greater_equal(at, window.start), pc.less(at, window.end))
            rows = block.filter(inside)
            at = at.filter(inside)
            if wide:
                yield from self._wide(rows, at)
            elif rows.num_rows:
                yield self._long(rows, at, reads)

    def _columns(self) -> tuple[list[str], int]:
        """Return the file's columns, and how many lines come before the first row."""
        profile = self.profile
        first, number = self._head()
        if profile.header:
            width = len(first)
            if not len([c for c in profile.header if c not in profile.optional]) <= width <= len(profile.header):
                raise ConfigError(f"{self.path}:{number}: has {width} columns, profile {profile.name} has "
                                  f"{len(profile.header)}: {', '.join(profile.header)}")  # fmt: skip
            return list(profile.header[:width]), number - 1
        wanted = [profile.time]
        if profile.layout != "wide":
            wanted += [profile.tag, profile.value, profile.quality, profile.read]
        missing = [c for c in wanted if c and c not in first and c not in profile.optional]
        if missing:
            raise ConfigError(f"{self.path}:{number}: there is no column {', '.join(missing)}, which profile "
                              f"{profile.name} asks for; the file has {', '.join(map(repr, first))[:300]}")  # fmt: skip
        if len(set(first)) < len(first):
            raise ConfigError(f"{self.path}:{number}: a column's name comes twice")
        return first, number

    def _head(self) -> tuple[list[str], int]:
        try:
            with self._text() as file:
                for number, line in enumerate(file, 1):
                    text = line.lstrip("\ufeff")
                    if text.strip() and not text.startswith(self.profile.comments or ("\0",)):
                        row = next(csv.reader([text], delimiter=self.profile.delimiter), [])
                        return [cell.strip() for cell in row], number
        except (OSError, EOFError, csv.Error) as error:
            raise ConfigError(f"{self.path}: is no CSV file that can be read: {error}") from None
        raise ConfigError(f"{self.path}: is empty")

    def _text(self) -> IO[str]:
        opener: Any = gzip.open if self.path.suffix == ".gz" else open
        try:
            return opener(self.path, "rt", encoding=self.profile.encoding, newline="", errors="replace")  # type: ignore[no-any-return]
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from None
        except LookupError:
            raise ConfigError(f"profile {self.profile.name}: {self.profile.encoding!r} is no encoding") from None

    def _blocks(self, columns: list[str], skipped: int) -> Iterator[pa.RecordBatch]:
        problem: list[str] = []

        def odd(row: Any) -> str:
            if self.profile.comments and row.text.startswith(self.profile.comments):
                return "skip"
            problem.append(
                f"has {row.actual_columns} columns, the others have {row.expected_columns}: {row.text[:80]!r}"
            )
            return "error"

        try:
            stream = pacsv.open_csv(
                pa.input_stream(str(self.path)),
                read_options=pacsv.ReadOptions(column_names=columns, skip_rows=skipped, block_size=_BLOCK,
                                               use_threads=True, encoding=self.profile.encoding),
                parse_options=pacsv.ParseOptions(delimiter=self.profile.delimiter, invalid_row_handler=odd),
                convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()),
                                                     strings_can_be_null=False),
            )  # fmt: skip
            for block in stream:
                yield self._uncommented(block)
        except (pa.ArrowInvalid, OSError, EOFError) as error:
            what = problem[0] if problem else " ".join(str(error).split())[:200]
            raise ConfigError(f"{self.path}{self._line_of(problem)}: {what}") from None

    def _uncommented(self, block: pa.RecordBatch) -> pa.RecordBatch:
        for mark in self.profile.comments:
            block = block.filter(pc.invert(pc.starts_with(block.column(0), mark)))
        return block

    def _line_of(self, problem: list[str]) -> str:
        """Return `:number` of the first row with another number of columns."""
        if not problem:
            return ""
        width = None
        with self._text() as file:
            reader = csv.reader(file, delimiter=self.profile.delimiter)
            for row in reader:
                if not row or (self.profile.comments and row[0].startswith(self.profile.comments)):
                    continue
                width = width or len(row)
                if len(row) != width:
                    return f":{reader.line_num}"
        return ""

    def _long(self, rows: pa.RecordBatch, at: pa.Array, reads: Times) -> pa.RecordBatch:
        profile, names = self.profile, rows.schema.names
        value, odd = numbers(rows.column(profile.value), profile)
        if pc.any(odd).as_py():
            raise self._complain(profile.value, rows.column(profile.value)[pc.index(odd, True).as_py()].as_py(),
                                 "is no number and no state of the profile")  # fmt: skip
        tag = rows.column(profile.tag)
        if pc.any(pc.equal(tag, "")).as_py():
            raise self._complain(profile.tag, "", "has no tag")
        quality = self._quality(rows.column(profile.quality)) if profile.quality in names else None
        state = pc.is_null(value)
        if quality is None:
            known = bool(profile.states)
            quality = pc.if_else(state, BAD, GOOD if known else UNKNOWN)
        # No value is no good sample, whatever the quality says.
        quality = pc.if_else(pc.and_(state, pc.equal(quality, GOOD)), BAD, quality)
        read = pc.fill_null(reads.read(rows.column(profile.read)), NO_TIME) if profile.read in names else None
        return _rows(tag, at, value, quality, read)

    def _quality(self, cells: pa.Array) -> pa.Array:
        """Return 0 bad, 1 uncertain, 2 good of each cell; few distinct ones are expected."""
        coded = pc.utf8_trim_whitespace(cells).dictionary_encode()
        found = []
        for text in coded.dictionary.to_pylist():
            state = _quality_of(text, self.profile)
            if state is None:
                raise self._complain(self.profile.quality, text, "is no quality of the profile")
            found.append(state)
        return pa.array(found, pa.int8()).take(coded.indices)

    def _wide(self, rows: pa.RecordBatch, at: pa.Array) -> Iterator[pa.RecordBatch]:
        profile = self.profile
        for name in rows.schema.names:
            if name == profile.time or name in profile.skip or not rows.num_rows:
                continue
            value, odd = numbers(rows.column(name), profile)
            if pc.any(odd).as_py():
                raise self._complain(name, rows.column(name)[pc.index(odd, True).as_py()].as_py(), "is no number")
            yield _rows(pa.repeat(name, len(at)), at, value, pc.if_else(pc.is_null(value), BAD, GOOD), None)

    def _need(self, at: pa.Array, block: pa.RecordBatch, column: str) -> pa.Array:
        if at.null_count:
            place = pc.index(pc.is_null(at), True).as_py()
            raise self._complain(column, block.column(column)[place].as_py() or "", "is no time")
        return at

    def _complain(self, column: str, text: str, what: str) -> ConfigError:
        """Make the error for the first cell of a column that has this text, with its line."""
        columns, skipped = self._columns()
        place = columns.index(column)
        with self._text() as file:
            reader = csv.reader(file, delimiter=self.profile.delimiter)
            for row in reader:
                if reader.line_num > skipped and len(row) > place and row[place].strip() == text.strip():
                    return ConfigError(f"{self.path}:{reader.line_num}: {column} {text[:80]!r} {what}")
        return ConfigError(f"{self.path}: {column} {text[:80]!r} {what}")


def _quality_of(text: str, profile: Profile) -> int | None:
    for name, texts in profile.qualities.items():
        if text in texts:
            return _QUALITY[name]
    if profile.opc_quality:
        return opc_quality(text)
    return _QUALITY.get(profile.other_quality)


def opc_quality(text: str) -> int | None:
    """Return the quality of OPC DA's number (2.05a, 6.8: bits 7 and 6) or of Ignition's names and larger numbers.

    Ignition 8 counts on beyond OPC's eight bits: 256 uncertain, 512 and more bad (or errors, in bits 31 and 30).
    """
    if not text.lstrip("-").isdigit():
        word = text.split("_")[0].split("(")[0].strip().lower()
        return {"good": GOOD, "uncertain": UNCERTAIN, "bad": BAD, "error": BAD}.get(word)
    number = int(text)
    if number < 0 or number >= 512:
        return BAD
    if number >= 256:
        return UNCERTAIN
    return (BAD, UNCERTAIN, BAD, GOOD)[number >> 6]


def _rows(tag: pa.Array, at: pa.Array, value: pa.Array, quality: pa.Array, read: pa.Array | None) -> pa.RecordBatch:
    read = pa.array(np.full(len(at), NO_TIME, np.int64)) if read is None else read
    value = pc.fill_null(value, float("nan"))
    return pa.RecordBatch.from_arrays([tag, at, value, pc.cast(quality, pa.int8()), read], schema=ROWS)
