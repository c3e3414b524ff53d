"""Files against the policy: what kind each is, what the policy says of it, and the line it leaves in the log."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from otmirror.errors import ConfigError
from otmirror.policy import decisions, flows, stacks
from otmirror.policy.engine import Decision, Engine

FLOW, COMPOSE = "flow", "compose"
_KINDS = {".json": FLOW, ".yml": COMPOSE, ".yaml": COMPOSE}
_LARGEST = {FLOW: 32_000_000, COMPOSE: 1_000_000}
"""Bytes: far above what people write, far below what stops a machine."""


@dataclass(frozen=True)
class Context:
    """What files are looked at with: values of parameters and variables, tag lists, the day waivers have to reach."""

    values: Mapping[str, str] = field(default_factory=dict)
    tags: Path | None = None
    date: datetime.date = field(default_factory=datetime.date.today)


def check(
    paths: Sequence[Path], engine: Engine, log: Path | None, asked_by: str, context: Context | None = None
) -> dict[Path, Decision]:
    """Return what the policy says of each file, and append it to a log (None: to none).

    Raises:
        ConfigError: a file is no flow and no compose file, a value is for nothing, or the log cannot be written.
        UnavailableError: the policy cannot be evaluated.
    """
    context = context or Context()
    revision, told, documents = engine.revision, {}, {}
    # All are read before any is decided: who mistypes a name is told at once, and nothing is logged by halves.
    for path in paths:
        documents[path] = _document(path, context)
    _used(context.values, [document for document, _ in documents.values()])
    for path, (document, digest) in documents.items():
        told[path] = decision = engine.decide(document)
        if log:
            lines = decisions.records(str(path), digest, document["kind"], decision, revision, asked_by)
            decisions.append(log, lines)
    return told


def _document(path: Path, context: Context) -> tuple[flows.Document, str]:
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"{path}: give a flow (.json) or a compose file (.yml, .yaml)")
    content = _read(path, kind)
    if kind == FLOW:
        document = flows.document(path, content, context.values, context.tags)
    else:
        document = stacks.document(path, content, context.values)
    common = {"kind": kind, "file": str(path), "date": context.date.isoformat()}
    return {**common, **document}, hashlib.sha256(content).hexdigest()


def _read(path: Path, kind: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST[kind] + 1)
    except OSError as error:
        raise ConfigError(f"{kind} {path}: {error.strerror}") from None
    if len(content) > _LARGEST[kind]:
        raise ConfigError(
            f"{kind} {path}: larger than {_LARGEST[kind] // 1_000_000} MB; that is no {kind} of one plant"
        )
    if not content.strip():
        raise ConfigError(f"{kind} {path}: it is empty")
    return content


def _used(values: Mapping[str, str], documents: Sequence[flows.Document]) -> None:
    """Refuse a value for a parameter that no flow has: with a typing error another value would be looked at."""
    if any(document["kind"] == COMPOSE for document in documents):
        return
    known = {parameter["name"] for document in documents for parameter in document["parameters"]}
    strange = sorted(set(values) - known)
    if strange:
        raise ConfigError(f"no flow given has a parameter {', '.join(strange)}")
