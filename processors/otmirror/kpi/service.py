"""How well the mirror serves: freshness, success rate, time to recover, time to provision."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from otmirror.errors import ConfigError, MirrorError
from otmirror.kpi.figure import Figure, Metric, Window, missing, number
from otmirror.kpi.inputs import Places
from otmirror.rollout import evidence
from otmirror.rollout.prometheus import Prometheus, Series

STEP = 15.0
"""Seconds between two looks at the history of alerts, at least; the default scrape interval."""
_DAY = 86400.0
_QUANTILES = (0.5, 0.95, 0.99)
_STORES = {"hot": ("VictoriaMetrics", "ToVictoriaMetrics"), "cold": ("Iceberg", "WriteIceberg")}
_AGES = "Freshness in {} (p50 / p95 / p99)"
_NO_STORE = "give --monitoring, the store that holds the bundle's own metrics"
# What was written in a step, not what a store still holds for newest after it.
_FIRING = f'max(count_over_time(ALERTS{{alertstate="firing",severity="page"}}[{STEP:.0f}s]))'
_GAP = 120.0
"""Seconds without a word that do not end an incident: rules may be evaluated once a minute."""


def figures(places: Places, window: Window, store: Prometheus | None) -> list[Figure]:
    """Return time to provision, freshness of both stores, success rate, and time to recover of drill and alerts."""
    found = [provision(places.provision)]
    for short, (title, _processor) in _STORES.items():
        ask = partial(freshness, window=window, short=short)
        found.append(_asked(f"freshness_{short}", _AGES.format(title), store, ask))
    found.append(_asked("success", "Success rate", store, lambda s: success(s, window)))
    found.append(drill(places.drill))
    found.append(_asked("mttr_alerts", "Mean time to recover, from the alerts", store, lambda s: alerts(s, window)))
    return found


def _asked(name: str, title: str, store: Prometheus | None, ask: Callable[[Prometheus], Figure]) -> Figure:
    if store is None:
        return missing(name, title, _NO_STORE)
    try:
        return ask(store)
    except MirrorError as error:
        return missing(name, title, str(error))


def freshness(store: Prometheus, window: Window, short: str) -> Figure:
    """Return the age of samples when they were stored in the `hot` or `cold` store; its value is p95.

    Raises:
        MirrorError: the monitoring store does not answer.
    """
    name, (title, processor) = f"freshness_{short}", _STORES[short]
    title = _AGES.format(title)
    buckets = f'sum by (le) (increase(otmirror_store_lag_seconds_bucket{{processor="{processor}"}}[{window.promql}]))'
    at = window.end.timestamp()
    ages = [store.number(f"histogram_quantile({share}, {buckets})", at) for share in _QUANTILES]
    if any(age is None for age in ages):
        return missing(name, title, f"{store.url} has no otmirror_store_lag_seconds of {processor}: is the exporter "
                       "scraped (monitoring/scrape.yaml), and did samples arrive?")  # fmt: skip
    told = [age for age in ages if age is not None]
    metrics = tuple(
        Metric("freshness_seconds", age, {"store": short, "quantile": f"{share:g}"})
        for share, age in zip(_QUANTILES, told, strict=True)
    )
    how = " / ".join(f"{number(age)} s" for age in told)
    source = f"monitoring store: histogram_quantile over otmirror_store_lag_seconds of {processor}"
    return Figure(name, title, told[1], "s", how, source, _span(store, window), metrics=metrics)


def success(store: Prometheus, window: Window) -> Figure:
    """Return stored samples by stored and rejected ones, as the objective success-rate has it.

    Raises:
        MirrorError: the monitoring store does not answer.
    """
    name, title, at = "success", "Success rate", window.end.timestamp()
    stored = store.number(f"sum(increase(otmirror_samples_stored_total[{window.promql}]))", at)
    rejected = store.number(f"sum(increase(otmirror_samples_rejected_total[{window.promql}]))", at) or 0.0
    if not stored and not rejected:
        return missing(name, title, f"{store.url} counted no sample stored or rejected in the window")
    value = (stored or 0.0) / ((stored or 0.0) + rejected)
    how = f"{stored or 0:,.0f} stored / ({stored or 0:,.0f} stored + {rejected:,.0f} rejected), both stores"
    source = "monitoring store: otmirror_samples_stored_total, otmirror_samples_rejected_total"
    return Figure(name, title, value, "share", how, source, _span(store, window),
                  metrics=(Metric("success_ratio", value),))  # fmt: skip


def alerts(store: Prometheus, window: Window) -> Figure:
    """Return how long somebody was needed: the mean of the times in which an alert that pages was firing without a gap.

    Raises:
        MirrorError: the monitoring store does not answer.
    """
    name, title = "mttr_alerts", "Mean time to recover, from the alerts"
    start, end = window.start.timestamp(), window.end.timestamp()
    if not store.instant(f"count(count_over_time(ALERTS[{window.promql}]))", end):
        return missing(name, title, f"{store.url} holds no ALERTS: vmalert has to write them back (-remoteWrite.url)")
    points: list[float] = []
    day = start
    # A day at a time: stores limit how many points an answer may have.
    while day < end:
        until = min(day + _DAY - STEP, end)
        points += _moments(store.range(_FIRING, day, until, STEP))
        day += _DAY
    spans = incidents(points)
    over = [span for span in spans if span[1] < end - _GAP]
    open_ = len(spans) - len(over)
    going = f"; {open_} still open, not counted" if open_ else ""
    source = "monitoring store: ALERTS with severity page"
    if not over:
        return missing(name, title, f"nothing that pages fired and ended in the window{going}: the drill measures it")
    lengths = [last - first for first, last in over]
    value = sum(lengths) / len(lengths)
    how = f"{len(over)} incidents, {number(sum(lengths))} s in all, longest {number(max(lengths))} s{going}"
    return Figure(name, title, value, "s", how, source, _span(store, window),
                  metrics=(Metric("mttr_seconds", value, {"source": "alerts"}),))  # fmt: skip


def incidents(moments: Iterable[float]) -> list[tuple[float, float]]:
    """Return from when to when something was firing, in seconds: a step before the first moment to the last one."""
    spans: list[tuple[float, float]] = []
    for moment in sorted(moments):
        if spans and moment - spans[-1][1] <= _GAP:
            spans[-1] = (spans[-1][0], moment)
        else:
            spans.append((moment - STEP, moment))
    return spans


def _moments(found: Sequence[Series]) -> list[float]:
    return [moment for one in found for moment, value in one.points if value > 0]


def drill(path: str | None) -> Figure:
    """Return the mean recovery of the drill's faults; a fault that never recovered makes it unknown."""
    name, title = "mttr_drill", "Mean time to recover, from the drill"
    todo = "run `otmirror drill` and name what it wrote with --drill"
    if path is None:
        return missing(name, title, todo)
    try:
        found = evidence.read(Path(path), "time")
        if found is None:
            return missing(name, title, f"there is no {path}: {todo}")
        faults = found.content["faults"]
        times = [fault["recover_s"] for fault in faults]
        lost = [str(fault["fault"]) for fault in faults if fault["recover_s"] is None]
        if lost:
            return missing(name, title, f"{', '.join(lost)} never recovered in {path}: mend it and run the drill again")
        if not times:
            return missing(name, title, f"{path} has no faults: {todo}")
        value = sum(map(float, times)) / len(times)
    except ConfigError as error:
        return missing(name, title, str(error))
    except (LookupError, TypeError, ValueError):
        return missing(name, title, f"{path} is no result of the drill: {todo}")
    how = f"{len(times)} faults: {' + '.join(number(float(one)) for one in times)} s / {len(times)}"
    when = f"drill of {found.dated:%Y-%m-%d %H:%M} UTC"
    return Figure(name, title, value, "s", how, f"{path} ({found.digest[:12]})", when,
                  metrics=(Metric("mttr_seconds", value, {"source": "drill"}),))  # fmt: skip


