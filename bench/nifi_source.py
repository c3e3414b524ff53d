"""How many samples a second one ReadOpcUaTags gives inside NiFi, and what it costs.

Only the source runs: its FlowFiles wait in NiFi's queues, so nothing but it, NiFi and the server shares the cores. The
server is the Rust one of `bench/async-opcua`, which changes every tag some times a second. Every change leaves the
source as a sample of its own when it keeps up; counted by NiFi's provenance and by the server.

    python bench/nifi_source.py --tags 10000 --changes 1 2 5 --seconds 20
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from opcua_peers import RustServer, headline, prepared

from otmirror.demo import run
from otmirror.demo.stack import Stack
from otmirror.workspace import work

HERTZ = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """CPU seconds of a process so far (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HERTZ


def reader_of(stack: Stack) -> int:
    """The Python process of the source."""
    for pid in stack.nifi.processes():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        if "ReadOpcUaTags" in command + environment:
            return pid
    others = [pid for pid in stack.nifi.processes() if pid != stack.nifi.pid]
    return max(others, key=cpu)


def once(asked: argparse.Namespace, folder: Path, mode: str, changes: float) -> None:
    """Start everything, let the source run, print one line."""
    server = RustServer(folder, asked.tags, changes)
    where = work() / "bench-nifi-source"
    tags = work() / "bench-nifi-source.csv"
    rows = [f"bench/Counter{n},ns={server.namespace};s=Counter{n},bar,{mode}" for n in range(asked.tags)]
    tags.write_text("\n".join(["tag,address,unit,mode", *rows]))
    parameters = {"opcua.endpoint": server.url, "opcua.tags": str(tags), "poll.interval": f"{1000 / changes:.0f} ms"}
    try:
        with Stack(where, ["--tags", "8"], parameters=parameters, say=lambda _: None) as stack:
            stack.start()
            source = stack.api.processor_by_name(stack.group, "Read OPC UA")
            stack.api.schedule(source.id, "RUNNING")
            time.sleep(10)  # connected, and its first values emitted
            pid = reader_of(stack)
            before = (
                time.monotonic(),
                cpu(pid),
                cpu(stack.nifi.pid or 0),
                run.emitted(stack),
                server.changes()["changes"],
            )
            time.sleep(asked.seconds)
            taken = time.monotonic() - before[0]
            python, java = cpu(pid) - before[1], cpu(stack.nifi.pid or 0) - before[2]
            after, changed = run.emitted(stack), server.changes()["changes"] - before[4]
            samples = sum(after.values()) - sum(before[3].values())
            stack.api.stop_processor(stack.group, "Read OPC UA")
    finally:
        server.close()
    print(
        f"  {mode:<10} {changes:>4g} changes/s and tag: {samples / taken:>9,.0f} samples/s of {changed / taken:>9,.0f} "
        f"changes/s; cores: source {python / taken:.2f}, NiFi {java / taken:.2f}"
    )


def main() -> None:
    """Run every mode at every rate."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tags", type=int, default=10_000)
    options.add_argument("--changes", type=float, nargs="+", default=[1.0, 2.0, 5.0])
    options.add_argument("--modes", nargs="+", default=["poll", "subscribe"])
    options.add_argument("--seconds", type=float, default=20.0)
    asked = options.parse_args()
    folder, peers = prepared()
    if "async-opcua" not in peers:
        raise SystemExit("this needs the Rust server: install cargo")
    print(headline(f"{asked.tags} tags"))
    for mode in asked.modes:
        for changes in asked.changes:
            once(asked, folder, mode, changes)


if __name__ == "__main__":
    main()
