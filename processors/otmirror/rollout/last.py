"""The last sample in each store, as a rollback notes it; a store that does not answer holds up nobody."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

from otmirror.errors import MirrorError
from otmirror.rollout.canvas import COLD, HOT, Canvas, Part
from otmirror.rollout.prometheus import Prometheus

_LOOK_BACK = "30d"


def samples(canvas: Canvas) -> dict[str, str]:
    """Return when the last sample in each store is of (ISO 8601, UTC), or why that is not known; by the sink's name."""
    return dict(_each(canvas))


def _each(canvas: Canvas) -> Iterator[tuple[str, str]]:
    for part in canvas.of(HOT, COLD):
        try:
            moment = _hot(part) if part.kind == HOT else _cold(part)
            yield part.name, _shown(moment) if moment is not None else "no sample"
        except MirrorError as error:
            yield part.name, f"not known: {error}"


def _hot(part: Part) -> float | None:
    prefix = part.properties.get("Metric Prefix") or "ot"
    store = Prometheus(part.properties.get("VictoriaMetrics URL", ""), timeout=10.0)
    return store.number(f'max(tlast_over_time({{__name__=~"{prefix}_(value|quality)"}}[{_LOOK_BACK}]))')


def _cold(part: Part) -> float | None:
    # Loading pyarrow takes a second that a rollback does not have at its beginning.
    from otmirror.iceberg.config import Config
    from otmirror.iceberg.schema import SAMPLES
    from otmirror.iceberg.upkeep import tables

    told = part.properties
    kind = told.get("Catalog Type") or "sqlite"
    warehouse = told.get("Warehouse") or ""
    if kind == "sqlite" and not (Path(warehouse.removeprefix("file://")) / "catalog.db").is_file():
        return None
    config = Config(
        kind, told.get("Catalog Name") or "otmirror", told.get("Catalog URI"), warehouse,
        told.get("Namespace") or "ot", told.get("Samples Table") or "samples", told.get("Rejects Table") or "rejects",
        s3_endpoint=told.get("S3 Endpoint"), s3_region=told.get("S3 Region"), ca_file=told.get("CA Certificate File"),
        client_certificate=told.get("Client Certificate File"), client_key=told.get("Client Key File"),
    )  # fmt: skip
    with tables(config) as found:
        table = next((one for one, layout in found if layout is SAMPLES), None)
        if table is None or table.current_snapshot() is None:
            return None
        # From the files' statistics: no sample is read.
        metrics = table.inspect.files().column("readable_metrics").to_pylist()
        bounds = [one["ts"]["upper_bound"] for one in metrics if one["ts"]["upper_bound"] is not None]
    return max(bounds).timestamp() if bounds else None


def _shown(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).isoformat(timespec="milliseconds")
