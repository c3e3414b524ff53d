"""Chromium without a window, with the driver that programs steer it by."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from otmirror.embedded.maven import apt_install
from otmirror.errors import UnavailableError


@dataclass(frozen=True)
class Browser:
    """The programs of a browser: itself, and its WebDriver server."""

    chromium: Path
    driver: Path


def install() -> Browser:
    """Return Chromium and its driver, installing Debian's packages when there are none and there is root.

    Raises:
        UnavailableError: they are missing and cannot be installed.
    """
    found = _found() or (apt_install("chromium", "chromium-driver") and _found())
    if not found:
        raise UnavailableError("Chromium was not found: install it (Debian: apt-get install chromium chromium-driver)")
    return found


def _found() -> Browser | None:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return Browser(Path(chromium), Path(driver)) if chromium and driver else None
