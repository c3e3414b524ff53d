"""A picture of the flow on NiFi's canvas, taken in headless Chromium."""

from __future__ import annotations

from pathlib import Path

from otmirror.demo.stack import Stack
from otmirror.embedded import browser


def take_picture(stack: Stack, path: Path, width: int = 1600, height: int = 1200) -> None:
    """Write a PNG of the running flow.

    Raises:
        UnavailableError: there is no Chromium, or it made no picture.
    """
    browser.picture(f"{stack.nifi.canvas}#/process-groups/{stack.group}", path, width, height)
