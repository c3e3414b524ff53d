"""What a subscription of 10,000 changing OPC UA values costs, and what it loses: asyncua, gopcua, async-opcua
(Rust), ours.

The server counts: each write adds 1, so a client sees by a value what it missed before it. CPU time is the client's
own, from the moment every tag has its first value, for some seconds; the clients take turns, round by round.

    python bench/opcua_subscribe.py --tags 50000 --changes 1 --publishing 1000 --sampling 250 --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.common.node import Node
from opcua_peers import (
    REQUEST,
    SECURE,
    RustServer,
    add_hidden,
    asyncua_client,
    headline,
    output_of,
    peer_argv,
    prepared,
    spread,
    tell_ratios,
)

from otmirror.clock import SystemClock
from otmirror.opcua import wire
from otmirror.opcua.address import value_of
from otmirror.opcua.columns import Readings
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.inbox import Inbox
from otmirror.opcua.subscription import Item, Subscriptions, Terms
from otmirror.taglist import Tag

GOALS: dict[tuple[str, str], float | None] = {
    ("ours", "asyncua"): 1 / 10,
    ("ours", "gopcua"): 1.0,
    ("ours", "async-opcua"): None,
}
"""CPU a value of the first divided by that of the second, at most; None is told only."""

_PATIENCE = 60.0


class Seen:
    """What came of each tag, and what its counter says was missed."""

    def __init__(self) -> None:
        self.last: dict[object, float] = {}
        self.values = 0
        self.gaps = 0

    def take(self, tag: object, count: float) -> None:
        """Take a value of a tag."""
        self.values += 1
        before = self.last.get(tag)
        if before is not None and count > before + 1:
            self.gaps += int(count - before) - 1
        self.last[tag] = count

    def datachange_notification(self, node: Node, value: Any, _data: Any) -> None:
        """What asyncua calls with each value."""
        self.take(node.nodeid.Identifier, value)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def window(seen: Seen, asked: argparse.Namespace) -> dict[str, Any]:
    """Wait until every tag has its first value, then return what the next seconds brought and took."""
    end = time.monotonic() + _PATIENCE
    while len(seen.last) < asked.tags:
        if time.monotonic() > end:
            raise SystemExit(f"only {len(seen.last)} of {asked.tags} tags have a first value")
        await asyncio.sleep(0.02)
    start, before, values, gaps = time.monotonic(), _cpu(), seen.values, seen.gaps
    await asyncio.sleep(asked.seconds)
    return {"cpu": _cpu() - before, "seconds": time.monotonic() - start, "tags": len(seen.last),
            "values": seen.values - values, "gaps": seen.gaps - gaps}  # fmt: skip


async def with_asyncua(asked: argparse.Namespace) -> dict[str, Any]:
    """asyncua's own subscription, a call of the handler a value."""
    async with await asyncua_client(asked) as client:
        seen = Seen()
        parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=asked.publishing, RequestedLifetimeCount=600, RequestedMaxKeepAliveCount=60,
            MaxNotificationsPerPublish=10_000, PublishingEnabled=True,
        )  # fmt: skip
        subscription = await client.create_subscription(parameters, seen)
        nodes = [client.get_node(ua.NodeId(f"Counter{i}", asked.namespace)) for i in range(asked.tags)]
        for start in range(0, len(nodes), REQUEST):
            await subscription.subscribe_data_change(
                nodes[start : start + REQUEST], queuesize=asked.queue, sampling_interval=asked.sampling
            )
        return await window(seen, asked)


async def with_ours(asked: argparse.Namespace) -> dict[str, Any]:
    """This project's subscriptions, from the server to where the processor takes the readings."""
    tags = tuple(Tag(f"bench/Counter{i}", f"ns={asked.namespace};s=Counter{i}") for i in range(asked.tags))
    mode = "SignAndEncrypt" if asked.policy == SECURE else None
    client = GuardedClient(OpcUaConfig(asked.url, tags, policy=asked.policy, mode=mode, pki=Path(asked.pki),
                                       request_timeout=30.0))  # fmt: skip
    await client.connect()
    inbox, seen = Inbox(10**7, lambda: None), Seen()
    subscriptions = Subscriptions(Terms(), inbox, SystemClock(), lambda *told: print(*told, file=sys.stderr))
    nodes = [wire.node(value_of(ua.NodeId(f"Counter{i}", asked.namespace))) for i in range(asked.tags)]
    encoded = [wire.item(node, place, asked.sampling, asked.queue) for place, node in enumerate(nodes)]
    await subscriptions.establish(client, [Item(n, round(asked.publishing), one, one) for n, one in enumerate(encoded)])
    taking = asyncio.create_task(_take(inbox, seen))
    try:
        return await window(seen, asked)
    finally:
        taking.cancel()
        await client.close()


