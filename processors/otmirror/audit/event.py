"""One line of the audit trail, as security/audit/schema.json describes it, with nothing secret in it."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SUCCESS, REFUSED, FAILED = "success", "refused", "failed"
"""Outcomes: done; forbidden by a rule, a guard or missing rights; tried and gone wrong."""
ANONYMOUS = "anonymous"
HIDDEN = "(hidden)"

_LONGEST = 1000
_NAMES_A_SECRET = re.compile(r"passw|passphrase|secret|credential|token|private|api.?key|access.?key", re.IGNORECASE)
_SECRETS = (
    (re.compile(r"eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), HIDDEN),  # a JSON Web Token
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]+", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"\b(?:hv|b)?[sbr]\.[A-Za-z0-9_-]{20,}"), HIDDEN),  # a token of Vault or OpenBao
    (re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----.*?(?:-----END [^-]*-----|$)", re.DOTALL), HIDDEN),
    (
        re.compile(r"(?i)([\w.-]*(?:passw\w*|passphrase|secret|credential|token|api.?key)[\w.-]*[\"']?\s*[=:]\s*)"
                   r"(\"[^\"]*\"|'[^']*'|[^\s,;&}]+)"),
        rf"\1{HIDDEN}",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """What was acted upon: its kind, its id where it has one, and its name."""

    kind: str
    name: str
    id: str = ""


@dataclass(frozen=True)
class AuditEvent:
    """Who did what to which thing, when, and what came of it."""

    id: str
    """The same for the same fact however often it is read, so that a repeat is recognised."""
    time: datetime.datetime
    actor: str
    action: str
    object: Thing
    outcome: str
    source: str
    detail: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """Return the event as one line of JSON, secrets hidden and texts cut at 1,000 characters."""
        told = {
            "id": self.id,
            "time": self.time.astimezone(datetime.timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z",
            "actor": clean(self.actor) or ANONYMOUS,
            "action": self.action,
            "object": {"kind": self.object.kind, "id": clean(self.object.id), "name": clean(self.object.name)},
            "outcome": self.outcome,
            "source": self.source,
            "detail": _details(self.detail),
        }
        return json.dumps(told, ensure_ascii=False)


def identify(source: str, *parts: object) -> str:
    """Return the id of a fact: the same source and parts give the same one."""
    text = "\x1f".join((source, *map(str, parts)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def clean(text: str) -> str:
    """Return `text` with what looks like a secret hidden, on one line, at most 1,000 characters long."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())[:_LONGEST]


def _details(detail: Mapping[str, Any]) -> dict[str, str]:
    """Return the details there are; old and new value of a property that is named like a secret are hidden."""
    told = {key: clean(str(value)) for key, value in detail.items() if value not in (None, "")}
    if _NAMES_A_SECRET.search(told.get("property", "")):
        told.update({key: HIDDEN for key in ("previous", "value") if key in told})
    return told
