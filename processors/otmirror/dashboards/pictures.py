"""Dashboards as files: a page each, and a picture of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from otmirror.dashboards import page
from otmirror.dashboards.ask import Asker
from otmirror.embedded import browser
from otmirror.errors import ConfigError

_COLOURS = 256
"""Flat colours need no more, and a palette makes the picture a third as large."""


def pages(dashboards: Sequence[Mapping[str, Any]], asker: Asker, folder: Path) -> list[Path]:
    """Write a page a dashboard into a folder, and return the files.

    Raises:
        ConfigError: the folder cannot be written, or a dashboard cannot be drawn.
        UnavailableError: a store does not answer.
    """
    written = []
    for made in dashboards:
        others = [("" if other is made else f"{name(other)}.html", short(other)) for other in dashboards]
        text = page.page(made, asker, others)
        file = folder / f"{name(made)}.html"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        except OSError as error:
            raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
        written.append(file)
    return written


def take(dashboards: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Take a picture of each page in a folder, beside it, and return the pictures.

    Raises:
        UnavailableError: there is no Chromium, or it made no picture.
    """
    written = []
    for made in dashboards:
        file = folder / f"{name(made)}.png"
        shown = file.with_suffix(".html").resolve().as_uri()
        browser.picture(shown, file, page.WIDTH, page.height(made), patience_ms=1000)
        with Image.open(file) as picture:
            reduced = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        reduced.save(file, optimize=True)
        written.append(file)
    return written


def name(made: Mapping[str, Any]) -> str:
    """Return the name of a dashboard's files: its uid without the prefix."""
    return str(made["uid"]).removeprefix("otmirror-")


def short(made: Mapping[str, Any]) -> str:
    """Return a dashboard's title without the name of the product."""
    return str(made.get("title", made["uid"])).removeprefix("OT mirror: ")
