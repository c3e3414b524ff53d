"""The view that shows each sample once, at once, also before maintenance has removed what is repeated."""

from __future__ import annotations

import re

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import NoSuchViewError
from pyiceberg.view.metadata import ViewVersion

from otmirror.errors import ConfigError
from otmirror.iceberg.config import Config
from otmirror.iceberg.schema import SAMPLES, SAMPLES_ARROW

DIALECTS = ("trino", "spark", "duckdb")
IN_CATALOG = ("trino", "spark")
"""Dialects an Iceberg view is written in; DuckDB reads no Iceberg views."""
NAME = "samples_once"
_RELATION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_TEMPLATE = """\
SELECT {columns}
FROM (
  SELECT
    {inner},
    row_number() OVER (
      PARTITION BY {same}
      ORDER BY {order}
    ) AS nth
  FROM {relation}
) AS numbered
WHERE nth = 1"""


def query(dialect: str, relation: str) -> str:
    """Return the SELECT that gives one row of each (tag, ts, source): the one that maintenance keeps.

    Args:
        dialect: One of DIALECTS.
        relation: The samples table as that engine calls it, such as `iceberg.ot.samples`.

    Raises:
        ConfigError: the dialect or the name cannot be.
    """
    if dialect not in DIALECTS:
        raise ConfigError(f"--dialect: {dialect!r} is none of {', '.join(DIALECTS)}")
    if not _RELATION.fullmatch(relation):
        raise ConfigError(f"--relation: {relation!r} is no table name such as iceberg.ot.samples")
    quote = "`" if dialect == "spark" else '"'
    names = {name: f"{quote}{name}{quote}" for name in SAMPLES_ARROW.names}
    order = [*SAMPLES.earliest, *(n for n in names if n not in SAMPLES.earliest and n not in SAMPLES.same)]
    return _TEMPLATE.format(
        columns=", ".join(names.values()),
        inner=", ".join(names.values()),
        same=", ".join(names[name] for name in SAMPLES.same),
        order=", ".join(f"{names[name]} ASC NULLS LAST" for name in order),
        relation=".".join(f"{quote}{part}{quote}" for part in relation.split(".")),
    )


def statement(dialect: str, relation: str, view: str) -> str:
    """Return the statement that makes the view, to be run in that engine.

    Raises:
        ConfigError: the dialect or a name cannot be.
    """
    if not _RELATION.fullmatch(view):
        raise ConfigError(f"--name: {view!r} is no view name such as iceberg.ot.samples_once")
    quote = "`" if dialect == "spark" else '"'
    quoted = ".".join(f"{quote}{part}{quote}" for part in view.split("."))
    return f"CREATE OR REPLACE VIEW {quoted} AS\n{query(dialect, relation)};\n"


def create(catalog: Catalog, config: Config, name: str = NAME) -> bool:
    """Make the view in the catalog, for the dialects engines share views in; return whether it was made.

    Raises:
        ConfigError: the catalog has no views, or a view or table of that name that is another one.
        Exception: whatever pyiceberg or the catalog raise.
    """
    if not isinstance(catalog, RestCatalog):
        raise ConfigError(
            f"a {config.catalog_type} catalog holds no views (REST catalogs do): run the statement that "
            "`otmirror lakehouse view` prints in the engine instead"
        )
    identifier = f"{config.namespace}.{name}"
    wanted = {d: query(d, f"{config.namespace}.{config.samples_table}") for d in IN_CATALOG}
    there = _texts(catalog, identifier)
    if there is not None:
        if there == wanted:
            return False
        raise ConfigError(f"view {identifier} is there with another text; drop it first, or give another --name")
    schema = catalog.load_table(f"{config.namespace}.{config.samples_table}").schema()
    texts = [{"type": "sql", "sql": sql, "dialect": dialect} for dialect, sql in wanted.items()]
    version = ViewVersion.model_validate(
        {"schema-id": 0, "default-namespace": config.namespace.split("."), "representations": texts}
    )
    catalog.create_view(identifier, schema.select(*SAMPLES_ARROW.names), version)
    return True


def _texts(catalog: RestCatalog, identifier: str) -> dict[str, str] | None:
    """Return a view's texts by dialect, None when there is no such view."""
    try:
        current = catalog.load_view(identifier).current_version()
    except NoSuchViewError:
        return None
    except NotImplementedError:
        raise ConfigError(
            "this REST catalog does not offer views: run the statement that `otmirror lakehouse view` prints in the "
            "engine instead"
        ) from None
    return {text.root.dialect: text.root.sql for text in current.representations}