async def _take(inbox: Inbox, seen: Seen) -> None:
    while True:
        for delivery in inbox.take(50_000):
            readings = delivery.readings
            values = readings.values.tolist() if isinstance(readings, Readings) else [one[0] for one in readings]
            for place, value in zip(delivery.positions, values, strict=True):
                seen.take(place, value)
        inbox.commit()
        await asyncio.sleep(0.05)


CLIENTS: dict[str, Callable[[argparse.Namespace], Awaitable[dict[str, Any]]]] = {
    "asyncua": with_asyncua,
    "ours": with_ours,
}
"""The clients that are Python, each in a process of its own; the others are programs."""


def client_argv(name: str, asked: argparse.Namespace, server: RustServer, folder: Path) -> list[str]:
    """Return the command of one client's run."""
    options = {"url": server.url, "namespace": server.namespace, "tags": asked.tags, "publishing": asked.publishing,
               "sampling": asked.sampling, "queue": asked.queue}  # fmt: skip
    if name not in CLIENTS:
        return peer_argv(name, folder, asked.security, {**options, "subscribe": asked.seconds})
    options |= {"seconds": asked.seconds, "policy": asked.security, "pki": folder / "pki", "client": name}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return [sys.executable, __file__, *words]


def compare(asked: argparse.Namespace, server: RustServer, folder: Path, names: list[str]) -> None:
    """Run all clients in turn, round by round, and print what each got, missed and cost."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    wrote: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(asked.rounds):
        for name in names:
            before, start = server.changes(), time.monotonic()
            found[name].append(json.loads(output_of(client_argv(name, asked, server, folder), name)))
            after = server.changes()
            wrote[name].append((after["changes"] - before["changes"]) / (time.monotonic() - start))
    print(f"\n{asked.security}, min / median / max of {asked.rounds} windows of {asked.seconds:g} s")
    costs = {name: [one["cpu"] * 1e6 / max(1, one["values"]) for one in told] for name, told in found.items()}
    for name, told in found.items():
        print(f"  {name:<12} CPU s a million values {spread(costs[name], 2)}, "
              f"core {spread([one['cpu'] / one['seconds'] for one in told])}, "
              f"values/s {spread([one['values'] / one['seconds'] for one in told], 0)}, "
              f"missed {sum(one['gaps'] for one in told)} of {sum(one['values'] + one['gaps'] for one in told)}, "
              f"server wrote {min(wrote[name]):.0f}/s and more")  # fmt: skip
    tell_ratios(costs, GOALS)


def serve(asked: argparse.Namespace) -> None:
    """Start the server and run everything."""
    folder, peers = prepared()
    if "async-opcua" not in peers:
        raise SystemExit("there is no server that counts: it is Rust and needs cargo")
    names = [name for name in [*CLIENTS, *peers] if not asked.only or name in asked.only]
    print(headline(f"{asked.tags} items x {asked.changes:g} changes/s, publishing {asked.publishing:g} ms, "
                   f"sampling {asked.sampling:g} ms, queue {asked.queue}"))  # fmt: skip
    server = RustServer(folder, asked.tags, asked.changes)
    try:
        compare(asked, server, folder, names)
    finally:
        server.close()


def main() -> None:
    """Run the comparison, or one client of it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--tags", type=int, default=10_000)
    options.add_argument("--changes", type=float, default=1.0, help="a second and tag")
    options.add_argument("--publishing", type=float, default=1000.0, help="ms")
    options.add_argument("--sampling", type=float, default=250.0, help="ms")
    options.add_argument("--queue", type=int, default=10, help="values an item")
    options.add_argument("--seconds", type=float, default=10.0, help="of a window")
    options.add_argument("--security", choices=["None", SECURE], default="None")
    options.add_argument("--only", action="append", help="one of the clients; can be given again")
    add_hidden(options)
    asked = options.parse_args()
    if asked.client:
        print(json.dumps(asyncio.run(CLIENTS[asked.client](asked))))  # type: ignore[arg-type]
    else:
        serve(asked)


if __name__ == "__main__":
    main()
