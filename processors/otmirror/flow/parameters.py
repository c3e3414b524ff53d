"""Parameters of flows: a flow has one parameter context, and sensitive values go in only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otmirror.errors import ConfigError
from otmirror.flow.api import Json, Rest


@dataclass(frozen=True)
class Context:
    """A parameter context: its id, which of its parameters are sensitive, and which have no value."""

    id: str
    sensitive: Mapping[str, bool]
    empty: frozenset[str]


class Parameters:
    """What NiFi's REST API does with the parameters of a process group."""

    rest: Rest

    def parameters(self, group: str) -> dict[str, str | None]:
        """Return the values of a flow's parameters by name; None for sensitive ones and those without a value."""
        context = self._context(group)
        told = context["component"]["parameters"] if context else []
        return {
            p["parameter"]["name"]: None if p["parameter"]["sensitive"] else p["parameter"].get("value") for p in told
        }

    def parameter_context(self, group: str) -> Context:
        """Return a flow's parameter context, without values.

        Raises:
            ConfigError: the flow has none.
        """
        told = self._context(group)
        if told is None:
            raise ConfigError("this flow has no parameter context")
        every = [p["parameter"] for p in told["component"]["parameters"]]
        # Of a sensitive value NiFi shows asterisks, of none nothing.
        empty = frozenset(p["name"] for p in every if p.get("value") is None)
        return Context(told["id"], {p["name"]: p["sensitive"] for p in every}, empty)

    def set_parameters(self, group: str, values: Mapping[str, str]) -> None:
        """Set parameters of a flow; components that use them are stopped and started again by NiFi.

        Raises:
            ConfigError: the flow has no such parameter.
        """
        context = self._context(group)
        have = {p["parameter"]["name"]: p["parameter"] for p in (context["component"]["parameters"] if context else [])}
        check_known(values, have, "this flow")
        if not values or context is None:
            return
        body = {
            "id": context["id"],
            "revision": context["revision"],
            "component": {
                "id": context["id"],
                "parameters": [
                    {"parameter": {"name": n, "sensitive": have[n]["sensitive"], "value": v}} for n, v in values.items()
                ],
            },
        }
        path = f"/parameter-contexts/{context['id']}/update-requests"
        self._request(path, body, "request", "setting parameters")

    def _context(self, group: str) -> Json | None:
        reference = self.rest.get(f"/process-groups/{group}")["component"].get("parameterContext")
        return self.rest.get(f"/parameter-contexts/{reference['id']}") if reference else None

    def _request(self, path: str, body: Json, key: str, what: str) -> None:
        told = self.rest.work_off(path, body, key, what, 120.0)
        if told.get("failureReason"):
            raise ConfigError(f"NiFi: {what} failed: {told['failureReason']}")


def check_known(values: Mapping[str, str], known: Any, where: str) -> None:
    """Refuse names that are not among those known `where`.

    Raises:
        ConfigError: there are such; the message lists them and those that are known.
    """
    unknown = sorted(set(values) - set(known))
    if unknown:
        listed = ", ".join(sorted(known)) or "none"
        raise ConfigError(f"{where} has no parameter {', '.join(unknown)} (it has: {listed})")
