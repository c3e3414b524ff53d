"""Every metric of the bundle, in one table: docs/metrics.md is made of it, and nothing else can be counted.

Names and units follow Prometheus' conventions: base units, `_total` for counters, `_timestamp_seconds` for seconds
since 1970-01-01 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

OPCUA, MODBUS = "ReadOpcUaTags", "PollModbusReadOnly"
HOT, COLD = "ToVictoriaMetrics", "WriteIceberg"
EXPORTER = "otmirror metrics serve"
SOURCES, SINKS = (OPCUA, MODBUS), (HOT, COLD)
PROCESSORS = SOURCES + SINKS

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of what takes a moment: a request, a batch, a commit."""
AGES = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 90.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper bounds of how old a sample is when it is stored, in seconds."""

EXPIRY = "otmirror_certificate_expiry_timestamp_seconds"
QUALITIES = ("good", "uncertain", "bad")
RESULTS = ("stored", "rejected", "retry", "failure")
REASONS = ("unreadable", "retention", "future", "label", "number", "time", "refused")
"""Why a sample cannot be stored: the words of label `reason`; docs/metrics.md tells what they mean."""


@dataclass(frozen=True)
class Metric:
    """One metric. `labels` are those beside `processor` and `id`; `of` names who gives it."""

    name: str
    kind: str
    unit: str
    help: str
    of: tuple[str, ...]
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    lasting: bool = False
    """Whether a gauge stays what it was over a restart of the process: times of what happened last."""
    on_occasion: str = ""
    """When it is there, of what is not always there."""


def _c(name: str, unit: str, of: tuple[str, ...], labels: tuple[str, ...], text: str, occasion: str = "") -> Metric:
    return Metric(f"otmirror_{name}", COUNTER, unit, text, of, labels, on_occasion=occasion)


def _g(
    name: str, unit: str, of: tuple[str, ...], labels: tuple[str, ...], text: str, occasion: str = "",
    lasting: bool = False,
) -> Metric:  # fmt: skip
    return Metric(f"otmirror_{name}", GAUGE, unit, text, of, labels, lasting=lasting, on_occasion=occasion)


def _h(
    name: str, of: tuple[str, ...], labels: tuple[str, ...], buckets: tuple[float, ...], text: str, occasion: str = ""
) -> Metric:
    return Metric(f"otmirror_{name}", HISTOGRAM, "seconds", text, of, labels, buckets, on_occasion=occasion)


_ASKED = "once the source was asked for the first time"
_STORED = "after the first batch that was stored"
_TLS = "when a certificate is in use"

METRICS: tuple[Metric, ...] = (
    _g("build_info", "", PROCESSORS, ("version",), "1, with the version of the bundle as a label."),
    _g("process_start_time_seconds", "seconds since 1970", PROCESSORS, (),
       "When the processor began in its present Python process."),
    _g("heartbeat_timestamp_seconds", "seconds since 1970", PROCESSORS, (),
       "When the processor's Python process last wrote its metrics: every 5 s while it lives, work or no work."),
    _g("processor_running", "0 or 1", PROCESSORS, (),
       "1 from start to stop, 0 once the processor was stopped. A process that died leaves 1 and an old heartbeat."),
    _c("faults_total", "calls", PROCESSORS, (), "Calls of NiFi that ended in an error notice."),
    _c("metrics_errors_total", "errors", PROCESSORS, ("kind",),
       "Metrics files that could not be written (kind write), or read back at the start and set aside (kind read)."),
    # Sources
    _c("samples_read_total", "samples", SOURCES, ("source", "quality"),
       "Samples that left the source in FlowFiles, by quality good, uncertain or bad."),
    _c("read_batches_total", "FlowFiles", SOURCES, (), "FlowFiles that left the source."),
    _g("source_connected", "0 or 1", SOURCES, ("source",), "Whether there is a connection to the device.", _ASKED),
    _c("source_reconnects_total", "connections", SOURCES, ("source",), "Connections made after the first one."),
    _g("source_tags", "tags", SOURCES, ("source",), "Tags that the tag list declares.", _ASKED),
    _g("source_tags_bad", "tags", SOURCES, ("source",), "Tags whose newest value is bad.", _ASKED),
    _g("source_last_good_timestamp_seconds", "seconds since 1970", SOURCES, ("source",),
       "When a good value was last received from the device, by this machine's clock; unchanged values count, and a "
       "subscription's word that nothing changed. Freshness of the source is time() minus it.",
       "after the first good value", lasting=True),
    _g("source_newest_sample_timestamp_seconds", "seconds since 1970", SOURCES, ("source",),
       "Newest source timestamp that was emitted, bad samples aside. Ahead of time(), the device's clock is.",
       "after the first good value", lasting=True),
    _c("requests_total", "requests", SOURCES, ("source", "service"),
       "Requests sent to the device, by OPC UA service or Modbus function code."),
    _h("request_seconds", SOURCES, ("source",), SECONDS,
       "How long the device took to answer a request; waiting for a subscription's next report is not counted.",
       "after the first request"),
    _c("polls_skipped_total", "polls", SOURCES, ("source",),
       "Polls left out because the one before was not over, or because NiFi did not ask (its queue is full)."),
    _c("gaps_total", "samples", SOURCES, ("source",),
       "Samples with status BadDataLost: what a subscription lost, and overflows of the server's queue."),
    _g("last_gap_timestamp_seconds", "seconds since 1970", SOURCES, ("source",),
       "When such a sample was last emitted, by this machine's clock.", "after the first gap", lasting=True),
    _c("guard_refused_total", "requests", SOURCES, ("source", "service"),
       "Requests that the read-only guard refused before a byte left. Anything but 0 is a fault of the software."),
    _g("buffer_samples", "samples", (OPCUA,), ("source",),
       "Samples that the server reported and NiFi has not taken.", _ASKED),
    _g("buffer_capacity_samples", "samples", (OPCUA,), ("source",),
       "Samples from which on the source asks the server for no more.", _ASKED),
    _g("buffer_left_seconds", "seconds", (OPCUA,), ("source",),
       "Seconds until the buffer is full at the rate of the last seconds; +Inf while it does not fill.", _ASKED),
    _g("server_queue_left_seconds", "seconds", (OPCUA,), ("source",),
       "While NiFi does not ask: seconds until the server's queues of subscribed tags are full, by Queue Size and "
       "sampling interval; what comes then is lost.", "while NiFi does not ask and tags are subscribed"),
    _g("certificate_expiry_timestamp_seconds", "seconds since 1970", (OPCUA, HOT, COLD), ("file",),
       "When a certificate in use ends; `file` is the file's name, `server` the OPC UA server's own.", _TLS),
    # Sinks
    _c("samples_stored_total", "samples", SINKS, (), "Samples stored; what was stored before is not counted again."),
    _c("samples_rejected_total", "samples", SINKS, ("reason",), "Samples or lines that cannot be stored, by reason."),
    _c("batches_total", "FlowFiles", SINKS, ("result",),
       "FlowFiles by what became of them: stored, rejected (the rest is stored), retry, failure."),
    _h("store_seconds", SINKS, (), SECONDS, "How long a FlowFile took in the sink, whatever became of it."),
    _g("store_last_success_timestamp_seconds", "seconds since 1970", SINKS, (),
       "When a batch was last stored, by this machine's clock.", _STORED, lasting=True),
    _g("store_newest_sample_timestamp_seconds", "seconds since 1970", SINKS, (),
       "Newest source timestamp stored, bad samples aside.", _STORED, lasting=True),
    _h("store_lag_seconds", SINKS, (), AGES,
       "Age of each live sample when it was stored: now minus its source timestamp. Backfill is not counted."),
    _g("store_tags", "tags", SINKS, ("area",), "Tags stored in the last 24 hours, as far as this process knows.",
       _STORED),
    _g("store_tags_fresh", "tags", SINKS, ("area",),
       "Of these, tags whose newest good sample is younger than OTMIRROR_FRESH_SECONDS (90) or, in WriteIceberg, "
       "OTMIRROR_FRESH_COLD_SECONDS (300).", _STORED),
    _h("iceberg_commit_seconds", (COLD,), (), SECONDS, "How long a commit took, its conflicts included."),
    _c("iceberg_commit_conflicts_total", "commits", (COLD,), (), "Attempts that lost against another writer's commit."),
    _g("iceberg_last_conflict_timestamp_seconds", "seconds since 1970", (COLD,), (),
       "When that last happened, by this machine's clock.", "after the first conflict", lasting=True),
    _g("iceberg_snapshots", "snapshots", (COLD,), ("table",), "Snapshots of the table.", _STORED),
    _g("iceberg_data_files", "files", (COLD,), ("table",), "Data files of the table's current snapshot.", _STORED),
    _c("iceberg_duplicate_batches_total", "FlowFiles", (COLD,), (), "Batches recognised as stored before."),
    # Exporter
    _g("metrics_files", "files", (EXPORTER,), (), "Files of processors in the union."),
    _c("metrics_unreadable_total", "files", (EXPORTER,), (), "Files left out of a scrape as they cannot be read."),
    _g("disk_free_bytes", "bytes", (EXPORTER,), ("path",), "Bytes free to ordinary users on the disk of a path."),
    _g("disk_size_bytes", "bytes", (EXPORTER,), ("path",), "Size of the disk of a path."),
)  # fmt: skip

BY_NAME = {metric.name: metric for metric in METRICS}
