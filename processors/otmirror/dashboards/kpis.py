"""What leadership asks for: figures of `otmirror kpi`."""

from __future__ import annotations

from otmirror.dashboards.model import Dashboard, Panel, Query, Row, falling, newest, rising, stat


def _last(metric: str, *by: str) -> str:
    """Return the newest figure, which is made once a day or week."""
    return newest(f"otmirror_kpi_{metric}", "30d", *by)


KPIS = Dashboard(
    uid="otmirror-kpis",
    title="OT mirror: KPIs",
    question="What does it save, how good is it, how safe is it?",
    span="30d",
    refresh="15m",
    rows=[
        Row(
            4,
            [
                stat(
                    "What licence cost was removed?",
                    _last("licence_cost_removed", "currency"),
                    "short",
                    "A year, in the currency of the inputs file.",
                    6,
                    legend="{{currency}}",
                    decimals=0,
                ),
                stat(
                    "What does an endpoint cost?",
                    _last("cost_per_endpoint", "currency"),
                    "short",
                    "A year, in the currency of the inputs file.",
                    6,
                    legend="{{currency}}",
                    decimals=2,
                ),
                stat(
                    "What does a GB cost?",
                    _last("cost_per_gb", "currency"),
                    "short",
                    "A year, of what both stores hold, in the currency of the inputs file.",
                    6,
                    legend="{{currency}}",
                    decimals=2,
                ),
                stat(
                    "How long until a new tag list gives data?",
                    _last('provision_seconds{until="first_sample"}'),
                    "s",
                    "Measured from the tag list to the first sample stored.",
                    6,
                    steps=rising(600, 3600),
                ),
            ],
        ),
        Row(
            4,
            [
                stat(
                    "How fresh?",
                    _last('freshness_seconds{quantile="0.95"}', "store"),
                    "s",
                    "Source time to stored, 95 of 100 samples are fresher; by store.",
                    6,
                    legend="{{store}}",
                    steps=rising(30, 90),
                    see=["otmirror-freshness"],
                ),
                stat(
                    "What share succeeded?",
                    _last("success_ratio"),
                    "percentunit",
                    "Samples stored of samples read.",
                    6,
                    steps=falling(0.995, 0.999),
                    decimals=3,
                ),
                stat(
                    "How long does a repair take?",
                    _last("mttr_seconds", "source"),
                    "s",
                    "Mean time to repair: of the faults of the last drill, or of alerts. The goal: 30 min, then 15.",
                    6,
                    legend="from the {{source}}",
                    steps=rising(900, 1800),
                ),
                stat(
                    "How many violations were blocked?",
                    _last("violations_blocked_total"),
                    "none",
                    "Changes that the policy refused, and requests that the guards refused.",
                    6,
                    decimals=0,
                ),
            ],
        ),
        Row(
            6,
            [
                Panel(
                    "bargauge",
                    "How much is behind the security that was agreed?",
                    "Share of interfaces behind single sign-on, and of secrets that come from the vault.",
                    12,
                    "percentunit",
                    [
                        Query(_last("sso_share_ratio"), "behind single sign-on"),
                        Query(_last("vault_share_ratio"), "secrets from the vault"),
                    ],
                    steps=falling(0.8, 1),
                    minimum=0,
                    maximum=1,
                    decimals=0,
                ),
                Panel(
                    "timeseries",
                    "Does it become cheaper?",
                    "Cost of an endpoint and of a GB held, a year.",
                    12,
                    "short",
                    [Query(_last("cost_per_endpoint"), "an endpoint"), Query(_last("cost_per_gb"), "a GB")],
                    minimum=0,
                ),
            ],
        ),
    ],
)
