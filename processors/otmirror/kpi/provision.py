"""Time to provision, measured: from a tag list on disk to its samples in the hot store, on a running platform."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from otmirror.demo.run import declared
from otmirror.demo.stack import Stack
from otmirror.embedded.processes import wait_until
from otmirror.errors import UnavailableError
from otmirror.rollout.evidence import now
from otmirror.rollout.prometheus import Prometheus

_TAGS = 'count(count by (tag) ({__name__=~"ot_(value|quality)"}))'


def measure(stack: Stack, timeout: float = 300.0) -> dict[str, Any]:
    """Import the flow into a stack that runs without it, start it, and return how long its tags took.

    Args:
        stack: plant, VictoriaMetrics and NiFi run; the plant has written its tag lists.
        timeout: seconds that all tags may take.

    Returns:
        `time` (ISO 8601), `tags`, and in seconds from the beginning: `imported_s`, `started_s`, `first_sample_s`,
        `all_tags_s`.

    Raises:
        UnavailableError: they did not all arrive in time.
    """
    store, began, moment = Prometheus(stack.victoriametrics.url), time.monotonic(), now()
    stack.import_flow()
    imported = time.monotonic() - began
    stack.run()
    started = time.monotonic() - began
    wanted = sum(declared(stack).values())
    first = _await(lambda: _stored(store) > 0, began, timeout, "the first sample")
    last = _await(lambda: _stored(store) >= wanted, began, timeout, f"all {wanted} tags")
    times = {"imported_s": imported, "started_s": started, "first_sample_s": first, "all_tags_s": last}
    return {"time": moment.isoformat(timespec="seconds"), "tags": wanted,
            **{name: round(seconds, 2) for name, seconds in times.items()}}  # fmt: skip


def _stored(store: Prometheus) -> float:
    return store.number(_TAGS) or 0.0


def _await(done: Callable[[], bool], began: float, timeout: float, what: str) -> float:
    if not wait_until(done, timeout, 0.1):
        raise UnavailableError(f"after {timeout:.0f} s {what} is not in the hot store; the canvas says why")
    return time.monotonic() - began
