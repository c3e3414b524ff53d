"""Helm, which renders and lints the chart: built from its published module for the tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from otmirror.embedded import gomodule
from otmirror.embedded.install import locked
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import PROJECT, work

VERSION = "v3.22.0"
CHART = PROJECT / "helm" / "otmirror"


def install(say: Callable[[str], object] = print) -> Path:
    """Return Helm's program: HELM_BINARY, the work folder's, one that Go builds, or `helm` on PATH.

    Building it takes 220 s of one core and 60 MB.

    Raises:
        ConfigError: HELM_BINARY names no file.
        UnavailableError: there is none and it cannot be built.
    """
    named = os.environ.get("HELM_BINARY")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"HELM_BINARY={named} does not exist")
        return Path(named)
    built = work() / "bin" / f"helm-{VERSION}"
    with locked(built.parent / "helm.lock"):
        if built.is_file():
            return built
        if shutil.which("go"):
            say(f"Helm: building {VERSION} with Go (two to four minutes)")
        if gomodule.fetch("helm", "helm.sh/helm/v3/cmd/helm", VERSION, built):
            return built
    on_path = shutil.which("helm")
    if on_path:
        return Path(on_path)
    raise UnavailableError(
        f"Helm was not found: put its binary on PATH, name it in HELM_BINARY, or install Go 1.26 to build it; see "
        f"{built.parent / 'helm.log'}"
    )
