"""Evidence: files that say what was measured and when, each known by its SHA-256."""

from __future__ import annotations

import datetime
import glob
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import PROJECT

RUN_SECONDS = 900.0
"""How long a command that is run for its answer may take."""
_AHEAD = 300.0
"""Seconds that evidence may be dated ahead of this machine's clock."""

Utc = datetime.datetime


@dataclass(frozen=True)
class Evidence:
    """A file or folder of evidence, its SHA-256 in hex, its content as JSON gives it, and when it was made (UTC)."""

    path: Path
    digest: str
    content: Any
    dated: Utc


def now() -> Utc:
    """Return the time in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def read(path: Path, dated: str = "") -> Evidence | None:
    """Read a file of evidence; None when there is none. `dated` is the JMESPath of its time; without it the file's own.

    Raises:
        ConfigError: it cannot be read, is no JSON, or does not tell its time.
    """
    try:
        raw = path.read_bytes()
        changed = path.stat().st_mtime
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        content = json.loads(raw)
    except ValueError:
        raise ConfigError(f"{path}: is no JSON; make it anew") from None
    if not dated:
        moment = Utc.fromtimestamp(changed, datetime.timezone.utc)
    else:
        moment = _moment(found(content, dated, path), path, dated)
    return Evidence(path, hashlib.sha256(raw).hexdigest(), content, moment)


def found(content: Any, expression: str, path: Path) -> Any:
    """Return what a JMESPath expression finds in evidence.

    Raises:
        ConfigError: it does not fit what is in the evidence.
    """
    try:
        return jmespath.search(expression, content)
    except JMESPathError as error:
        raise ConfigError(f"{path}: {expression} does not fit: {' '.join(str(error).split())[:200]}") from None


def stale(evidence: Evidence, max_age: float, at: Utc) -> str:
    """Return why evidence says nothing at `at`: older than `max_age` seconds, or from the future; '' when it does."""
    age = (at - evidence.dated).total_seconds()
    if age < -_AHEAD:
        return f"it is dated {evidence.dated:%Y-%m-%d %H:%M} UTC, which is in the future"
    if age > max_age:
        return f"it is of {evidence.dated:%Y-%m-%d %H:%M} UTC, {_span(age)} old; {_span(max_age)} are allowed"
    return ""


def run(arguments: Sequence[str], target: Path) -> None:
    """Run `otmirror` with arguments and keep in `target` what came of it.

    The file has: command, arguments, began, seconds, exit_code, output (as JSON where it is JSON), error.
    A `*` in an argument stands for files of the project; a file that is not here is the project's.

    Raises:
        UnavailableError: it did not end, or the file cannot be written.
    """
    argv = [part for argument in arguments for part in _globbed(argument)]
    began, clock = now(), time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "otmirror", *argv], capture_output=True, timeout=RUN_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"otmirror {' '.join(argv)} did not end after {RUN_SECONDS:.0f} s") from None
    output = done.stdout.decode(errors="replace")
    try:
        told = json.loads(output)
    except ValueError:
        told = output
    write(target, {
        "command": ["otmirror", *argv], "arguments": list(arguments), "began": began.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1), "exit_code": done.returncode, "output": told,
        "error": done.stderr.decode(errors="replace")[-4000:],
    })  # fmt: skip


def write(target: Path, content: Any) -> None:
    """Write evidence as JSON, all of it or nothing.

    Raises:
        UnavailableError: the file cannot be written.
    """
    write_text(target, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(target: Path, text: str) -> None:
    """Write a file, all of it or nothing.

    Raises:
        UnavailableError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, target)
    except OSError as error:
        raise UnavailableError(f"{target}: cannot be written: {error.strerror}") from None


def digest_of(folder: Path, names: Sequence[str]) -> str:
    """Return the SHA-256 over files of a folder, as `sha256sum FILES | sha256sum` gives it."""
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _globbed(argument: str) -> list[str]:
    if "*" not in argument:
        ours = PROJECT / argument
        named = "." in argument and not Path(argument).exists() and ours.exists()
        return [str(ours)] if named else [argument]
    here = argument if os.path.isabs(argument) else str(PROJECT / argument)
    return sorted(glob.glob(here)) or [argument]


def _moment(told: Any, path: Path, expression: str) -> Utc:
    try:
        if isinstance(told, (int, float)) and not isinstance(told, bool):
            return Utc.fromtimestamp(told, datetime.timezone.utc)
        moment = Utc.fromisoformat(str(told).replace("Z", "+00:00"))
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"{path}: {expression} is no time but {told!r}") from None
    if moment.tzinfo is None:
        raise ConfigError(f"{path}: {expression} names no zone: {told}")
    return moment


def _span(seconds: float) -> str:
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
