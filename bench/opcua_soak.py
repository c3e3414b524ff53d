"""A long run against the Rust server that counts: nothing missed, memory flat, one session, how much of a core.

`--reader` is the whole source as NiFi drives it: half of the tags polled, half subscribed, every batch encoded to
NDJSON. Without it, it is a subscription alone, up to where its readings wait for the source ("before encoding"). Each
subscribed tag's counter goes up by one at each write, so a jump is a loss.

    python bench/opcua_soak.py --changes 5 --seconds 600          50,000 changes a second for ten minutes
    python bench/opcua_soak.py --reader --seconds 7200            two hours of 10,000 tags
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import time
from pathlib import Path

from asyncua import ua
from opcua_peers import RustServer, headline, prepared

from otmirror import samples
from otmirror.clock import SystemClock
from otmirror.opcua import wire
from otmirror.opcua.address import value_of
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.inbox import Inbox
from otmirror.opcua.items import Item, Terms
from otmirror.opcua.reader import OpcUaReader
from otmirror.opcua.subscription import Subscriptions
from otmirror.taglist import Tag


class Watch:
    """Notes memory and CPU as time goes by, and tells now and then."""

    def __init__(self, every: float):
        """Take the seconds between two notes."""
        self._every, self._next = every, time.monotonic() + every
        self.start, self._cpu = time.monotonic(), _cpu()
        self.memory: list[tuple[float, float]] = []

    def look(self, told: str) -> None:
        """Note, if it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next += self._every
        self.memory.append((now - self.start, _memory()))
        core = (_cpu() - self._cpu) / (now - self.start)
        print(f"  {now - self.start:6.0f} s  {self.memory[-1][1]:6.1f} MB  core {core:.3f}  {told}", flush=True)

    def slope(self) -> float:
        """MB an hour, by least squares over the second half."""
        half = self.memory[len(self.memory) // 2 :]
        if len(half) < 3:
            return float("nan")
        xs, ys = [x for x, _ in half], [y for _, y in half]
        mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
        return 3600 * sum((x - mx) * (y - my) for x, y in half) / sum((x - mx) ** 2 for x in xs)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def alone(asked: argparse.Namespace, server: RustServer) -> None:
    """Subscribe and take what comes."""
    tags = tuple(Tag(f"bench/Counter{n}", f"ns={server.namespace};s=Counter{n}") for n in range(asked.tags))
    client = GuardedClient(OpcUaConfig(server.url, tags, request_timeout=30.0))
    await client.connect()
    inbox = Inbox(10**7, lambda: None)
    subscriptions = Subscriptions(Terms(), inbox, SystemClock(), lambda *told: print(*told))
    nodes = [wire.node(value_of(ua.NodeId(f"Counter{n}", server.namespace))) for n in range(asked.tags)]
    items = [wire.item(node, n, asked.sampling, asked.queue) for n, node in enumerate(nodes)]
    begun = time.monotonic()
    await subscriptions.establish(client, [Item(n, 1000, one, one) for n, one in enumerate(items)])
    print(f"{len(subscriptions.live)} monitored items set up in {time.monotonic() - begun:.2f} s")
    last, values, gaps, checking = [-1.0] * asked.tags, 0, 0, 0.0
    watch = Watch(asked.every)
    while time.monotonic() < watch.start + asked.seconds:
        await asyncio.sleep(0.05)
        for delivery in inbox.take(10**6):
            at = time.process_time()
            for place, reading in zip(delivery.positions, delivery.readings, strict=True):
                value = reading[0]
                if last[place] >= 0 and value > last[place] + 1:
                    gaps += int(value - last[place]) - 1
                last[place] = value
            values += len(delivery.positions)
            checking += time.process_time() - at
        inbox.commit()
        watch.look(f"{values} values, {gaps} missed, {dict(subscriptions.counts)}")
    taken = time.monotonic() - watch.start
    core = (_cpu() - watch._cpu - checking) / taken
    print(f"{values / taken:,.0f} values/s for {taken:.0f} s, {gaps} missed, {core:.3f} of a core without this check, "
          f"memory {watch.slope():+.2f} MB/h over the second half")  # fmt: skip
    await client.close()


def whole(asked: argparse.Namespace, server: RustServer) -> None:
    """Read as NiFi does: a call every 50 ms, what it returns encoded."""
    half = asked.tags // 2
    tags = tuple(
        Tag(f"bench/Counter{n}", f"ns={server.namespace};s=Counter{n}", mode="subscribe" if n < half else "poll")
        for n in range(asked.tags)
    )
    config = OpcUaConfig(server.url, tags, sampling_ms=round(asked.sampling), queue_size=asked.queue, metadata=True,
                         request_timeout=30.0)  # fmt: skip
    reader = OpcUaReader(config)
    last: dict[str, float] = {}
    values = gaps = bad = size = 0
    watch = Watch(asked.every)
    while time.monotonic() < watch.start + asked.seconds:
        table = reader.read()
        for notice in reader.notices():
            print(f"  {notice.level}: {notice.message}")
        if table is None:
            time.sleep(0.05)
            continue
        size += len(samples.encode(table))
        names, numbers, qualities = (table.column(name).to_pylist() for name in ("tag", "value", "quality"))
        for tag, value, quality in zip(names, numbers, qualities, strict=True):
            if quality == "bad":
                bad += 1
            elif int(tag.removeprefix("bench/Counter")) < half:
                if value > last.get(tag, value) + 1:
                    gaps += int(value - last[tag]) - 1
                last[tag] = max(value, last.get(tag, value))
        values += table.num_rows
        watch.look(f"{values} samples, {gaps} missed, {bad} bad, {dict(reader.guard.sent)}")
    taken = time.monotonic() - watch.start
    print(f"{values / taken:,.0f} samples/s for {taken:.0f} s, {gaps} missed of the subscribed tags, {bad} bad, "
          f"{size / max(1, values):.0f} bytes a sample, memory {watch.slope():+.2f} MB/h over the second half, "
          f"sessions opened {reader.guard.sent['CreateSession']}, {dict(reader.subscriptions.counts)}")  # fmt: skip
    reader.close()


def main() -> None:
    """Start the server and run."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--reader", action="store_true", help="the whole source")
    options.add_argument("--tags", type=int, default=10_000)
    options.add_argument("--changes", type=float, default=1.0, help="a second and tag")
    options.add_argument("--sampling", type=float, default=100.0, help="ms")
    options.add_argument("--queue", type=int, default=20, help="values an item")
    options.add_argument("--seconds", type=float, default=600.0)
    options.add_argument("--every", type=float, default=30.0, help="seconds between two lines")
    asked = options.parse_args()
    folder, peers = prepared()
    if "async-opcua" not in peers:
        raise SystemExit("this needs the Rust server: install cargo")
    what = "the whole source, half polled, half subscribed" if asked.reader else "a subscription"
    print(headline(f"{asked.tags} tags x {asked.changes:g} changes/s, {what}"))
    server = RustServer(folder, asked.tags, asked.changes)
    try:
        if asked.reader:
            whole(asked, server)
        else:
            asyncio.run(alone(asked, server))
    finally:
        server.close()


if __name__ == "__main__":
    main()
