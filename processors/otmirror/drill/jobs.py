"""Jobs of somebody else on the lakehouse: one that commits all the time, one that leaves small files behind.

`python -m otmirror.drill.jobs WAREHOUSE commit|scatter`. The first adds no row, the second one that is there already.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile

from otmirror.iceberg.catalog import open_catalog
from otmirror.iceberg.config import Config

FILES = 10_001
"""One more than the alert IcebergMaintenanceDue allows."""
_TABLE = "ot.samples"
_PAUSE = 0.01
_TOLD = (
    "content", "file_format", "partition", "record_count", "file_size_in_bytes", "column_sizes", "value_counts",
    "null_value_counts", "nan_value_counts", "lower_bounds", "upper_bounds",
)  # fmt: skip
"""What a manifest tells of a data file beside its path (Iceberg specification, Manifests)."""


def commit(table: Any, pause: float = _PAUSE) -> None:
    """Set a property of the table, again and again, until the process is ended."""
    # No snapshot each time: hundreds of them would make every commit slow, and conflicts few.
    for number in itertools.count():
        try:
            table.refresh()
            with table.transaction() as transaction:
                transaction.set_properties({"drill.commits": str(number)})
        except CommitFailedException:
            pass  # the mirror was faster
        time.sleep(pause)


def scatter(table: Any, files: int = FILES) -> None:
    """Store one sample of the table again in so many files, in two commits: maintenance leaves it there once."""
    table.append(table.scan(limit=1).to_arrow())
    (pattern,) = (entry.data_file for entry in _added(table))
    folder, content = Path(pattern.file_path.removeprefix("file://")).parent, table.io.new_input(pattern.file_path)
    with content.open() as stream:
        written = stream.read()
    told = {name: getattr(pattern, name) for name in _TOLD}
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as update:
        for number in range(files - 1):
            file = folder / f"drill-{number}.parquet"
            file.write_bytes(written)
            update.append_data_file(
                DataFile.from_args(file_path=f"file://{file}", spec_id=table.metadata.default_spec_id, **told)
            )


def _added(table: Any) -> list[Any]:
    snapshot = table.current_snapshot()
    return [
        entry
        for manifest in snapshot.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io)
        if entry.snapshot_id == snapshot.snapshot_id
    ]


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    warehouse, what = Path(arguments[0]), arguments[1]
    table = open_catalog(Config(warehouse=str(warehouse))).load_table(_TABLE)
    if what == "commit":
        commit(table)
    scatter(table)


if __name__ == "__main__":
    main(sys.argv[1:])
