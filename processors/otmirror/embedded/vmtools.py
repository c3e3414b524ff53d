"""VictoriaMetrics' companions from the same sources as the server: vmalert, vmalert-tool, vmbackup, vmrestore."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from otmirror.embedded import gomodule
from otmirror.embedded.install import locked
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import work

VERSION = "v1.151.0"
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
    if shutil.which("go"):
        say(f"{name}: building {VERSION} with Go (about a minute)")
    return gomodule.fetch(name, f"{_MODULE}/{name}", VERSION, target)
