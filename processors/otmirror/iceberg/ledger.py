"""Which batches a table holds already: their ids are in the summaries of its snapshots."""

from __future__ import annotations

from itertools import pairwise

from pyiceberg.table.metadata import TableMetadata

KEY = "otmirror.batch"
"""The property of a snapshot's summary that names its batch."""


class Ledger:
    """The batches of one table's history, kept up to date from its metadata."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._head: int | None = None
        self._count = 0
        self._known: dict[str, int] = {}

    def find(self, metadata: TableMetadata, batch: str) -> int | None:
        """Return the snapshot that holds `batch`, or None.

        Only the current snapshot's ancestors count: what was rolled back is not stored.
        """
        self._catch_up(metadata)
        return self._known.get(batch)

    def _catch_up(self, metadata: TableMetadata) -> None:
        current, count = metadata.current_snapshot_id, len(metadata.snapshots)
        if current == self._head and count == self._count:
            return
        if count < self._count:
            # Snapshots were expired: what they held is no longer known, to this process as to any other.
            self._head, self._known = None, {}
        snapshots = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
        at, fresh = current, []
        while at is not None and at != self._head and at in snapshots:
            fresh.append(snapshots[at])
            at = snapshots[at].parent_snapshot_id
        if at != self._head:
            self._known = {}
        for snapshot in reversed(fresh):
            batch = snapshot.summary[KEY] if snapshot.summary else None
            if batch:
                self._known.setdefault(batch, snapshot.snapshot_id)
        self._head, self._count = current, count


def outdated(metadata: TableMetadata, before_us: int) -> list[int]:
    """Return the snapshots that were replaced by a later one before a time (microseconds since 1970).

    It is not their own age that counts: after a pause a snapshot may be old and yet have been the current one a moment
    ago, when a reader began with it. Heads of branches and tags are never among them. What is returned is the older
    part of the history, so that the ledger loses its oldest batches only.
    """
    heads = {ref.snapshot_id for ref in metadata.refs.values()}
    history = sorted(metadata.snapshots, key=lambda snapshot: (snapshot.sequence_number or 0, snapshot.timestamp_ms))
    replaced = [(old.snapshot_id, new.timestamp_ms * 1000) for old, new in pairwise(history)]
    return [number for number, at in replaced if at < before_us and number not in heads]
