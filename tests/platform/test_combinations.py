"""Published ports of every combination of siblings, in both profiles."""

from __future__ import annotations

from pathlib import Path

import pytest
from siblings import JOINS, PILOTS, PORTS, TAKEN, every, published, stacks

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]


@pytest.mark.parametrize(("profile", "modules"), [("full", tuple(JOINS)), ("pilot", PILOTS)])
def test_no_combination_claims_a_port_of_a_sibling(merge: Path, profile: str, modules: tuple[str, ...]) -> None:
    chosen = every(modules)
    assert len(chosen) == 2 ** len(modules)
    for some, stack in zip(chosen, stacks(merge, profile, chosen), strict=True):
        ports = [port for _, port in published(stack)]
        assert len(set(ports)) == len(ports), some
        assert set(ports) <= PORTS[profile], some
        assert not set(ports) & TAKEN, some
