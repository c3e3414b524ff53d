"""A picture of the flow on NiFi's canvas, taken in headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from otmirror.demo.stack import Stack
from otmirror.errors import UnavailableError


def take_picture(stack: Stack, path: Path, size: str = "1600,1200") -> None:
    """Write a PNG of the running flow.

    Raises:
        UnavailableError: there is no Chromium, or it made no picture.
    """
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not browser:
        raise UnavailableError("a picture of the canvas needs Chromium (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as profile:
        argv = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}", f"--window-size={size}", "--virtual-time-budget=20000",
            f"--screenshot={path.resolve()}", f"{stack.nifi.canvas}#/process-groups/{stack.group}",
        ]  # fmt: skip
        subprocess.run(argv, capture_output=True, timeout=120, check=False)
    if not path.exists():
        raise UnavailableError("Chromium made no picture of the canvas")
