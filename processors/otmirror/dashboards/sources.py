"""What the OPC UA servers and Modbus devices give, and how well they are asked."""

from __future__ import annotations

from otmirror.dashboards.model import SOURCE, YES_NO, Column, Dashboard, Panel, Query, Row, counted, rising, stat

_S = 'source=~"($source)(/.*)?"'
"""Of a Modbus source with several devices each device has a name of its own below the source's."""


def _of(metric: str) -> str:
    return f"max by (source) ({metric}{{{_S}}})"


def _increase(metric: str) -> str:
    return f"sum by (source) (increase({metric}{{{_S}}}[$__range]))"


_SLOW = (
    f"histogram_quantile(0.95, sum by (le, source) (rate(otmirror_request_seconds_bucket{{{_S}}}[$__rate_interval])))"
)

_SILENT = (
    "sum((time() - otmirror_heartbeat_timestamp_seconds > bool 45) * on (instance, processor, id) "
    "otmirror_processor_running)"
)

SOURCES = Dashboard(
    uid="otmirror-sources",
    title="OT mirror: sources",
    question="Does every OPC UA server and Modbus device answer, in time, with good values?",
    variables=[SOURCE],
    rows=[
        Row(
            6,
            [
                Panel(
                    "table",
                    "How is each source?",
                    "A row a server or device. Bad tags: those whose last value has bad quality. Age: since the "
                    "last good value. Clock ahead: of its newest time over ours, below 0 is normal.",
                    24,
                    labels={"source": "Source"},
                    columns=[
                        Column("Connected", _of("otmirror_source_connected"), "none", words=YES_NO),
                        Column("Tags", _of("otmirror_source_tags"), "none"),
                        Column("Bad tags", _of("otmirror_source_tags_bad"), "none", rising(1, 10)),
                        Column(
                            "Age", f"time() - {_of('otmirror_source_last_good_timestamp_seconds')}", "s", rising(30, 90)
                        ),
                        Column(
                            "Clock ahead",
                            f"{_of('otmirror_source_newest_sample_timestamp_seconds')} - time()",
                            "s",
                            rising(2, 10),
                        ),
                        Column("Reconnects", _increase("otmirror_source_reconnects_total"), "none", rising(1, 5)),
                        Column("Gaps", _increase("otmirror_gaps_total"), "none", rising(1, 1)),
                        Column("Polls skipped", _increase("otmirror_polls_skipped_total"), "none", rising(1, 100)),
                    ],
                    runbooks=[
                        "source-disconnected",
                        "source-stale",
                        "tags-bad",
                        "source-clock-ahead",
                        "samples-lost",
                        "polls-skipped",
                    ],
                ),
            ],
        ),
        Row(
            8,
            [
                Panel(
                    "timeseries",
                    "How many samples does each give?",
                    "Samples a second, of every quality.",
                    12,
                    "cps",
                    [
                        Query(
                            f"sum by (source) (rate(otmirror_samples_read_total{{{_S}}}[$__rate_interval]))",
                            "{{source}}",
                        )
                    ],
                    minimum=0,
                    runbooks=["source-stale"],
                ),
                Panel(
                    "timeseries",
                    "How good are they?",
                    "Share of samples by quality. Bad ones are stored too, with the device's own status.",
                    12,
                    "percentunit",
                    [
                        Query(
                            f"sum by (quality) (rate(otmirror_samples_read_total{{{_S}}}[$__rate_interval])) / on () "
                            f"group_left () sum(rate(otmirror_samples_read_total{{{_S}}}[$__rate_interval]))",
                            "{{quality}}",
                        )
                    ],
                    minimum=0,
                    maximum=1,
                    stacked=True,
                    runbooks=["tags-bad"],
                ),
            ],
        ),
        Row(
            8,
            [
                Panel(
                    "timeseries",
                    "How long does an answer take?",
                    "95 of 100 requests are faster. Near the poll interval polls begin to be skipped.",
                    12,
                    "s",
                    [Query(_SLOW, "{{source}}")],
                    minimum=0,
                    runbooks=["polls-skipped"],
                ),
                Panel(
                    "timeseries",
                    "What of the sources' own buffers is in use?",
                    "Samples that wait in the reader, of what it can hold; full, the oldest are lost and told as "
                    "gaps. A source without a buffer has no line.",
                    12,
                    "percentunit",
                    [
                        Query(
                            f"max by (source) (otmirror_buffer_samples{{{_S}}}) / "
                            f"max by (source) (otmirror_buffer_capacity_samples{{{_S}}})",
                            "{{source}}",
                        )
                    ],
                    steps=rising(0.5, 0.9),
                    minimum=0,
                    maximum=1,
                    runbooks=["buffer-filling", "samples-lost"],
                ),
            ],
        ),
        Row(
            3,
            [
                stat(
                    "Did anything but a read try to get out?",
                    counted(f"sum(increase(otmirror_guard_refused_total{{{_S}}}[$__range]))"),
                    "none",
                    "Requests that the guard refused before a byte left. Above 0 somebody changed the code.",
                    8,
                    steps=rising(1, 1),
                    runbooks=["guard-refused"],
                ),
                stat(
                    "How many certificates end within 30 days?",
                    counted("sum(otmirror_certificate_expiry_timestamp_seconds - time() < bool 30 * 86400)"),
                    "none",
                    "Certificates in use, of servers and of clients.",
                    8,
                    steps=rising(1, 2),
                    runbooks=["certificate-expiring"],
                ),
                stat(
                    "How many processors fell silent?",
                    counted(_SILENT),
                    "none",
                    "Running processors whose Python process has not reported for 45 s.",
                    8,
                    steps=rising(1, 1),
                    runbooks=["processor-silent"],
                ),
            ],
        ),
    ],
)
