"""Installing the embedded NiFi: its archives side by side in one folder, and its Python side unpacked."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from otmirror.embedded.java import java_home
from otmirror.embedded.maven import maven
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import PROJECT, work

CONF = PROJECT / "nifi-conf"
_POMS = CONF / "maven"
# The jar of the framework holds the folder `framework`, the one of the API what belongs into a folder `api` beside it.
_PYTHON_SIDE = {"nifi-python-framework": ".", "nifi-python-extension-api": "api"}


@dataclass(frozen=True)
class Installation:
    """Where a NiFi's parts are: `lib` its archives, `python` the parent of its `api` and `framework`."""

    lib: Path
    python: Path
    properties: Path | None = None
    """The distribution's own nifi.properties, when it is one."""


def install(say: Callable[[str], object] = print) -> Installation:
    """Return the NiFi to run: the one NIFI_HOME names, or the embedded one, installed when missing.

    Raises:
        ConfigError: NIFI_HOME names no NiFi.
        UnavailableError: Java, Maven or the archives cannot be had; the message says which and why.
    """
    named = os.environ.get("NIFI_HOME")
    if named:
        return distribution(Path(named))
    folder = work() / "nifi"
    folder.mkdir(exist_ok=True)
    installation = Installation(folder / "lib", folder / "python")
    marker, wanted = folder / "installed", _fingerprint()
    if not _is(marker, wanted):
        with locked(folder / "install.lock"):
            if not _is(marker, wanted):
                marker.unlink(missing_ok=True)
                _build(folder, installation, say)
                marker.write_text(wanted)
    return installation


def distribution(home: Path) -> Installation:
    """Return the parts of a full NiFi distribution in `home`.

    Raises:
        ConfigError: it is none, or one without Python.
    """
    installation = Installation(home / "lib", home / "python", home / "conf" / "nifi.properties")
    has = next(installation.lib.glob("nifi-runtime-*.jar"), None) if installation.lib.is_dir() else None
    if has is None:
        raise ConfigError(f"NIFI_HOME={home} is not a NiFi: it has no lib/nifi-runtime-*.jar")
    if not (installation.python / "framework").is_dir():
        raise ConfigError(f"NIFI_HOME={home} is a NiFi without Python: it has no python/framework")
    return installation


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two commands do not install the same thing at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is(marker: Path, wanted: str) -> bool:
    return marker.is_file() and marker.read_text() == wanted


def _fingerprint() -> str:
    return hashlib.sha256(b"".join(pom.read_bytes() for pom in sorted(_POMS.rglob("pom.xml")))).hexdigest()


def _build(folder: Path, installation: Installation, say: Callable[[str], object]) -> None:
    home, mvn = java_home(), maven()
    say(f"NiFi: fetching its archives with Maven (Java: {home})")
    for old in (installation.lib, installation.python, folder / "build"):
        shutil.rmtree(old, ignore_errors=True)
    _run_maven(mvn, home, folder)
    say("NiFi: unpacking its Python side")
    for nar in (folder / "build").glob("*/*.nar"):
        nar.replace(installation.lib / nar.name)
    for artifact, name in _PYTHON_SIDE.items():
        jar = next((folder / "build" / "python").glob(f"{artifact}-*.jar"))
        with zipfile.ZipFile(jar) as archive:
            archive.extractall(installation.python / name)
    shutil.rmtree(folder / "build")


def _run_maven(mvn: Path, java: Path, folder: Path) -> None:
    log = folder / "maven.log"
    build = folder / "build"
    argv = [
        str(mvn), "-B", "-ntp", "-T", "2", "-f", str(_POMS / "pom.xml"), "package", "-Dmaven.artifact.threads=10",
        f"-Dlib.folder={folder / 'lib'}", f"-Dpython.folder={build / 'python'}", f"-Dbuild.folder={build}",
    ]  # fmt: skip
    with log.open("wb") as output:
        done = subprocess.run(
            argv, env={**os.environ, "JAVA_HOME": str(java)}, stdout=output, stderr=output, check=False
        )
    if done.returncode:
        reasons = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("[ERROR]")]
        why = reasons[0].removeprefix("[ERROR]").strip()[:300] if reasons else f"exit status {done.returncode}"
        raise UnavailableError(f"Maven could not fetch NiFi: {why} (all of it: {log})")
