"""Which tests may run beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest

_NIFI = Path(__file__).parent / "nifi"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the files whole, and all that drive a NiFi on one worker, first: two at once are too much for two cores."""
    items.sort(key=lambda item: _NIFI not in item.path.parents)
    for item in items:
        group = "nifi" if _NIFI in item.path.parents else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
