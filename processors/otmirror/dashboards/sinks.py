"""What both stores take, refuse and how long that takes."""

from __future__ import annotations

from otmirror.dashboards.model import Dashboard, Panel, Query, Row, counted, falling, rising, stat

_RATE = "sum by (processor) (rate({}[$__rate_interval]))"
_P = "histogram_quantile({}, sum by (le, processor) (rate({}_bucket[$__rate_interval])))"

SINKS = Dashboard(
    uid="otmirror-sinks",
    title="OT mirror: sinks",
    question="Do both stores take what they are given, and in time?",
    rows=[
        Row(
            3,
            [
                stat(
                    "Since when was nothing stored?",
                    "max(time() - max by (processor) (otmirror_store_last_success_timestamp_seconds))",
                    "s",
                    "Time since the last batch that was stored, of the store that is worse off.",
                    steps=rising(60, 300),
                    decimals=0,
                    runbooks=["hot-store-stale", "cold-store-stale"],
                ),
                stat(
                    "How many samples were rejected?",
                    counted("sum(increase(otmirror_samples_rejected_total[$__range]))"),
                    "none",
                    "In the time shown. Each is a row of ot.rejects with its reason.",
                    steps=rising(1, 100),
                    decimals=0,
                    runbooks=["samples-rejected"],
                ),
                stat(
                    "How many batches had to be tried again?",
                    counted('sum(increase(otmirror_batches_total{result="retry"}[$__range]))'),
                    "none",
                    "In the time shown. Retries lose nothing; their queue grows meanwhile.",
                    steps=rising(1, 50),
                    decimals=0,
                    runbooks=["hot-store-failing", "cold-store-failing"],
                ),
            ],
        ),
        Row(
            3,
            [
                stat(
                    "How many were given up?",
                    counted('sum(increase(otmirror_batches_total{result="failure"}[$__range]))'),
                    "none",
                    "In the time shown. They wait in the flow's queue of failures; nothing is dropped.",
                    steps=rising(1, 1),
                    decimals=0,
                    runbooks=["hot-store-failing", "cold-store-failing"],
                ),
                stat(
                    "How many series does the hot store keep?",
                    'max(vm_cache_entries{job="victoriametrics",type="storage/hour_metric_ids"})',
                    "short",
                    "Series with a sample in the last hour: about three a tag.",
                    decimals=0,
                ),
                stat(
                    "How much room has the hot store?",
                    'min(vm_free_disk_space_bytes{job="victoriametrics"} / vm_total_disk_space_bytes)',
                    "percentunit",
                    "Free share of its disk. Below its limit it takes nothing any more.",
                    steps=falling(0.1, 0.2),
                    decimals=0,
                    runbooks=["disk-filling"],
                ),
            ],
        ),
        Row(
            8,
            [
                Panel(
                    "timeseries",
                    "How much is stored?",
                    "Samples a second.",
                    12,
                    "wps",
                    [Query(_RATE.format("otmirror_samples_stored_total"), "{{processor}}")],
                    minimum=0,
                    runbooks=["hot-store-stale", "cold-store-stale"],
                ),
                Panel(
                    "timeseries",
                    "What became of each batch?",
                    "Batches a second by result, both stores.",
                    12,
                    "ops",
                    [
                        Query(
                            "sum by (processor, result) (rate(otmirror_batches_total[$__rate_interval]))",
                            "{{processor}} {{result}}",
                        )
                    ],
                    minimum=0,
                    runbooks=["hot-store-failing", "cold-store-failing"],
                ),
            ],
        ),
        Row(
            8,
            [
                Panel(
                    "timeseries",
                    "How long does a batch take?",
                    "95 of 100 are faster.",
                    8,
                    "s",
                    [Query(_P.format(0.95, "otmirror_store_seconds"), "{{processor}}")],
                    minimum=0,
                    runbooks=["hot-store-failing", "cold-store-failing"],
                ),
                Panel(
                    "timeseries",
                    "How old is a sample when it is stored?",
                    "Source time to stored, 99 of 100 live samples are younger. VictoriaMetrics: seconds. Iceberg: one "
                    "interval of its commits more.",
                    8,
                    "s",
                    [Query(_P.format(0.99, "otmirror_store_lag_seconds"), "{{processor}}")],
                    minimum=0,
                    see=["otmirror-freshness", "otmirror-queues"],
                    runbooks=["hot-store-stale", "cold-store-stale"],
                ),
                Panel(
                    "timeseries",
                    "Why were samples rejected?",
                    "Rejected samples a second, by reason.",
                    8,
                    "cps",
                    [
                        Query(
                            "sum by (reason) (rate(otmirror_samples_rejected_total[$__rate_interval]))",
                            "{{reason}}",
                        )
                    ],
                    minimum=0,
                    runbooks=["samples-rejected"],
                ),
            ],
        ),
    ],
)
