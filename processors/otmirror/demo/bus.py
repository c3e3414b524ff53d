"""The bus leg on one machine: plant, edge flow, a real broker, hub flow, both stores.

The embedded NiFi has neither the MQTT nor the Kafka processors. What runs instead are the shipped flows with these few
swapped (otmirror.demo.standin): a relay of ordinary clients publishes what the edge hands it and hands the hub what it
consumes. Sources, queues, retries, order, merging and both stores are the real ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.compute as pc

from otmirror.demo.stack import Stack
from otmirror.demo.standin import swap
from otmirror.embedded.brokers import Kafka, Mosquitto
from otmirror.embedded.processes import Server, free_port, port_is_free, wait_until
from otmirror.errors import UnavailableError
from otmirror.flow.canonical import load
from otmirror.workspace import PROJECT

TOPIC = "ot.v1.acme.north"
MQTT_TOPIC = "ot/v1/acme/north"
_EDGE = ("opcua.endpoint", "opcua.tags", "opcua.pki", "modbus.devices", "modbus.tags")
_HUB = ("victoriametrics.url", "victoriametrics.retention", "iceberg.warehouse")


class BusStack(Stack):
    """A pilot with a broker between sources and stores. `group` is the edge flow, `hub` the hub flow."""

    def __init__(
        self,
        folder: Path,
        plant: Sequence[str] = (),
        through: str = "kafka",
        redeliver: float = 0.0,
        parameters: dict[str, str] | None = None,
        say: Callable[[str], object] = print,
    ):
        """Take the folder, the plant's arguments and which bus it is.

        Args:
            folder: holds all data of this stack; emptied at `start`.
            plant: further arguments of `otmirror plant`.
            through: the broker between edge and hub: `kafka` or `mqtt`.
            redeliver: share of messages the hub gets twice, the second time later, all in another order.
            parameters: values of parameters of either flow, besides the addresses.
            say: told each step.
        """
        super().__init__(folder, plant, parameters=parameters, say=say)
        self.through, self.redeliver = through, redeliver
        self.broker = Kafka(self.folder / "kafka") if through == "kafka" else Mosquitto(self.folder / "mosquitto")
        self.relay = Server("relay", self.folder / "relay")
        self.hub = ""
        self._relay_port = self._hub_port = 0

    def import_flow(self) -> None:
        """Start broker and relay, import edge and hub with their stand-ins; the hub runs at once."""
        self.say(f"starting the broker ({self.through})")
        self.broker.start()
        self._relay_port, self._hub_port = free_port(), free_port()
        self._start_relay()
        consumer = {"kafka": "From Kafka", "mqtt": "From MQTT"}[self.through]
        known = self.flow_parameters()
        edge = {name: known[name] for name in _EDGE}
        edge |= {"bus": self.through, "kafka.topic": TOPIC, "mqtt.topic": MQTT_TOPIC}
        self.group = self._import("edge", {}, edge)
        self.hub = self._import("hub", {consumer: self._hub_port}, {name: known[name] for name in _HUB})
        self.api.start(self.hub)

    def _import(self, name: str, ports: dict[str, int], values: dict[str, str]) -> str:
        self.say(f"importing flows/{name}.json with stand-ins")
        flow = swap(load(PROJECT / "flows" / f"{name}.json"), f"http://127.0.0.1:{self._relay_port}", ports)
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(flow))
        have = {p["name"] for context in flow["parameterContexts"].values() for p in context["parameters"]}
        values = values | {key: value for key, value in self.parameters.items() if key in have}
        return self.api.import_flow(file, name, values)

    def _start_relay(self) -> None:
        topics = {"kafka": r"^ot\.v1\.acme\..+", "mqtt": "ot/v1/#"}[self.through]
        argv = [
            sys.executable, "-m", "otmirror.demo.relay", "--port", str(self._relay_port),
            f"--{self.through}", f"127.0.0.1:{self.broker.port}", "--topics", topics,
            "--consume", f"http://127.0.0.1:{self._hub_port}/samples", "--redeliver", str(self.redeliver),
        ]  # fmt: skip
        self.relay.start(argv, lambda: not port_is_free(self._relay_port), 90.0)

    def drain_bus(self, emitted: int, seconds: float) -> None:
        """Wait until as many different samples are in Iceberg as left the sources, and all queues are empty.

        Raises:
            UnavailableError: that did not happen within `seconds`.
        """
        if not wait_until(lambda: self.distinct() >= emitted, seconds, 1.0):
            raise UnavailableError(
                f"after {seconds:.0f} s Iceberg holds {self.distinct()} of {emitted} samples; {self.progress()}"
            )
        self.drain(seconds)

    def distinct(self) -> int:
        """Return how many different samples (tag, ts, source) are in Iceberg."""
        rows = self.lakehouse.samples()
        return 0 if rows is None else int(rows.group_by(["tag", "ts", "source"]).aggregate([]).num_rows)

    def repeated(self) -> int:
        """Return how many rows of Iceberg repeat a sample that is there already."""
        rows = self.lakehouse.samples()
        return 0 if rows is None else int(pc.count(rows.column("tag")).as_py()) - self.distinct()

    def _waiting(self) -> dict[str, int]:
        every = (queue for group in (self.group, self.hub) for queue in self.api.queues(group))
        return {queue.name: queue.count for queue in every if queue.count}

    def stop(self) -> None:
        """Stop whatever runs. May be called more than once."""
        self.relay.stop()
        super().stop()
        self.broker.stop()
