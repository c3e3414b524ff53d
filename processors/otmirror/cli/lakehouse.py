"""`otmirror lakehouse`: look at the Iceberg tables, look after them, and the view that shows each sample once."""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from otmirror.clock import SystemClock
from otmirror.errors import ConfigError, MistakesError
from otmirror.iceberg import views
from otmirror.iceberg.config import Config
from otmirror.nifi import parse_period

app = typer.Typer(
    help="The Iceberg tables: status, maintenance, and a view of each sample once. Secrets come from the environment "
    "only: OTMIRROR_ICEBERG_CREDENTIAL, OTMIRROR_ICEBERG_TOKEN, OTMIRROR_S3_ACCESS_KEY, OTMIRROR_S3_SECRET_KEY.",
    no_args_is_help=True,
)
TELL_EVERY = 5.0
"""Seconds between two lines of progress where there is no terminal."""


def _option(text: str, variable: str, *names: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(*names, envvar=f"OTMIRROR_ICEBERG_{variable}", help=text)
    return found


Warehouse = Annotated[str | None, _option("Folder, location or name of the warehouse.", "WAREHOUSE")]
Uri = Annotated[str | None, _option("URL of a REST catalog, or URI of a database.", "URI")]
Kind = Annotated[str | None, _option("sqlite, sql or rest. [default: by the URI]", "CATALOG_TYPE")]
CatalogName = Annotated[str, _option("Name a sqlite or sql catalog keeps its tables under.", "CATALOG_NAME")]
Namespace = Annotated[str, _option("Namespace of the tables.", "NAMESPACE")]
Samples = Annotated[str, _option("Table of the samples.", "SAMPLES_TABLE")]
Rejects = Annotated[str, _option("Table of the rejects.", "REJECTS_TABLE")]
Endpoint = Annotated[str | None, _option("URL of an S3 storage other than AWS.", "S3_ENDPOINT")]
Region = Annotated[str | None, _option("Region of the bucket.", "S3_REGION")]
Property = Annotated[
    list[str] | None, typer.Option("--property", help="NAME=VALUE of a further pyiceberg property; may repeat.")
]
Secret = Annotated[
    list[str] | None,
    typer.Option("--secret", help="NAME=VARIABLE: a further pyiceberg property, from an environment variable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class Place:
    """Where the tables are, as every sub-command is told before its name."""

    warehouse: str | None
    uri: str | None
    kind: str | None
    catalog_name: str
    namespace: str
    samples: str
    rejects: str
    endpoint: str | None
    region: str | None
    more: dict[str, str]

    def config(self, there: bool = True) -> Config:
        """Return the settings; an sqlite catalog has to be `there`.

        Raises:
            ConfigError: with every mistake.
        """
        default = "sqlite" if not self.uri else "rest" if self.uri.startswith(("http://", "https://")) else "sql"
        warehouse = self.warehouse
        if warehouse and "://" not in warehouse and (self.kind or default) != "rest":
            warehouse = str(Path(warehouse).absolute())
        config = Config(
            catalog_type=self.kind or default,
            catalog_name=self.catalog_name,
            uri=self.uri,
            warehouse=warehouse,
            namespace=self.namespace,
            samples_table=self.samples,
            rejects_table=self.rejects,
            credential=os.environ.get("OTMIRROR_ICEBERG_CREDENTIAL"),
            token=os.environ.get("OTMIRROR_ICEBERG_TOKEN"),
            s3_endpoint=self.endpoint,
            s3_region=self.region,
            s3_access_key=os.environ.get("OTMIRROR_S3_ACCESS_KEY"),
            s3_secret_key=os.environ.get("OTMIRROR_S3_SECRET_KEY"),
            more=self.more,
        )
        if there and config.catalog_type == "sqlite" and not Path(f"{config.folder}/catalog.db").is_file():
            raise ConfigError(f"--warehouse: there is no catalog.db in {config.folder}; nothing was written there yet")
        return config


def place(
    warehouse: Warehouse = None,
    uri: Uri = None,
    catalog_type: Kind = None,
    catalog_name: CatalogName = "otmirror",
    namespace: Namespace = "ot",
    samples_table: Samples = "samples",
    rejects_table: Rejects = "rejects",
    s3_endpoint: Endpoint = None,
    s3_region: Region = None,
    property_: Property = None,
    secret: Secret = None,
) -> Place:
    """Take where the tables are; the same words as WriteIceberg's properties.

    Raises:
        ConfigError: a further property is no NAME=VALUE, or its variable is not set.
    """
    more = dict(_pair(text, "--property") for text in property_ or ())
    for text in secret or ():
        name, variable = _pair(text, "--secret")
        if variable not in os.environ:
            raise ConfigError(f"--secret {name}: the environment variable {variable} is not set")
        more[name] = os.environ[variable]
    return Place(
        warehouse,
        uri,
        catalog_type,
        catalog_name,
        namespace,
        samples_table,
        rejects_table,
        s3_endpoint,
        s3_region,
        more,
    )


def located(command: Callable[..., None]) -> Callable[..., None]:
    """Give a sub-command the options of `place`; it gets their result as its first argument."""
    asked = inspect.signature(place, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    def run(**given: Any) -> None:
        command(place(**{name: given.pop(name) for name in asked}), **given)

    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in (*own, *asked.values())]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


@app.command()
@located
def status(at: Place, as_json: AsJson = False) -> None:
    """Show rows, files, snapshots and duplicates of the tables. Reads the keys of days that were not merged yet."""
    from otmirror.iceberg import days, maintenance, rewrite, upkeep

    config, told = at.config(), {}
    with upkeep.tables(config) as found, _progress() as say:
        for table, layout in found:
            name = ".".join(table.name())
            days.check(table.metadata, name, layout)
            repeated = 0
            for day in days.all_days(table):
                say(f"{name}: looking for duplicates on {day.name}")
                repeated += rewrite.duplicates(table, day, layout)
            told[name] = {**asdict(maintenance.count(table)), "duplicates": repeated}
    if not told:
        raise ConfigError(
            f"there are no tables {config.samples_table} and {config.rejects_table} in {config.namespace}"
        )
    if as_json:
        typer.echo(json.dumps(told))
        return
    shown = Table(Column("Table", no_wrap=True), "Rows", "Duplicates", "Days", "Files", "Small", "MB", "Snapshots")
    for name, count in told.items():
        small = f"{100 * count['small'] / count['files']:.0f} %" if count["files"] else "-"
        numbers = [f"{count[key]:,}" for key in ("rows", "duplicates", "days", "files")]
        shown.add_row(name, *numbers, small, f"{count['bytes'] / 1e6:,.1f}", f"{count['snapshots']:,}")
    Console().print(shown)


@app.command()
@located
def maintain(
    at: Place,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    older_than: Annotated[
        str, typer.Option(help="Remove files that nothing refers to from this age on; at least 1 hour.")
    ] = "1 day",
    keep_snapshots: Annotated[
        str, typer.Option(help="Expire snapshots replaced longer ago; at least 1 hour, 0 sec: none.")
    ] = "1 day",
    include_today: Annotated[
        bool, typer.Option("--include-today", help="Also days that are not over yet (UTC).")
    ] = False,
    chunk_rows: Annotated[int, typer.Option(help="Rows held in memory; a million take about 1 GB.")] = 250_000,
    as_json: AsJson = False,
) -> None:
    """Store each sample once, merge small files, expire snapshots, remove files nothing refers to.

    May run while others write and read, and again at any time; exit status 1 when days had to be left.
    """
    from otmirror.iceberg.maintenance import Options
    from otmirror.iceberg.upkeep import maintain as run

    options = Options(
        retention=_seconds(keep_snapshots, "--keep-snapshots"),
        orphan_age=_seconds(older_than, "--older-than"),
        include_today=include_today,
        dry_run=dry_run,
        chunk_rows=chunk_rows,
    )
    with _progress() as say:
        reports = run(at.config(), options, SystemClock(), say)
    if as_json:
        typer.echo(json.dumps([asdict(report) for report in reports]))
    else:
        for report in reports:
            _show(asdict(report), dry_run)
    if any(report.left for report in reports):
        raise typer.Exit(1)


def _show(report: dict[str, object], dry_run: bool) -> None:
    before, after = report["before"], report["after"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    would = "would be " if dry_run else ""
    rewritten, left = report["rewritten"], report["left"]
    assert isinstance(rewritten, list)
    assert isinstance(left, dict)
    typer.echo(f"{report['table']}: {report['seconds']:.1f} s" + (" (dry run, nothing was changed)" if dry_run else ""))
    typer.echo(f"  days {would}rewritten: {len(rewritten)}; duplicates {would}removed: {report['duplicates']:,}")
    for key in ("rows", "files", "bytes", "snapshots"):
        typer.echo(f"  {key}: {before[key]:,}" + ("" if dry_run else f" -> {after[key]:,}"))
    typer.echo(f"  snapshots {would}expired: {report['expired']:,}; files nothing refers to {would}removed: "
               f"{report['removed']:,} ({report['removed_bytes']:,} bytes)")  # fmt: skip
    orphans, notes = report["orphans"], report["notes"]
    assert isinstance(orphans, list)
    assert isinstance(notes, list)
    for line in [*orphans, *notes, *(f"day {day} was left: {reason}" for day, reason in left.items())]:
        typer.echo(f"  {line}")


@app.command()
@located
def view(
    at: Place,
    dialect: Annotated[str, typer.Option(help="trino, spark or duckdb.")] = "trino",
    relation: Annotated[
        str | None, typer.Option(help="The samples table as the engine calls it. [default: NAMESPACE.TABLE]")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The view. [default: samples_once beside the table]")] = None,
    create: Annotated[bool, typer.Option("--create", help="Make it in the REST catalog, for Trino and Spark.")] = False,
) -> None:
    """Print the statement that makes a view with each sample once, or make the view in the catalog."""
    if create:
        _create(at.config(), name or views.NAME)
        return
    relation = relation or f"{at.namespace}.{at.samples}"
    beside = relation.rpartition(".")[0]
    default = f"{beside}.{views.NAME}" if beside else views.NAME
    typer.echo(views.statement(dialect, relation, name or default), nl=False)


def _create(config: Config, name: str) -> None:
    from otmirror.iceberg.catalog import open_catalog
    from otmirror.iceberg.upkeep import in_words

    with in_words(config):
        catalog = open_catalog(config)
        try:
            made = views.create(catalog, config, name)
        finally:
            catalog.close()
    typer.echo(f"view {config.namespace}.{name} " + ("was made" if made else "was there already"))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Give a function that shows the line it is told: at once on a terminal, now and then elsewhere."""
    console, last = Console(stderr=True), [time.monotonic()]
    if console.is_terminal:
        with console.status("reading the tables") as shown:
            yield shown.update
        return

    def say(line: str) -> None:
        if time.monotonic() - last[0] >= TELL_EVERY:
            last[0] = time.monotonic()
            typer.echo(line, err=True)

    yield say


def _seconds(text: str, option: str) -> float:
    try:
        return parse_period(text)
    except ValueError as error:
        raise MistakesError([f"{option}: {error}"]) from None


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"{option}: write NAME=VALUE")
    return name.strip(), value.strip()
