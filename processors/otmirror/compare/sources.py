"""From what is written after --left and --right to a side."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from otmirror.compare.csvsource import CsvSource
from otmirror.compare.icebergsource import IcebergSource
from otmirror.compare.profiles import Profile, load
from otmirror.compare.run import Source
from otmirror.compare.sqlsource import SqliteSource
from otmirror.compare.vmsource import VictoriaMetricsSource
from otmirror.errors import ConfigError
from otmirror.iceberg.config import Config

_SQLITE = (".db", ".sqlite", ".sqlite3", ".idb")


def opened(
    side: str, text: str, profile: str | None, zone: str | None, variables: Callable[[str], str | None]
) -> Source:
    """Return the side that was asked for.

    Args:
        side: `left` or `right`, for messages and the name of the token's variable.
        text: `http://host:8428` (VictoriaMetrics; `?prefix=ot`), `iceberg:/data/lake` or `iceberg:https://catalog:8181`
            (further settings from OTMIRROR_ICEBERG_*), or a CSV file, a folder of them, or a SQLite file.
        profile: Name or file of the profile, for files.
        zone: Zone of times that name none.
        variables: The environment.

    Raises:
        ConfigError: it is nothing of these, or its settings cannot be right.
    """
    option = f"--{side}"
    if text.startswith(("http://", "https://")):
        parts = urlsplit(text)
        query = parse_qs(parts.query)
        unknown = set(query) - {"prefix"}
        if unknown:
            raise ConfigError(f"{option}: {', '.join(sorted(unknown))}: only ?prefix= is known after the address")
        address = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        token = variables(f"OTMIRROR_COMPARE_{side.upper()}_TOKEN")
        return VictoriaMetricsSource(address, query.get("prefix", ["ot"])[0], token)
    if text.startswith("iceberg:"):
        return IcebergSource(_iceberg(option, text.removeprefix("iceberg:"), variables))
    return _files(side, Path(text), profile, zone)


def _iceberg(option: str, place: str, variables: Callable[[str], str | None]) -> Config:
    def setting(name: str) -> str | None:
        return variables(f"OTMIRROR_ICEBERG_{name}")

    remote = place.startswith(("http://", "https://"))
    uri = place if remote else setting("URI") if not place else None
    kind = setting("CATALOG_TYPE") or ("rest" if uri and uri.startswith("http") else "sql" if uri else "sqlite")
    warehouse = place if place and not remote else setting("WAREHOUSE")
    config = Config(
        catalog_type=kind,
        catalog_name=setting("CATALOG_NAME") or "otmirror",
        uri=uri,
        warehouse=os.path.abspath(warehouse)
        if warehouse and kind == "sqlite" and "://" not in warehouse
        else warehouse,
        namespace=setting("NAMESPACE") or "ot",
        samples_table=setting("SAMPLES_TABLE") or "samples",
        credential=setting("CREDENTIAL"),
        token=setting("TOKEN"),
        s3_endpoint=setting("S3_ENDPOINT"),
        s3_region=setting("S3_REGION"),
        s3_access_key=variables("OTMIRROR_S3_ACCESS_KEY"),
        s3_secret_key=variables("OTMIRROR_S3_SECRET_KEY"),
    )
    if kind == "sqlite" and not Path(f"{config.folder}/catalog.db").is_file():
        raise ConfigError(f"{option}: there is no catalog.db in {config.folder}; nothing was written there yet")
    return config


def _files(side: str, path: Path, profile: str | None, zone: str | None) -> Source:
    if not path.exists():
        raise ConfigError(
            f"--{side}: there is no file {path}, and it is no address such as http://host:8428 or iceberg:/data/lake"
        )
    is_sqlite = path.suffix.lower() in _SQLITE
    chosen = load(profile or ("ignition-sql" if is_sqlite else "generic"), zone)
    if (chosen.kind == "sqlite") != is_sqlite:
        raise ConfigError(f"--{side}-profile: {chosen.name} is for {chosen.kind} files, {path} is none")
    if is_sqlite:
        return SqliteSource(path, chosen)
    return CsvSource(_csv_files(side, path, chosen), chosen)


def _csv_files(side: str, path: Path, profile: Profile) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    found = tuple(sorted(entry for entry in path.iterdir() if entry.name.lower().endswith((".csv", ".csv.gz"))))
    if not found:
        raise ConfigError(f"--{side}: there is no CSV file in the folder {path} (profile {profile.name})")
    return found
