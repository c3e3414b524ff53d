"""How old is what people look at, by area."""

from __future__ import annotations

from otmirror.dashboards.model import AREA, HOT, Column, Dashboard, Panel, Query, Row, falling, rising, stat

_TAGS = 'otmirror_store_tags{processor="ToVictoriaMetrics",area=~"$area"}'
_FRESH = 'otmirror_store_tags_fresh{processor="ToVictoriaMetrics",area=~"$area"}'
_OLD = 'time() - max by (tag, source) (tlast_over_time(ot_value{tag=~"($area)/.*"}[1h]))'
_LAG = "histogram_quantile({}, sum by (le, processor) (rate(otmirror_store_lag_seconds_bucket[$__rate_interval])))"

FRESHNESS = Dashboard(
    uid="otmirror-freshness",
    title="OT mirror: freshness by area",
    question="Which part of the plant is seen late, and which tags are the oldest?",
    variables=[AREA],
    rows=[
        Row(
            3,
            [
                stat(
                    "What share of tags is fresh?",
                    f"sum({_FRESH}) / sum({_TAGS})",
                    "percentunit",
                    "Tags of the last 24 h whose newest good sample is younger than 90 s (OTMIRROR_FRESH_SECONDS).",
                    6,
                    steps=falling(0.98, 0.995),
                    decimals=1,
                    runbooks=["tags-uncovered"],
                ),
                stat(
                    "How many tags are not?",
                    f"sum({_TAGS}) - sum({_FRESH})",
                    "none",
                    "A tag with a long deadband is among them while its value stands still.",
                    6,
                    steps=rising(1, 10),
                    runbooks=["tags-uncovered", "source-stale"],
                ),
                stat(
                    "How many tags are there?",
                    f"sum({_TAGS})",
                    "none",
                    "Tags stored in the last 24 h. A fall after a change of the tag list is expected, any other "
                    "is not.",
                    6,
                ),
                stat(
                    "How many have a bad last value?",
                    'count(last_over_time(ot_quality{tag=~"($area)/.*"}[1h]) == 0) or '
                    'count(last_over_time(ot_quality{tag=~"($area)/.*"}[1h])) * 0',
                    "none",
                    "Asked of the hot store itself: tags whose newest sample of the last hour has bad quality.",
                    6,
                    store=HOT,
                    steps=rising(1, 10),
                    runbooks=["tags-bad"],
                ),
            ],
        ),
        Row(
            9,
            [
                Panel(
                    "bargauge",
                    "Which area is behind?",
                    "Share of fresh tags, by the first two parts of their names.",
                    8,
                    "percentunit",
                    [Query(f"sum by (area) ({_FRESH}) / sum by (area) ({_TAGS})", "{{area}}")],
                    steps=falling(0.98, 0.995),
                    minimum=0,
                    maximum=1,
                    decimals=1,
                    runbooks=["tags-uncovered"],
                ),
                Panel(
                    "timeseries",
                    "Since when?",
                    "The same share over time. One area falls: its source. All fall: a store.",
                    16,
                    "percentunit",
                    [Query(f"sum by (area) ({_FRESH}) / sum by (area) ({_TAGS})", "{{area}}")],
                    minimum=0,
                    maximum=1,
                    see=["otmirror-sources", "otmirror-sinks"],
                    runbooks=["source-stale"],
                ),
            ],
        ),
        Row(
            9,
            [
                Panel(
                    "timeseries",
                    "How long from the device to the stores?",
                    "Source time to stored, of live samples: half of them are faster than p50, one in a hundred "
                    "is slower than p99.",
                    12,
                    "s",
                    [Query(_LAG.format(0.5), "p50 {{processor}}"), Query(_LAG.format(0.99), "p99 {{processor}}")],
                    minimum=0,
                    see=["otmirror-sinks", "otmirror-queues"],
                    runbooks=["hot-store-stale", "cold-store-stale"],
                ),
                Panel(
                    "table",
                    "Which tags are the oldest?",
                    "Asked of the hot store itself: the 15 tags whose newest sample is the oldest, of those with "
                    "one in the last hour.",
                    12,
                    labels={"tag": "Tag", "source": "Source"},
                    columns=[Column("Age", f"topk(15, {_OLD})", "s", rising(90, 600), store=HOT)],
                    runbooks=["source-stale", "tags-bad"],
                ),
            ],
        ),
    ],
)
