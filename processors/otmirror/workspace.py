"""Where the project keeps what it downloads, builds and runs: one folder, `.work` beside pyproject.toml."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
"""The project's root when the package is used from a checkout."""


def work() -> Path:
    """Return the work folder, made when missing; OTMIRROR_WORK names another one."""
    folder = Path(os.environ.get("OTMIRROR_WORK") or PROJECT / ".work").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
