"""The reader: polls tags, takes what the server reports, over one guarded session, and hands out batches of samples."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

import pyarrow as pa

from otmirror import samples
from otmirror.attendance import AWAY_S, Attendance
from otmirror.clock import Clock, SystemClock
from otmirror.emission import EmissionFilter
from otmirror.errors import MirrorError
from otmirror.loopthread import LoopThread
from otmirror.memory import Memory, NoMemory
from otmirror.metrics.source import SourceFigures
from otmirror.notices import Notice, Notices
from otmirror.opcua.allowlist import ReadOnlyGuard
from otmirror.opcua.chunks import ChunkReader, Deliver, first_limit
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.decode import Batch
from otmirror.opcua.failover import Failover
from otmirror.opcua.faults import ANSWER_TOO_LARGE, CODES, ConnectionLostError, status_name
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.knowledge import Knowledge
from otmirror.opcua.measures import Measures
from otmirror.opcua.past import Past
from otmirror.opcua.plan import ReadPlan, some
from otmirror.opcua.readings import Reading
from otmirror.opcua.reports import Reports
from otmirror.opcua.subscription import Subscriptions
from otmirror.schedule import PollGrid
from otmirror.sequence import Sequence as Numbers
from otmirror.status import STATUS

_SOON = 0.1
_MARGIN = 10.0
"""Seconds on top of the time limits of single requests: cleaning up after a failure has limits of its own."""

# Statuses that stay until somebody acts: a mistake in the tag list, access rights, a value too large to be sent.
_MISTAKES = frozenset(
    (
        CODES.BadNodeIdUnknown,
        CODES.BadNodeIdInvalid,
        CODES.BadAttributeIdInvalid,
        CODES.BadNotReadable,
        CODES.BadUserAccessDenied,
        CODES.BadDecodingError,
        *ANSWER_TOO_LARGE,
    )
)


class OpcUaReader:
    """Mirrors the tags of one server, polled on a fixed grid or subscribed. While it is away, cycles give bad samples.

    A subscribed tag that the server does not report, for whatever reason, is polled. It connects when it is first
    asked, and again after a failure as its backoff allows. When nobody asks any more it ends its session, as the
    reader of another node may have taken over.
    """

    def __init__(
        self, config: OpcUaConfig, clock: Clock | None = None, away: float = AWAY_S, memory: Memory | None = None
    ):
        """Take a checked configuration, after how many seconds to leave, and what outlives this process.

        Nothing is connected yet.
        """
        self._config, self._source = config, config.source
        self._clock = clock or SystemClock()
        self._notices = Notices(self._clock.monotonic)
        self._plan = ReadPlan(config)
        self._grid = PollGrid(self._plan.intervals, self._clock.monotonic())
        self._emission = EmissionFilter(refresh=config.refresh, tags=config.tags)
        self._numbers = Numbers(self._clock)
        self._loop = LoopThread(f"opcua {config.source}")
        kept: Memory = memory or NoMemory()
        self._knowledge = Knowledge(config, self._plan, self._loop, self._emission, self._say)
        self._past = Past(
            config, self._plan, self._clock, self._loop, self._notices, lambda: self._knowledge.forms
        )  # fmt: skip
        self._reports = Reports(config, self._plan, self._clock, self._loop, kept, self._say, self._past)
        self._live: frozenset[int] = frozenset()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._client: GuardedClient | None = None
        self._chunks: ChunkReader | None = None
        self._learned_limit = 0
        self._late = 0
        self._missing: set[str] = set()
        self._faulty: dict[int, int] = {}
        self._changed = False
        self.guard = ReadOnlyGuard()
        self._failover = Failover(
            config, self.guard, self._loop, self._notices, self._clock.monotonic, self._stop.is_set
        )
        self._held_back = 0.0
        self._attendance = Attendance(f"opcua {config.source}", self._clock, self._leave, away)
        self._measures = Measures(config, self._clock, self.guard, self._reports)
        self.figures.before(self._look)

    def read(self) -> pa.Table | None:
        """Return what was reported, and read the tags that are due within 0.1 s, exactly when they are.

        None when there is nothing new. A call is the proof that what the one before returned is safe.
        """
        with self._lock, self._attendance.call() as back:
            if back:
                self._numbers.restart()
            self._reports.begin()
            wait = self._grid.wait(self._clock.monotonic())
            if (found := self._past.take(wait > 0)) is not None:
                return self._numbered(found)
            if not self._reports.waiting and (wait > _SOON or self._stop.wait(wait)):
                return None
            return self._cycle(self._due())

    def close(self) -> None:
        """End the session, within a few seconds even when the server does not answer."""
        self._stop.set()
        self._attendance.close()
        with self._lock:
            self._disconnect(for_good=True)
            self._failover.close()
            self._reports.close()
            self._loop.close()

    @property
    def figures(self) -> SourceFigures:
        """What it counts."""
        return self._measures.figures

    def _look(self) -> None:
        client = self._client
        self._measures.look(self._attendance.here, client is not None and client.alive, self._attendance.gone)

    @property
    def subscriptions(self) -> Subscriptions:
        """The subscriptions and their counts."""
        return self._reports.subscriptions

    def notices(self) -> list[Notice]:
        """Return what the operator should be told since the last call."""
        return self._notices.take()

    def _leave(self) -> None:
        with self._lock:
            if self._attendance.away and not self._stop.is_set():
                self._past.miss_all()
                self._disconnect()
                self._failover.close()

    def _due(self) -> list[int]:
        before = self._grid.overruns
        due = self._grid.due(self._clock.monotonic())
        late = self._grid.overruns > before and self._client is not None
        if late:
            self._measures.skipped(self._grid.overruns - before)
        self._late = self._late + 1 if late else 0
        before_that, self._held_back = self._held_back, self._failover.held_back
        if self._late > 2:  # connecting may take longer than an interval once
            why = "a cycle takes longer than the poll interval, or the queue after this processor is full"
            if self._client is not None and self._held_back > before_that:
                most = self._client.limits.requests_per_second
                why = f"the {most:g} requests a second that are allowed (Max Requests Per Second) are not enough"
            self._notices.say(
                "warn",
                "overrun",
                f"{self._source}: polls were skipped: {why}; lengthen the interval, or split the tag list between "
                "processors",
            )
        return due

    def _cycle(self, slots: Sequence[int]) -> pa.Table | None:
        """Make a batch of what was reported and of the tags of these poll intervals."""
        connected = bool(slots) and self._connected()
        batch = Batch(self._source, self._knowledge.forms)
        self._reports.take(batch)
        if self._live is not self._reports.live:
            self._live = self._reports.live
            self._plan.leave_out(self._live)
        due = self._plan.due(slots)
        again = self._reports.to_read(self._emission) if connected else []
        done = self._read_due(batch, [*due, *again]) if connected else set()
        now = self._clock.now_us()
        for position in due:
            if position not in done:
                self._past.miss(position)
                batch.add_bad(self._plan.tags[position], STATUS["BadNoCommunication"], now)
        if not len(batch):
            return None
        table = batch.table()
        self.figures.received(self._source, table)
        self._reports.compare(table, self._emission)
        if not self._config.emit_repeats:
            table = self._emission.new(table)
        return self._numbered(table) if table.num_rows else None

    def _numbered(self, table: pa.Table) -> pa.Table:
        numbers = pa.array(self._numbers.take(table.num_rows), pa.int64())
        place = samples.COLUMNS.index("seq")
        return table.set_column(place, samples.SCHEMA.field(place), numbers)

    def _connected(self) -> bool:
        """Return whether there is a session, after trying to make one if that is allowed now."""
        if self._client is not None and self._client.alive:
            self._warn(self._client.reminders())
            client = self._failover.better(self._client)
            if client is None:
                return True
            self._disconnect(for_good=True)
        else:
            if self._client is not None:
                self._drop(self._client.lost)
            client = None if self._stop.is_set() else self._failover.connect()
            if client is None:
                return False
        self._client = client
        self._measures.connected(client)
        self._prepare(client)
        return self._subscribed(client)

    def _subscribed(self, client: GuardedClient) -> bool:
        """Have the server report what is to be subscribed; returns whether the connection still stands."""
        try:
            self._reports.establish(client)
        except (MirrorError, TimeoutError) as error:
            self._failover.lost()
            self._drop(str(error))
            return False
        return True

    def _say(self, level: str, key: str, text: str) -> None:
        self._notices.say(level, key, f"{self._source}: {text}")

    def _prepare(self, client: GuardedClient) -> None:
        """Look the namespaces up again, as a restart of the server may have moved them, and say what was found."""
        limit = first_limit(client.max_nodes_per_read, self._config.max_nodes)
        self._chunks = ChunkReader(client.read_values, min(limit, self._learned_limit or limit))
        self._faulty.clear()
        self._warn(client.warnings)
        missing = self._plan.resolve(client.namespaces)
        for uri in self._missing - missing.keys():
            self._notices.clear(f"namespace {uri}", f"{self._source}: namespace URI {uri!r} is there again")
        self._missing = set(missing)
        for uri, tags in missing.items():
            self._notices.say(
                "error",
                f"namespace {uri}",
                f"{self._source}: namespace URI {uri!r} is not in the server's NamespaceArray, so tags {some(tags)} "
                f"are bad (BadNodeIdUnknown); it has {some([repr(n) for n in client.namespaces], 10)}",
            )
        kept = client.session_timeout
        longer = f"; it keeps an abandoned session for {kept:g} s" if kept > self._config.session_timeout else ""
        self._notices.say(
            "info",
            "connection",
            f"{self._source}: connected to {client.endpoint} ({client.build}; profile {client.limits.profile}), "
            f"{len(self._plan.tags)} tags, at most {self._chunks.limit} nodes a request{_rate(client)}{longer}",
        )
        self._past.begin(client)
        self._knowledge.learn(client)
        self._compare_rates(client.limits.requests_per_second, self._plan.rate(self._chunks.limit))

    def _warn(self, warnings: Sequence[tuple[str, str]]) -> None:
        for key, text in warnings:
            self._say("warn", key, text)

    def _compare_rates(self, allowed: float, needed: float) -> None:
        if not allowed or needed <= allowed:
            self._notices.clear("rate")
            return
        text = (
            f"polling takes {needed:.3g} requests a second and {allowed:g} are allowed: lengthen the interval, or, if "
            "the server can take that, raise Max Requests Per Second or Max Nodes Per Read"
        )
        self._say("warn", "rate", text)

    def _read_due(self, batch: Batch, due: Sequence[int]) -> set[int]:
        """Add a sample of each due tag that the server answered for, and return the places of these tags."""
        assert self._client is not None
        assert self._chunks is not None
        now = self._clock.now_us()
        asked: list[tuple[int, bytes]] = []
        for position in due:
            node = self._plan.nodes[position]
            if node is None:
                batch.add_bad(self._plan.tags[position], STATUS["BadNodeIdUnknown"], now)
            else:
                asked.append((position, node))
        done = {position for position in due if self._plan.nodes[position] is None}
        answers: list[tuple[int, Sequence[Reading], int]] = []

        def deliver(start: int, values: Sequence[Reading]) -> None:
            answers.append((start, values, self._clock.now_us()))
            if self._stop.is_set():
                raise ConnectionLostError("the source is being stopped")

        self._exchange(self._chunks, [node for _, node in asked], deliver)
        for start, values, ts_read in answers:
            positions = tuple(position for position, _ in asked[start : start + len(values)])
            statuses = batch.extend(self._plan.block(positions), values, ts_read)
            done.update(positions)
            if statuses or self._faulty:
                for place, position in enumerate(positions):
                    self._note(position, statuses.get(place, 0))
            if self._config.backfill or not self._live.isdisjoint(positions):
                for position, value in zip(positions, values, strict=True):
                    self._reports.read(position)
                    self._past.see(position, value)
        self._tell_faulty()
        if self._client is not None and self._client.alive:
            self._knowledge.learn_more(self._client)
        return done

    def _exchange(self, chunks: ChunkReader, nodes: Sequence[bytes], deliver: Deliver) -> None:
        """Read nodes; a failure ends the connection and keeps what was delivered before."""
        before = chunks.limit
        # Every request has its own, smaller, time limit: this one only catches what must not happen.
        patience = (4 * len(nodes) / before + 100) * self._config.request_timeout
        try:
            self._loop.run(chunks.read(nodes, deliver), patience)
            self._failover.succeeded()
        except (MirrorError, TimeoutError) as error:
            self._failover.lost()
            self._drop(str(error))
        if chunks.limit < before:
            self._learned_limit = chunks.limit
            text = f"the server calls a request of {before} nodes too large, so it is asked for {chunks.limit} at once"
            self._notices.say("info", "limit", f"{self._source}: {text}")

    def _note(self, position: int, status: int) -> None:
        if status in _MISTAKES:
            self._changed |= self._faulty.get(position) != status
            self._faulty[position] = status
        elif self._faulty.pop(position, None) is not None:
            self._changed = True

    def _tell_faulty(self) -> None:
        """Name the tags that cannot be read for a reason that will not go away by itself."""
        if not self._changed:
            return
        self._changed = False
        if not self._faulty:
            self._notices.clear("faulty", f"{self._source}: all tags can be read again")
            return
        tags = self._plan.tags
        named = [f"{tags[p].tag} ({tags[p].address}) {status_name(s)}" for p, s in sorted(self._faulty.items())]
        text = f"{len(named)} of {len(tags)} tags cannot be read: {some(named)}"
        self._notices.say("warn", "faulty", f"{self._source}: {text}")

    def _drop(self, reason: str) -> None:
        if not self._stop.is_set():
            where = self._client.endpoint if self._client is not None else self._config.endpoint
            text = f"lost the connection to {where}: {reason}"
            self._notices.say("warn", "connection", f"{self._source}: {text}")
        self._disconnect()

    def _disconnect(self, for_good: bool = False) -> None:
        client, self._client = self._client, None
        self._past.end()
        if client is None:
            return
        self._reports.leave()
        with contextlib.suppress(TimeoutError):
            self._loop.run(client.close(keep_subscriptions=not for_good and bool(self._plan.subscribed)), _MARGIN)


def _rate(client: GuardedClient) -> str:
    most = client.limits.requests_per_second
    return f", {most:g} requests a second" if most else ""
