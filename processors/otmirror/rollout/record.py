"""What a rollback did, so that it can be undone: one file a NiFi, kept when it is undone."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from otmirror.errors import ConfigError, UnavailableError
from otmirror.rollout.canvas import Part


@dataclass
class Touched:
    """A processor that was stopped or disabled, and the state it had before."""

    id: str
    name: str
    kind: str
    before: str


@dataclass
class Record:
    """A rollback: when, of which NiFi, what it touched and what it saw. Times are ISO 8601 in UTC."""

    root: str
    """Id of NiFi's root canvas."""
    nifi: str
    began: str
    touched: list[Touched] = field(default_factory=list)
    ended: str = ""
    seconds: float = 0.0
    nifi_ended: bool = False
    """Whether NiFi did not answer, and its processes were ended."""
    waiting: dict[str, int] = field(default_factory=dict)
    """FlowFiles that still wait, by queue: kept, written by the sinks when they can."""
    sessions: list[str] = field(default_factory=list)
    """Connections to devices that stayed open."""
    verified: bool = False
    """Whether the connections could be looked at."""
    last: dict[str, str] = field(default_factory=dict)
    """The last sample in each store, or why it is not known."""
    problems: list[str] = field(default_factory=list)
    undone: str = ""

    def note(self, parts: Iterable[Part]) -> None:
        """Add processors that are about to be touched; what is noted already keeps the state it had first."""
        known = {one.id for one in self.touched}
        self.touched += [Touched(p.id, p.name, p.kind, p.state) for p in parts if p.id not in known]


class Records:
    """The records in a folder."""

    def __init__(self, folder: Path):
        """Take the folder; it is made when a record is kept."""
        self.folder = folder

    def file(self, root: str) -> Path:
        """Return where the open record of a NiFi is."""
        return self.folder / f"{root}.json"

    def open(self, root: str) -> Record | None:
        """Return the record of a NiFi that is rolled back; None when it is not.

        Raises:
            ConfigError: the file is damaged.
        """
        try:
            told = json.loads(self.file(root).read_text(encoding="utf-8"))
            touched = [Touched(**one) for one in told.pop("touched")]
            return Record(touched=touched, **told)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ConfigError(f"{self.file(root)} is damaged ({error}): move it away, start the flow by hand") from None

    def keep(self, record: Record) -> Path:
        """Write a record, all of it or nothing; return its file.

        Raises:
            UnavailableError: it cannot be written.
        """
        file = self.file(record.root)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = file.with_suffix(".new")
            with fresh.open("w", encoding="utf-8") as text:
                text.write(json.dumps(asdict(record), indent=1) + "\n")
                text.flush()
                os.fsync(text.fileno())
            os.replace(fresh, file)
        except OSError as error:
            raise UnavailableError(f"{file}: cannot be written: {error.strerror}") from None
        return file

    def close(self, record: Record) -> Path:
        """Put an undone record aside, under its time; return its file.

        Raises:
            UnavailableError: it cannot be written.
        """
        file = self.keep(record)
        began = datetime.datetime.fromisoformat(record.began)
        aside = file.with_name(f"{record.root}-{began:%Y%m%dT%H%M%S}.json")
        os.replace(file, aside)
        return aside
