"""Finding Maven, which fetches NiFi's archives, and Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from otmirror.errors import UnavailableError


def maven() -> Path:
    """Return the path of `mvn`, installing Debian's package when there is none and there is root.

    Raises:
        UnavailableError: there is none and it cannot be installed.
    """
    found = shutil.which("mvn") or (apt_install("maven") and shutil.which("mvn"))
    if not found:
        raise UnavailableError(
            "Maven fetches NiFi and was not found: install it (Debian: apt-get install maven) and put mvn on PATH"
        )
    return Path(found)


def apt_install(*packages: str) -> bool:
    """Install Debian packages when there is root and apt-get; return whether that worked."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-qq", *command], env=quiet, capture_output=True, timeout=900, check=False)
    return done.returncode == 0


def apt_download(package: str, folder: Path) -> bool:
    """Unpack a Debian package into `folder` without installing it; return whether that worked. Needs no root."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return False
    for command in (["download", package], ["update"], ["download", package]):
        subprocess.run(["apt-get", "-qq", *command], cwd=folder, capture_output=True, timeout=900, check=False)
        archive = next(folder.glob("*.deb"), None)
        if archive:
            argv = ["dpkg-deb", "--extract", str(archive), str(folder)]
            return subprocess.run(argv, capture_output=True, timeout=120, check=False).returncode == 0
    return False
