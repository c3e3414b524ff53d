"""VictoriaMetrics' companions from the same sources as the server: vmalert, vmalert-tool, vmbackup, vmrestore."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from otmirror.embedded import gomodule
from otmirror.embedded.install import locked
from otmirror.embedded.victoriametrics import VERSION
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import work

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
        if shutil.which("go"):
            say(f"{name}: building {VERSION} with Go (about a minute)")
        if gomodule.fetch(name, f"{_MODULE}/{name}", VERSION, built):
            return built
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    raise UnavailableError(
        f"{name} was not found: put its binary on PATH or install Go 1.26 or newer to build it; see "
        f"{folder / f'{name}.log'}"
    )
