"""The faults: how each is made and healed, which alert has to come, and what the doctor has to say."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncua import ua
from asyncua.crypto.cert_gen import (
    dump_private_key_as_pem,
    generate_private_key,
    generate_self_signed_app_certificate,
)
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from otmirror.drill.stack import DISK_MB, DrillStack
from otmirror.embedded.processes import wait_until
from otmirror.errors import ReadOnlyError, UnavailableError
from otmirror.metrics.figures import Figures
from otmirror.metrics.meter import Meter
from otmirror.opcua.allowlist import ReadOnlyGuard
from otmirror.opcua.chain import der
from otmirror.plant.opcua import APPLICATION

_DAY = 86400.0
_LIMIT, _TIGHT = 60, 5
"""FlowFiles at which a queue is full while such a fault lasts."""
_ROOM = {"to VictoriaMetrics": 1_000_000, "OPC UA samples": 10_000}
"""FlowFiles that the pilot's queues have room for."""
_HELD_UP = 25.0
"""Seconds for which a reader stands: longer than the server's queues last, shorter than its session."""
_JOB = 600.0
"""Seconds that a job on the lakehouse may take."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: what it is called in the table.
        alerts: one of these has to fire.
        truth: the codes of the doctor that name the cause.
        inject: makes it.
        heal: ends it, as an operator would.
        waits: seconds that the rule itself waits, by its threshold and `for`, beyond half a minute.
        remembers: whether the alert looks back for minutes, so that it outlives the fault.
        short: whether it belongs to the short form.
        disk: whether it needs the warehouse's own disk.
    """

    name: str
    alerts: frozenset[str]
    truth: frozenset[str]
    inject: Callable[[DrillStack], object]
    heal: Callable[[DrillStack], object]
    waits: float = 0.0
    remembers: bool = False
    short: bool = False
    disk: bool = False


def _signal(sign: signal.Signals, pid: int | None) -> None:
    if pid is not None:
        os.kill(pid, sign)


def _fill(stack: DrillStack, left_mb: float) -> None:
    """Fill the warehouse's disk up to what is left."""
    free = shutil.disk_usage(stack.warehouse).free - int(left_mb * 1e6)
    with (stack.warehouse / "ballast").open("wb") as file:
        try:
            while free > 0:
                free -= file.write(bytes(min(free, 1 << 20)))
            file.flush()
        except OSError:
            return  # it is full


def _empty(stack: DrillStack) -> None:
    (stack.warehouse / "ballast").unlink(missing_ok=True)


def _new_certificate(stack: DrillStack, days: float | None) -> None:
    """Give the OPC UA server another certificate; with `days` one that ends then and that the mirror trusts."""
    stack.plant.stop()
    kept = stack.folder / "plant-pki.before"
    shutil.rmtree(kept, ignore_errors=True)
    stack.certificates.rename(kept)
    if days is not None:
        _short_lived(stack, days)
    stack.start_opcua()


def _short_lived(stack: DrillStack, days: float) -> None:
    """Write a certificate as the plant makes it, but for so many days, in the place of the pinned one too."""
    stack.certificates.mkdir(parents=True)
    key = generate_private_key()
    names = [x509.UniformResourceIdentifier(APPLICATION), x509.DNSName("127.0.0.1")]
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    subject = {"commonName": "otmirror plant", "organizationName": "otmirror"}
    made = generate_self_signed_app_certificate(key, "otmirror plant", subject, names, uses, days=round(days))
    (stack.certificates / "plant-key.pem").write_bytes(dump_private_key_as_pem(key))
    (stack.certificates / "plant-cert.der").write_bytes(der(made))
    _pin(stack, der(made))


def _pin(stack: DrillStack, content: bytes) -> None:
    for file in (stack.folder / "pki" / "trusted").glob("127.0.0.1_*.der"):
        file.write_bytes(content)


def _old_certificate(stack: DrillStack) -> None:
    stack.plant.stop()
    shutil.rmtree(stack.certificates, ignore_errors=True)
    (stack.folder / "plant-pki.before").rename(stack.certificates)
    _pin(stack, (stack.certificates / "plant-cert.der").read_bytes())
    stack.start_opcua()


