"""What a backfill did, gathered and told in a few sentences and not once a tag."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from otmirror.clock import Clock
from otmirror.notices import Notices
from otmirror.opcua.faults import status_name
from otmirror.opcua.plan import some

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class BackfillReport:
    """Gathers what is to be told; `tell` tells it. Times are microseconds since 1970, UTC."""

    def __init__(self, source: str, names: Sequence[str], notices: Notices, clock: Clock):
        """Take the source's and its tags' names, where to tell, and what day it is."""
        self._source, self._names, self._notices, self._clock = source, names, notices, clock
        self._samples, self._first, self._last = 0, 0, 0
        self._tags: set[int] = set()
        self._without: set[int] = set()
        self._told_without: set[int] = set()
        self._aged: set[int] = set()
        self._unread: dict[int, str] = {}
        self._overflown = 0

    def delivered(self, position: int, ts: int) -> None:
        """A sample of a tag was handed over."""
        self._first, self._last = (min(self._first, ts), max(self._last, ts)) if self._samples else (ts, ts)
        self._samples += 1
        self._tags.add(position)

    def without(self, positions: set[int]) -> None:
        """Tags have no history."""
        self._without |= positions

    def aged(self, positions: set[int]) -> None:
        """Part of what tags missed is longer ago than the limit."""
        self._aged |= positions

    def overflown(self, gaps: int) -> None:
        """So many gaps were forgotten since the start."""
        if gaps > self._overflown:
            self.say("warn", "overflown", f"{gaps - self._overflown} outages of tags were too many to be backfilled")
        self._overflown = gaps

    def unread(self, position: int, start: int, end: int, status: int) -> None:
        """A tag's history could not be read, whatever was tried."""
        span = f"{self._moment(start)} to {self._moment(end)} UTC"
        self._unread[position] = f"{self._names[position]} from {span} ({status_name(status)})"

    def tell(self, limit: float, attempts: int) -> None:
        """Say what happened since the last time, and of each tag without history once that it has none.

        Args:
            limit: Seconds that history is read back at most.
            attempts: How often a tag's history was asked for in vain.
        """
        if self._without - self._told_without:
            self._told_without |= self._without
            named = [self._names[position] for position in sorted(self._told_without)]
            self.say(
                "info", "without", f"the server has no history of {len(named)} of {len(self._names)} tags, or not for "
                f"this user, so what they did during an outage is not read later: {some(named)}"
            )  # fmt: skip
        if self._aged:
            self.say(
                "warn", "limit", f"what {len(self._aged)} tags did more than {limit:g} s before the end of an outage "
                "is not read from history: Backfill Limit"
            )  # fmt: skip
        if self._unread:
            self.say(
                "warn", "unread", f"the history of {len(self._unread)} tags could not be read in {attempts} attempts: "
                f"{some(list(self._unread.values()))}"
            )  # fmt: skip
        if self._samples:
            self.say(
                "info", "done", f"backfilled {self._samples} samples of {len(self._tags)} tags from "
                f"{self._moment(self._first)} to {self._moment(self._last)} UTC"
            )  # fmt: skip
        self._samples = 0
        for gathered in (self._tags, self._aged, self._unread):
            gathered.clear()

    def say(self, level: str, key: str, text: str) -> None:
        """Say something at once."""
        self._notices.say(level, f"backfill {key}", f"{self._source}: {text}")

    def _moment(self, us: int) -> str:
        """Write a time of day, with the date unless it is today's."""
        at, now = (_EPOCH + datetime.timedelta(microseconds=moment) for moment in (us, self._clock.now_us()))
        return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M:%S}"
