"""A dashboard's queries put to the stores, with its choices filled in as Grafana would.

Grafana's variables: https://grafana.com/docs/grafana/latest/dashboards/variables/add-template-variables/#global-variables
The stores' API: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from otmirror.dashboards.model import DATASOURCES
from otmirror.embedded.loopback import session
from otmirror.errors import ConfigError, UnavailableError

_TIMEOUT = (5.0, 60.0)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_POINTS = 240


@dataclass(frozen=True)
class Series:
    """What a query gave for one set of labels: points of (seconds since 1970, value)."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    name: str = ""

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


@dataclass(frozen=True)
class Access:
    """A store's address, without a user in it; user and password, when it wants them, beside it."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    authority: str = ""
    """A file with the certificate of the authority that signed the store's, when it is none of the system's."""


@dataclass(frozen=True)
class Asker:
    """Puts queries to both stores.

    Attributes:
        stores: Name of the store ("monitoring", "hot") -> how to reach it.
        span: The time shown, s.
        scrape: How often the monitoring store scrapes, s: the time of `$__rate_interval` is made of it.
        chosen: Values of variables, as regular expressions; those not named take all.
        now: The end of the time shown, s since 1970; None: when it is asked.
    """

    stores: Mapping[str, Access]
    span: float = 3600.0
    scrape: float = 15.0
    chosen: Mapping[str, str] = field(default_factory=dict)
    now: float | None = None

    @property
    def step(self) -> float:
        """Seconds between two points of a line."""
        return float(max(self.scrape, math.ceil(self.span / _POINTS)))

    def filled(self, expr: str, dashboard: Mapping[str, Any]) -> str:
        """Return a query with Grafana's own variables and the dashboard's choices in place.

        Raises:
            ConfigError: it uses a variable that the dashboard has not.
        """
        step = self.step
        known = {
            "__interval": _time(step),
            # https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/#use-__rate_interval
            "__rate_interval": _time(max(step + self.scrape, 4 * self.scrape)),
            "__range": _time(self.span),
            "__range_s": f"{self.span:.0f}",
        }
        known |= {variable["name"]: self._value(variable) for variable in dashboard["templating"]["list"]}

        def put(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            if name not in known:
                raise ConfigError(f"{dashboard['uid']}: a query uses ${name}, which is no variable of the dashboard")
            return str(known[name])

        return re.sub(r"\$(?:\{([A-Za-z_]\w*)(?::\w+)?\}|([A-Za-z_]\w*))", put, expr)

    def choices(self, variable: Mapping[str, Any], dashboard: Mapping[str, Any]) -> list[str]:
        """Return the values that a variable of the kind "query" offers.

        Raises:
            ConfigError: its query is none of `label_values(metric, label)`.
            UnavailableError: the store does not answer.
        """
        query = variable["query"]["query"]
        parts = re.fullmatch(r"label_values\((.+),\s*(\w+)\)", query)
        if not parts:
            raise ConfigError(f"{dashboard['uid']}: variable {variable['name']}: {query!r} is not label_values(…, …)")
        now = self.now or time.time()
        asked = {"match[]": parts[1], "start": f"{now - self.span:.3f}", "end": f"{now:.3f}"}
        found = self._get(self._store(variable["datasource"], dashboard), f"/api/v1/label/{parts[2]}/values", asked)
        return sorted(str(value) for value in found)

    def panel(self, panel: Mapping[str, Any], dashboard: Mapping[str, Any]) -> dict[str, list[Series]]:
        """Return what each query of a panel gives: its letter -> series.

        Raises:
            ConfigError: a query is not understood.
            UnavailableError: a store does not answer.
        """
        return {target["refId"]: self.query(target, dashboard) for target in panel.get("targets", [])}

    def query(self, target: Mapping[str, Any], dashboard: Mapping[str, Any]) -> list[Series]:
        """Return what one query gives; see `panel`."""
        access = self._store(target["datasource"], dashboard)
        asked = {"query": self.filled(target["expr"], dashboard), "nocache": "1"}
        now = self.now or time.time()
        if target.get("instant"):
            found = self._get(access, "/api/v1/query", {**asked, "time": f"{now:.3f}"})["result"]
        else:
            times = {"start": f"{now - self.span:.3f}", "end": f"{now:.3f}", "step": f"{self.step:.0f}"}
            found = self._get(access, "/api/v1/query_range", {**asked, **times})["result"]
        return [_series(entry, str(target.get("legendFormat", ""))) for entry in found]

    def _value(self, variable: Mapping[str, Any]) -> str:
        if variable["type"] == "datasource":
            return str(variable["current"]["value"])
        if variable["type"] == "query":
            return str(self.chosen.get(variable["name"], variable.get("allValue") or ".*"))
        return str(variable.get("query", ""))

    def _store(self, datasource: Mapping[str, Any], dashboard: Mapping[str, Any]) -> Access:
        uid = self.filled(str(datasource["uid"]), dashboard)
        name = next((name for name, known in DATASOURCES.items() if known == uid), None)
        if name is None or name not in self.stores:
            raise ConfigError(
                f"{dashboard['uid']}: the data source {uid!r} is none of {', '.join(DATASOURCES.values())}"
            )
        return self.stores[name]

    def _get(self, access: Access, path: str, asked: Mapping[str, str]) -> Any:
        url = access.url.rstrip("/")
        login = (access.user, access.password) if access.user else None
        try:
            with session(url) as asking:
                answer = asking.post(
                    f"{url}{path}", data=asked, auth=login, timeout=_TIMEOUT, verify=access.authority or True
                )
        except requests.RequestException as error:
            raise UnavailableError(f"the store at {url} does not answer ({type(error).__name__})") from None
        try:
            told = answer.json()
        except ValueError:
            told = {}
        if answer.status_code in (400, 422):
            raise ConfigError(f"the store at {url} refuses the query {asked.get('query')!r}: {told.get('error')}")
        if not answer.ok or told.get("status") != "success":
            raise UnavailableError(f"the store at {url} answers {answer.status_code} to {path}")
        return told["data"]


def seconds(text: str) -> float:
    """Return a time such as `90s`, `15m`, `6h` or `7d` in seconds.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"([1-9]\d{0,6})([smhdw])", text)
    if not found:
        raise ConfigError(f"{text!r} is no time: write a number and s, m, h, d or w, such as 15m")
    return float(int(found[1]) * _UNITS[found[2]])


def _time(value: float) -> str:
    return f"{math.ceil(value)}s"


def _series(entry: Mapping[str, Any], legend: str) -> Series:
    labels = {str(name): str(value) for name, value in entry["metric"].items()}
    points = [entry["value"]] if "value" in entry else entry["values"]
    if legend == "__auto":
        name = ", ".join(value for label, value in labels.items() if label != "__name__") or labels.get("__name__", "")
    else:
        name = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), legend)
    return Series(labels, [(float(moment), float(value)) for moment, value in points], name)
