"""Other people's servers that the tests talk to, installed by name on first use and kept in the work folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from otmirror.workspace import work


def node_modules(**packages: str) -> Path:
    """Return a folder whose node_modules holds the npm packages given as name=version; skips without npm."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("needs Node.js and npm (Debian: apt-get install nodejs npm)")
    wanted = [f"{name.replace('_', '-')}@{version}" for name, version in sorted(packages.items())]
    folder = work() / "node" / "-".join(wanted).replace("/", "-").replace("@", "-")
    marker = folder / "installed"
    if not marker.exists():
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(folder), *wanted],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"npm could not install {' '.join(wanted)}: {done.stderr.strip()[-200:]}")
        marker.touch()
    return folder
