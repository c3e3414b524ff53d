"""Decisions of the real policy on a day of the tests."""

from __future__ import annotations

import datetime
from pathlib import Path

from otmirror.policy.check import Context, check
from otmirror.policy.engine import Decision, Engine

TODAY = datetime.date(2026, 12, 1)


def decide(engine: Engine, path: Path, **values: str) -> Decision:
    context = Context({name.replace("__", "."): value for name, value in values.items()}, None, TODAY)
    return check([path], engine, None, "test", context)[path]
