"""Flows: each group on NiFi's root canvas as a file in canonical form, parameter contexts without secrets."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from otmirror.errors import ConfigError, UnavailableError
from otmirror.flow.canonical import Flow as Definition
from otmirror.flow.canonical import dumps, load
from otmirror.flow.client import NifiApi
from otmirror.flow.diff import diff
from otmirror.recovery.manifest import Flow, Omitted

FOLDER = "flows"
_VAULT = "kept in Vault: `otmirror secrets sync` puts it back"


def back_up(api: NifiApi, folder: Path) -> tuple[list[Flow], list[Omitted]]:
    """Write every flow of a NiFi into `folder`/flows; return them, and the secrets that are not in them.

    Raises:
        UnavailableError: NiFi does not answer, or shows a sensitive value.
    """
    (folder / FOLDER).mkdir()
    flows, omitted = [], []
    for name, group in sorted(api.groups().items()):
        definition = api.export_flow(group)
        path = f"{FOLDER}/{quote(name, safe=' ')}.json"
        secrets = sensitive(definition)
        shown = [secret for secret, value in secrets.items() if value is not None]
        if shown:
            raise UnavailableError(f"flow {name}: NiFi shows the sensitive parameter {shown[0]}; nothing was kept")
        (folder / path).write_text(dumps(definition), encoding="utf-8")
        flows.append(Flow(name, path, api.status(group).running))
        omitted += [Omitted(f"flow {name}: parameter {secret}", _VAULT) for secret in secrets]
    return flows, omitted


def sensitive(definition: Definition) -> dict[str, str | None]:
    """Return the sensitive parameters of a flow and the values that are shown of them."""
    contexts = (definition.get("parameterContexts") or {}).values()
    return {p["name"]: p.get("value") for c in contexts for p in c.get("parameters") or () if p.get("sensitive")}


def parameters(definition: Definition) -> dict[str, str]:
    """Return the values of a flow's parameters that are no secrets."""
    contexts = (definition.get("parameterContexts") or {}).values()
    every = (p for c in contexts for p in c.get("parameters") or () if not p.get("sensitive"))
    return {p["name"]: p["value"] for p in every if p.get("value")}


def restore(
    api: NifiApi,
    flows: list[Flow],
    backup: Path,
    values: Mapping[str, str],
    replace: bool,
    say: Callable[[str], object],
) -> list[str]:
    """Import flows, set the parameters that are told anew, and return what differs from the backup in words.

    Raises:
        ConfigError: a flow of that name is there and `replace` is not set, or FlowFiles wait in it.
        UnavailableError: NiFi does not answer, or the processors are not ready in time.
    """
    told = []
    for flow in flows:
        wanted = load(backup / flow.path)
        own = {name: value for name, value in values.items() if name in _names(wanted)}
        group = api.import_flow(backup / flow.path, flow.name, own, replace=replace, say=say)
        say(f"flow {flow.name} is imported; it does not run yet")
        told += [f"flow {flow.name}: {line}" for line in diff(_with(wanted, own), api.export_flow(group))]
    return told


def _names(definition: Definition) -> set[str]:
    contexts = (definition.get("parameterContexts") or {}).values()
    return {p["name"] for context in contexts for p in context.get("parameters") or ()}


def _with(definition: Definition, values: Mapping[str, str]) -> Definition:
    result: Definition = copy.deepcopy(definition)
    for context in (result.get("parameterContexts") or {}).values():
        for parameter in context.get("parameters") or ():
            if parameter["name"] in values and not parameter.get("sensitive"):
                parameter["value"] = values[parameter["name"]]
    return result


def problems(flows: list[Flow], backup: Path) -> list[str]:
    """Return what is wrong with the flow files of a backup: not a flow, or one with a secret in it."""
    found = []
    for flow in flows:
        try:
            definition = load(backup / flow.path)
        except ConfigError as error:
            found.append(str(error))
            continue
        found += [f"{flow.path}: holds the secret {name}" for name, value in sensitive(definition).items() if value]
    return found
