"""NiFi itself: its process, its Python processes, its processors and what they told the operator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from otmirror.doctor import times
from otmirror.doctor.findings import Finding
from otmirror.doctor.flowview import OURS, FlowView, Processor
from otmirror.doctor.site import Site
from otmirror.embedded.server import EmbeddedNifi

_PAUSE = 60.0
"""Seconds between two complaints from which on they are of two troubles."""
_PREFIX = re.compile(r"^PythonProcessor\[[^\]]*\]\s*")


def process(server: EmbeddedNifi) -> list[Finding]:
    """Return whether the embedded NiFi's Java is there and not frozen."""
    pid = server.pid
    if pid is None:
        last = _touched(server.app_log)
        return [Finding("nifi-down", server.url, f"NiFi's process is not there (its folder: {server.home})", last)]
    if _state(pid) == "T":
        return [Finding("nifi-silent", server.url, f"NiFi's process {pid} is stopped (SIGSTOP): kill -CONT {pid}")]
    return []


def silent(site: Site, why: str) -> list[Finding]:
    """Return that NiFi does not answer, unless its process says more."""
    known = process(site.server) if site.server else []
    since = _touched(site.server.app_log) if site.server else None
    return known or [Finding("nifi-silent", site.url, why, since)]


def python(server: EmbeddedNifi, views: Iterable[FlowView]) -> list[Finding]:
    """Return which Python processes of running processors are not there, or do not move."""
    alive: dict[str, list[int]] = {}
    for name, pid in server.python_processes().items():
        alive.setdefault(name.split(" ")[0], []).append(pid)
    found = []
    running = [one for view in views for one in view.of(*OURS) if _runs(one)]
    for kind in dict.fromkeys(one.kind for one in running):
        scope = frozenset(one.name for one in running if one.kind == kind)
        for pid in alive.get(kind, ()):
            if _state(pid) == "T":
                text = f"the Python process {pid} of {kind} is stopped (SIGSTOP): kill -CONT {pid}, or kill -KILL {pid}"
                found.append(Finding("processor-frozen", kind, text, scope=scope))
        if kind not in alive:
            text = f"there is no Python process of {kind}; NiFi starts one by itself, {server.app_log} says why not"
            found.append(Finding("processor-gone", kind, text, scope=scope))
    return found


def _runs(processor: Processor) -> bool:
    return processor.told is not None and processor.told.state == "RUNNING" and processor.told.validation == "VALID"


def states(views: Iterable[FlowView], now: float) -> list[Finding]:
    """Return processors that cannot run or do not, and what processors complained of in the last minutes."""
    found: list[Finding] = []
    for view in views:
        found += _states(view)
        found += _complaints(view, now)
    return found


def _states(view: FlowView) -> Iterator[Finding]:
    wanted = [one for one in view.processors if one.told is not None and one.told.state != "DISABLED"]
    for one in wanted:
        told = one.told
        if told and told.validation == "INVALID":
            why = "; ".join(" ".join(error.split()) for error in told.errors[:3])
            yield Finding("processor-invalid", one.name, f"cannot run as it is configured: {why}", scope=_only(one))
    stopped = [one for one in wanted if one.told and one.told.state != "RUNNING" and one.told.validation != "INVALID"]
    if stopped and len(stopped) == len(wanted):
        yield Finding("processor-stopped", view.name, f"the flow is stopped: otmirror flow start {view.name}")
        return
    for one in stopped:
        yield Finding("processor-stopped", one.name, "is stopped: start it on the canvas", scope=_only(one))


def _complaints(view: FlowView, now: float) -> Iterator[Finding]:
    """Yield each processor's newest complaint, with the beginning of the unbroken run of complaints it ends."""
    by_source: dict[str, list[tuple[float, str]]] = {}
    for bulletin in view.bulletins:
        moment = times.of_bulletin(bulletin.time, now)
        if bulletin.level in ("WARNING", "WARN", "ERROR") and moment is not None:
            by_source.setdefault(bulletin.source, []).append((moment, bulletin.message))
    for name, said in by_source.items():
        said.sort(reverse=True)
        first, message = said[0]
        for moment, _ in said[1:]:
            if first - moment > _PAUSE:
                break
            first = moment
        text = f'says "{_PREFIX.sub("", message)[:300]}"'
        yield Finding("processor-complains", name, text, first, frozenset({name}))


def _only(processor: Processor) -> frozenset[str]:
    return frozenset({processor.name})


def _state(pid: int) -> str:
    """Return the letter of a process's state (proc(5)); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _touched(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None
