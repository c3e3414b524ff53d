"""What the mirror costs and what it saves: from the inputs file, divided by what was measured."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from otmirror.errors import MirrorError
from otmirror.kpi import volumes
from otmirror.kpi.figure import Figure, Metric, Window, missing, number
from otmirror.kpi.inputs import Cost, Inputs
from otmirror.rollout.prometheus import Prometheus

GB = 1e9
LEAST_GB = 1.0
"""Below it a cost a GB would be a large number that says nothing."""


def figures(inputs: Inputs, window: Window, store: Prometheus | None) -> list[Figure]:
    """Return licence cost removed, cost an endpoint and cost a GB, each a year."""
    return [licences(inputs, window.end.date()), endpoint(inputs, window, store), gigabyte(inputs, window)]


def licences(inputs: Inputs, today: datetime.date) -> Figure:
    """Return the licences that are not paid any more on `today`, a year."""
    name, title = "licence_cost_removed", "Licence cost removed, a year"
    if not inputs.licences:
        return missing(name, title, "list the incumbent's licences as [[licence]] in the inputs file")
    gone = [one for one in inputs.licences if one.removed is not None and one.removed <= today]
    value = sum(one.a_year for one in gone)
    paid = sum(one.a_year for one in inputs.licences) - value
    how = f"{_sum(gone)}; still paid: {number(paid)}"
    metric = Metric(name, value, {"currency": inputs.currency})
    return Figure(name, title, value, inputs.currency, how, "inputs file, [[licence]] removed by now",
                  f"on {today}", metrics=(metric,))  # fmt: skip


def endpoint(inputs: Inputs, window: Window, store: Prometheus | None) -> Figure:
    """Return the running cost a year by devices that were connected in the window."""
    name, title = "cost_per_endpoint", "Cost an endpoint, a year"
    if not inputs.costs:
        return missing(name, title, "list what the mirror costs as [[cost]] in the inputs file")
    if store is None:
        return missing(name, title, "give --monitoring, which counts the devices")
    query = f"count(max by (source) (max_over_time(otmirror_source_connected[{window.promql}])) > 0)"
    try:
        count = store.number(query, window.end.timestamp())
    except MirrorError as error:
        return missing(name, title, str(error))
    if not count:
        return missing(name, title, "no device was connected in the window, as far as the monitoring store knows")
    total = sum(one.a_year for one in inputs.costs)
    return _by(name, title, inputs, total / count, f"({_sum(inputs.costs)}) / {count:.0f} devices",
               f"inputs file; monitoring store: {query}", str(window))  # fmt: skip


def gigabyte(inputs: Inputs, window: Window) -> Figure:
    """Return the running cost a year by the GB (10^9 bytes) that both stores hold."""
    name, title = "cost_per_gb", "Cost a GB held, a year"
    places = inputs.places
    if not inputs.costs:
        return missing(name, title, "list what the mirror costs as [[cost]] in the inputs file")
    if not places.hot or not places.lakehouse:
        lacking = " and ".join(f"--{place}" for place in ("hot", "lakehouse") if not getattr(places, place))
        return missing(name, title, f"give {lacking}: what both stores hold is measured")
    try:
        hot, cold = volumes.hot(places.hot) / GB, volumes.cold(places.lakehouse) / GB
    except MirrorError as error:
        return missing(name, title, str(error))
    if hot + cold < LEAST_GB:
        held = f"the stores hold {number((hot + cold) * 1e3)} MB"
        return missing(name, title, f"{held}: below {LEAST_GB:g} GB a cost a GB says nothing; mirror on")
    total = sum(one.a_year for one in inputs.costs)
    how = f"({_sum(inputs.costs)}) / ({hot:.6g} GB hot + {cold:.6g} GB cold)"
    source = f"inputs file; vm_data_size_bytes of {places.hot}; manifests of {places.lakehouse}"
    return _by(name, title, inputs, total / (hot + cold), how, source, f"held at {window.end:%Y-%m-%d %H:%M} UTC")


def _by(name: str, title: str, inputs: Inputs, value: float, how: str, source: str, window: str) -> Figure:
    metric = Metric(name, value, {"currency": inputs.currency})
    return Figure(name, title, value, inputs.currency, how, source, window, metrics=(metric,))


def _sum(costs: Sequence[Cost]) -> str:
    return " + ".join(f"{one.name} {number(one.a_year)}" for one in costs) or "nothing"
