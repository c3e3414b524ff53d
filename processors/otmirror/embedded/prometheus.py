"""Prometheus' own checkers, which need no server: promtool for rules, amtool for Alertmanager's configuration."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from otmirror.embedded.install import locked
from otmirror.embedded.maven import apt_program
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import work

PACKAGES = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}
"""The programs and Debian's packages that hold them."""


def checker(name: str, say: Callable[[str], object] = print) -> Path:
    """Return the path of promtool or amtool: on PATH, or taken out of Debian's package into the work folder.

    Raises:
        ConfigError: it is neither.
        UnavailableError: it is not there and the package cannot be had.
    """
    if name not in PACKAGES:
        raise ConfigError(f"{name!r} is none of {', '.join(PACKAGES)}")
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    target = work() / "bin" / name
    with locked(target.with_suffix(".lock")):
        if target.is_file():
            return target
        say(f"{name}: fetching Debian's package {PACKAGES[name]}")
        if apt_program(PACKAGES[name], target):
            return target
    raise UnavailableError(f"{name} was not found: put it on PATH (Debian: apt-get install {PACKAGES[name]})")
