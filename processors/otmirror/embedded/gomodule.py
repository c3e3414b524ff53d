"""Programs of this repository that are Go modules: a main package over published libraries, built once a version."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from otmirror.embedded.install import locked
from otmirror.errors import UnavailableError
from otmirror.workspace import work

_SOURCES = ("go.mod", "go.sum", "main.go")


def target(name: str, module: Path) -> Path:
    """Return where the program of a module is, or would be, in the work folder; its sources are part of the name."""
    sources = hashlib.sha256(b"".join((module / file).read_bytes() for file in _SOURCES)).hexdigest()
    return work() / "bin" / f"{name}-{sources[:8]}"


def install(name: str, module: Path, say: Callable[[str], object]) -> Path:
    """Return the program of a module, built with Go when it is not there.

    Raises:
        UnavailableError: there is no Go, or the build fails; the message names the log.
    """
    built = target(name, module)
    with locked(built.parent / f"{name}.lock"):
        if not built.is_file():
            say(f"{name}: building it with Go")
            build(name, module, built)
    return built


def build(name: str, module: Path, built: Path) -> Path:
    """Build a module's program to `built`.

    Raises:
        UnavailableError: there is no Go, or the build fails; the message names the log.
    """
    go = shutil.which("go")
    if not go:
        raise UnavailableError(f"{name}: Go 1.26 or newer is needed to build it")
    part, log = built.with_suffix(".part"), built.parent / f"{name}.log"
    # Two compilers at once, so that a small machine stays usable; the caller's own flags hold beside it.
    flags = f"{os.environ.get('GOFLAGS', '')} -p=2 -buildvcs=false -mod=readonly".strip()
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": flags}
    command = [go, "build", "-ldflags=-s -w", "-o", str(part), "."]
    try:
        with log.open("wb") as output:
            done = subprocess.run(command, cwd=module, env=env, stdout=output, stderr=output, check=False)
        if done.returncode:
            raise UnavailableError(f"{name}: the build failed, see {log}")
        return part.replace(built)
    except OSError as error:
        raise UnavailableError(f"{name}: {go} cannot build it: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def fetch(name: str, package: str, version: str, built: Path) -> bool:
    """Build the program of a published module (`package` at `version`) to `built`; return whether that worked.

    What Go says is in `<name>.log` beside it.
    """
    go = shutil.which("go")
    if not go:
        return False
    flags = f"{os.environ.get('GOFLAGS', '')} -p=2 -buildvcs=false".strip()
    env = {**os.environ, "GOBIN": str(built.parent), "CGO_ENABLED": "0", "GOFLAGS": flags}
    with (built.parent / f"{name}.log").open("wb") as output:
        argv = [go, "install", f"{package}@{version}"]
        done = subprocess.run(argv, env=env, stdout=output, stderr=output, check=False)
    if done.returncode:
        return False
    (built.parent / package.rpartition("/")[2]).replace(built)
    return True
