"""Questions to the monitoring store, by Prometheus' HTTP API."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from otmirror.embedded.loopback import session
from otmirror.errors import ConfigError, UnavailableError


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels, and (seconds since 1970, value) pairs, one for an instant query."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def value(self) -> float:
        """The newest value."""
        return self.points[-1][1]


class Prometheus:
    """A store that answers PromQL at `url`/api/v1."""

    def __init__(self, url: str, timeout: float = 30.0):
        """Take the address, such as http://127.0.0.1:8429, and how many seconds an answer may take."""
        self.url = url.rstrip("/")
        self._timeout, self._session = timeout, session(url)

    def instant(self, query: str, at: float | None = None) -> list[Series]:
        """Return the answer at a moment (seconds since 1970; None: now), without NaN.

        Raises:
            ConfigError: the store does not understand the query, or it is no such store.
            UnavailableError: it does not answer.
        """
        # VictoriaMetrics leaves out the last 30 s unless told otherwise; Prometheus knows no such thing.
        form = {"query": query, "latency_offset": "1ms", **({"time": f"{at:.3f}"} if at is not None else {})}
        told = self._asked("query", form)
        if told["resultType"] == "scalar":
            return _finite([Series({}, (_point(told["result"]),))])
        return _finite([Series(one["metric"], (_point(one["value"]),)) for one in told["result"]])

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """Return the answer at each `step` seconds from `start` to `end` (seconds since 1970).

        Raises:
            ConfigError: as `instant`.
            UnavailableError: as `instant`.
        """
        span = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        told = self._asked("query_range", span)
        return _finite([Series(one["metric"], tuple(map(_point, one["values"]))) for one in told["result"]])

    def number(self, query: str, at: float | None = None) -> float | None:
        """Return the one number that a query answers with; None when there is no data.

        Raises:
            ConfigError: it answers with several series.
            UnavailableError: as `instant`.
        """
        found = self.instant(query, at)
        if len(found) > 1:
            raise ConfigError(f"{query}: answers with {len(found)} series; sum them or take the worst")
        return found[0].value if found else None

    def _asked(self, what: str, form: Mapping[str, str]) -> Any:
        try:
            answer = self._session.post(f"{self.url}/api/v1/{what}", data=form, timeout=self._timeout)
        except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
            raise ConfigError(f"{self.url!r} is no address such as http://127.0.0.1:8429") from None
        except requests.RequestException as error:
            raise UnavailableError(
                f"the store at {self.url} cannot be read ({type(error).__name__}): is it up?"
            ) from None
        try:
            told = answer.json()
            if answer.ok and told["status"] == "success":
                return told["data"]
            why = str(told.get("error", answer.reason))
        except (ValueError, LookupError, TypeError, AttributeError):
            why = f"{answer.status_code} {answer.reason}"
        kind = UnavailableError if answer.status_code >= 500 else ConfigError
        raise kind(f"the store at {self.url} does not answer {form['query']!r}: {' '.join(why.split())[:300]}")


def _point(pair: Any) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def _finite(found: list[Series]) -> list[Series]:
    cut = [Series(one.labels, tuple(p for p in one.points if not math.isnan(p[1]))) for one in found]
    return [one for one in cut if one.points]