def _limit(stack: DrillStack, objects: int, name: str) -> None:
    rest = stack.api.rest
    queue = next(one for one in stack.api.queues(stack.group) if one.name == name)
    told = rest.get(f"/connections/{queue.id}")
    # All of it: NiFi takes a part that is left out for a change.
    body = {"revision": told["revision"], "component": told["component"] | {"backPressureObjectThreshold": objects}}
    rest.put(f"/connections/{queue.id}", body)


def _start(stack: DrillStack, name: str) -> None:
    stack.api.schedule(stack.api.processor_by_name(stack.group, name).id, "RUNNING")


def _stop_sink(stack: DrillStack, objects: int, *names: str) -> None:
    """Stop the sink, with room for so many FlowFiles in queues before it."""
    stack.api.stop_processor(stack.group, "To VictoriaMetrics")
    for name in names:
        _limit(stack, objects, name)


def _start_sink(stack: DrillStack) -> None:
    for name, objects in _ROOM.items():
        _limit(stack, objects, name)
    _start(stack, "To VictoriaMetrics")


def _hide_tags(stack: DrillStack) -> None:
    file = Path(stack.flow_parameters()["opcua.tags"])
    file.rename(file.with_suffix(".gone"))
    stack.api.stop_processor(stack.group, "Read OPC UA")


def _show_tags(stack: DrillStack) -> None:
    file = Path(stack.flow_parameters()["opcua.tags"])
    file.with_suffix(".gone").rename(file)
    # NiFi looks at properties again every few seconds only.
    wait_until(lambda: not stack.api.status(stack.group).invalid, 60.0)
    stack.run()


def _refuse(stack: DrillStack) -> None:
    """Let something ask the guard for a Write, counted by a processor's meter as a processor counts it."""
    guard, figures = ReadOnlyGuard(), Figures()
    meter = Meter(stack.nifi.metrics, "ReadOpcUaTags", "drill")
    meter.watch(figures)
    figures.add("otmirror_guard_refused_total", 0, source="opcua:drill", service="Write")
    try:
        guard.observe_request(ua.WriteRequest())
    except ReadOnlyError:
        count = guard.refused["Write"]
        figures.at_least("otmirror_guard_refused_total", count, source="opcua:drill", service="Write")
    meter.write()


def _forget_refusal(stack: DrillStack) -> None:
    (stack.nifi.metrics / "drill.prom").unlink(missing_ok=True)


def _restart_nifi(stack: DrillStack) -> None:
    stack.nifi.start()


def _hold_up(stack: DrillStack) -> None:
    """Let the reader stand for a while, as a machine does that is moved to another host."""
    pid = stack.processor("ReadOpcUaTags")
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(_HELD_UP)
    finally:
        os.kill(pid, signal.SIGCONT)


def _run(argv: Sequence[str]) -> None:
    """Run a job on the lakehouse to its end.

    Raises:
        UnavailableError: it fails or does not end.
    """
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=_JOB)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{' '.join(argv[2:])}: not done after {_JOB:.0f} s") from None
    if done.returncode:
        raise UnavailableError(f"{' '.join(argv[2:])}: {done.stderr.strip()[-300:]}")


def _maintain(stack: DrillStack) -> None:
    argv = [sys.executable, "-m", "otmirror", "lakehouse", "maintain", "--include-today"]
    _run([*argv, "--warehouse", str(stack.warehouse)])


def _set(*names: str) -> frozenset[str]:
    return frozenset(names)


