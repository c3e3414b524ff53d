"""The pilot for a while, then the reckoning: what left the sources, and what both stores hold of it."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path

from otmirror import taglist
from otmirror.demo import report, stores
from otmirror.demo.audit import audit
from otmirror.demo.freshness import HotFreshness, cold_ages, percentile
from otmirror.demo.stack import Stack
from otmirror.embedded.processes import memory_mb

WARM_UP = 10.0
"""Seconds at the start of a run that do not count for freshness: processes start and connect."""
PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))


def record(
    stack: Stack,
    seconds: float,
    watch: Callable[[float], object] = lambda left: None,
    before_stop: Callable[[], object] = lambda: None,
) -> report.Run:
    """Run a started stack's flow for `seconds`, stop its sources, drain its queues and audit both stores.

    Args:
        stack: started, its flow not yet running.
        seconds: how long to mirror.
        watch: called about twice a second with the seconds left.
        before_stop: called once while everything still runs.

    Raises:
        MirrorError: a part failed, or the queues did not drain.
    """
    freshness = HotFreshness(stack.victoriametrics.url)
    started = datetime.datetime.now(datetime.timezone.utc)
    stack.run()
    begun = time.monotonic()
    while (left := begun + seconds - time.monotonic()) > 0:
        if seconds - left > WARM_UP:
            freshness.start()
        watch(left)
        time.sleep(min(0.5, left))
    freshness.stop()
    memory = _memory(stack)
    before_stop()
    stack.stop_sources()
    stack.drain(300)
    return _reckon(stack, started, seconds, freshness.ages, memory)


def _reckon(
    stack: Stack, started: datetime.datetime, seconds: float, hot_ages: list[float], memory: dict[str, float]
) -> report.Run:
    cold, hot = stack.lakehouse.samples(), stores.victoriametrics(stack.victoriametrics.url)
    rejects = stack.lakehouse.rejects()
    warm = int((started.timestamp() + WARM_UP) * 1e6)
    ages = cold_ages(cold, stack.lakehouse.commits(), warm) if cold is not None else []
    return report.Run(
        started=started,
        seconds=seconds,
        audit=audit(cold, hot, rejects.num_rows if rejects is not None else 0, emitted(stack), declared(stack)),
        hot_ages=[(name, percentile(hot_ages, share)) for name, share in PERCENTILES],
        cold_ages=[(name, percentile(ages, share)) for name, share in PERCENTILES],
        memory_mb=memory,
    )


def emitted(stack: Stack) -> dict[str, int]:
    """Return the samples that left each source, summed from the CREATE events in NiFi's provenance."""
    totals: dict[str, int] = {}
    for processor in stack.sources():
        for event in stack.api.created(stack.group, processor.name):
            name = event.attributes["otmirror.source"]
            totals[name] = totals.get(name, 0) + int(event.attributes["otmirror.samples"])
    return totals


def declared(stack: Stack) -> dict[str, int]:
    """Return how many tags each source's tag list declares."""
    values = stack.api.parameters(stack.group)
    return {
        str(values[f"{protocol}.source"]): len(taglist.load(str(values[f"{protocol}.tags"])))
        for protocol in ("opcua", "modbus")
    }


def _memory(stack: Stack) -> dict[str, float]:
    """Resident memory of every process of the stack, MB."""
    servers = {"plant": stack.plant.pid, "VictoriaMetrics": stack.victoriametrics.pid, "NiFi (Java)": stack.nifi.pid}
    found = {name: memory_mb(pid) for name, pid in servers.items() if pid}
    for name, pid in stack.nifi.python_processes().items():
        found[f"NiFi (Python, {name})"] = memory_mb(pid)
    return found


def write_report(path: Path, stack: Stack, run: report.Run) -> None:
    """Write the report of a run, with tags from both stores."""
    report.write(path, run, stack.lakehouse.samples(), stores.victoriametrics(stack.victoriametrics.url))