def provision(path: str | None) -> Figure:
    """Return the time from a tag list to its first sample in the hot store."""
    name, title = "provision", "Time to provision"
    todo = "run `otmirror kpi provision` and name what it wrote with --provision"
    if path is None:
        return missing(name, title, todo)
    try:
        found = evidence.read(Path(path), "time")
        if found is None:
            return missing(name, title, f"there is no {path}: {todo}")
        first, whole, tags = (float(found.content[key]) for key in ("first_sample_s", "all_tags_s", "tags"))
    except ConfigError as error:
        return missing(name, title, str(error))
    except (LookupError, TypeError, ValueError):
        return missing(name, title, f"{path} is no result of `otmirror kpi provision`: {todo}")
    how = f"from tag list to first sample; all {tags:.0f} tags after {number(whole)} s"
    metrics = (Metric("provision_seconds", first, {"until": "first_sample"}),
               Metric("provision_seconds", whole, {"until": "all_tags"}))  # fmt: skip
    return Figure(name, title, first, "s", how, f"{path} ({found.digest[:12]})",
                  f"measured {found.dated:%Y-%m-%d %H:%M} UTC", metrics=metrics)  # fmt: skip


def _span(store: Prometheus, window: Window) -> str:
    """Return the window, and since when the store holds data when that is later."""
    step = max(STEP, window.seconds / 500)
    found = store.range("count(up)", window.start.timestamp(), window.end.timestamp(), step)
    first = min((one.points[0][0] for one in found), default=window.start.timestamp())
    if first - window.start.timestamp() <= step:
        return str(window)
    begin = datetime.datetime.fromtimestamp(first, datetime.timezone.utc)
    return f"{window}; the store holds data from {begin:%Y-%m-%d %H:%M} on"
