from __future__ import annotations

from collections.abc import Iterator

import pytest

from otmirror.prove.standin import StandIn


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running
