"""What the Iceberg sink is told by its properties."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from otmirror.errors import MistakesError
from otmirror.telegraf.template import DEFAULT_SOURCE, DEFAULT_TAG, template_problems
from otmirror.tlsfiles import TlsFiles

CATALOG_TYPES = ("sqlite", "sql", "rest")
DAY = 86400.0
_NAME = re.compile(r"[A-Za-z0-9_]+")
_PASSWORD = re.compile(r"(pass(word|wd)?|pwd|secret|token)=", re.IGNORECASE)
_SECRET = re.compile("secret|token|password|key|auth|credential", re.IGNORECASE)
_OWN = {
    "type": "Catalog Type",
    "uri": "Catalog URI",
    "warehouse": "Warehouse",
    "credential": "Catalog Credential",
    "token": "Catalog Token",
    "s3.endpoint": "S3 Endpoint",
    "s3.region": "S3 Region",
    "s3.access-key-id": "S3 Access Key",
    "s3.secret-access-key": "S3 Secret Key",
}


@dataclass(frozen=True)
class Config:
    """The sink's settings; `snapshot_retention` is seconds, 0 keeps every snapshot."""

    catalog_type: str = "sqlite"
    catalog_name: str = "otmirror"
    uri: str | None = None
    warehouse: str | None = None
    namespace: str = "ot"
    samples_table: str = "samples"
    rejects_table: str = "rejects"
    credential: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    snapshot_retention: float = DAY
    telegraf_tag: str = DEFAULT_TAG
    telegraf_source: str = DEFAULT_SOURCE
    more: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further pyiceberg properties."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            MistakesError: with every mistake.
        """
        problems = [*_place_problems(self), *_secret_problems(self)]
        problems += self.tls.problems(secured=_secured(self))
        problems += template_problems(self.telegraf_tag, self.telegraf_source)
        for title, name in (("Samples Table", self.samples_table), ("Rejects Table", self.rejects_table)):
            if not _NAME.fullmatch(name):
                problems.append(f"{title}: {name!r} is no table name (letters, digits and _)")
        if not all(_NAME.fullmatch(part) for part in self.namespace.split(".")):
            problems.append(f"Namespace: {self.namespace!r} is no namespace (letters, digits and _, levels by .)")
        if self.samples_table == self.rejects_table:
            problems.append("Rejects Table: has to be another table than Samples Table")
        if 0 < self.snapshot_retention < 3600:
            problems.append("Snapshot Retention: shorter than 1 hour; a replayed batch would be stored twice")
        problems += [f"{name}: use the property {_OWN[name]}" for name in self.more if name in _OWN]
        if problems:
            raise MistakesError(problems)

    @property
    def tls(self) -> TlsFiles:
        """The files for https, of the REST catalog and, but for the client's own, of the storage."""
        return TlsFiles(self.ca_file, self.client_certificate, self.client_key)

    @property
    def folder(self) -> str | None:
        """The warehouse as a path when it is on this machine's file system."""
        warehouse = self.warehouse or ""
        if warehouse.startswith("file://"):
            return warehouse[len("file://") :].rstrip("/") or "/"
        return warehouse.rstrip("/") or "/" if warehouse.startswith("/") else None

    @property
    def secrets(self) -> list[str]:
        """What must never be shown, the longest first: one may be part of another."""
        parts = (self.credential or "").split(":", 1)
        more = [value for name, value in self.more.items() if _SECRET.search(name)]
        more += [value.split()[-1] for value in more if value.strip()]  # without its "Bearer"
        found = {s for s in (self.credential, *parts[1:], self.token, self.s3_secret_key, *more) if s}
        return sorted(found, key=len, reverse=True)


def _secured(config: Config) -> bool:
    """Return whether something is spoken to over https; only `http:` in its place says that it is not."""
    places = [place for place in (config.uri if config.catalog_type == "rest" else None, config.s3_endpoint) if place]
    return not places or any(place.startswith("https:") for place in places)


def _place_problems(config: Config) -> list[str]:
    if config.catalog_type not in CATALOG_TYPES:
        return [f"Catalog Type: {config.catalog_type!r} is none of {', '.join(CATALOG_TYPES)}"]
    problems = []
    uri = config.uri or ""
    if config.catalog_type == "sqlite":
        if uri:
            problems.append("Catalog URI: not used with Catalog Type sqlite, the catalog is in the Warehouse")
        if not config.folder:
            problems.append("Warehouse: with Catalog Type sqlite give the absolute path of a folder")
    elif not uri:
        problems.append(f"Catalog URI: needed with Catalog Type {config.catalog_type}")
    elif config.catalog_type == "rest" and not uri.startswith(("http://", "https://")):
        problems.append("Catalog URI: with Catalog Type rest give a URL such as https://host:8181")
    elif config.catalog_type == "sql" and "://" not in uri:
        problems.append("Catalog URI: with Catalog Type sql give a URI such as postgresql+psycopg2://host/db")
    if config.catalog_type == "sql" and not (config.folder or "://" in (config.warehouse or "")):
        problems.append("Warehouse: with Catalog Type sql give a folder or a location such as s3://bucket/path")
    if config.folder and re.search(r"[?#%]", config.folder):
        problems.append("Warehouse: a path with ?, # or % cannot be written as a table's location")
    return problems


def _secret_problems(config: Config) -> list[str]:
    problems = []
    try:
        uri = urlsplit(config.uri or "")
        if uri.password or _PASSWORD.search(unquote(uri.query)):
            problems.append("Catalog URI: holds a password; put user:password into Catalog Credential")
    except ValueError:
        problems.append("Catalog URI: is not a URI")
    if config.catalog_type == "sql" and config.credential and ":" not in config.credential:
        problems.append("Catalog Credential: with Catalog Type sql give user:password")
    if bool(config.s3_access_key) != bool(config.s3_secret_key):
        problems.append("S3 Access Key and S3 Secret Key: set both or none")
    return problems
