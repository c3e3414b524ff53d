"""The parallel run with the historian that is replaced: figures of `otmirror compare`."""

from __future__ import annotations

from otmirror.dashboards.model import YES_NO, Column, Dashboard, Panel, Query, Row, falling, newest, rising, stat


def _last(metric: str, *by: str) -> str:
    """Return the newest figure of a comparison, which is made once a day."""
    return newest(f"otmirror_compare_{metric}", "3d", *by)


PARALLEL = Dashboard(
    uid="otmirror-parallel",
    title="OT mirror: parallel run",
    question="Is the mirror as good as the historian it replaces, and for how many days now?",
    span="7d",
    refresh="5m",
    rows=[
        Row(
            3,
            [
                stat(
                    "Was the last comparison green?",
                    _last("green"),
                    "none",
                    "Every check of the gate passed.",
                    steps=falling(1, 1),
                    words=YES_NO,
                ),
                stat(
                    "How many green days in a row?",
                    _last("green_days"),
                    "none",
                    "The gate of the cutover asks for 14 unless your thresholds say otherwise.",
                    steps=falling(1, 14),
                    decimals=0,
                ),
                stat(
                    "How old is the last comparison?",
                    f"time() - {_last('window_end_seconds')}",
                    "s",
                    "Now less the end of the window compared. Above a day or two: it was not run.",
                    steps=rising(1.5 * 86400, 3 * 86400),
                ),
            ],
        ),
        Row(
            3,
            [
                stat(
                    "What share of its tags do we have?",
                    _last("coverage_ratio"),
                    "percentunit",
                    "Tags of the left side, as a rule the incumbent, that the right side has.",
                    steps=falling(0.99, 1),
                    decimals=2,
                ),
                stat(
                    "What share of the samples agree?",
                    _last("match_ratio"),
                    "percentunit",
                    "Compared samples that the other side confirms within the tolerance.",
                    steps=falling(0.99, 0.999),
                    decimals=3,
                ),
                stat(
                    "How many tags have an alarm?",
                    'sum(max by (kind) (last_over_time(otmirror_compare_finding_tags{alarm="true"}[3d])))',
                    "none",
                    "Tags times kinds of findings that are faults.",
                    steps=rising(1, 10),
                    decimals=0,
                ),
            ],
        ),
        Row(
            9,
            [
                Panel(
                    "table",
                    "What differs?",
                    "Tags with each kind of finding. An alarm is a fault, the others are by design. All 0: the same.",
                    10,
                    labels={"kind": "Finding", "alarm": "Alarm"},
                    columns=[
                        Column(
                            "Tags",
                            f"topk(30, {_last('finding_tags', 'kind', 'alarm')})",
                            "none",
                        )
                    ],
                ),
                Panel(
                    "timeseries",
                    "Does it agree day by day?",
                    "Share of samples confirmed, and of tags covered.",
                    14,
                    "percentunit",
                    [Query(_last("match_ratio"), "samples confirmed"), Query(_last("coverage_ratio"), "tags covered")],
                    maximum=1,
                ),
            ],
        ),
        Row(
            8,
            [
                Panel(
                    "timeseries",
                    "How much did each side store?",
                    "Usable samples in the window. Fewer on one side alone is no fault: a deadband stores fewer.",
                    12,
                    "short",
                    [Query(_last("samples", "side"), "{{side}}")],
                    minimum=0,
                ),
                Panel(
                    "timeseries",
                    "How much is missing?",
                    "Time in missing intervals, summed over all tags; the side that lacks it.",
                    12,
                    "s",
                    [Query(_last("missing_seconds", "side"), "{{side}}")],
                    minimum=0,
                ),
            ],
        ),
    ],
)
