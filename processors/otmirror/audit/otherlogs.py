"""The logs of the neighbours: Keycloak's events, Vault's or OpenBao's audit device, the decisions of the policy."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from otmirror.audit.event import ANONYMOUS, FAILED, REFUSED, SUCCESS, AuditEvent, Thing
from otmirror.audit.sources import moment

_PAIR = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_EVENTS = "org.keycloak.events"
_VAULT_ACTIONS = {"create": "create", "read": "read", "list": "list", "update": "update", "patch": "update",
                  "delete": "delete"}  # fmt: skip


def keycloak(line: str) -> AuditEvent | None:
    """Return a user's or an administrator's event from Keycloak's log in JSON (`--log-file-output=json`).

    Source of the form: its event listener `jboss-logging`, which writes key="value" pairs.
    """
    if _EVENTS not in line:
        return None
    told = json.loads(line)
    if told.get("loggerName") != _EVENTS:
        return None
    pairs = {key: "" if value == "null" else value for key, value in _PAIR.findall(told["message"])}
    error = pairs.get("error", "")
    realm = pairs.get("realmName") or pairs.get("realmId", "")
    who = pairs.get("username") or pairs.get("userId") or pairs.get("clientId") or ANONYMOUS
    detail = {"address": pairs.get("ipAddress", ""), "client": pairs.get("clientId", ""), "reason": error}
    when = moment(told["timestamp"])
    outcome = REFUSED if error else SUCCESS
    if "operationType" in pairs:  # an administrator's
        thing = Thing(pairs.get("resourceType", "").lower() or "realm", pairs.get("resourcePath", "") or realm)
        return AuditEvent("", when, who, pairs["operationType"].lower(), thing, outcome, "keycloak", detail)
    action = pairs["type"].removesuffix("_ERROR").lower().replace("_", "-")
    return AuditEvent("", when, who, action, Thing("realm", realm), outcome, "keycloak", detail)


def vault(line: str) -> AuditEvent | None:
    """Return an answer of Vault or OpenBao from its audit device of type `file`; values are never read out of it."""
    told = json.loads(line)
    if told.get("type") != "response":
        return None
    asked, auth, error = told["request"], told.get("auth") or {}, told.get("error") or ""
    path = asked.get("path", "")
    denied = "permission denied" in error or (path.startswith("auth/") and bool(error))
    outcome = (REFUSED if denied else FAILED) if error else SUCCESS
    login = path.startswith("auth/") and path.rstrip("/").endswith("login")
    return AuditEvent(
        "", moment(told["time"]), _vault_actor(auth),
        "login" if login else _VAULT_ACTIONS.get(asked.get("operation", ""), asked.get("operation", "unknown")),
        Thing("secret", path), outcome, "vault",
        {
            "address": asked.get("remote_address", ""),
            "reason": error.replace("\n", " ").strip(),
            "policies": ", ".join(auth.get("policies") or ()),
        },
    )  # fmt: skip


def _vault_actor(auth: Mapping[str, Any]) -> str:
    """Return the login's name, of an AppRole `approle:<role>`."""
    name = auth.get("display_name") or auth.get("entity_id") or ANONYMOUS
    role = (auth.get("metadata") or {}).get("role_name")
    return f"{name}:{role}" if role else str(name)


def decision(line: str) -> AuditEvent | None:
    """Return a decision of the policy from the log that `otmirror policy check` writes."""
    told = json.loads(line)
    component = told.get("component") or {}
    return AuditEvent(
        "", moment(told["time"]), told.get("asked_by") or "policy",
        "waive" if told["decision"] == "waive" else "decide",
        Thing("file", told["file"]), REFUSED if told["decision"] == "deny" else SUCCESS, "opa",
        {
            "rule": told.get("rule", ""),
            "component": component.get("name") or component.get("id", ""),
            "reason": told.get("message", ""),
            "sha256": told.get("sha256", ""),
        },
    )  # fmt: skip
