"""Compose's own library, and the stacks that the overrides of compose/platform make."""

from __future__ import annotations

from pathlib import Path

import pytest

from otmirror.embedded import compose
from otmirror.errors import UnavailableError


@pytest.fixture(scope="session")
def merge() -> Path:
    try:
        return compose.install()
    except UnavailableError as error:
        pytest.skip(str(error))
