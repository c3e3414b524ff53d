"""Everything the pilot needs, as child servers in one folder: the plant, VictoriaMetrics, NiFi with the flow."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from otmirror.demo.monitoring import EXPORTER_PORT, PORT, Monitoring
from otmirror.demo.pages import Pages
from otmirror.demo.stores import Lakehouse
from otmirror.embedded.processes import Server, claim, wait_until
from otmirror.embedded.server import EmbeddedNifi
from otmirror.embedded.victoriametrics import VictoriaMetrics
from otmirror.errors import UnavailableError
from otmirror.flow.client import NifiApi
from otmirror.flow.status import Component
from otmirror.plant.tags import MODBUS_FILE, OPCUA_FILE
from otmirror.workspace import PROJECT

SOURCES = ("ReadOpcUaTags", "PollModbusReadOnly")
FLOW = PROJECT / "flows" / "pilot.json"
PROCESSORS = PROJECT / "processors"


class Stack:
    """The pilot on one machine. All ports are free ones unless given; everything listens on 127.0.0.1 only.

    Within `with` its folder is this command's alone; UnavailableError when another command uses it.
    """

    def __init__(
        self,
        folder: Path,
        plant: Sequence[str] = (),
        nifi_port: int = 0,
        nars: Sequence[Path] = (),
        parameters: dict[str, str] | None = None,
        say: Callable[[str], object] = print,
    ):
        """Take the folder for data and logs (emptied at `start`), and how to run its parts.

        Args:
            folder: holds all data of this stack.
            plant: further arguments of `otmirror plant`.
            nifi_port: port of the canvas.
            nars: NARs to load from NiFi's autoload folder; the processors' source folder is used when empty.
            parameters: values of the flow's parameters besides the addresses, which the stack knows.
            say: told each step.
        """
        self.folder = folder.resolve()
        self.plant_arguments, self.parameters, self.say = tuple(plant), dict(parameters or {}), say
        self.victoriametrics = VictoriaMetrics(self.folder / "victoriametrics")
        self.nifi = EmbeddedNifi(self.folder / "nifi", nifi_port, None if nars else PROCESSORS, nars)
        self.plant = Server("plant", self.folder / "plant")
        self.lakehouse = Lakehouse(self.folder / "warehouse")
        self.monitoring: Monitoring | None = None
        self.pages = Pages(self.folder / "pages")
        self.group = ""

    @property
    def api(self) -> NifiApi:
        """NiFi's REST API."""
        return NifiApi(self.nifi.url)

    def __enter__(self) -> Stack:
        # Beside the folder, which `start` removes.
        self._claim = claim(self.folder.with_name(f"{self.folder.name}.lock"), str(self.folder))
        return self

    def __exit__(self, *_error: object) -> None:
        with self._claim:
            self.stop()

    def start(self) -> None:
        """Start everything and import the flow; sources do not run yet.

        Raises:
            MirrorError: a part does not start, or the flow is not valid; the message says which and why.
        """
        self.start_platform()
        self.say("importing flows/pilot.json")
        self.import_flow()

    def start_platform(self) -> None:
        """Start everything anew, without a flow.

        Raises:
            MirrorError: a part does not start; the message says which and why.
        """
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.say("starting the plant")
        self.start_plant()
        self.say("starting VictoriaMetrics")
        self.victoriametrics.start()
        self.say("starting NiFi")
        self.nifi.start()

    def start_monitoring(self, fixed: bool = False) -> Monitoring:
        """Watch what `start` started, from now on to `stop`; on the usual ports if they are free when `fixed`."""
        self.monitoring = Monitoring(
            self.folder / "monitoring", self.nifi.url, self.victoriametrics.url, [self.nifi.metrics], self.say,
            disks=[self.folder], port=PORT if fixed else 0, exporter_port=EXPORTER_PORT if fixed else 0,
        )  # fmt: skip
        self.monitoring.start()
        return self.monitoring

    def start_pages(self) -> None:
        """Show the dashboards of what `start_monitoring` watches, up to `stop`."""
        if self.monitoring:
            self.pages.start(self.monitoring.url, self.victoriametrics.url)

    def start_plant(self) -> None:
        """Start the plant and wait until it serves."""
        folder = self.plant.folder
        folder.mkdir(parents=True, exist_ok=True)
        status = folder / "status.json"
        status.unlink(missing_ok=True)
        argv = [
            sys.executable, "-m", "otmirror", "plant", "--opcua-port", "0", "--modbus-port", "0",
            "--status-file", str(status), "--write-tags", str(self.folder / "tags"), *self.plant_arguments,
        ]  # fmt: skip
        self.plant.start(argv, status.exists, 120.0)

    def plant_status(self) -> dict[str, str]:
        """Return what the plant says of itself: its addresses and progress."""
        return dict(json.loads((self.plant.folder / "status.json").read_text()))

    def flow_parameters(self) -> dict[str, str]:
        """Return the flow's parameters for this stack."""
        status, tags = self.plant_status(), self.folder / "tags"
        return {
            "opcua.endpoint": status["opcua"],
            "opcua.tags": str(tags / OPCUA_FILE),
            "opcua.pki": str(self.folder / "pki"),
            "modbus.devices": status["modbus"],
            "modbus.tags": str(tags / MODBUS_FILE),
            "victoriametrics.url": self.victoriametrics.url,
            "victoriametrics.retention": "100 years",
            "iceberg.warehouse": str(self.folder / "warehouse"),
            **self.parameters,
        }

    def import_flow(self) -> None:
        """Import the flow and wait until every component is valid."""
        self.group = self.api.import_flow(FLOW, "pilot", self.flow_parameters())

    def run(self) -> None:
        """Start every processor."""
        self.api.start(self.group)

    def sources(self) -> list[Component]:
        """Return the flow's source processors."""
        return [component for component in self.api.components(self.group) if component.type in SOURCES]

    def stop_sources(self) -> None:
        """Stop the sources and wait until none has a read in hand; what is queued goes on."""
        for source in self.sources():
            self.api.stop_processor(self.group, source.name)

    def drain(self, seconds: float) -> None:
        """Wait until every queue is empty and nothing is in work.

        Raises:
            UnavailableError: that did not happen within `seconds`; the message names the queues.
        """

        def idle() -> bool:
            return not self._waiting() and not self._busy()

        def idle_twice() -> bool:
            # Between two looks a FlowFile in a processor's hands has to show up somewhere.
            first = idle()
            time.sleep(0.5)
            return first and idle()

        self._until(idle_twice, seconds, lambda: f"still queued: {self._waiting() or 'work in progress'}")

    def progress(self) -> str:
        """Return in a few words what waits and what was last complained about."""
        status = self.api.status(self.group)
        complaint = max(status.bulletins, key=lambda bulletin: bulletin.id, default=None)
        told = f"; {complaint.source}: {complaint.message[:100]}" if complaint else ""
        return f"{status.queued} FlowFiles queued{told}"

    def _waiting(self) -> dict[str, int]:
        return {queue.name: queue.count for queue in self.api.queues(self.group) if queue.count}

    def _busy(self) -> bool:
        return any(component.threads for component in self.api.components(self.group) if component.type not in SOURCES)

    def _until(self, done: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
        if not wait_until(done, seconds):
            raise UnavailableError(f"after {seconds:.0f} s {what()}")

    def stop(self) -> None:
        """Stop whatever runs. May be called more than once."""
        self.pages.stop()
        # One that an earlier command left behind is ended too.
        (self.monitoring or Monitoring(self.folder / "monitoring", "", "", [])).stop()
        self.nifi.stop()
        self.plant.stop()
        self.victoriametrics.stop()
