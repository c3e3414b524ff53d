"""The lock of the bundle's packages: each with the hashes of its published files, for every supported Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from otmirror.embedded.bundle import LOCK, REQUIREMENTS
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import PROJECT

OLDEST = "3.10"
_HEAD = "# The packages of requirements.txt with the hashes of their files, for Python 3.10 to 3.12: `make lock`.\n"


def write() -> None:
    """Write the lock of requirements.txt.

    Raises:
        UnavailableError: a package or its hashes cannot be had.
    """
    argv = ["compile", "--universal", "--python-version", OLDEST, "--generate-hashes", "--no-header",
            "--no-emit-index-url", "--no-annotate", "--quiet", str(REQUIREMENTS.relative_to(PROJECT))]  # fmt: skip
    LOCK.write_text(_HEAD + _uv(argv))


def check(python: str, platform: str = "x86_64-manylinux_2_28") -> None:
    """Resolve the lock for a version of Python and a platform, without installing anything.

    Raises:
        UnavailableError: the lock does not suffice there.
    """
    nowhere = str(PROJECT / ".work" / "nowhere")
    _uv(["install", "--dry-run", "--require-hashes", "--only-binary", ":all:", "--python-version", python,
         "--python-platform", platform, "--target", nowhere, "--quiet", "-r", str(LOCK)])  # fmt: skip


def tool(name: str) -> Path:
    """Return the path of a command of this virtual environment.

    Raises:
        ConfigError: it is not installed.
    """
    found = Path(sys.executable).parent / name
    if not found.is_file():
        raise ConfigError(f"{name} is not installed: pip install -e '.[test]'")
    return found


def _uv(arguments: list[str]) -> str:
    done = subprocess.run(
        [str(tool("uv")), "pip", *arguments], cwd=PROJECT, env={**os.environ, "UV_NO_CONFIG": "1"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode:
        raise UnavailableError(f"uv: {' '.join(done.stderr.split())[:400]}")
    return done.stdout
