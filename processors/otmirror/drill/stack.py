"""The pilot of the drill: two plants, so that one protocol can fail alone; a warehouse on a small disk of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from otmirror.demo.monitoring import EXPORTER_PORT, PORT, Monitoring
from otmirror.demo.stack import Stack
from otmirror.embedded.processes import Server, free_port
from otmirror.embedded.victoriametrics import VictoriaMetrics
from otmirror.errors import UnavailableError
from otmirror.plant.opcua import PATH
from otmirror.slo import rules
from otmirror.slo.rules import Burn

DISK_MB = 400
"""Size of the warehouse's disk."""
SLOW = (Burn("24m", "2m", 3.0), Burn("72m", "6m", 1.0))
"""The windows of ErrorBudgetBurnSlow, a sixtieth of the real ones."""
BUFFER = 3000
"""Values that wait for NiFi, of the subscribed tags: full after minutes, not hours."""
_SETTINGS = {
    "iceberg.commit.interval": "5 sec",
    # So that a device whose clock is two days late has its samples rejected.
    "victoriametrics.retention": "1 day",
    "opcua.security.policy": "Basic256Sha256",
}


class DrillStack(Stack):
    """A pilot with OPC UA over Basic256Sha256, half of its tags subscribed.

    `plant` is the OPC UA server, `devices` the Modbus device, `rival` somebody else's job on the lakehouse.
    """

    def __init__(self, folder: Path, say: Callable[[str], object] = print, tags: int = 16):
        """Take the folder and how many tags each protocol serves."""
        super().__init__(folder, ["--tags", str(tags)], parameters=_SETTINGS, say=say)
        self.devices = Server("devices", self.folder / "devices")
        self.rival = Server("somebody else's job", self.folder / "rival")
        self._subscribed = tags // 2
        self.faults = self.folder / "faults.json"
        self.certificates = self.folder / "plant-pki"
        self.warehouse = self.folder / "warehouse"
        self._ports = {"opcua": free_port(), "modbus": free_port()}
        self.mounted = False

    def start_plant(self) -> None:
        """Start both plants and wait until they serve."""
        self._mount()
        self.start_opcua()
        self.start_modbus()

    def start_opcua(self) -> None:
        """Start the OPC UA server at its port."""
        self._serve(self.plant, ["--no-modbus", "--opcua-port", str(self._ports["opcua"]),
                                 "--subscribed", str(self._subscribed),
                                 "--security", str(self.certificates), "--faults", str(self.faults)])  # fmt: skip

    def start_modbus(self) -> None:
        """Start the Modbus device at its port."""
        self._serve(self.devices, ["--no-opcua", "--modbus-port", str(self._ports["modbus"])])

    def _serve(self, server: Server, options: Sequence[str]) -> None:
        server.folder.mkdir(parents=True, exist_ok=True)
        status = server.folder / "status.json"
        status.unlink(missing_ok=True)
        argv = [
            sys.executable, "-m", "otmirror", "plant", "--status-file", str(status),
            "--write-tags", str(self.folder / "tags"), *options, *self.plant_arguments,
        ]  # fmt: skip
        server.start(argv, status.exists, 120.0)

    def plant_status(self) -> dict[str, str]:
        """Return the addresses of both plants."""
        # Known beforehand, so that they are known of a plant that was killed too.
        return {
            "opcua": f"opc.tcp://127.0.0.1:{self._ports['opcua']}/{PATH}",
            "modbus": f"127.0.0.1:{self._ports['modbus']}",
        }

    def job(self, what: str) -> list[str]:
        """Return the command line of somebody else's job on the lakehouse (`otmirror.drill.jobs`)."""
        return [sys.executable, "-m", "otmirror.drill.jobs", str(self.warehouse), what]

    def set_faults(self, **what: object) -> None:
        """Tell the OPC UA server what is wrong with its values; nothing: nothing is."""
        fresh = self.faults.with_suffix(".new")
        fresh.write_text(json.dumps({name: sorted(v) if isinstance(v, set) else v for name, v in what.items()}))
        fresh.replace(self.faults)

    def import_flow(self) -> None:
        """Import the flow, with a small buffer for the subscribed tags."""
        super().import_flow()
        entity = self.api.rest.get(f"/processors/{self.api.processor_by_name(self.group, 'Read OPC UA').id}")
        change = {"id": entity["id"], "config": {"properties": {"Buffer Size": str(BUFFER)}}}
        self.api.rest.put(f"/processors/{entity['id']}", {"revision": entity["revision"], "component": change})
        self.api.await_ready(self.group)

    def start_monitoring(self, fixed: bool = False) -> Monitoring:
        """Start the monitoring with its alerts, the warehouse's disk among what it watches.

        The rules are those of phase 1, but for the windows of ErrorBudgetBurnSlow.
        """
        wanted = rules.files(1, folder=self.folder / "rules", slow=SLOW)
        rules.write(wanted)
        self.monitoring = Monitoring(
            self.folder / "monitoring", self.nifi.url, self.victoriametrics.url, [self.nifi.metrics], self.say,
            disks=[self.warehouse], exporter_port=EXPORTER_PORT if fixed else 0, port=PORT if fixed else 0,
            rules=list(wanted),
        )  # fmt: skip
        self.monitoring.start()
        return self.monitoring

    def restart_hot(self, *flags: str) -> None:
        """Start VictoriaMetrics again at its port, with further flags."""
        port = self.victoriametrics.port
        self.victoriametrics.stop()
        self.victoriametrics = VictoriaMetrics(self.folder / "victoriametrics", port, more=flags)
        self.victoriametrics.start()

    def stop(self) -> None:
        """Stop whatever runs and let go of the disk. May be called more than once."""
        super().stop()
        self.devices.stop()
        self.rival.stop()
        if os.path.ismount(self.warehouse):
            subprocess.run(["umount", str(self.warehouse)], check=False, capture_output=True)
        self.mounted = False

    def _mount(self) -> None:
        """Give the warehouse a disk of its own where that is allowed; else it lies on the folder's."""
        self.warehouse.mkdir(parents=True, exist_ok=True)
        if self.mounted or os.path.ismount(self.warehouse) or not shutil.which("mount"):
            return
        argv = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "otmirror-drill", str(self.warehouse)]
        self.mounted = subprocess.run(argv, check=False, capture_output=True).returncode == 0

    def processor(self, kind: str) -> int:
        """Return the pid of the Python process of a type of processor.

        Raises:
            UnavailableError: there is none.
        """
        pids: Mapping[str, int] = self.nifi.python_processes()
        if kind not in pids:
            raise UnavailableError(f"the drill finds no Python process of {kind}")
        return pids[kind]
