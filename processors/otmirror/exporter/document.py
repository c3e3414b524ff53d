"""docs/metrics.md, made of the table of metrics."""

from __future__ import annotations

from collections.abc import Iterator

from otmirror.metrics.definitions import COLD, EXPORTER, METRICS, PROCESSORS, SINKS, SOURCES, Metric

_HEAD = """# Metrics

What the bundle measures of itself, in the format of Prometheus. This page is made by `otmirror metrics document` from the
table in `processors/otmirror/metrics/definitions.py`; a test compares it with what a running pilot exposes.

NiFi's Python processes come and go, so they serve nothing themselves. With the environment variable `OTMIRROR_METRICS` set
for NiFi to a folder, each processor writes a file `<NiFi's id of it>.prom` there, every 5 seconds and when it stops, and
reads it back when it starts: counters go on across restarts. A file that is not whole is set aside (`.unreadable`) and
counted. A disk that cannot be written costs figures, never a sample. Without the variable there are no files.

```console
otmirror metrics serve --folder /var/lib/otmirror/metrics --disk /var/lib/victoriametrics --listen 127.0.0.1:9478
```

answers at `/metrics` with all files and the disks' free space. Files that were not written for a day, as those of removed
processors, are left out. node_exporter's textfile collector can read the folder instead.
The exporter has no login: leave it on loopback, or let a firewall decide who may scrape it. It tells counts, tag areas and
file names of certificates, no values and no secrets.
[monitoring/scrape.yaml](../monitoring/scrape.yaml) has the scrape jobs of a whole site.

NiFi's own metrics come from its REST API (`/nifi-api/flow/metrics/prometheus`), VictoriaMetrics' from its `/metrics`.

Every metric of a processor has the labels `processor` (its type) and `id` (NiFi's id of it); the tables name the others.

| Label | Values |
|---|---|
| `source` | What the samples carry as `source`. A Modbus source with several devices has one a device: `<source>/<device>` for all but `otmirror_samples_read_total`, `otmirror_gaps_total` and `otmirror_source_newest_sample_timestamp_seconds` |
| `area` | A tag's first two segments, its own name never among them (`acme/north` of `acme/north/pad7/P`); beyond 50 areas, and without a slash, `other` |
| `reason` | `unreadable` no sample and no Telegraf metric; `retention` older than VictoriaMetrics keeps; `future` more than 2 days ahead; `label` tag, unit or source too long; `number` text that should be a number, or NaN; `time` outside the years 1 to 9999; `refused` VictoriaMetrics' own refusal |
| `service` | OPC UA service such as `Read`; Modbus function code such as `3` |

A tag counts as fresh while its newest good sample is younger than `OTMIRROR_FRESH_SECONDS` (90) in VictoriaMetrics,
`OTMIRROR_FRESH_COLD_SECONDS` (300) in Iceberg, where a batch of a minute is one commit. Both are set in NiFi's
environment.
"""  # noqa: E501

_SECTIONS = (
    ("Every processor", PROCESSORS, "ReadOpcUaTags, PollModbusReadOnly, ToVictoriaMetrics, WriteIceberg."),
    ("Sources", SOURCES, "ReadOpcUaTags, PollModbusReadOnly."),
    ("Sinks", SINKS, "ToVictoriaMetrics, WriteIceberg."),
    ("Iceberg", (COLD,), "WriteIceberg."),
    ("Exporter", (EXPORTER,), "`otmirror metrics serve`, without the labels `processor` and `id`."),
)


def document() -> str:
    """Return the text of docs/metrics.md."""
    return _HEAD + "".join(_section(*section) for section in _SECTIONS)


def _section(title: str, of: tuple[str, ...], who: str) -> str:
    rows = "".join(_row(metric, of) for metric in METRICS if _home(metric) == of)
    return f"\n## {title}\n\n{who}\n\n| Metric | Type | Unit | Labels | Meaning |\n|---|---|---|---|---|\n{rows}"


def _home(metric: Metric) -> tuple[str, ...]:
    """Return the section of a metric: the first that all who give it belong to."""
    for _, of, _ in (_SECTIONS[n] for n in (4, 3, 1, 2, 0)):
        if set(metric.of) <= set(of):
            return of
    return PROCESSORS


def _row(metric: Metric, of: tuple[str, ...]) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    notes = [metric.help]
    if metric.buckets:
        notes.append(f"Buckets up to {', '.join(f'{bound:g}' for bound in metric.buckets)}.")
    if set(metric.of) != set(of):
        notes.append(f"Given by {', '.join(metric.of)}.")
    if metric.on_occasion:
        notes.append(f"There {metric.on_occasion}.")
    return f"| `{metric.name}` | {metric.kind} | {metric.unit or '-'} | {labels or '-'} | {' '.join(notes)} |\n"


def names(processor: str) -> Iterator[Metric]:
    """Yield the metrics that a processor or the exporter gives."""
    return (metric for metric in METRICS if processor in metric.of)