def faults() -> list[Fault]:
    """Return all of them, in the order of the drill."""
    return [
        # First: every later fault of the server loses what its subscriptions held, and the alert looks back.
        Fault("reader held up for 25 s", _set("SamplesLost"), _set("samples-lost"), _hold_up, lambda _: None,
              remembers=True),
        Fault("OPC UA server killed", _set("SourceDisconnected"), _set("source-unreachable"),
              lambda s: s.plant.kill(), lambda s: s.start_opcua(), short=True),
        Fault("VictoriaMetrics killed", _set("HotStoreDown"), _set("hot-down"),
              lambda s: s.victoriametrics.kill(), lambda s: s.victoriametrics.start(), short=True),
        Fault("Python process of WriteIceberg frozen", _set("ProcessorSilent"), _set("processor-frozen"),
              lambda s: _signal(signal.SIGSTOP, s.processor("WriteIceberg")),
              lambda s: _signal(signal.SIGCONT, s.processor("WriteIceberg")), short=True),
        Fault("OPC UA server frozen", _set("SourceDisconnected", "SourceStale"), _set("source-silent"),
              lambda s: _signal(signal.SIGSTOP, s.plant.pid), lambda s: _signal(signal.SIGCONT, s.plant.pid)),
        Fault("Modbus device does not answer", _set("SourceDisconnected", "SourceStale"), _set("source-silent"),
              lambda s: _signal(signal.SIGSTOP, s.devices.pid), lambda s: _signal(signal.SIGCONT, s.devices.pid)),
        Fault("OPC UA server shows another certificate", _set("SourceDisconnected"), _set("source-certificate"),
              lambda s: _new_certificate(s, None), _old_certificate),
        Fault("VictoriaMetrics read-only", _set("HotStoreFailing"), _set("hot-read-only"),
              lambda s: s.restart_hot("-storage.minFreeDiskSpaceBytes=100TB"), lambda s: s.restart_hot(),
              remembers=True),
        Fault("warehouse full", _set("ColdStoreFailing"), _set("cold-warehouse"),
              lambda s: _fill(s, 0.0), _empty, remembers=True, disk=True),
        Fault("sink stopped, its queue fills", _set("QueueFilling"), _set("processor-stopped"),
              lambda s: _stop_sink(s, _LIMIT, "to VictoriaMetrics"), _start_sink),
        Fault("NiFi killed", _set("NifiDown"), _set("nifi-down"), lambda s: s.nifi.kill(), _restart_nifi),
        Fault("tags bad", _set("TagsBad"), _set("tags-bad"),
              lambda s: s.set_faults(bad={"P-PDG", "T-TPT"}), lambda s: s.set_faults()),
        Fault("device clock ahead", _set("SourceClockAhead"), _set("clock-ahead"),
              lambda s: s.set_faults(clock_s=45.0), lambda s: s.set_faults()),
        Fault("device clock two days late", _set("SamplesRejected"), _set("clock-behind"),
              lambda s: s.set_faults(clock_s=-2 * _DAY), lambda s: s.set_faults(), remembers=True),
        Fault("tag list gone", _set("TagsUncovered", "SourceStale"), _set("taglist-unusable"), _hide_tags, _show_tags),
        Fault("something asks for a Write", _set("GuardRefused"), _set("guard-refused"), _refuse, _forget_refusal,
              remembers=True),
        Fault("certificate expires in 10 days", _set("CertificateExpiring"), _set("certificate-expiring"),
              lambda s: _new_certificate(s, 10.0), _old_certificate),
        Fault("disk filling", _set("DiskFilling"), _set("disk-filling"),
              lambda s: _fill(s, 0.12 * DISK_MB), _empty, disk=True),
        Fault("exporter stopped", _set("ExporterDown"), _set("exporter-down"),
              lambda s: s.monitoring.stop_exporter() if s.monitoring else None,
              lambda s: s.monitoring.start_exporter() if s.monitoring else None),
        Fault("NiFi holds the source back", _set("BufferFilling"), _set("processor-stopped"),
              lambda s: _stop_sink(s, _TIGHT, *_ROOM), _start_sink),
        Fault("merge before Iceberg stopped", _set("ColdStoreStale"), _set("processor-stopped"),
              lambda s: s.api.stop_processor(s.group, "Merge for Iceberg"),
              lambda s: _start(s, "Merge for Iceberg"), waits=300.0),
        Fault("another writer on the table", _set("IcebergConflicts"), _set("cold-conflicts"),
              lambda s: s.rival.start(s.job("commit"), lambda: True, 10.0), lambda s: s.rival.stop(), remembers=True),
        Fault("ten thousand small files", _set("IcebergMaintenanceDue"), _set("maintenance-due"),
              lambda s: _run(s.job("scatter")), _maintain, waits=600.0),
        Fault("tags bad for long", _set("ErrorBudgetBurnSlow"), _set("tags-bad"),
              lambda s: s.set_faults(bad={"P-PDG", "T-TPT"}), lambda s: s.set_faults(),
              # A tag is missing once it had no good value for 90 s (OTMIRROR_FRESH_SECONDS).
              waits=90.0, remembers=True),
    ]  # fmt: skip
