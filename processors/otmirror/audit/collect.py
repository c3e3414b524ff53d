"""Gathering: every source in turn, new events into a file a day, each once whatever is killed in between."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from otmirror.audit.event import AuditEvent
from otmirror.audit.sources import Source, State
from otmirror.embedded.processes import claim
from otmirror.errors import MirrorError, UnavailableError

FILES = "audit-*.jsonl"
_BATCH = 500
_MOST_POSITIONS = 500


class Trail:
    """The audit trail's folder: `audit-<day>.jsonl` in UTC, and how far each source was read."""

    def __init__(self, folder: Path, clock: Callable[[], datetime.datetime]):
        """Open the folder, which is made when missing, and take a clock in UTC.

        Raises:
            UnavailableError: another collector writes there, or the folder cannot be written.
        """
        self.folder, self._clock = folder, clock
        self._state_file = folder / "collector.json"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._lock = claim(folder / "collector.lock", f"the audit trail in {folder}")
        except OSError as error:
            raise UnavailableError(f"the audit trail's folder {folder}: {error.strerror}") from None
        self.state: dict[str, Any] = self._restored()
        self._unsaved = self._written_since()

    def add(self, events: Sequence[AuditEvent]) -> int:
        """Write events that are not there yet to today's file, save how far every source is; return how many."""
        fresh = [event for event in events if event.id not in self._unsaved]
        if fresh:
            day = self.folder / f"audit-{self._clock():%Y-%m-%d}.jsonl"
            _append(day, "".join(event.line() + "\n" for event in fresh).encode())
        self._save()
        return len(fresh)

    def expire(self, days: int) -> list[str]:
        """Remove the files of days more than `days` days ago; return their names."""
        oldest = f"audit-{self._clock() - datetime.timedelta(days=days):%Y-%m-%d}.jsonl"
        gone = [file for file in self.folder.glob(FILES) if file.name < oldest]
        for file in gone:
            file.unlink()
        return sorted(file.name for file in gone)

    def close(self) -> None:
        """Let another collector have the folder."""
        self._lock.close()

    def _restored(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._state_file.read_text()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            raise UnavailableError(
                f"{self._state_file} cannot be read: restore it, or remove it to read all logs again"
            ) from None

    def _written_since(self) -> set[str]:
        """Return the ids written after the state was saved last, and cut off a line that was never finished."""
        sizes: dict[str, int] = self.state.get("sizes", {})
        ids: set[str] = set()
        for file in self.folder.glob(FILES):
            with file.open("r+b") as opened:
                opened.seek(min(sizes.get(file.name, 0), file.stat().st_size))
                rest = opened.read()
                whole = rest[: rest.rfind(b"\n") + 1]
                if len(whole) < len(rest):
                    opened.seek(len(whole) - len(rest), os.SEEK_END)
                    opened.truncate()
            ids |= {json.loads(line)["id"] for line in whole.splitlines()}
        return ids

    def _save(self) -> None:
        for source in self.state.get("sources", {}).values():
            positions = source.get("positions", {})
            for old in list(positions)[:-_MOST_POSITIONS]:
                del positions[old]
        self.state["sizes"] = {file.name: file.stat().st_size for file in self.folder.glob(FILES)}
        fresh = self._state_file.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump(self.state, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._state_file)


def _append(path: Path, data: bytes) -> None:
    """Add `data` to a file that others may read, and have it on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    try:
        while data:  # in one piece, unless the disk is full: a reader sees whole lines
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def collect(sources: Sequence[Source], trail: Trail) -> tuple[int, list[str]]:
    """Read every source once; return how many events are new, and why a source could not be read.

    Raises:
        OSError: the trail cannot be written; what was read is not counted as read.
    """
    found = 0
    problems: list[str] = []
    for source in sources:
        state = trail.state.setdefault("sources", {}).setdefault(source.name, {})
        for batch in _batches(_read(source, state, problems)):
            found += trail.add(batch)
    return found, problems


def _read(source: Source, state: State, problems: list[str]) -> Iterator[AuditEvent]:
    try:
        yield from source.read(state)
    except MirrorError as error:
        problems.append(f"{source.name}: {error}")


def _batches(events: Iterator[AuditEvent]) -> Iterator[list[AuditEvent]]:
    while batch := list(islice(events, _BATCH)):
        yield batch
    # An empty one too: positions move on without events.
    yield []
