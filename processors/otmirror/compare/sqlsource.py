"""An incumbent's tables in a SQLite file, such as a copy of Ignition's history database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from otmirror.compare.csvsource import opc_quality
from otmirror.compare.options import Window
from otmirror.compare.profiles import Profile, table_name
from otmirror.compare.series import BAD, GOOD, NO_TIME
from otmirror.compare.spill import ROWS
from otmirror.errors import ConfigError

_ROWS = 50_000


@dataclass(frozen=True)
class SqliteSource:
    """A file, opened for reading only; the queries are the profile's."""

    path: Path
    profile: Profile

    @property
    def title(self) -> str:
        """The file and the profile."""
        return f"{self.path} ({self.profile.name})"

    def batches(self, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the rows in the window; see `run.Source`."""
        if not self.path.is_file():
            raise ConfigError(f"{self.path}: there is no such file")
        within = {"start": -(-window.start // 1000), "end": -(-window.end // 1000)}
        try:
            with closing(sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True)) as database:
                database.execute("PRAGMA query_only = ON")
                tables = [table_name(str(name)) for (name,) in database.execute(self.profile.tables, within)]
                for table in tables:
                    cursor = database.execute(self.profile.query.replace("{table}", f'"{table}"'), within)
                    while rows := cursor.fetchmany(_ROWS):
                        yield self._rows(rows, table)
        except sqlite3.Error as error:
            raise ConfigError(f"{self.path}: is not as profile {self.profile.name} says: {error}") from None

    def _rows(self, rows: list[tuple[Any, ...]], table: str) -> pa.RecordBatch:
        tag, at, value, integrity = zip(*rows, strict=True)
        states = {number: opc_quality(str(number)) for number in set(integrity)}
        for number, state in states.items():
            if state is None:
                raise ConfigError(f"{self.path}: table {table}: {number!r} is no quality")
        try:
            number_array = np.array([np.nan if one is None else one for one in value], np.float64)
            time_array = np.array(at, np.int64) * 1000
        except (TypeError, ValueError):
            raise ConfigError(f"{self.path}: table {table}: a time or a value is no number") from None
        quality = np.array([states[number] for number in integrity], np.int8)
        quality = np.where(np.isnan(number_array) & (quality == GOOD), BAD, quality).astype(np.int8)
        return pa.RecordBatch.from_arrays(
            [pa.array(tag, pa.string()), pa.array(time_array), pa.array(number_array), pa.array(quality),
             pa.array(np.full(len(rows), NO_TIME, np.int64))],
            schema=ROWS,
        )  # fmt: skip
