"""How fast the pilot is: freshness at 2,000 tags a second, samples a second at saturation, memory of each process.

Saturation is measured side by side, round by round: the processors' library alone in one Python process (read, encode,
both sinks, no NiFi), and the same through NiFi. The plant, the stores and everything else share the machine's cores.

    make bench            three rounds; prints the figures and the ratio
    python bench/pilot.py --rounds 1 --seconds 15
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import threading
import time
from pathlib import Path

from otmirror import samples
from otmirror.clock import SystemClock
from otmirror.demo import run
from otmirror.demo.stack import Stack
from otmirror.iceberg.config import Config as IcebergConfig
from otmirror.iceberg.sink import IcebergSink
from otmirror.modbus import config as modbus
from otmirror.modbus.reader import ModbusReader
from otmirror.opcua import config as opcua
from otmirror.opcua.reader import OpcUaReader
from otmirror.victoriametrics.config import Config as VictoriaMetricsConfig
from otmirror.victoriametrics.sink import VictoriaMetricsSink
from otmirror.workspace import work

INTERVAL = "10 ms"
"""Far below what a cycle takes: the sources always have the next read due."""


def spread(values: list[float]) -> str:
    """Min / median / max."""
    return " / ".join(f"{value:,.0f}" for value in (min(values), statistics.median(values), max(values)))


def quiet(_: object) -> None:
    """Say nothing."""


def freshness(seconds: float) -> None:
    """Mirror 1,000 tags over each protocol once a second and print ages and memory."""
    with Stack(work() / "bench", ["--tags", "1000"], say=quiet) as stack:
        stack.start()
        result = run.record(stack, seconds)
    tags = sum(source.tags for source in result.audit.sources)
    print(f"\n{tags} tags, each once a second, {seconds:.0f} s; everything arrived once: {result.audit.complete}")
    for store, ages in (("VictoriaMetrics", result.hot_ages), ("Iceberg", result.cold_ages)):
        print(f"  freshness in {store:<16}", "  ".join(f"{name} {age:.2f} s" for name, age in ages if age is not None))
    for name, mb in result.memory_mb.items():
        print(f"  memory of {name:<36} {mb:6.0f} MB")


def through_nifi(tags: int, seconds: float) -> float:
    """Samples a second through NiFi into both stores, draining included."""
    parameters = {"poll.interval": INTERVAL}
    plant = ["--tags", str(tags), "--speed", "1000"]
    with Stack(work() / "bench", plant, parameters=parameters, say=quiet) as stack:
        stack.start()
        begun = time.monotonic()
        stack.run()
        time.sleep(seconds)
        stack.stop_sources()
        stack.drain(600)
        taken = time.monotonic() - begun
        rows = stack.lakehouse.samples()
    return (rows.num_rows if rows is not None else 0) / taken


def library_alone(tags: int, seconds: float) -> float:
    """Samples a second by the library alone: both readers and both sinks in threads of one process."""
    with Stack(work() / "bench", ["--tags", str(tags), "--speed", "1000"], say=quiet) as stack:
        stack.folder.mkdir(parents=True, exist_ok=True)
        stack.start_plant()
        stack.victoriametrics.start()
        values, clock = stack.flow_parameters(), SystemClock()
        readers = (
            OpcUaReader(opcua.build(values["opcua.tags"], None, endpoint=values["opcua.endpoint"], interval_ms=10)),
            ModbusReader(modbus.build(values["modbus.devices"], None, values["modbus.tags"], None, interval_ms=10)),
        )
        hot = VictoriaMetricsSink(VictoriaMetricsConfig(url=stack.victoriametrics.url, retention=3e9), clock)
        cold = IcebergSink(IcebergConfig(warehouse=str(stack.folder / "warehouse")), clock)
        stored, lock, end = [0], threading.Lock(), time.monotonic() + seconds

        def mirror(reader: OpcUaReader | ModbusReader) -> None:
            gathered: list[bytes] = []
            while time.monotonic() < end:
                table = reader.read()
                if table is None or not table.num_rows:
                    continue
                content = samples.encode(table)
                gathered.append(content)
                with lock:
                    hot.write(content, {})
                    stored[0] += table.num_rows
                    if sum(map(len, gathered)) > 16e6:
                        cold.write(b"".join(gathered), {})
                        gathered.clear()
            with lock:
                cold.write(b"".join(gathered), {})

        threads = [threading.Thread(target=mirror, args=(reader,)) for reader in readers]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = time.monotonic() - begun
        for reader in readers:
            reader.close()
    return stored[0] / taken


def main() -> None:
    """Run everything and print it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=30)
    options.add_argument("--tags", type=int, default=2000, help="tags over each protocol, for saturation")
    asked = options.parse_args()
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "?"
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, load {load} at the start")
    freshness(max(60.0, asked.seconds))
    rates: dict[str, list[float]] = {"library alone": [], "through NiFi": []}
    for _ in range(asked.rounds):
        rates["library alone"].append(library_alone(asked.tags, asked.seconds))
        rates["through NiFi"].append(through_nifi(asked.tags, asked.seconds))
    print(f"\nsaturation, {asked.tags} tags a protocol, {asked.rounds} rounds of {asked.seconds:.0f} s,")
    print("samples/s into both stores (min / median / max):")
    for name, values in rates.items():
        print(f"  {name:<14} {spread(values)}")
    ratio = [nifi / alone for nifi, alone in zip(rates["through NiFi"], rates["library alone"], strict=True)]
    print("  through NiFi / library alone: " + " / ".join(f"{value:.2f}" for value in sorted(ratio)))


if __name__ == "__main__":
    main()
