"""A TOML file that a person wrote."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from otmirror.errors import ConfigError

_toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


def read(path: Path) -> dict[str, Any]:
    """Return what a file holds.

    Raises:
        ConfigError: it cannot be read or is no TOML; the message names the file, and the line where there is one.
    """
    try:
        return dict(_toml.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
