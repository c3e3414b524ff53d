"""One batch into VictoriaMetrics: stored, refused with a reason a line, or to be tried again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from otmirror import samples
from otmirror.clock import Clock
from otmirror.errors import UnavailableError
from otmirror.metrics.sink import FRESH, FRESH_S, SinkFigures, fresh_seconds
from otmirror.nifi import Output
from otmirror.notices import Notice, Notices
from otmirror.telegraf.decoder import TelegrafDecoder
from otmirror.tlsfiles import Expiry
from otmirror.victoriametrics.acceptance import Acceptance
from otmirror.victoriametrics.client import ACCEPTED, Client
from otmirror.victoriametrics.config import Config
from otmirror.victoriametrics.lines import Line, Planner, Seen, Series

_REMEMBERED = 1_000_000


class VictoriaMetricsSink:
    """Writes batches of samples. Thread-safe; one batch at a time."""

    def __init__(self, config: Config, clock: Clock):
        """Nothing is sent yet."""
        self._config, self._clock = config, clock
        self._telegraf = TelegrafDecoder(config.telegraf_tag, config.telegraf_source)
        self._client = Client(config)
        self._planner = Planner(config.prefix, config.labels, config.retention, config.quality_interval)
        self._notices = Notices(clock.monotonic)
        self._acceptance = Acceptance(self._client, self._notices, clock.monotonic, config.retention)
        self._expiry = Expiry(clock)
        self.figures = SinkFigures(fresh_seconds(FRESH, FRESH_S), clock.now_us)
        """What it counts."""
        self._memory: dict[Series, Seen] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def notices(self) -> list[Notice]:
        """Return what the operator should be told since the last call."""
        return self._notices.take()

    def hide(self, text: str) -> str:
        """Return `text` with the credentials masked."""
        return self._client.hide(text)

    def write(self, content: bytes, attributes: Mapping[str, str]) -> Output:
        """Store one batch of NDJSON.

        Returns relationship `success`, `rejected` (the rest was delivered; the content holds the refused lines)
        or `retry` (something may not be stored yet; sending all of it again is harmless).
        """
        decoded = samples.decode(content, self._telegraf)
        with self._lock:
            self._expiry.look(self._config.tls, self._notices, self.figures)
            plan = self._planner.plan(decoded.table, self._clock.now_us(), self._memory)
            try:
                refused = {**self._send(plan.lines), **plan.refused}
            except UnavailableError as error:
                self._notices.say("warn", "unavailable", str(error))
                return Output("retry", {"otmirror.error": str(error)}, None)
            self._notices.clear("unavailable", f"{self._config.url} takes samples again")
            self._remember(plan.seen)
        stored = decoded.table.num_rows - len(refused)
        rejects = decoded.rejects + list(_as_rejects(decoded.table, refused))
        self._count(decoded.table, refused, rejects)
        told = {"otmirror.vm.samples": str(stored), "otmirror.vm.text": str(plan.text)}
        if "otmirror.error" in attributes:
            told["otmirror.error"] = ""
        return _rejected(rejects, told) if rejects else Output("success", told, None)

    def _count(self, table: pa.Table, refused: Mapping[int, str], rejects: Sequence[samples.Reject]) -> None:
        with contextlib.suppress(Exception):
            self.figures.rejected(reject.reason for reject in rejects)
            if refused:
                kept = [row for row in range(table.num_rows) if row not in refused]
                table = table.take(pa.array(kept, pa.int64()))  # an empty list would have no type
            self.figures.stored(table)

    def _send(self, lines: list[Line]) -> dict[int, str]:
        if not self._config.check_acceptance:
            return self._deliver(lines)
        self._acceptance.begin()
        refused = self._deliver(lines)
        self._acceptance.look()
        return refused

    def _remember(self, seen: Mapping[Series, Seen]) -> None:
        if len(self._memory) > _REMEMBERED:
            self._memory.clear()
        self._memory.update(seen)

    def _deliver(self, lines: list[Line]) -> dict[int, str]:
        """Send lines, in smaller and smaller parts where the server refuses one. Return row -> reason.

        Raises:
            UnavailableError: the server cannot take samples now.
        """
        refused: dict[int, str] = {}
        waiting = list(_requests(lines, self._config.max_request))[::-1]
        tested = False
        while waiting:
            part = waiting.pop()
            answer = self._client.send(b"".join(line.body() for line in part))
            if answer.status == ACCEPTED:
                continue
            if answer.status not in (400, 413):
                raise UnavailableError(self._client.explain(answer))
            if not tested:
                self._test_address()
                tested = True
            if len(part) > 1:
                waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
            elif len(part[0].rows) > 1:
                waiting += [[half] for half in part[0].halves()[::-1]]
            else:
                reason = f"VictoriaMetrics answered {answer.status}: {self._client.quote(answer)}"
                refused[part[0].rows[0]] = reason
        return refused

    def _test_address(self) -> None:
        """Make sure that a 400 speaks of the samples: VictoriaMetrics gives it also for a wrong path.

        Raises:
            UnavailableError: even an empty request is not accepted.
        """
        answer = self._client.send(b"")
        if answer.status != ACCEPTED:
            raise UnavailableError(self._client.explain(answer))


def _requests(lines: Iterable[Line], most: int) -> Iterator[list[Line]]:
    """Split lines into requests of at most `most` bytes, give or take a line."""
    part: list[Line] = []
    length = 0
    for line in lines:
        # 40 bytes hold any double (24), its time (14) and two commas.
        size = len(line.prefix) + 40 + 40 * len(line.rows)
        if part and length + size > most:
            yield part
            part, length = [], 0
        part.append(line)
        length += size
    if part:
        yield part


def _as_rejects(table: pa.Table, refused: Mapping[int, str]) -> Iterator[samples.Reject]:
    rows = sorted(refused)
    content = samples.encode(table.take(rows)) if rows else b""
    for row, line in zip(rows, content.splitlines(), strict=True):
        yield samples.Reject(refused[row], line.decode())


def _rejected(rejects: list[samples.Reject], told: dict[str, str]) -> Output:
    told |= {
        "otmirror.content": "rejects",
        "otmirror.rejects": str(len(rejects)),
        "otmirror.rejected.by": "victoriametrics",
        "mime.type": samples.MIME_TYPE,
    }
    return Output("rejected", told, samples.encode_rejects(rejects))
