"""Finding Maven, which fetches NiFi's archives, and Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
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


def apt_program(package: str, target: Path) -> bool:
    """Take the program named like `target` out of a Debian package, without installing it; return whether that worked.

    Installed, a server's package would run it as a service of the system.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        program = Path(folder) / "usr" / "bin" / target.name
        if not (apt_download(package, Path(folder)) and program.is_file()):
            return False
        program.replace(target)
    return True
