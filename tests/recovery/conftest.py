"""The stores that are backed up, started once a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mirror import Mirror

from otmirror.embedded.vmtools import tool
from otmirror.errors import UnavailableError


@pytest.fixture(scope="session")
def tools() -> None:
    """VictoriaMetrics' tools; skips only when they cannot be had."""
    try:
        for name in ("vmbackup", "vmrestore"):
            tool(name)
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def mirror(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """Both stores with 300 samples in each."""
    made = Mirror(tmp_path_factory.mktemp("mirror"))
    try:
        made.hot.start()
    except UnavailableError as error:
        pytest.skip(str(error))
    try:
        assert made.write(100) == 300
        yield made
    finally:
        made.hot.stop()
