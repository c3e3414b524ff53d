"""The decision log: one JSON object a line, only ever appended, without a secret. What was blocked is counted here."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otmirror.errors import ConfigError
from otmirror.policy.engine import Decision, Told
from otmirror.workspace import work

DENY, WAIVE, ALLOW = "deny", "waive", "allow"
Record = dict[str, Any]


def default_log() -> Path:
    """Return the decision log: OTMIRROR_POLICY_LOG, or one in the work folder."""
    named = os.environ.get("OTMIRROR_POLICY_LOG")
    return Path(named) if named else work() / "policy" / "decisions.jsonl"


def records(file: str, digest: str, kind: str, decision: Decision, revision: str, asked_by: str) -> list[Record]:
    """Return the lines of one decision: one a denial, one a waiver used, one when the file is allowed.

    Args:
        file: what was decided on.
        digest: the SHA-256 of its bytes.
        kind: flow or compose.
        decision: what the policy said.
        revision: what it was decided by.
        asked_by: the command that asked.
    """
    common: Record = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        "decision_id": str(uuid.uuid4()),
        "asked_by": asked_by,
        "file": file,
        "sha256": digest,
        "kind": kind,
        "policy": revision,
    }
    lines = [{**common, "decision": DENY, **_shown(told)} for told in decision.denied]
    lines += [{**common, "decision": WAIVE, **_shown(told)} for told in decision.waived]
    return lines if decision.denied else [*lines, {**common, "decision": ALLOW}]


def append(log: Path, lines: Iterable[Record]) -> None:
    """Add lines at the end of a log, all of a decision together, also beside other processes.

    Raises:
        ConfigError: it cannot be written.
    """
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"decision log {log} cannot be written: {error.strerror}; --log names another one") from None


@dataclass
class Stats:
    """What a decision log adds up to."""

    decisions: int = 0
    blocked: int = 0
    """Decisions that denied the file."""
    violations: int = 0
    """Denials in all of them."""
    distinct: int = 0
    """Denials that differ in file, rule or component: the same mistake checked twice counts once."""
    open_files: int = 0
    """Files whose latest decision was to deny."""
    waivers: int = 0
    first: str = ""
    last: str = ""
    by_rule: dict[str, int] = field(default_factory=dict)


def stats(log: Path, since: str = "") -> Stats:
    """Add up a decision log, from a day (YYYY-MM-DD, UTC) on.

    Raises:
        ConfigError: there is no log, it cannot be read, or a line of it is no decision.
    """
    try:
        text = log.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no decision log {log} yet; `otmirror policy check` writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"decision log {log}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    lines = [_line(log, n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    return _added([line for line in lines if line["time"] >= since])


def _line(log: Path, number: int, text: str) -> Record:
    try:
        line: Record = json.loads(text)
        known = line["decision"] in (DENY, WAIVE, ALLOW) and all(line[key] for key in ("time", "file", "decision_id"))
        if known and (line["decision"] == ALLOW or line["rule"]):
            return line
    except (ValueError, LookupError, TypeError):
        pass
    raise ConfigError(f"decision log {log} line {number}: no decision; somebody else wrote into it, or a disk was full")


def _added(lines: list[Record]) -> Stats:
    denied = [line for line in lines if line["decision"] == DENY]
    latest = {line["file"]: line["decision_id"] for line in lines}
    blocked = {line["decision_id"] for line in denied}
    return Stats(
        len({line["decision_id"] for line in lines}),
        len(blocked),
        len(denied),
        len({(line["file"], line["rule"], line["component"]["id"]) for line in denied}),
        len(blocked & set(latest.values())),
        sum(line["decision"] == WAIVE for line in lines),
        lines[0]["time"] if lines else "",
        lines[-1]["time"] if lines else "",
        dict(sorted(Counter(line["rule"] for line in denied).items())),
    )


def _shown(told: Told) -> Record:
    return {
        "rule": told.rule,
        "component": {"kind": told.kind, "name": told.name, "id": told.id},
        "message": told.message,
    }
