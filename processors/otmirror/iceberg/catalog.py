"""Iceberg catalogs: opening one, and what its errors mean."""

from __future__ import annotations

import errno
import getpass
import os
import re
from pathlib import Path
from typing import Any

import requests
from pyiceberg import exceptions
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.io import FileIO
from pyiceberg.table import Table
from pyiceberg.typedef import EMPTY_DICT, Properties
from requests.adapters import HTTPAdapter
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from otmirror import netfault
from otmirror.errors import ConfigError, MirrorError, UnavailableError
from otmirror.iceberg.config import Config
from otmirror.iceberg.durable import S3_CA, DurableFileIO, make_folder
from otmirror.tlsfiles import AUTHORITY, CERTIFICATE, TlsFiles

_FILE_IO = "py-io-impl"
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and to wait for an answer."""
_CONNECT_TIMEOUT = ("psycopg2", "psycopg", "pymysql", "mysqldb")
"""Database drivers that take `connect_timeout` (seconds) from their URI."""

TEMPORARY = (
    OSError,  # requests' and pyarrow's errors among them
    SQLAlchemyError,
    exceptions.RESTError,
    exceptions.CommitFailedException,
    exceptions.WaitingForLockException,
    exceptions.NoSuchTableError,
    exceptions.NoSuchNamespaceError,
)
"""Errors of a catalog or storage that may go away by themselves or by somebody's repair."""


class _Adapter(HTTPAdapter):
    """pyiceberg sends its requests without a timeout, and lets the environment name another authority than ours."""

    def __init__(self, authority: str | None):
        self._authority = authority
        super().__init__()

    def send(self, request: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        kwargs["timeout"] = kwargs.get("timeout") or TIMEOUT
        kwargs["verify"] = self._authority or kwargs.get("verify", True)
        return super().send(request, **kwargs)


class _RestCatalog(RestCatalog):
    def _config_headers(self, session: requests.Session) -> None:
        # The first thing pyiceberg does with a new session, before it asks for a token.
        adapter = _Adapter(self.properties.get("ssl", {}).get("cabundle"))
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        super()._config_headers(session)

    # What reads and writes files is not the server's to say: Nessie names s3fs, which the bundle does not carry.
    def _fetch_config(self) -> None:
        own = self.properties.get(_FILE_IO)
        super()._fetch_config()
        self.properties = {name: value for name, value in self.properties.items() if name != _FILE_IO}
        if own:
            self.properties[_FILE_IO] = own

    def _load_file_io(self, properties: Properties = EMPTY_DICT, location: str | None = None) -> FileIO:
        told = {name: value for name, value in properties.items() if name != _FILE_IO}
        return super()._load_file_io(told, location)


class _SqlCatalog(SqlCatalog):
    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        try:
            return super()._convert_orm_to_iceberg(orm_table)
        except Exception as error:
            if isinstance(error, TEMPORARY) and not isinstance(error, FileNotFoundError):
                raise
            raise UnavailableError(
                f"table {orm_table.table_namespace}.{orm_table.table_name}: its metadata file "
                f"{orm_table.metadata_location} is missing or damaged; restore it from a backup"
            ) from None


class _SqliteCatalog(_SqlCatalog):
    def _init_catalog(self) -> None:
        # By default SQLite may lose its last commit with the power: nothing syncs the journal's removal.
        event.listen(self.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = EXTRA"))
        super()._init_catalog()


def open_catalog(config: Config) -> Catalog:
    """Open the catalog; a sqlite one is made when there is none.

    Raises:
        UnavailableError: it does not answer, or the warehouse cannot be written.
        ConfigError: the properties cannot be right, or a driver is missing.
    """
    try:
        if config.folder:
            _writable(config.folder)
        properties = _properties(config)
        if config.catalog_type == "rest":
            return _RestCatalog(config.catalog_name, **properties)
        kind = _SqliteCatalog if config.catalog_type == "sqlite" else _SqlCatalog
        return kind(config.catalog_name, **properties)
    except TEMPORARY as error:
        raise UnavailableError(explain(error, config)) from None
    except MirrorError:
        raise
    except Exception as error:
        where = config.uri or config.warehouse
        raise ConfigError(f"the catalog at {where} cannot be opened: {hidden(str(error), config)}") from None


def _properties(config: Config) -> dict[str, Any]:
    properties: dict[str, Any] = {"s3.connect-timeout": "10", "s3.request-timeout": "60", **config.more}
    warehouse = f"file://{config.folder}" if config.folder else config.warehouse
    given = {
        "uri": _uri(config),
        "warehouse": warehouse,
        "token": config.token,
        "credential": config.credential if config.catalog_type == "rest" else None,
        "s3.endpoint": config.s3_endpoint,
        "s3.region": config.s3_region,
        "s3.access-key-id": config.s3_access_key,
        "s3.secret-access-key": config.s3_secret_key,
    }
    if (config.folder and config.catalog_type != "rest") or (config.ca_file and _FILE_IO not in config.more):
        given[_FILE_IO] = f"{DurableFileIO.__module__}.{DurableFileIO.__name__}"
        given[S3_CA] = config.ca_file
    if config.catalog_type == "rest":
        properties["ssl"] = _ssl(config.tls)
    return properties | {name: value for name, value in given.items() if value}


def _ssl(tls: TlsFiles) -> dict[str, Any]:
    """Return the files as pyiceberg's RestCatalog takes them."""
    client = {"client": dict(zip(("cert", "key"), tls.pair, strict=True))} if tls.pair else {}
    return client | ({"cabundle": tls.authority} if tls.authority else {})


def _uri(config: Config) -> str:
    if config.catalog_type == "sqlite":
        return f"sqlite:///{config.folder}/catalog.db?timeout=30"
    if config.catalog_type == "sql":
        return database(config).render_as_string(hide_password=False)
    return str(config.uri)


def database(config: Config) -> URL:
    """Return the sql catalog's URL, with its credential and a limit to the time a connection may take."""
    url = make_url(str(config.uri))
    if config.credential:
        user, password = config.credential.split(":", 1)
        url = url.set(username=user, password=password)
    if url.get_driver_name() in _CONNECT_TIMEOUT and "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": f"{TIMEOUT[0]:g}"})
    return url


