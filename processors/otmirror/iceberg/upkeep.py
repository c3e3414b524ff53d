"""The upkeep of both tables with a sink's settings, for WriteIceberg and for `otmirror lakehouse`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.table import Table

from otmirror.clock import Clock
from otmirror.errors import MirrorError, UnavailableError
from otmirror.iceberg.catalog import TEMPORARY, explain, hidden, open_catalog
from otmirror.iceberg.config import Config
from otmirror.iceberg.maintenance import Maintenance, Options, Report
from otmirror.iceberg.schema import REJECTS, SAMPLES, Layout


def maintain(
    config: Config, options: Options, clock: Clock, say: Callable[[str], None] = lambda _: None
) -> list[Report]:
    """Do the upkeep of the samples and the rejects table; one that is not there yet has none.

    Raises:
        MismatchError: a table is not partitioned as it has to be.
        UnavailableError: the catalog or the storage cannot be used now; what is done so far counts.
        ConfigError: the settings cannot be right.
    """
    with tables(config) as found:
        return [Maintenance(table, layout, options, clock, say).run() for table, layout in found]


@contextmanager
def tables(config: Config) -> Iterator[list[tuple[Table, Layout]]]:
    """Open the samples and the rejects table, those there are; what goes wrong inside is told in words.

    Raises:
        MirrorError: one sentence, without any secret.
    """
    with in_words(config):
        catalog = open_catalog(config)
        try:
            found = []
            for name, layout in ((config.samples_table, SAMPLES), (config.rejects_table, REJECTS)):
                with suppress(NoSuchTableError, NoSuchNamespaceError):
                    found.append((catalog.load_table(f"{config.namespace}.{name}"), layout))
            yield found
        finally:
            catalog.close()


@contextmanager
def in_words(config: Config) -> Iterator[None]:
    """Turn whatever goes wrong inside into an error of this library.

    Raises:
        MirrorError: one sentence, without any secret.
    """
    try:
        yield
    except MirrorError:
        raise
    except FileNotFoundError as error:
        raise UnavailableError(hidden(f"a file that a table needs is missing: {error}", config)) from None
    except TEMPORARY as error:
        raise UnavailableError(explain(error, config)) from None
    except Exception as error:
        raise UnavailableError(hidden(f"the tables' upkeep failed: {type(error).__name__}: {error}", config)) from error
