"""The doctor's word, and whether what a runbook tells to type works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from otmirror.embedded.loopback import session
from otmirror.errors import UnavailableError

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^\$ ", re.MULTILINE)
_PLACE = re.compile(r"<[A-Za-z][^<>\n]*>")
_PATIENCE = 240.0
"""Seconds that a command of a runbook may take."""
_ANSWERS = (0, 1, 7, 28, 52, 56)
"""Exit statuses that tell something: ours are 1 with findings; curl's say that nobody answers (curl(1))."""
_PACKAGES = Path(__file__).resolve().parents[2]
QUERIES, COMMANDS = ("promql",), ("sh", "console", "bash")


def ask_doctor(home: Path, exporter: str, flow: str) -> dict[str, Any]:
    """Run `otmirror doctor --json` as an operator would, and return what it says.

    Raises:
        UnavailableError: it said nothing that can be read.
    """
    argv = [sys.executable, "-m", "otmirror", "doctor", "--json", "--home", str(home), "--flow", flow]
    done = subprocess.run([*argv, "--exporter", exporter], capture_output=True, text=True, timeout=120, check=False)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        raise UnavailableError(f"otmirror doctor ended with {done.returncode}: {done.stderr[-300:]}") from None


@dataclass(frozen=True)
class Line:
    """One query or command of a runbook, and why it does not work (None: it does)."""

    kind: str
    text: str
    problem: str | None = None


def blocks(runbook: str) -> list[Line]:
    """Return what a runbook tells to ask or to type: each fenced block of these languages, a command a line."""
    found: list[Line] = []
    for language, body in _FENCE.findall(runbook):
        if language in QUERIES:
            found += [Line("promql", part.strip()) for part in re.split(r"\n\s*\n", body) if part.strip()]
        elif language in COMMANDS:
            joined = _PROMPT.sub("", body).replace("\\\n", " ")
            lines = (line.strip() for line in joined.splitlines())
            found += [Line("sh", line) for line in lines if line and not line.startswith("#")]
    return found


def tried(lines: Iterable[Line], store: str, environment: Mapping[str, str], folder: Path) -> list[Line]:
    """Run each query against the monitoring store and each command in `folder`; return them with their problems."""
    return [
        Line(
            one.kind, one.text, _asked(store, one.text) if one.kind == "promql" else _run(one.text, environment, folder)
        )
        for one in lines
    ]


def _asked(store: str, query: str) -> str | None:
    """A query works when the store can evaluate it; that it finds nothing is an answer too."""
    try:
        with session(store) as asking:
            answer = asking.get(
                f"{store}/api/v1/query", params={"query": query, "time": f"{time.time():.0f}"}, timeout=20
            )
    except requests.RequestException as error:
        return type(error).__name__
    return None if answer.ok else " ".join(answer.text.split())[:200]


def _run(command: str, environment: Mapping[str, str], folder: Path) -> str | None:
    """A command works when it is there, is called as it has to be, and ends by itself with an answer."""
    if _PLACE.search(command):
        return "has a place to be filled in"
    try:
        done = subprocess.run(
            ["bash", "-c", command], env={**os.environ, **environment}, cwd=folder, capture_output=True, text=True,
            timeout=_PATIENCE, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"did not end within {_PATIENCE:.0f} s"
    if done.returncode in _ANSWERS:
        return None
    return f"ended with {done.returncode}: {' '.join(done.stderr.split())[-200:]}"


def environment_of(folder: Path, known: Mapping[str, str], commands: Sequence[str] = ("otmirror",)) -> dict[str, str]:
    """Return the variables runbooks rely on, with a folder on PATH whose `otmirror` is this one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in commands:
        script = folder / name
        here = f'PYTHONPATH="{_PACKAGES}${{PYTHONPATH:+:$PYTHONPATH}}" exec "{sys.executable}" -m {name} "$@"'
        script.write_text(f"#!/bin/sh\n{here}\n", encoding="utf-8")
        script.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}", **known}
