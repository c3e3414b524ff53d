"""What the collector reads from: a log file with a parser, or anything else with the same `read`."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from otmirror.audit.event import FAILED, AuditEvent, Thing, identify
from otmirror.audit.follow import Follower, Line, Shortened

State = MutableMapping[str, Any]
"""What a source remembers between two reads; goes into a JSON file."""
COLLECTOR = "collector"
_TIME = re.compile(r"(.{10}[T ]\d\d:\d\d:\d\d)(?:[.,](\d+))?([+-]\d\d:\d\d)?")


class Source(Protocol):
    """One place that knows who did what."""

    name: str

    def read(self, state: State) -> Iterator[AuditEvent]:
        """Yield what is new since `state`, and keep `state` up to date.

        Raises:
            UnavailableError: it cannot be read now.
            ConfigError: somebody has to change something.
        """


Parser = Callable[[str], AuditEvent | None]
"""Takes a line; returns what it tells, its identity still to come, or None when it is of no interest."""


class LogFile:
    """A log that is followed across rotation; whatever its parser does not know is passed over."""

    def __init__(self, name: str, patterns: Sequence[Path], parse: Parser, clock: Callable[[], datetime.datetime]):
        """Take the source's name, where the log and its rotated files are, its parser, and a clock in UTC."""
        self.name, self._patterns, self._parse, self._clock = name, tuple(patterns), parse, clock

    def read(self, state: State) -> Iterator[AuditEvent]:
        """Yield the audit events of new lines; a file that somebody has cut is an event too."""
        for found in Follower(self._patterns, state.setdefault("positions", {})).read():
            if isinstance(found, Shortened):
                yield self._cut(found)
                continue
            event = self._of(found)
            if event is not None:
                yield event

    def _of(self, line: Line) -> AuditEvent | None:
        try:
            event = self._parse(line.text)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None  # half a line of a crashed writer, or of another version
        return None if event is None else replace(event, id=identify(self.name, line.place, line.text))

    def _cut(self, what: Shortened) -> AuditEvent:
        now = self._clock()
        return AuditEvent(
            identify(self.name, what.path, what.was, what.now, now), now, "unknown", "truncate",
            Thing("log", what.path.name), FAILED, COLLECTOR,
            {"previous": f"{what.was} bytes", "value": f"{what.now} bytes", "reason": "the file became shorter"},
        )  # fmt: skip


def moment(text: str) -> datetime.datetime:
    """Return an ISO 8601 time, with `Z`, an offset, or none (then the machine's own), to microseconds.

    Raises:
        ValueError: `text` is none.
    """
    match = _TIME.fullmatch(text.replace("Z", "+00:00"))
    if not match:
        raise ValueError(f"{text!r} is not a time")
    # Vault writes nanoseconds; fromisoformat of 3.10 takes three digits or six.
    digits = f"{match[2] or '0':0<6.6}"
    return datetime.datetime.fromisoformat(f"{match[1]}.{digits}{match[3] or ''}").astimezone(datetime.timezone.utc)
