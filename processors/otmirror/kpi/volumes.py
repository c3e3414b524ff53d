"""How much the stores hold, measured: bytes on disk."""

from __future__ import annotations

import os
import re

import requests

from otmirror.embedded.loopback import session
from otmirror.errors import ConfigError, UnavailableError

_SIZE = re.compile(r"^vm_data_size_bytes\{[^}]*\} (\S+)", re.MULTILINE)


def hot(url: str) -> float:
    """Return the bytes that a VictoriaMetrics holds on disk and in memory, index included, as its /metrics tells.

    Raises:
        UnavailableError: it does not answer.
        ConfigError: it is no VictoriaMetrics.
    """
    where = url.rstrip("/")
    try:
        answer = session(where).get(f"{where}/metrics", timeout=30)
        answer.raise_for_status()
    except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
        raise ConfigError(f"hot: {url!r} is no address such as http://127.0.0.1:8428") from None
    except requests.RequestException as error:
        raise UnavailableError(f"the hot store at {url} cannot be read ({type(error).__name__}): is it up?") from None
    sizes = [float(text) for text in _SIZE.findall(answer.text)]
    if not sizes:
        raise ConfigError(f"{url} is no VictoriaMetrics: its /metrics has no vm_data_size_bytes")
    return sum(sizes)


def cold(warehouse: str) -> float:
    """Return the bytes of the data files that the current snapshots of the Iceberg tables name, rejects included.

    Where the catalog is not in the warehouse folder, OTMIRROR_ICEBERG_URI and its kin say where (`otmirror lakehouse`).

    Raises:
        ConfigError: there are no tables.
        UnavailableError: catalog or storage do not answer.
    """
    from otmirror.cli.lakehouse import place
    from otmirror.iceberg.maintenance import count
    from otmirror.iceberg.upkeep import tables

    told = {name: os.environ.get(f"OTMIRROR_ICEBERG_{name}") or None for name in _ENVIRONMENT}
    config = place(
        warehouse, told["URI"], told["CATALOG_TYPE"], told["CATALOG_NAME"] or "otmirror", told["NAMESPACE"] or "ot",
        told["SAMPLES_TABLE"] or "samples", told["REJECTS_TABLE"] or "rejects", told["S3_ENDPOINT"], told["S3_REGION"],
    ).config()  # fmt: skip
    with tables(config) as found:
        if not found:
            raise ConfigError(f"lakehouse: there are no tables in {warehouse}")
        return float(sum(count(table).bytes for table, _layout in found))


_ENVIRONMENT = ("URI", "CATALOG_TYPE", "CATALOG_NAME", "NAMESPACE", "SAMPLES_TABLE", "REJECTS_TABLE", "S3_ENDPOINT",
                "S3_REGION")  # fmt: skip
