"""One table: made when missing, each batch appended to it once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata

from otmirror import __version__
from otmirror.errors import MirrorError, UnavailableError
from otmirror.iceberg.ledger import KEY, Ledger, outdated
from otmirror.iceberg.schema import PROPERTIES, Layout, misfits

_ATTEMPTS = 5
"""How often the columns of a table are added before a batch has to wait for it."""


class MismatchError(MirrorError):
    """An existing table cannot take our rows: columns are of another type. Retrying never mends it."""


@dataclass(frozen=True)
class Commit:
    """Where a batch is: in which snapshot, and whether it was there before this call."""

    snapshot: int
    duplicate: bool


class _AlreadyThereError(Exception):
    pass


class _Transaction(Transaction):
    """A transaction that copies the table's metadata when it changes, not at every look (some twenty a commit).

    With a thousand snapshots the copies take ten times as long as all the rest of a commit.
    """

    _seen: tuple[TableMetadata, object, TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        base, updates = self._table.metadata, self._updates
        if self._seen is None or self._seen[0] is not base or self._seen[1] is not updates:
            self._seen = (base, updates, super().table_metadata if updates else base)
        return self._seen[2]


class WatchedTable(Table):
    """A table that looks at every metadata it learns.

    pyiceberg refreshes the table between a commit that lost against another writer and its own next attempt; the
    guard stops that attempt when the other writer's commit was this very batch.
    """

    guard: Callable[[TableMetadata], None] | None = None

    def transaction(self) -> Transaction:
        return _Transaction(self)

    def refresh(self) -> Table:
        try:
            super().refresh()
        except ValueError as error:
            name = ".".join(self.name())
            raise UnavailableError(f"table {name} is not the one it was: {error}") from None
        if self.guard:
            self.guard(self.metadata)
        return self


def watched(table: Table) -> WatchedTable:
    """Return the same table with cheaper transactions and a guard."""
    return WatchedTable(table.name(), table.metadata, table.metadata_location, table.io, table.catalog, table.config)


class TableWriter:
    """Appends batches to one table. Not thread-safe; any number of processes may write the same table.

    A commit replaces the table's current snapshot only if that is the one the ledger was checked against, so a
    batch is stored once also when two writers have it, or when an earlier commit's outcome was unknown.
    """

    def __init__(self, catalog: Catalog, identifier: str, layout: Layout, lost: Callable[[], object] = lambda: None):
        """Open or make the table; `lost` is called whenever an attempt to commit lost against another writer.

        Raises:
            MismatchError: there is one that cannot take our rows.
            Exception: whatever pyiceberg, the catalog or the storage raise.
        """
        self.name = identifier
        self._layout, self._ledger = layout, Ledger()
        self._lost = lost
        self._table = watched(_open(catalog, identifier, layout))
        self._fit()

    @property
    def snapshots(self) -> int:
        """Snapshots of the table, as far as this writer has seen it."""
        return len(self._table.metadata.snapshots)

    @property
    def data_files(self) -> int:
        """Data files of the current snapshot, as its summary says."""
        current = self._table.current_snapshot()
        told = current.summary["total-data-files"] if current and current.summary else None
        return int(told or 0)

    def append(self, rows: pa.Table, batch: str) -> Commit:
        """Append `rows` (of the layout's Arrow schema) in one commit, unless `batch` is there already.

        Raises:
            MismatchError: the table was changed so that it cannot take our rows.
            Exception: whatever pyiceberg, the catalog or the storage raise; nothing is known of the batch then.
        """
        self._table.guard = None
        self._table.refresh()
        found = self._ledger.find(self._table.metadata, batch)
        if found is not None:
            return Commit(found, True)
        self._fit()
        try:
            self._commit(rows, batch)
        except _AlreadyThereError:
            return Commit(self._landed(batch), True)
        except Exception as error:
            if isinstance(error, CommitFailedException):
                self._lost()
            self._table.guard = None
            self._table.refresh()
            if self._ledger.find(self._table.metadata, batch) is None:
                raise
        return Commit(self._landed(batch), False)

    def _commit(self, rows: pa.Table, batch: str) -> None:
        def guard(metadata: TableMetadata) -> None:
            # pyiceberg looks again only after an attempt that lost.
            self._lost()
            if self._ledger.find(metadata, batch) is not None:
                raise _AlreadyThereError

        self._table.guard = guard
        told = {KEY: batch, "otmirror.rows": str(rows.num_rows), "otmirror.version": __version__}
        self._table.append(rows, snapshot_properties=told)
        self._table.guard = None

    def _landed(self, batch: str) -> int:
        snapshot = self._ledger.find(self._table.metadata, batch)
        if snapshot is None:
            raise RuntimeError(f"table {self.name}: batch {batch} was committed but is in no snapshot")
        return snapshot

    def _fit(self) -> None:
        """Add the columns the table lacks; all may be empty, since rows without them exist.

        Another writer may be adding them at the same time: then its change is looked at, and counts.
        """
        for attempt in range(_ATTEMPTS):
            missing, problems = misfits(self._layout, self._table.schema())
            if problems:
                raise MismatchError(f"table {self.name} cannot take samples: {'; '.join(problems)}")
            if not missing:
                return
            try:
                with self._table.update_schema() as update:
                    for column in missing:
                        update.add_column(column.name, column.field_type)
                return
            except CommitFailedException:
                if attempt == _ATTEMPTS - 1:
                    raise
            self._table.refresh()

    def expire(self, older_than_us: int) -> int:
        """Forget the snapshots that were replaced before a time (microseconds since 1970), never the current one.

        Their data stays; that their batches were stored is no longer known. Returns how many.
        """
        self._table.guard = None
        self._table.refresh()
        old = outdated(self._table.metadata, older_than_us)
        if old:
            self._table.maintenance.expire_snapshots().by_ids(old).commit()
        return len(old)


def _open(catalog: Catalog, identifier: str, layout: Layout) -> Table:
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        pass
    namespace = identifier.rpartition(".")[0]
    try:
        catalog.create_namespace_if_not_exists(namespace)
    except Exception:
        # Another writer may just have made it; catalogs report that in different ways.
        if not catalog.namespace_exists(namespace):
            raise
    return catalog.create_table_if_not_exists(
        identifier,
        layout.schema,
        partition_spec=layout.partition,
        sort_order=layout.order,
        properties=PROPERTIES,
    )
