"""What crosses the wire of a whole run: the readers behind witnessing relays, with faults or as they are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from otmirror.modbus.config import ModbusConfig
from otmirror.modbus.guard import GuardedClient
from otmirror.modbus.reader import ModbusReader
from otmirror.notices import Notice
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.reader import OpcUaReader
from otmirror.prove.names import CHANNEL, READ_FUNCTIONS, READ_SERVICES
from otmirror.prove.report import Line, counted, judged
from otmirror.witness.faulty import FaultyRelay, truncated
from otmirror.witness.modbus import named
from otmirror.witness.relay import Relay

_IDLE = 0.005
_PATIENCE = 20.0
MODBUS_READS = frozenset(named(code) for code in READ_FUNCTIONS)


@dataclass
class Run:
    """What a run left: the guard's counts by the witness's names, reads of values, faults and new connections."""

    sent: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    faults: list[str] = field(default_factory=list)
    unrecovered: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


class Source:
    """A reader in the form both protocols share."""

    def __init__(self, reader: Any, sent: Callable[[], Counter[str]], refused: Callable[[], Counter[str]]):
        """Take the reader, and what its guard has counted by the names of the witness."""
        self.reader, self.sent, self.refused = reader, sent, refused
        self.samples = 0
        self.notices: list[Notice] = []

    def read(self) -> Counter[str]:
        """Return how many samples of each quality the next cycle gives."""
        table: pa.Table | None = self.reader.read()
        self.notices += self.reader.notices()
        if table is None:
            time.sleep(_IDLE)  # nothing was due: the reader leaves the waiting to its caller
            return Counter()
        self.samples += table.num_rows
        return Counter(table["quality"].to_pylist())

    def until(self, quality: str, happened: Callable[[], bool] = lambda: True) -> bool:
        """Read until something has happened and a cycle gives this quality alone; tell whether that came in time."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            over, found = happened(), self.read()
            if over and found[quality] and sum(found.values()) == found[quality]:
                return True
        return False


def opcua_source(config: OpcUaConfig) -> Source:
    """Return a reader of an OPC UA server."""
    reader = OpcUaReader(config)
    return Source(reader, lambda: Counter(reader.guard.sent), lambda: Counter(reader.guard.refused))


def modbus_source(config: ModbusConfig) -> Source:
    """Return a reader of Modbus devices."""
    reader = ModbusReader(config)

    def by_name(which: Callable[[GuardedClient], Counter[int]]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for device in reader.devices.values():
            counts += Counter({named(code): count for code, count in which(device.client).items()})
        return counts

    return Source(reader, lambda: by_name(lambda c: c.sent), lambda: by_name(lambda c: c.refused))


@dataclass(frozen=True)
class Fault:
    """What is done to a connection, what undoes it once nothing can be read, and whether it surely takes a new one."""

    do: Callable[[], object]
    undo: Callable[[], object] | None = None
    reconnects: bool = True


def _faults(relay: FaultyRelay) -> dict[str, Fault]:
    return {
        "cut": Fault(relay.cut),
        "reset": Fault(lambda: relay.cut(reset=True)),
        "an answer that ends in the middle": Fault(lambda: relay.spoil(truncated())),
        "frozen": Fault(relay.freeze, relay.thaw, reconnects=False),
        "refused": Fault(relay.refuse, relay.accept),
    }


def troubled(source: Source, relay: FaultyRelay) -> Run:
    """Read through one fault after the other, each until all is good again, and close the reader."""
    run = Run()
    try:
        if not source.until("good"):
            run.unrecovered.append("nothing")
        for name, fault in _faults(relay).items():
            connections = relay.accepted + fault.reconnects
            fault.do()
            gone = fault.undo is None or source.until("bad")
            if fault.undo is not None:
                fault.undo()
            if not gone or not source.until("good", lambda: relay.accepted >= connections):  # noqa: B023 - called at once
                run.unrecovered.append(name)
            run.faults.append(name)
    finally:
        source.reader.close()
    return _ended(run, source, relay)


def calm(source: Source, relay: FaultyRelay, seconds: float) -> Run:
    """Read for so many seconds and close the reader."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            source.read()
    finally:
        source.reader.close()
    return _ended(Run(), source, relay)


def _ended(run: Run, source: Source, relay: FaultyRelay) -> Run:
    relay.settled()
    run.sent, run.refused, run.samples = source.sent(), source.refused(), source.samples
    run.notices = source.notices
    return run


def seen(id: str, claim: str, relay: Relay, run: Run, reads: frozenset[str], needed: frozenset[str]) -> Line:
    """Judge what the witness saw: requests of `reads` and nothing else, one of `needed` among them."""
    found = relay.witness.requests
    broken = [f"{name}: {count}" for name, count in sorted(relay.witness.beyond(reads).items())]
    if not needed & found.keys():
        first = next((notice.message for notice in run.notices if notice.level == "error"), "no answer in time")
        broken.append(f"nothing was read, so nothing is proven: {first}")
    broken += [f"not good again after {fault}" for fault in run.unrecovered]
    faults = f"through {len(run.faults)} faults ({', '.join(run.faults)}) " if run.faults else ""
    how = "frames of the whole run decoded by a relay that shares no code with the client"
    return judged(id, claim, how, broken, f"{faults}{counted(found)}; {run.samples:,} samples")


def agree(id: str, protocol: str, relay: Relay, run: Run) -> Line:
    """Judge whether the guard counted at least every request that was seen, and refused nothing.

    A request that a fault swallowed on the way was counted and not seen; without faults the counts are the same.
    """
    wire = Counter({name: count for name, count in relay.witness.requests.items() if name not in CHANNEL})
    broken = [
        f"{name}: {wire[name]} seen, {run.sent[name]} counted"
        for name in sorted(wire.keys() | run.sent.keys())
        if wire[name] > run.sent[name] or (wire[name] < run.sent[name] and not run.faults)
    ]
    broken += [f"{name}: refused {count} times" for name, count in run.refused.items()]
    return judged(
        id, f"The {protocol} guard's counts are what the wire shows", "guard's counters against the witness's",
        broken, f"{sum(wire.values()):,} requests seen, {sum(run.sent.values()):,} counted, 0 refused",
    )  # fmt: skip


def opcua_lines(prefix: str, where: str, relay: Relay, run: Run) -> list[Line]:
    """Return what a run over OPC UA proves."""
    claim = f"Nothing but reading services goes to {where} over OPC UA"
    first = seen(f"{prefix}-opcua", claim, relay, run, READ_SERVICES, frozenset({"Read", "Publish"}))
    return [first, agree(f"{prefix}-opcua-counts", "OPC UA", relay, run)]


def modbus_lines(prefix: str, where: str, relay: Relay, run: Run) -> list[Line]:
    """Return what a run over Modbus proves."""
    claim = f"Nothing but function codes 1 to 4 goes to {where} over Modbus"
    first = seen(f"{prefix}-modbus", claim, relay, run, MODBUS_READS, MODBUS_READS)
    return [first, agree(f"{prefix}-modbus-counts", "Modbus", relay, run)]
