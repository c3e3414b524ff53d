"""One fault after the other: made, noticed, diagnosed, looked up, healed, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otmirror.demo import run, stores
from otmirror.demo.audit import audit
from otmirror.doctor.findings import runbook
from otmirror.drill import watch
from otmirror.drill.faults import Fault
from otmirror.drill.stack import DrillStack
from otmirror.embedded.processes import wait_until
from otmirror.embedded.vmalert import Firing
from otmirror.errors import MirrorError, UnavailableError
from otmirror.metrics.text import lines
from otmirror.slo import rules
from otmirror.workspace import PROJECT

NOTICE, RECOVERY, START = 180.0, 240.0, 240.0
"""Seconds that an alert, a recovery and the beginning may take."""
_EVERY = 1.0
FRESH = 20.0
"""Seconds: data is fresh again when both sources have a good value, and both stores a batch, no older than this."""


@dataclass
class Outcome:
    """What came of one fault. Times are seconds from the injection; None: not within the patience."""

    fault: str
    expected: Sequence[str]
    alert: str | None = None
    detect_s: float | None = None
    others: Sequence[str] = ()
    cause: str = ""
    named: bool = False
    verdict: str = ""
    doctor_s: float = 0.0
    runbook: str = ""
    lines: Sequence[watch.Line] = ()
    recover_s: float | None = None
    cleared_s: float | None = None
    heal_s: float = 0.0
    problem: str = ""
    waits: float = 0.0
    """Seconds that the rule itself waits."""

    @property
    def worked(self) -> int:
        """How many of the runbook's queries and commands work."""
        return sum(line.problem is None for line in self.lines)


@dataclass
class Drill:
    """A pilot that runs and is watched, for faults to be made in."""

    stack: DrillStack
    say: Callable[[str], object] = print
    patient: bool = True
    """Whether a fault is over only when its alert is gone; else when data is fresh again."""
    outcomes: list[Outcome] = field(default_factory=list)
    fired: set[str] = field(default_factory=set)
    """The names of all alerts that were seen firing."""
    others: dict[str, Sequence[watch.Line]] = field(default_factory=dict)
    """The runbooks that no fault led to, by file, with their lines as tried while all is well."""

    def healthy(self, seconds: float) -> bool:
        """Wait until data is fresh; return whether it became so."""
        return wait_until(lambda: fresh(self.stack), seconds, _EVERY)

    def work_off(self, faults: Iterable[Fault]) -> list[Outcome]:
        """Make each fault in turn; one that cannot be made or healed is told and the drill goes on."""
        for fault in faults:
            if fault.disk and not self.stack.mounted:
                self.say(f"{fault.name}: left out, no disk of its own can be mounted here")
                continue
            outcome = Outcome(fault.name, sorted(fault.alerts), waits=fault.waits)
            self.outcomes.append(outcome)
            if not self.healthy(RECOVERY):
                outcome.problem = "data was not fresh before it"
            try:
                self._one(fault, outcome)
            except MirrorError as error:
                outcome.problem = str(error)
            self.say(told(outcome))
        return self.outcomes

    def look_up_rest(self) -> None:
        """Try the runbooks of the alerts that no fault led to, while all is well."""
        seen = {one.runbook for one in self.outcomes}
        for name in sorted({runbook(alert) or "" for alert in rules.names(1)} - seen):
            self.others[name] = self._lines(name)
            worked = sum(line.problem is None for line in self.others[name])
            self.say(f"{name}: {worked}/{len(self.others[name])} lines work")

    def _one(self, fault: Fault, outcome: Outcome) -> None:
        # Two faults may have one alert: that of the one before has to be over.
        wait_until(lambda: not fault.alerts & {alert.name for alert in self._firing()}, RECOVERY, _EVERY)
        before = self._firing()
        # What fires already is no notice of this fault.
        wall = time.time()
        fault.inject(self.stack)
        began = time.monotonic() - (time.time() - wall)
        try:
            self._notice(fault, outcome, began, wall, frozenset(alert.name for alert in before))
            self._ask(fault, outcome)
            self._look_up(outcome)
        finally:
            healing = time.monotonic()
            fault.heal(self.stack)
            outcome.heal_s = healing - began
        self._recover(fault, outcome, began)

    def _firing(self) -> list[Firing]:
        try:
            told = self.stack.monitoring.firing() if self.stack.monitoring else []
        except UnavailableError:
            return []
        self.fired |= {alert.name for alert in told}
        return told

    def _notice(self, fault: Fault, outcome: Outcome, began: float, wall: float, before: frozenset[str]) -> None:
        def noticed() -> bool:
            # One that began before the fault is of an earlier trouble.
            right = [a for a in self._firing() if a.name in fault.alerts and a.since >= wall - 1]
            if right:
                outcome.alert, outcome.runbook = right[0].name, right[0].annotations.get("runbook_url", "")
            return bool(right)

        if wait_until(noticed, NOTICE + fault.waits, _EVERY):
            outcome.detect_s = time.monotonic() - began
        outcome.others = sorted({alert.name for alert in self._firing()} - before - fault.alerts - {"Watchdog"})

    def _ask(self, fault: Fault, outcome: Outcome) -> None:
        began = time.monotonic()
        monitoring = self.stack.monitoring
        exporter = monitoring.exporter_url if monitoring else ""
        said = watch.ask_doctor(self.stack.nifi.home, exporter, "pilot")
        outcome.doctor_s, outcome.verdict = time.monotonic() - began, said["verdict"]
        causes = said["causes"]
        outcome.cause = causes[0]["code"] if causes else "nothing"
        outcome.named = outcome.cause in fault.truth

    def _look_up(self, outcome: Outcome) -> None:
        named = outcome.runbook or runbook(outcome.expected[0]) or ""
        outcome.runbook = named
        outcome.lines = self._lines(named)

    def _lines(self, named: str) -> list[watch.Line]:
        file, monitoring = PROJECT / named, self.stack.monitoring
        if not file.is_file() or monitoring is None:
            raise UnavailableError(f"there is no {named}")
        folder = self.stack.folder / "runbooks"
        environment = watch.environment_of(folder / "bin", variables(self.stack))
        return watch.tried(watch.blocks(file.read_text("utf-8")), monitoring.url, environment, PROJECT)

    def _recover(self, fault: Fault, outcome: Outcome, began: float) -> None:
        """Wait until data is fresh again and the alert gone; one that looks back for minutes is not waited for."""
        is_fresh, cleared = False, not self.patient or fault.remembers or outcome.alert is None

        def recovered() -> bool:
            nonlocal is_fresh, cleared
            if not cleared and outcome.alert not in {alert.name for alert in self._firing()}:
                cleared, outcome.cleared_s = True, time.monotonic() - began
            is_fresh = fresh(self.stack)
            return is_fresh and cleared

        if wait_until(recovered, RECOVERY, _EVERY):
            outcome.recover_s = time.monotonic() - began
        elif not is_fresh:
            outcome.problem = "data did not become fresh again"


