"""Back to the incumbent: no device is read and nothing is published any more, and all that was written stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from otmirror.embedded.processes import wait_until
from otmirror.errors import ConfigError, MirrorError, UnavailableError
from otmirror.flow.client import NifiApi
from otmirror.rollout import canvas as view
from otmirror.rollout import last, sessions
from otmirror.rollout.canvas import DISABLED, RUNNING, STOPPED, Canvas, Part
from otmirror.rollout.evidence import now
from otmirror.rollout.record import Record, Records
from otmirror.rollout.target import Target

STOP_SECONDS = 30.0
"""After so long the work of a processor that was told to stop is interrupted."""
START_SECONDS = 120.0
"""How long what is started again may take to run: one whose Python process was ended waits for a new one first."""
ANSWER_SECONDS = 20.0
"""How long NiFi may take to answer again once a reader that hung is gone."""
STALL_SECONDS = 30.0
"""Queues that have not moved for so long will not drain now."""
_PAUSE = 0.25

Say = Callable[[str], object]


@dataclass(frozen=True)
class Plan:
    """What a rollback would do, as seen before anything is touched."""

    canvas: Canvas
    answers: bool
    """Whether NiFi answers; otherwise `trouble` says why not."""
    trouble: str
    waiting: int
    """FlowFiles in all queues."""

    @property
    def sources(self) -> list[Part]:
        """The sources that run."""
        return [part for part in self.canvas.parts if part.reads and part.state == RUNNING]

    @property
    def publishers(self) -> list[Part]:
        """What publishes and is not disabled."""
        return [part for part in self.canvas.parts if part.publishes and part.state != DISABLED]

    @property
    def devices(self) -> dict[str, tuple[str, int]]:
        """The devices of all sources."""
        return sessions.devices(part for part in self.canvas.parts if part.reads)


class Rollback:
    """A rollback of one NiFi, and its undo."""

    def __init__(self, target: Target, records: Records, say: Say = lambda _line: None, drain_seconds: float = 120.0):
        """Take the NiFi, where records are kept, who is told each step, and how long queues may take to drain."""
        self._target, self._records, self._say, self._drain_seconds = target, records, say, drain_seconds
        self._api: NifiApi = target.api()

    def plan(self) -> Plan:
        """Look at the NiFi; nothing is touched.

        Raises:
            MirrorError: it does not answer, and has no home here whose flow file could be read.
        """
        try:
            canvas = view.live(self._api)
            waiting = 0
            with suppress(MirrorError):
                waiting = sum(queue.count for queue in self._api.queues(canvas.root))
            return Plan(canvas, True, "", waiting)
        except UnavailableError as error:
            if self._target.home is None:
                raise UnavailableError(
                    f"{error} It is not on this machine: stop it there (nifi.sh stop), its queues and both stores stay."
                ) from None
            return self._from_file(self._target.home, str(error))

    def _from_file(self, home: Path, trouble: str) -> Plan:
        try:
            return Plan(view.stored(home), False, trouble, 0)
        except ConfigError as error:
            # Its processes can be ended nevertheless.
            return Plan(Canvas(f"unknown-{home.name}", ()), False, f"{trouble}; {error}", 0)

    def run(self, plan: Plan) -> Record:
        """Do it; may be repeated. What goes wrong is in the record's `problems` and holds up nothing else.

        Raises:
            ConfigError: the record of an earlier rollback is damaged.
        """
        began = time.monotonic()
        record = self._records.open(plan.canvas.root) or Record(
            plan.canvas.root, self._target.url, now().isoformat(timespec="seconds")
        )
        record.problems, record.sessions, record.waiting = [], [], {}
        # Before anything is touched: also a rollback that is cut off in the middle can be undone.
        record.note([*plan.sources, *plan.publishers])
        self._keep(record)
        if not (plan.answers and self._stopped(plan, record)) and not self._stopped_without_readers(plan, record):
            self._end(plan, record)
        self._close_sessions(plan, record)
        self._say("looking up the last sample in each store")
        record.last = last.samples(plan.canvas)
        record.ended, record.seconds = now().isoformat(timespec="seconds"), round(time.monotonic() - began, 1)
        self._keep(record)
        return record

    def open(self) -> Record | None:
        """Return the record of a rollback that was not undone yet; None when there is none.

        Raises:
            MirrorError: NiFi does not answer, or the record is damaged.
        """
        return self._records.open(view.live(self._api).root)

    def undo(self) -> tuple[Record, Path]:
        """Start exactly what was stopped and enable what was disabled; return the record and where it is kept now.

        Raises:
            ConfigError: there is nothing to undo, or the record is damaged.
            UnavailableError: NiFi does not answer; nothing was changed.
        """
        canvas = view.live(self._api)
        record = self._records.open(canvas.root)
        if record is None:
            raise ConfigError(f"there is nothing to undo: no rollback of {self._target.url} in {self._records.folder}")
        self._api.await_ready(canvas.root)
        record.problems, gone = [], list[str]()
        states = {part.id: part.state for part in canvas.parts}
        for one in reversed(record.touched):  # what publishes before what reads
            if one.id not in states:
                gone.append(f"{one.name} is not on the canvas any more")
                continue
            self._say(f"{one.name}: {states[one.id]} -> {one.before}")
            with self._noted(record, one.name):
                if states[one.id] == DISABLED and one.before != DISABLED:
                    self._set(one.id, STOPPED)
                if one.before == RUNNING and states[one.id] != RUNNING:
                    self._set(one.id, RUNNING)
        wanted = {one.id for one in record.touched if one.before == RUNNING and one.id in states}
        if not wait_until(lambda: wanted <= self._running(), START_SECONDS, _PAUSE):
            names = [one.name for one in record.touched if one.id in wanted - self._running()]
            record.problems.append(f"do not run: {', '.join(names)}; `otmirror flow status` says why")
        if record.problems:
            record.problems += gone
            return record, self._records.keep(record)
        record.problems = gone
        record.undone = now().isoformat(timespec="seconds")
        return record, self._records.close(record)

    def _stopped(self, plan: Plan, record: Record) -> bool:
        """Do it through NiFi; return whether NiFi answered to the end."""
        try:
            self._stop(plan, record)
        except UnavailableError as error:
            self._say(str(error))
            return False
        return True

    def _stopped_without_readers(self, plan: Plan, record: Record) -> bool:
        """End the Python processes that read devices and, if NiFi answers then, do it through NiFi.

        One that hangs makes NiFi wait for it, also when NiFi is asked; and no device is read meanwhile.
        """
        if not _is_here(self._target) or not self._pids():
            return False
        self._end_readers(plan)
        if not wait_until(self._answers, ANSWER_SECONDS, _PAUSE):
            return False
        self._say("NiFi answers again")
        record.problems = []
        return self._stopped(plan, record)

    def _answers(self) -> bool:
        try:
            view.live(self._api)
        except UnavailableError:
            return False
        return True

    def _end_readers(self, plan: Plan) -> None:
        holders = sorted({one.pid for one in self._open(plan) if sessions.is_python(one.pid)})
        if holders:
            self._say(f"ending Python processes with a connection to a device: {', '.join(map(str, holders))}")
            sessions.end(holders)

    def _open(self, plan: Plan) -> list[sessions.Session]:
        return sessions.open_sessions(self._pids(), plan.devices)

    def _stop(self, plan: Plan, record: Record) -> None:
        """Stop the sources, let the queues drain, disable what publishes.

        Raises:
            UnavailableError: NiFi stopped answering on the way.
        """
        self._say(f"stopping {_names(plan.sources)}")
        for part in plan.sources:
            with self._noted(record, part.name):
                self._set(part.id, STOPPED)
        self._await_idle([part.id for part in plan.sources])
        self._drain(record)
        if plan.publishers:
            self._say(f"disabling {_names(plan.publishers)}")
        for part in plan.publishers:
            with self._noted(record, part.name):
                if part.state == RUNNING:
                    self._set(part.id, STOPPED)
        self._await_idle([part.id for part in plan.publishers])
        for part in plan.publishers:
            with self._noted(record, part.name):
                self._set(part.id, DISABLED)
        seen = {part.id: part for part in view.live(self._api).parts}
        record.problems += [f"{p.name} still runs" for p in plan.sources if seen[p.id].state == RUNNING]
        record.problems += [f"{p.name} is not disabled" for p in plan.publishers if seen[p.id].state != DISABLED]

    def _await_idle(self, ids: Sequence[str]) -> None:
        """Wait until stopped processors have no work in hand; interrupt what does not end."""
        if not ids or wait_until(lambda: not self._busy(ids), STOP_SECONDS, _PAUSE):
            return
        for id in self._busy(ids):
            self._say("interrupting a processor that does not end its work")
            self._api.terminate(id)

    def _busy(self, ids: Sequence[str]) -> list[str]:
        return [one.id for one in self._api.components("root") if one.id in ids and one.threads]

    def _drain(self, record: Record) -> None:
        """Wait until the queues are empty, but not for ones that do not move."""
        end = time.monotonic() + self._drain_seconds
        moved, before = time.monotonic(), self._waiting()
        empty_since: float | None = None
        while time.monotonic() < end:
            waiting = self._waiting()
            at = time.monotonic()
            busy = any(one.threads for one in self._api.components("root"))
            # A FlowFile in a processor's hands is in its queue still, but between two looks it may move on.
            empty_since = (empty_since or at) if not waiting else None
            # What is busy all the time, such as a consumer without messages, holds up nothing.
            if empty_since is not None and at - empty_since >= (20 if busy else 2) * _PAUSE:
                self._say("the queues are empty")
                return
            if waiting != before:
                self._say(f"draining: {sum(waiting.values()):,} FlowFiles wait")
                moved, before = at, waiting
            if at - moved >= STALL_SECONDS:
                break
            time.sleep(_PAUSE)
        record.waiting = self._waiting()
        for name, count in record.waiting.items():
            self._say(f"{name}: {count:,} FlowFiles stay in the queue; the sinks go on and store them when they can")

    def _waiting(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for queue in self._api.queues("root"):
            if queue.count:
                name = f"{queue.source} -> {queue.destination}"
                counts[name] = counts.get(name, 0) + queue.count
        return counts

    def _end(self, plan: Plan, record: Record) -> None:
        """End the processes of a NiFi that does not answer, and see to it that its next start is quiet."""
        server = self._target.server()
        if server is None or self._target.home is None:
            record.problems.append("it is not on this machine: stop it there (nifi.sh stop); its queues stay")
            return
        self._say("ending NiFi's processes; what waits in its queues stays on the disk")
        server.stop(20.0)
        record.nifi_ended = True
        if server.processes():
            record.problems.append(f"processes of NiFi live on: {', '.join(map(str, server.processes()))}")
        stop, disable = {part.id for part in plan.sources}, {part.id for part in plan.publishers}
        with _told(record, "the sources would run again at NiFi's next start"):
            view.hold(self._target.home, stop, disable)

    def _close_sessions(self, plan: Plan, record: Record) -> None:
        """Verify that no connection to a device is left; end the Python process of a source that keeps one."""
        if not _is_here(self._target):
            record.verified = False
            record.problems.append(
                f"connections to {', '.join(plan.devices)} were not looked at: NiFi runs on another machine; there: "
                f"{' ; '.join(f'ss -tnp dst {device}' for device in plan.devices)}"
            )
            return
        if not wait_until(lambda: not self._open(plan), 10.0, _PAUSE):
            self._end_readers(plan)
            wait_until(lambda: not self._open(plan), 10.0, _PAUSE)
        unknown = [part.name for part in plan.canvas.parts if part.reads and not sessions.devices([part])]
        if unknown:
            record.problems.append(f"the devices of {', '.join(unknown)} are not known: look with `ss -tnp`")
        record.sessions, record.verified = [str(session) for session in self._open(plan)], not unknown
        record.problems += [f"connection still open: {session}" for session in record.sessions]

    def _pids(self) -> list[int]:
        server = self._target.server()
        return server.processes() if server else sessions.nifi_processes(_port(self._target))

    def _set(self, id: str, state: str) -> None:
        """Set a processor's state, again when somebody else changed it in between.

        Raises:
            MirrorError: NiFi refuses.
        """
        for attempt in range(3):
            try:
                self._api.schedule(id, state)
                return
            except (UnavailableError, ConfigError):
                if attempt == 2:
                    raise
                # One that is gone is not asked three times.
                self._api.about()
                time.sleep(_PAUSE)

    def _running(self) -> set[str]:
        return {one.id for one in self._api.components("root") if one.state == RUNNING}

    def _keep(self, record: Record) -> None:
        with _told(record, "without it this cannot be undone by --undo"):
            self._records.keep(record)

    @contextmanager
    def _noted(self, record: Record, what: str) -> Iterator[None]:
        """Note a refusal as a problem and go on; a NiFi that does not answer any more ends the step."""
        try:
            yield
        except MirrorError as error:
            if isinstance(error, UnavailableError):
                self._api.about()
            record.problems.append(f"{what}: {error}")


@contextmanager
def _told(record: Record, what: str) -> Iterator[None]:
    """Note what goes wrong on this machine, such as a full disk, and go on."""
    try:
        yield
    except MirrorError as error:
        record.problems.append(f"{what}: {error}")


def _names(parts: Sequence[Part]) -> str:
    return ", ".join(part.name for part in parts) or "nothing, no source runs"


def _is_here(target: Target) -> bool:
    return target.home is not None or urlsplit(target.url).hostname in ("localhost", "127.0.0.1", "::1")


def _port(target: Target) -> int:
    split = urlsplit(target.url)
    return split.port or (443 if split.scheme == "https" else 80)
