"""Following log files across restarts, rotation and lines that are still being written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from otmirror.errors import UnavailableError

_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Line:
    """A complete line; `place` is the same whenever it is read again, also after the file got another name."""

    text: str
    place: str


@dataclass(frozen=True)
class Shortened:
    """A file that is shorter than what was read of it: somebody has cut it."""

    path: Path
    was: int
    now: int


class Follower:
    """Reads what is new in the files that match some patterns: a log and what it was renamed to."""

    def __init__(self, patterns: Sequence[Path], positions: MutableMapping[str, int]):
        """Take patterns (wildcards in the name only) and how far each file was read, by its first line's hash."""
        self._patterns, self._positions = patterns, positions

    def read(self) -> Iterator[Line | Shortened]:
        """Yield the lines that were not read yet, the oldest file's first; the last one when its end is written.

        A file is known by its first line, not by its name: a renamed one goes on where it was.

        Raises:
            UnavailableError: a file may not be read.
        """
        for path in self._files():
            try:
                with path.open("rb") as file:
                    first = file.readline(_LONGEST_LINE)
                    if first.endswith(b"\n"):
                        yield from self._new(path, hashlib.sha256(first).hexdigest()[:24])
            except FileNotFoundError:
                continue  # renamed or removed between two looks
            except OSError as error:
                raise UnavailableError(f"{path}: {error.strerror}") from None

    def _files(self) -> list[Path]:
        found = {path for pattern in self._patterns for path in pattern.parent.glob(pattern.name) if path.is_file()}
        return sorted(found, key=lambda path: (_modified(path), path.name))

    def _new(self, path: Path, known: str) -> Iterator[Line | Shortened]:
        start = self._positions.get(known, 0)
        size = path.stat().st_size
        if size < start:
            yield Shortened(path, start, size)
            start = self._positions[known] = size
        with path.open("rb") as file:
            file.seek(start)
            for raw in file:
                if not raw.endswith(b"\n"):
                    break
                place = f"{known}:{start}"
                start += len(raw)
                # Told before it is handed on: whoever takes it saves the positions after it.
                self._positions[known] = start
                yield Line(raw.decode("utf-8", "replace").rstrip("\r\n"), place)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
