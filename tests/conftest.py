"""Which tests may run beside each other."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_NIFI = "tests/nifi/"
_APART = ("tests/nifi/monitored/", "tests/nifi/test_drill.py")
"""Have a NiFi of their own and wait most of the time: they may run beside the others."""


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Commands run in this process set up what signals do, and what is ignored here is ignored by every child."""
    signs = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {sign: signal.getsignal(sign) for sign in signs}
    yield
    for sign, handler in before.items():
        signal.signal(sign, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put those that drive a NiFi first: together they take longest."""
    folder = Path(__file__).parent / "nifi"
    items.sort(key=lambda item: folder not in item.path.parents)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep files whole, and nearly all that drive a NiFi on one worker: two are too much for two cores at times."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            apart = next((place for place in _APART if nodeid.startswith(place)), None)
            return apart or (_NIFI if nodeid.startswith(_NIFI) else nodeid.partition("::")[0])

    return Files(config, log)
