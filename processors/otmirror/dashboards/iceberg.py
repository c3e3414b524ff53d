"""The tables in the lake: commits, conflicts, files."""

from __future__ import annotations

from otmirror.dashboards.model import Dashboard, Panel, Query, Row, counted, rising, stat

_COLD = 'processor="WriteIceberg"'
_P = "histogram_quantile({}, sum by (le) (rate(otmirror_iceberg_commit_seconds_bucket[$__rate_interval])))"

ICEBERG = Dashboard(
    uid="otmirror-iceberg",
    title="OT mirror: Iceberg health",
    question="Are the tables in the lake up to date and in good order?",
    rows=[
        Row(
            3,
            [
                stat(
                    "How old is the newest value in the lake?",
                    f"time() - max(otmirror_store_newest_sample_timestamp_seconds{{{_COLD}}})",
                    "s",
                    "Now less the newest source time committed.",
                    steps=rising(300, 900),
                    decimals=0,
                    runbooks=["cold-store-stale"],
                ),
                stat(
                    "When was the last commit?",
                    f"time() - max(otmirror_store_last_success_timestamp_seconds{{{_COLD}}})",
                    "s",
                    "Time since a batch was committed.",
                    steps=rising(300, 900),
                    decimals=0,
                    runbooks=["cold-store-stale"],
                ),
                stat(
                    "How many commits got in each other's way?",
                    counted("sum(increase(otmirror_iceberg_commit_conflicts_total[$__range]))"),
                    "none",
                    "In the time shown. A conflict is tried again and loses nothing; many of them want fewer "
                    "writers or larger batches.",
                    steps=rising(5, 50),
                    decimals=0,
                    runbooks=["iceberg-conflicts"],
                ),
            ],
        ),
        Row(
            3,
            [
                stat(
                    "How many batches came twice?",
                    counted("sum(increase(otmirror_iceberg_duplicate_batches_total[$__range]))"),
                    "none",
                    "In the time shown: recognised and not committed again.",
                    steps=rising(1, 100),
                    decimals=0,
                    runbooks=["iceberg-conflicts"],
                ),
                stat(
                    "How many snapshots does a table carry?",
                    "max(otmirror_iceberg_snapshots)",
                    "none",
                    "Of the table with most. Maintenance expires old ones.",
                    steps=rising(2000, 10000),
                    decimals=0,
                    runbooks=["iceberg-maintenance-due"],
                ),
                stat(
                    "How many files does a table carry?",
                    "max(otmirror_iceberg_data_files)",
                    "short",
                    "Data files of the table with most. Many small ones make queries slow: maintenance merges them.",
                    steps=rising(5000, 20000),
                    decimals=0,
                    runbooks=["iceberg-maintenance-due"],
                ),
            ],
        ),
        Row(
            8,
            [
                Panel(
                    "timeseries",
                    "How long does a commit take?",
                    "Half of them are faster than p50, 95 of 100 than p95.",
                    12,
                    "s",
                    [Query(_P.format(0.5), "p50"), Query(_P.format(0.95), "p95")],
                    minimum=0,
                    runbooks=["iceberg-conflicts", "cold-store-failing"],
                ),
                Panel(
                    "timeseries",
                    "How much is committed?",
                    "Samples a second, averaged between commits.",
                    12,
                    "wps",
                    [Query(f"sum(rate(otmirror_samples_stored_total{{{_COLD}}}[$__rate_interval]))", "samples")],
                    minimum=0,
                    runbooks=["cold-store-stale"],
                ),
            ],
        ),
        Row(
            8,
            [
                Panel(
                    "timeseries",
                    "Does maintenance keep up with snapshots?",
                    "A saw's teeth: up with commits, down with maintenance.",
                    12,
                    "none",
                    [Query("max by (table) (otmirror_iceberg_snapshots)", "{{table}}")],
                    minimum=0,
                    runbooks=["iceberg-maintenance-due"],
                ),
                Panel(
                    "timeseries",
                    "Does maintenance keep up with files?",
                    "The same of data files.",
                    12,
                    "short",
                    [Query("max by (table) (otmirror_iceberg_data_files)", "{{table}}")],
                    minimum=0,
                    runbooks=["iceberg-maintenance-due"],
                ),
            ],
        ),
    ],
)
