"""NiFi: what waits between the processors, and whether there is room for it."""

from __future__ import annotations

from otmirror.dashboards.model import Dashboard, Panel, Query, Row, counted, falling, rising, stat

_QUEUE = 'job="nifi",component_type="Connection"'
_ROOM = "min(nifi_{0}_repo_free_space_bytes / nifi_{0}_repo_total_space_bytes)"
_FULL = (
    f"max by (component_name) (nifi_percent_used_count{{{_QUEUE}}}) > "
    f"max by (component_name) (nifi_percent_used_bytes{{{_QUEUE}}}) or "
    f"max by (component_name) (nifi_percent_used_bytes{{{_QUEUE}}})"
)

QUEUES = Dashboard(
    uid="otmirror-queues",
    title="OT mirror: NiFi queues",
    question="Where does it pile up, and how long until that holds up the sources?",
    rows=[
        Row(
            3,
            [
                stat(
                    "How many queues hold up what feeds them?",
                    f"sum(nifi_backpressure_enabled{{{_QUEUE}}})",
                    "none",
                    "Queues at their limit. What feeds them pauses; the sources' buffers fill next.",
                    steps=rising(1, 1),
                    runbooks=["queue-filling"],
                    see=["otmirror-sources"],
                ),
                stat(
                    "How many FlowFiles wait?",
                    'sum(nifi_amount_items_queued{job="nifi",component_type="RootProcessGroup"})',
                    "short",
                    "In all queues.",
                    steps=rising(1000, 10000),
                    decimals=0,
                    runbooks=["queue-filling"],
                ),
                stat(
                    "How much room for content?",
                    _ROOM.format("content"),
                    "percentunit",
                    "Free share of the disk of NiFi's content repository.",
                    steps=falling(0.1, 0.2),
                    decimals=0,
                    runbooks=["disk-filling"],
                ),
            ],
        ),
        Row(
            3,
            [
                stat(
                    "How much room for provenance?",
                    _ROOM.format("provenance"),
                    "percentunit",
                    "Free share of the disk of NiFi's provenance repository.",
                    steps=falling(0.1, 0.2),
                    decimals=0,
                    runbooks=["disk-filling"],
                ),
                stat(
                    "How full is NiFi's memory?",
                    'max(nifi_jvm_heap_usage{job="nifi"})',
                    "percentunit",
                    "Used share of the Java heap.",
                    steps=rising(0.8, 0.9),
                    decimals=0,
                    runbooks=["nifi-down"],
                ),
                stat(
                    "How many calls ended in an error?",
                    counted("sum(increase(otmirror_faults_total[$__range]))"),
                    "none",
                    "In the time shown: calls of our processors that told of an error on the canvas.",
                    steps=rising(1, 20),
                    decimals=0,
                    runbooks=["hot-store-failing", "cold-store-failing", "source-disconnected"],
                ),
            ],
        ),
        Row(
            9,
            [
                Panel(
                    "bargauge",
                    "Which queue is the fullest?",
                    "Share of its limit in FlowFiles or bytes, whichever is nearer; at 100 % what feeds it pauses.",
                    8,
                    "percentunit",
                    [Query(f"topk(10, {_FULL})", "{{component_name}}")],
                    steps=rising(0.5, 0.8),
                    minimum=0,
                    maximum=1,
                    decimals=1,
                    runbooks=["queue-filling"],
                ),
                Panel(
                    "timeseries",
                    "Since when does it grow?",
                    "FlowFiles in each queue.",
                    16,
                    "short",
                    [Query(f"max by (component_name) (nifi_amount_items_queued{{{_QUEUE}}})", "{{component_name}}")],
                    minimum=0,
                    runbooks=["queue-filling"],
                ),
            ],
        ),
        Row(
            8,
            [
                Panel(
                    "timeseries",
                    "Is NiFi busy?",
                    "Threads at work, by processor.",
                    12,
                    "short",
                    [
                        Query(
                            "max by (component_name) (nifi_amount_threads_active"
                            '{job="nifi",component_type="Processor"})',
                            "{{component_name}}",
                        )
                    ],
                    minimum=0,
                    stacked=True,
                    runbooks=["processor-silent"],
                ),
                Panel(
                    "timeseries",
                    "Does collecting garbage hold it up?",
                    "Share of time in Java's garbage collection.",
                    12,
                    "percentunit",
                    [
                        Query(
                            'sum by (gc_name) (rate(nifi_jvm_gc_time{job="nifi"}[$__rate_interval])) / 1000',
                            "{{gc_name}}",
                        )
                    ],
                    minimum=0,
                    runbooks=["nifi-down"],
                ),
            ],
        ),
    ],
)
