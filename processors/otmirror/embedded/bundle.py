"""The Python packages that the processors bring along, so that NiFi installs nothing by itself."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from otmirror.embedded.install import locked
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import PROJECT, work

PROCESSORS = PROJECT / "processors"
BUNDLED = Path("NAR-INF") / "bundled-dependencies"
REQUIREMENTS = PROCESSORS / "requirements.txt"
LOCK = PROCESSORS / "requirements.lock"
"""The same with the hashes of the packages' files: nothing else is installed."""


def bundle_dependencies(say: Callable[[str], object] = print) -> Path:
    """Fill processors/NAR-INF/bundled-dependencies from requirements.lock unless it is up to date; return it.

    Raises:
        ConfigError: a requirement cannot be had in the version asked for.
        UnavailableError: pip failed otherwise.
    """
    target = PROCESSORS / BUNDLED
    marker = target.parent / "dependencies"
    with locked(work() / "bundle.lock"):
        if target.is_dir() and marker.is_file() and marker.read_text() == fingerprint():
            return target
        say("Processors: installing the packages they bring along")
        marker.unlink(missing_ok=True)
        fresh = target.with_name("bundled-dependencies.new")
        shutil.rmtree(fresh, ignore_errors=True)
        _pip(fresh)
        _strip(fresh)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        marker.write_text(fingerprint())
    return target


def fingerprint() -> str:
    """Return what the bundle depends on: the requirements and the Python they are for."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    return f"{digest} {sys.implementation.cache_tag} {sys.platform}"


def _pip(target: Path) -> None:
    argv = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-compile",
        "--target", str(target), "--require-hashes", "--requirement", str(LOCK),
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=1200, check=False)
    if done.returncode == 0:
        return
    errors = [line.strip() for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    why = errors[0].removeprefix("ERROR: ") if errors else f"exit status {done.returncode}"
    kind = ConfigError if "No matching distribution" in done.stderr else UnavailableError
    if "HASHES" in done.stderr:
        kind, why = (
            ConfigError,
            f"a package is not the one that was locked, or another file of it: {_mismatch(done.stderr)}",
        )
    raise kind(f"pip could not install {LOCK.name}: {why[:300]}")


def _mismatch(told: str) -> str:
    """Return which package pip means."""
    return next((line.strip().partition(" from ")[0] for line in told.splitlines() if " from " in line), "see pip")


def _strip(target: Path) -> None:
    """Remove what no processor imports: the packages' own tests, headers, commands and static libraries."""
    for folder in [*target.glob("*/tests"), *target.glob("*/test"), target / "bin", target / "pyarrow" / "include"]:
        shutil.rmtree(folder, ignore_errors=True)
    for file in target.rglob("*.a"):
        file.unlink()