def fresh(stack: DrillStack) -> bool:
    """Return whether every source had a good value, and every sink a batch, in the last seconds."""
    now, newest = time.time(), dict[tuple[str, str], float]()
    wanted = ("otmirror_source_last_good_timestamp_seconds", "otmirror_store_last_success_timestamp_seconds")
    for file in stack.nifi.metrics.glob("*.prom"):
        try:
            points = list(lines(file.read_text("utf-8")))
        except (OSError, ValueError):
            continue
        for point in points:
            if point.name in wanted:
                newest[file.name, point.labels.get("source", "")] = point.value
    return len(newest) >= _PARTS and all(now - moment < FRESH for moment in newest.values())


_PARTS = 4
"""Two sources and two sinks."""


def variables(stack: DrillStack) -> Mapping[str, str]:
    """Return the variables by which docs/runbooks/README.md has the runbooks name the parts of an installation."""
    monitoring, parameters = stack.monitoring, stack.flow_parameters()
    return {
        "NIFI": stack.nifi.url,
        "NIFI_HOME": str(stack.nifi.home),
        "FLOW": "pilot",
        "HOT": stack.victoriametrics.url,
        "WAREHOUSE": str(stack.warehouse),
        "METRICS": str(stack.nifi.metrics),
        "MONITORING": monitoring.url if monitoring else "",
        "EXPORTER": monitoring.exporter_url if monitoring else "",
        "ENDPOINT": parameters["opcua.endpoint"],
        "TAGLIST": parameters["opcua.tags"],
        "CERTIFICATES": str(stack.folder / "pki" / "own"),
    }


def told(outcome: Outcome) -> str:
    """Return an outcome in one line."""

    def seconds(value: float | None) -> str:
        return "never" if value is None else f"{value:.0f} s"

    right = "right" if outcome.named else f"WRONG ({outcome.cause})"
    return (
        f"{outcome.fault}: {outcome.alert or 'no alert'} after {seconds(outcome.detect_s)}, doctor {right}, "
        f"runbook {outcome.worked}/{len(outcome.lines)}, recovered after {seconds(outcome.recover_s)}"
        f"{'; ' + outcome.problem if outcome.problem else ''}"
    )


def lost(stack: DrillStack) -> dict[str, Any]:
    """Stop the sources, drain, and compare both stores with what left the sources.

    Raises:
        UnavailableError: the queues do not drain.
    """
    stack.stop_sources()
    stack.drain(240)
    result = audit(
        stack.lakehouse.samples(),
        stores.victoriametrics(stack.victoriametrics.url),
        0,
        run.emitted(stack),
        run.declared(stack),
    )
    return {
        source.source: {
            "emitted": source.emitted, "iceberg_lost": (source.emitted or 0) - source.stored,
            "hot_missing": source.hot_missing, "twice": source.duplicated,
        }
        for source in result.sources
    }  # fmt: skip
