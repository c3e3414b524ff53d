"""One watched pilot for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otmirror.demo.stack import Stack

from ..pilots import await_that, folder, pilot, stored


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """A running pilot of 32 tags whose metrics are scraped, with its rules evaluated."""
    with pilot(
        folder("monitored"), ["--tags", "16"], False, parameters={"iceberg.commit.interval": "3 sec"}
    ) as started:
        started.start_monitoring()
        started.run()
        await_that(lambda: stored(started) > 0, 120, "nothing was mirrored")
        yield started