def _writable(folder: str) -> None:
    make_folder(Path(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)


def explain(error: BaseException, config: Config) -> str:
    """Say in one sentence what went wrong and where, without any secret."""
    return hidden(_explain(error, config), config)


def _explain(error: BaseException, config: Config) -> str:
    catalog = f"the catalog at {config.uri or config.warehouse}"
    if isinstance(error, requests.RequestException):
        return f"{catalog}: {netfault.words(error)}; check {_wrong(error)}"
    if isinstance(error, (exceptions.UnauthorizedError, exceptions.ForbiddenError, exceptions.OAuthError)):
        return f"{catalog} refuses the login; check Catalog Token or Catalog Credential: {error}"
    if isinstance(error, exceptions.RESTError):
        return f"{catalog} answers: {error}"
    if isinstance(error, exceptions.CommitFailedException):
        return f"other writers keep changing the table, the commit will be tried again: {error}"
    if isinstance(error, DBAPIError):
        return f"{catalog}: {error.orig}{_database_advice(str(error.orig), config)}"
    if isinstance(error, OSError):
        return _storage(error, config)
    return f"{catalog}: {type(error).__name__}: {error}"


def _wrong(error: requests.RequestException) -> str:
    if netfault.blames_client_certificate(error):
        return CERTIFICATE
    return AUTHORITY if isinstance(error, requests.exceptions.SSLError) else "Catalog URI"


def _database_advice(text: str, config: Config) -> str:
    if config.folder and ("unable to open" in text or "readonly" in text):
        return f"; Warehouse {config.folder} is not writable by user {_user()}"
    return ""


def _storage(error: OSError, config: Config) -> str:
    number = error.errno
    if number is None and "[errno " in str(error):
        number = int(str(error).split("[errno ")[1].split("]")[0])
    reason = os.strerror(number) if number else str(error) or type(error).__name__
    # libcurl's CURLE_PEER_FAILED_VERIFICATION, as Arrow quotes it.
    if "curlCode: 60" in reason:
        found = re.search(r"verify result: ([^(]+)", reason)
        why = found[1].strip() if found else "its certificate is not for this host"
        return f"Warehouse {config.warehouse}: TLS: {why}; check {AUTHORITY} and S3 Endpoint"
    if number == errno.ENOSPC:
        return f"Warehouse {config.warehouse}: {reason}"
    if config.folder:
        return f"Warehouse {config.folder} is not writable by user {_user()}: {reason}"
    return f"Warehouse {config.warehouse}: {reason}; check the S3 properties and the network"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def hidden(text: str, config: Config) -> str:
    """Return `text` in one line, cut to 600 characters, with all secrets masked."""
    for secret in config.secrets:
        text = text.replace(secret, "***")
    return " ".join(text.split())[:600]
