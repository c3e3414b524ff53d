"""The backfill as the reader sees it: gaps are noted while reading and filled while connected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pyarrow as pa

from otmirror.clock import Clock
from otmirror.loopthread import LoopThread
from otmirror.notices import Notices
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.decode import Batch, Forms
from otmirror.opcua.gaps import NEVER, Gaps
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.history import Backfill
from otmirror.opcua.outbox import Outbox
from otmirror.opcua.plan import ReadPlan
from otmirror.opcua.readings import Reading


class Past:
    """What the tags of a source did while they could not be read, over all its connections. Used from one thread."""

    def __init__(
        self,
        config: OpcUaConfig,
        plan: ReadPlan,
        clock: Clock,
        loop: LoopThread,
        notices: Notices,
        forms: Callable[[], Forms] = Forms,
    ):
        """Take what it shares with the reader; without `backfill` in the configuration it does nothing."""
        self._config, self._plan, self._clock, self._loop, self._forms = config, plan, clock, loop, forms
        # Two poll intervals: a tag that missed one poll is no outage.
        shortest = [2000 * (tag.interval_ms or config.interval_ms) if config.backfill else NEVER for tag in config.tags]
        self.backfill = Backfill(
            config.source, [tag.tag for tag in config.tags], plan.nodes.__getitem__,
            Gaps(shortest, clock.monotonic), notices, clock,
            limit=config.backfill_limit, rate=config.backfill_rate, max_nodes=config.max_nodes,
        )  # fmt: skip
        self._outbox, self._turn = Outbox(), False
        self._filling: Future[None] | None = None

    def begin(self, client: GuardedClient) -> None:
        """Fill gaps for as long as this connection lasts."""
        if self._config.backfill:
            self._filling = self._loop.start(self.backfill.run(client, self._outbox.put))

    def end(self) -> None:
        """Stop filling; what is still open waits for the next connection."""
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.cancel()

    def see(self, place: int, reading: Reading) -> None:
        """Note what was read of a tag."""
        if self._config.backfill:
            self.backfill.see(place, reading)

    def miss(self, place: int) -> None:
        """Note that a tag could not be read."""
        self.backfill.gaps.miss(place)

    def miss_all(self) -> None:
        """Note that no tag is read from now on."""
        self.backfill.gaps.miss_all()

    def take(self, pause: bool) -> pa.Table | None:
        """Return a batch of history, if there is one and polls leave a `pause` or had their turn."""
        if not pause and not self._turn:
            self._turn = True
            return None
        self._turn = False
        rows = self._outbox.take()
        return self._batch(rows) if rows else None

    def _batch(self, rows: Sequence[tuple[int, Reading]]) -> pa.Table:
        """Make samples of all rows: none was emitted before."""
        batch, now = Batch(self._config.source, self._forms().apart()), self._clock.now_us()
        for place, reading in rows:
            batch.add(self._plan.tags[place], reading, now)
        return batch.table(backfill=True)
