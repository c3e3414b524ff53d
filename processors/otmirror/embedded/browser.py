"""Chromium without a window, with the driver that programs steer it by."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
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


def picture(url: str, path: Path, width: int, height: int, patience_ms: int = 20000) -> None:
    """Write a PNG of a page as it is once it is at rest.

    Args:
        url: Address of the page.
        path: Where the picture belongs.
        width: Of the window, px.
        height: The same.
        patience_ms: Time the page's own clock may run until it counts as at rest.

    Raises:
        UnavailableError: there is no Chromium, or it made no picture.
    """
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not browser:
        raise UnavailableError("a picture needs Chromium (Debian: apt-get install chromium)")
    # What lay there before is not taken for the new one.
    path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        argv = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--virtual-time-budget={patience_ms}",
            f"--screenshot={path.resolve()}", url,
        ]  # fmt: skip
        try:
            subprocess.run(argv, capture_output=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"Chromium made no picture of {url} within 120 s") from None
    if not path.exists():
        raise UnavailableError(f"Chromium made no picture of {url}")


def _found() -> Browser | None:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return Browser(Path(chromium), Path(driver)) if chromium and driver else None
