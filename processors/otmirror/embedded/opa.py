"""The Open Policy Agent (OPA): its engine, test runner and coverage, built from its published module."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from otmirror.embedded import gomodule
from otmirror.embedded.install import locked
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import PROJECT, work

MODULE = PROJECT / "security" / "opa"
"""A Go module: a main package over the packages of OPA that are needed, a third of what the full program builds."""
_SOURCES = ("go.mod", "go.sum", "main.go")
_FIRST_WITH_REGO_V1 = 1


def found() -> Path | None:
    """Return an OPA that is there already, without building one: OPA_BINARY, the work folder's, or `opa` on PATH.

    Raises:
        ConfigError: OPA_BINARY names no file.
    """
    named = os.environ.get("OPA_BINARY")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"OPA_BINARY={named} does not exist")
        return Path(named)
    if MODULE.is_dir() and _target().is_file():
        return _target()
    on_path = shutil.which("opa")
    return Path(on_path) if on_path and _speaks_v1(on_path) else None


def install(say: Callable[[str], object] = print) -> Path:
    """Return the path of an OPA, built with Go when there is none.

    Raises:
        ConfigError: OPA_BINARY names no file.
        UnavailableError: there is none and it cannot be built.
    """
    target = _target()
    with locked(target.parent / "opa.lock"):
        return found() or _build(target, say)


def version() -> str:
    """Return the version of OPA that is built, as go.mod names it."""
    text = (MODULE / "go.mod").read_text(encoding="utf-8")
    (told,) = re.findall(r"github\.com/open-policy-agent/opa (v\S+)", text)
    return str(told)


def _target() -> Path:
    sources = hashlib.sha256(b"".join((MODULE / name).read_bytes() for name in _SOURCES)).hexdigest()
    return work() / "bin" / f"opa-{version()}-{sources[:8]}"


def _speaks_v1(binary: str) -> bool:
    try:
        told = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    major = re.search(r"^Version: v?(\d+)\.", told, re.MULTILINE)
    return major is not None and int(major[1]) >= _FIRST_WITH_REGO_V1


def _build(target: Path, say: Callable[[str], object]) -> Path:
    if not shutil.which("go"):
        raise UnavailableError(
            "OPA: put the program opa (1.0 or newer) on PATH, name it in OPA_BINARY, or install Go 1.26 to build it"
        )
    say(f"OPA: building {version()} with Go (about a minute)")
    return gomodule.build("opa", MODULE, target)
