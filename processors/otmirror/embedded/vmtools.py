"""VictoriaMetrics' programs, built from one version of its sources: vmalert, vmalert-tool, vmbackup, vmrestore."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from otmirror.embedded.install import locked
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import work

VERSION = "v1.151.0"
"""Of the server and its companions."""
TOOLS = ("vmalert", "vmalert-tool", "vmbackup", "vmrestore")
_MODULE = "github.com/VictoriaMetrics/VictoriaMetrics/app"


def tool(name: str, say: Callable[[str], object] = print) -> Path:
    """Return the path of one of `TOOLS`, built with Go in the server's own version when it is not there yet.

    Raises:
        ConfigError: it is none of `TOOLS`.
        UnavailableError: it is neither in the work folder nor on PATH, and cannot be built.
    """
    if name not in TOOLS:
        raise ConfigError(f"{name!r} is none of {', '.join(TOOLS)}")
    folder = work() / "bin"
    built = folder / f"{name}-{VERSION}"
    with locked(folder / f"{name}.lock"):
        if built.is_file():
            return built
        if go_install(name, built, say):
            return built
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    raise UnavailableError(
        f"{name} was not found: put its binary on PATH or install Go 1.26 or newer to build it; see "
        f"{folder / f'{name}.log'}"
    )


def go_install(name: str, target: Path, say: Callable[[str], object]) -> bool:
    """Build a program of VictoriaMetrics with Go into `target`; return whether that worked. A log lies beside it."""
    go = shutil.which("go")
    if not go:
        return False
    say(f"{name}: building {VERSION} with Go (about a minute)")
    # Two compilers at once, so that a small machine stays usable; the caller's own flags hold beside it.
    flags = f"{os.environ.get('GOFLAGS', '')} -p=2 -buildvcs=false".strip()
    env = {**os.environ, "GOBIN": str(target.parent), "CGO_ENABLED": "0", "GOFLAGS": flags}
    with (target.parent / f"{name}.log").open("wb") as output:
        done = subprocess.run(
            [go, "install", f"{_MODULE}/{name}@{VERSION}"], env=env, stdout=output, stderr=output, check=False
        )
    if done.returncode:
        return False
    (target.parent / name).replace(target)
    return True
