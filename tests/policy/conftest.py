"""The real OPA, and the policy with the site file of the demo."""

from __future__ import annotations

from pathlib import Path

import pytest

from otmirror.embedded import opa
from otmirror.errors import UnavailableError
from otmirror.policy import site
from otmirror.policy.engine import Engine


@pytest.fixture(scope="session")
def program() -> Path:
    try:
        return opa.install()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def engine(program: Path) -> Engine:
    return Engine(program, site.load(site.DEFAULT))
