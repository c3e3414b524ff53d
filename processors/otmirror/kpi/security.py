"""How far security is carried through: single sign-on, secrets from Vault, violations that were blocked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from otmirror.errors import ConfigError, MirrorError
from otmirror.flow.client import NifiApi
from otmirror.kpi.figure import Figure, Metric, Window, missing
from otmirror.kpi.inputs import Inputs
from otmirror.policy import decisions

_NIFI = ("nifi-request", "nifi-history", "nifi-user")


def figures(inputs: Inputs, window: Window) -> list[Figure]:
    """Return the share of people behind single sign-on, the share of secrets from Vault, and violations blocked."""
    return [sso(inputs, window), vault(inputs), violations(inputs, window)]


def sso(inputs: Inputs, window: Window) -> Figure:
    """Return people who logged in at Keycloak by all people seen in the audit trail; machines do not count."""
    name, title, folder = "sso_share", "People behind single sign-on", inputs.places.audit
    todo = "give --audit, the folder of `otmirror audit collect` with NiFi's and Keycloak's logs"
    if folder is None:
        return missing(name, title, todo)
    try:
        events = list(_events(Path(folder), window))
    except ConfigError as error:
        return missing(name, title, str(error))
    nobody = {"anonymous", "otmirror", *inputs.machines}
    through = {e["actor"] for e in events if e["source"] == "keycloak" and (e["action"], e["outcome"]) ==
               ("login", "success")} - nobody  # fmt: skip
    seen = {e["actor"] for e in events if e["source"] in _NIFI} - nobody
    people = through | seen
    if not people:
        return missing(name, title, f"nobody is in {folder} in the window; {todo}")
    value = len(through) / len(people)
    without = sorted(people - through)
    how = f"{len(through)} of {len(people)}" + (f"; without: {', '.join(without[:10])}" if without else "")
    source = f"audit trail in {folder}: logins at Keycloak, and actors in NiFi"
    return Figure(name, title, value, "share", how, source, str(window), metrics=(Metric("sso_share_ratio", value),))


def vault(inputs: Inputs) -> Figure:
    """Return sensitive parameters with a value that `otmirror secrets sync` set, by all that have one."""
    name, title, places = "vault_share", "Secrets from Vault", inputs.places
    if places.nifi is None:
        return missing(name, title, "give --nifi, whose flows' sensitive parameters are counted")
    try:
        api = NifiApi(places.nifi)
        held: list[str] = []
        from_vault: list[str] = []
        for flow, group in sorted(api.groups().items()):
            if api.rest.get(f"/process-groups/{group}")["component"].get("parameterContext") is None:
                continue
            context = api.parameter_context(group)
            mine = [one for one, hidden in context.sensitive.items() if hidden and one not in context.empty]
            known = _synced(places.secrets, flow)
            names = known.get("names", []) if known.get("context") == context.id else []
            held += [f"{flow}: {one}" for one in mine]
            from_vault += [f"{flow}: {one}" for one in mine if one in names]
    except MirrorError as error:
        return missing(name, title, str(error))
    if not held:
        return missing(name, title, f"no flow of {places.nifi} has a sensitive parameter with a value")
    value = len(from_vault) / len(held)
    others = sorted(set(held) - set(from_vault))
    how = f"{len(from_vault)} of {len(held)}" + (f"; by hand: {', '.join(others[:10])}" if others else "")
    source = f"parameters of {places.nifi}; what secrets sync set, in {places.secrets or '(no folder given)'}"
    return Figure(name, title, value, "share", how, source, "now", metrics=(Metric("vault_share_ratio", value),))


def violations(inputs: Inputs, window: Window) -> Figure:
    """Return the denials in the policy's decision log in the window; the metric counts all of the log."""
    name, title, log = "violations_blocked", "Policy violations blocked", inputs.places.decisions
    if log is None:
        return missing(name, title, "give --decisions, the log that `otmirror policy check` writes")
    try:
        # Times in the log are ISO 8601 in UTC, so that they sort as text.
        told, whole = (
            decisions.stats(Path(log), window.start.isoformat(timespec="milliseconds")),
            decisions.stats(Path(log)),
        )
    except ConfigError as error:
        return missing(name, title, str(error))
    rules = ", ".join(f"{rule} {count}" for rule, count in told.by_rule.items()) or "none"
    how = f"{told.distinct} distinct in {told.blocked} of {told.decisions} decisions ({rules})"
    return Figure(name, title, float(told.violations), "", how, f"decision log {log}", str(window),
                  metrics=(Metric("violations_blocked_total", float(whole.violations)),))  # fmt: skip


def _events(folder: Path, window: Window) -> Iterator[Mapping[str, Any]]:
    """Yield the events of the audit trail in a window.

    Raises:
        ConfigError: there is no trail, or a line of it is none.
    """
    files = sorted(folder.glob("audit-*.jsonl"))
    if not files:
        raise ConfigError(f"there is no audit-*.jsonl in {folder}: `otmirror audit collect` writes it")
    start, end = (moment.strftime("%Y-%m-%dT%H:%M:%S") for moment in (window.start, window.end))
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read: {error}") from None
        for number, line in enumerate(lines, 1):
            try:
                event = json.loads(line)
                inside = start <= event["time"] <= end and all(event[key] for key in ("actor", "source", "action"))
            except (ValueError, LookupError, TypeError):
                raise ConfigError(f"{file} line {number}: is no event of the audit trail") from None
            if inside:
                yield event


def _synced(folder: str | None, flow: str) -> Mapping[str, Any]:
    if folder is None:
        return {}
    try:
        return dict(json.loads((Path(folder) / f"{flow}.json").read_text()))
    except (OSError, ValueError):
        return {}
