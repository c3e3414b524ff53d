"""The first page: is it well, do we keep what we promised, what is wrong now."""

from __future__ import annotations

from otmirror.dashboards.model import Dashboard, Panel, Query, Row, counted, falling, rising, stat

_RUNBOOK = (
    'label_lowercase(label_transform(label_copy({}, "alertname", "runbook"), "runbook", "([a-z])([A-Z])", "$1-$2"), '
    '"runbook")'
)
_ALERTS = _RUNBOOK.format('ALERTS{alertstate=~"firing|pending"}')
"""The file of an alert's runbook is its name in small letters with hyphens; those of the burn rates share one."""
ALERTS = f'label_replace({_ALERTS}, "runbook", "error-budget-burn", "alertname", "ErrorBudgetBurn.*")'
_HOT, _COLD = '{processor="ToVictoriaMetrics"}', '{processor="WriteIceberg"}'

OVERVIEW = Dashboard(
    uid="otmirror-overview",
    title="OT mirror: overview",
    question="Is every tag fresh, do we keep what we promised, and what is to be done now?",
    span="6h",
    rows=[
        Row(
            3,
            [
                stat(
                    "How many parts do not answer?",
                    "count(up == 0) or sum(up == 1) * 0",
                    "none",
                    "Scrapes of NiFi, the mirror's own metrics and the stores that failed. Above 0 the other "
                    "figures may be old: begin here.",
                    steps=rising(1, 1),
                    runbooks=["nifi-down", "exporter-down", "hot-store-down"],
                ),
                stat(
                    "What share of tags is fresh?",
                    f"sum(otmirror_store_tags_fresh{_HOT}) / sum(otmirror_store_tags{_HOT})",
                    "percentunit",
                    "Tags stored in the last 24 h whose newest good sample is younger than 90 s "
                    "(OTMIRROR_FRESH_SECONDS).",
                    steps=falling(0.98, 0.995),
                    decimals=1,
                    see=["otmirror-freshness"],
                    runbooks=["tags-uncovered", "source-stale"],
                ),
                stat(
                    "How old is the newest value to look at?",
                    f"time() - max(otmirror_store_newest_sample_timestamp_seconds{_HOT})",
                    "s",
                    "Now less the newest source time in VictoriaMetrics.",
                    steps=rising(30, 90),
                    decimals=1,
                    see=["otmirror-sinks"],
                    runbooks=["hot-store-stale"],
                ),
            ],
        ),
        Row(
            3,
            [
                stat(
                    "How old is the newest value in the lake?",
                    f"time() - max(otmirror_store_newest_sample_timestamp_seconds{_COLD})",
                    "s",
                    "Now less the newest source time committed to Iceberg.",
                    steps=rising(300, 900),
                    decimals=1,
                    see=["otmirror-iceberg"],
                    runbooks=["cold-store-stale"],
                ),
                stat(
                    "How many sources are cut off?",
                    counted("sum(otmirror_source_connected == bool 0)"),
                    "none",
                    "Devices or servers without a connection.",
                    steps=rising(1, 1),
                    see=["otmirror-sources"],
                    runbooks=["source-disconnected"],
                ),
                stat(
                    "How many alerts ask for a person?",
                    'count(ALERTS{alertstate="firing",severity=~"page|ticket"}) or '
                    'count(ALERTS{alertname="Watchdog",alertstate="firing"}) * 0',
                    "none",
                    "Firing alerts of severity page or ticket, listed below. No figure at all: the alerts "
                    "themselves are dead.",
                    steps=rising(1, 1),
                    runbooks=["watchdog"],
                ),
            ],
        ),
        Row(
            8,
            [
                Panel(
                    "bargauge",
                    "How much of each error budget is left?",
                    "What of the promise's allowance is left in its window. Below a quarter: no changes but repairs.",
                    8,
                    "percentunit",
                    [Query("slo:error_budget_remaining:ratio", "{{slo}}")],
                    steps=falling(0.0, 0.25),
                    minimum=0,
                    maximum=1,
                    decimals=1,
                    runbooks=["error-budget-burn"],
                ),
                Panel(
                    "timeseries",
                    "How fast is it being used up?",
                    "Errors of the last hour over what the promise allows: 1 uses the budget up exactly at the "
                    "end of its window, 14.4 in two days of thirty.",
                    8,
                    "none",
                    [Query("slo:sli_error:ratio_rate1h / on (slo) slo:error_budget:ratio", "{{slo}}")],
                    steps=((None, "green"), (1, "orange"), (14.4, "red")),
                    minimum=0,
                    runbooks=["error-budget-burn"],
                ),
                Panel(
                    "timeseries",
                    "Does what is read get stored?",
                    "Samples a second. Both stores' lines follow the one of what was read; the lake's in steps, "
                    "one a commit.",
                    8,
                    "wps",
                    [
                        Query("sum(rate(otmirror_samples_read_total[$__rate_interval]))", "read"),
                        Query(
                            f"sum(rate(otmirror_samples_stored_total{_HOT}[$__rate_interval]))",
                            "VictoriaMetrics",
                        ),
                        Query(f"sum(rate(otmirror_samples_stored_total{_COLD}[$__rate_interval]))", "Iceberg"),
                    ],
                    minimum=0,
                    see=["otmirror-sources", "otmirror-sinks", "otmirror-queues"],
                ),
            ],
        ),
        Row(
            6,
            [
                Panel(
                    "table",
                    "What is wrong now, and what is to be done?",
                    "Alerts that fire, or are about to. A click on the runbook opens it. Watchdog always stands here: "
                    "without it the alerts themselves are dead.",
                    24,
                    labels={
                        "alertname": "Alert",
                        "severity": "Severity",
                        "alertstate": "State",
                        "component": "Part",
                        "source": "Source",
                        "slo": "SLO",
                        "runbook": "Runbook",
                    },
                    columns=[],
                    queries=[
                        Query(f"max by (alertname, severity, alertstate, component, source, slo, runbook) ({ALERTS})")
                    ],
                    label_link=("Runbook", "${runbooks}/${__value.text}.md"),
                    runbooks=["watchdog"],
                ),
            ],
        ),
    ],
)
