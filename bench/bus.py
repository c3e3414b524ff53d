"""How fast the way over a broker is: plant, edge flow, Kafka or Mosquitto, hub flow, both stores, on one machine.

The embedded NiFi has no MQTT and Kafka processors: a relay of ordinary Python clients stands in for them (see
otmirror.demo.bus), so the figures are those of the whole chain with that relay, not of NiFi's own publishers.

    make bench-bus                                 both brokers
    python bench/bus.py --through kafka --seconds 60 --tags 2500
"""

from __future__ import annotations

import argparse
import os
import platform
import threading
import time
from pathlib import Path

from otmirror.demo import run
from otmirror.demo.bus import BusStack
from otmirror.demo.freshness import HotFreshness, cold_ages, percentile
from otmirror.demo.relay import MqttPublisher, mqtt_client
from otmirror.embedded.brokers import Mosquitto
from otmirror.embedded.processes import wait_until
from otmirror.workspace import work


def quiet(_: object) -> None:
    """Say nothing."""


def freshness(through: str, tags: int, seconds: float) -> None:
    """Mirror `tags` tags over each protocol once a second and print the ages in both stores."""
    with BusStack(work() / "bench", ["--tags", str(tags)], through, say=quiet) as stack:
        stack.start()
        begun = time.time()
        stack.run()
        time.sleep(run.WARM_UP)
        hot = HotFreshness(stack.victoriametrics.url)
        hot.start()
        time.sleep(seconds)
        hot.stop()
        stack.stop_sources()
        emitted = sum(run.emitted(stack).values())
        stack.drain_bus(emitted, 600)
        rows = stack.lakehouse.samples()
        assert rows is not None
        cold = cold_ages(rows, stack.lakehouse.commits(), int((begun + run.WARM_UP) * 1e6))
        print(f"\n{through}: {emitted} samples in {seconds + run.WARM_UP:.0f} s, stored {stack.distinct()}")
    for store, ages in (("VictoriaMetrics", hot.ages), ("Iceberg", cold)):
        told = ((name, percentile(ages, share)) for name, share in run.PERCENTILES)
        print(f"  freshness in {store:<16}", "  ".join(f"{name} {age:.2f} s" for name, age in told if age is not None))


def saturation(through: str, tags: int, seconds: float, message: str = "batch") -> None:
    """Read as fast as the plant answers and print samples a second from the devices into both stores."""
    parameters = {"poll.interval": "10 ms", "mqtt.message": message}
    plant = ["--tags", str(tags), "--speed", "1000"]
    with BusStack(work() / "bench", plant, through, parameters=parameters, say=quiet) as stack:
        stack.start()
        begun = time.monotonic()
        stack.run()
        time.sleep(seconds)
        stack.stop_sources()
        emitted = sum(run.emitted(stack).values())
        stack.drain_bus(emitted, 900)
        taken = time.monotonic() - begun
    of = {"batch": "", "tag": ", each a message of its own"}[message]
    print(f"  saturation{of}: {emitted} samples, {emitted / taken:,.0f} samples/s until all are in both stores")


def messages(count: int = 50_000) -> None:
    """Print messages/s that an ordinary client gets through Mosquitto to another, one sample each, QoS 1, in memory."""
    line = b'{"tag":"acme/north/pad7/well12/P-TPT","ts":1764000000000000,"value":1.5,"type":"double","quality":"good"}'
    broker, arrived, done = Mosquitto(work() / "bench-mosquitto"), [0], threading.Event()
    broker.start()
    try:
        address = f"127.0.0.1:{broker.port}"
        reader = mqtt_client(address, "bench-reader")

        def count_one(*_: object) -> None:
            arrived[0] += 1
            if arrived[0] >= count:
                done.set()

        subscribed = threading.Event()
        reader.on_message, reader.on_subscribe = count_one, lambda *_: subscribed.set()
        reader.on_connect = lambda mine, *_: mine.subscribe("ot/v1/#", qos=1)
        reader.loop_start()
        publisher = MqttPublisher(address)
        if not subscribed.wait(20) or not wait_until(lambda: publisher.publish("ot/v0/ready", [b"{}"]), 20):
            raise SystemExit("Mosquitto does not answer")
        begun = time.monotonic()
        for _ in range(count // 1000):
            while not publisher.publish("ot/v1/acme/north/pad7/well12/P-TPT", [line] * 1000):
                pass
        if not done.wait(60):
            raise SystemExit(f"{arrived[0]} of {count} messages arrived")
        print(
            f"\nmqtt without NiFi: {count / (time.monotonic() - begun):,.0f} messages/s, one client to another, QoS 1"
        )
        reader.loop_stop()
    finally:
        broker.stop()


def main() -> None:
    """Run everything and print it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--messages", action="store_true", help="only Mosquitto between two clients")
    options.add_argument("--through", choices=["kafka", "mqtt"], action="append")
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--tags", type=int, default=2500, help="tags over each protocol")
    asked = options.parse_args()
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "?"
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, load {load} at the start")
    messages()
    if asked.messages:
        return
    for through in asked.through or ["kafka", "mqtt"]:
        freshness(through, asked.tags, asked.seconds)
        saturation(through, 2000, asked.seconds / 3)
        if through == "mqtt":
            saturation(through, 2000, asked.seconds / 3, "tag")


if __name__ == "__main__":
    main()
