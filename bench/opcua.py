"""What reading 10,000 values over OPC UA costs: asyncua, gopcua (the client inside Telegraf), async-opcua (Rust), ours.

The server is async-opcua, or node-opcua where there is no Rust. What counts is the client's own CPU time, interleaved
round by round, which hardly depends on the server's speed.

    make bench-opcua
    python bench/opcua.py --rounds 5 --scans 10 --tags 50000
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
from opcua_peers import (
    REQUEST,
    SECURE,
    NodeServer,
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

from otmirror import samples
from otmirror.opcua import wire
from otmirror.opcua.address import value_of
from otmirror.opcua.blocks import TagBlock
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.decode import Batch
from otmirror.opcua.guard import GuardedClient
from otmirror.taglist import Tag

GOALS: dict[str, dict[tuple[str, str], float | None]] = {
    "None": {
        ("ours", "asyncua"): 1 / 20,
        ("ours", "gopcua"): 1 / 6,
        ("ours", "async-opcua"): 1.2,
        ("ours to NDJSON", "asyncua to NDJSON"): 1 / 16,
    },
    SECURE: {
        ("ours", "asyncua"): 1 / 14,
        ("ours", "gopcua"): 1 / 5,
        ("ours", "async-opcua"): None,
        ("ours to NDJSON", "asyncua to NDJSON"): None,
    },
}
"""CPU of the first divided by CPU of the second, at most; None is told only."""

Scan = Callable[[], Awaitable[object]]


def tags(count: int) -> list[Tag]:
    """The server's counters."""
    return [Tag(f"bench/Counter{i}", f"ns=2;s=Counter{i}", unit="bar") for i in range(count)]


def nodes(asked: argparse.Namespace) -> list[ua.ReadValueId]:
    """The same as nodes of a request."""
    return [value_of(ua.NodeId(f"Counter{i}", asked.namespace)) for i in range(asked.tags)]


async def measured(scan: Scan, scans: int) -> float:
    """Return CPU seconds of this process for `scans` scans, after three to warm up."""
    for _ in range(3):
        await scan()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(scans):
        await scan()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def with_asyncua(asked: argparse.Namespace) -> float:
    """asyncua's own client, values as objects or (`json`) as one JSON object a line."""
    chosen, rows = nodes(asked), tags(asked.tags)
    async with await asyncua_client(asked) as client:

        async def scan() -> None:
            for start in range(0, len(chosen), REQUEST):
                request = ua.ReadParameters(
                    TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=chosen[start : start + REQUEST]
                )
                values = await client.uaclient.read(request)
                if asked.json:
                    lines = [json.dumps(_row(rows[start + n], value)) for n, value in enumerate(values)]
                    "\n".join(lines).encode()

        return await measured(scan, asked.scans)


def _row(tag: Tag, value: ua.DataValue) -> dict[str, Any]:
    time_of = value.SourceTimestamp
    return {"tag": tag.tag, "ts": round(time_of.timestamp() * 1e6) if time_of else None, "value": value.Value.Value,
            "quality": "good", "status": value.StatusCode.value, "unit": tag.unit}  # fmt: skip


async def with_ours(asked: argparse.Namespace) -> float:
    """This project's client, values as readings or (`json`) as the NDJSON that the processor hands to NiFi."""
    rows = tags(asked.tags)
    mode = "SignAndEncrypt" if asked.policy == SECURE else None
    config = OpcUaConfig(asked.url, tuple(rows), policy=asked.policy, mode=mode, pki=Path(asked.pki),
                         request_timeout=30.0)  # fmt: skip
    client = GuardedClient(config)
    await client.connect()
    chosen = [wire.node(node) for node in nodes(asked)]
    blocks = [TagBlock(rows[start : start + REQUEST]) for start in range(0, len(rows), REQUEST)]

    async def scan() -> None:
        batch = Batch("bench")
        for start in range(0, len(chosen), REQUEST):
            values = await client.read_values(chosen[start : start + REQUEST])
            if asked.json:
                now = time.time_ns() // 1000
                batch.extend(blocks[start // REQUEST], values, now)
        if asked.json:
            samples.encode(batch.table())

    try:
        return await measured(scan, asked.scans)
    finally:
        await client.close()


def client_argv(name: str, asked: argparse.Namespace, server: Any, policy: str, folder: Path) -> list[str]:
    """Return the command of one client's run."""
    options = {"url": server.url, "namespace": server.namespace, "tags": asked.tags, "scans": asked.scans}
    if name in ("gopcua", "async-opcua"):
        return peer_argv(name, folder, policy, options)
    form = ["--json"] if name.endswith("NDJSON") else []
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return [sys.executable, __file__, "--client", name.split()[0], "--policy", policy, "--pki", str(folder / "pki"),
            *words, *form]  # fmt: skip


def compare(asked: argparse.Namespace, server: Any, folder: Path, policy: str, names: list[str]) -> None:
    """Run all clients in turn, round by round, and print CPU seconds a million values and ratios."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(asked.rounds):
        for name in names:
            told = output_of(client_argv(name, asked, server, policy, folder), name)
            found[name].append(float(told) * 1e6 / (asked.tags * asked.scans))
    print(f"\n{policy}: CPU seconds a million values, min / median / max of {asked.rounds}")
    for name, costs in found.items():
        print(f"  {name:<18} {spread(costs)}")
    tell_ratios(found, GOALS[policy])


def serve(asked: argparse.Namespace) -> None:
    """Start the server and run everything."""
    folder, peers = prepared()
    rust = "async-opcua" in peers and asked.server != "node"
    what = "async-opcua" if rust else "node-opcua (slower than a Rust server)"
    types = "4/10 Double, 2/10 Float, 2/10 Int32, 1/10 Boolean, 1/10 String" if rust and asked.mixed else "all Double"
    print(headline(f"{asked.tags} tags, {types}, requests of {REQUEST}, server {what}"))
    server = RustServer(folder, asked.tags, mixed=asked.mixed) if rust else NodeServer(folder, asked.tags)
    try:
        for policy in asked.policies or ["None", SECURE]:
            compare(asked, server, folder, policy, ["asyncua", *peers, "ours", "asyncua to NDJSON", "ours to NDJSON"])
    finally:
        server.close()


def main() -> None:
    """Run the comparison, or one client of it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--scans", type=int, default=10)
    options.add_argument("--tags", type=int, default=10_000)
    options.add_argument("--policies", action="append", choices=["None", SECURE])
    options.add_argument("--server", choices=["rust", "node"], default="rust")
    options.add_argument(
        "--mixed", action="store_true", help="tags of five types, not all Double; needs the Rust server"
    )
    options.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    add_hidden(options)
    asked = options.parse_args()
    if asked.client:
        print(asyncio.run({"asyncua": with_asyncua, "ours": with_ours}[asked.client](asked)))
    else:
        serve(asked)


if __name__ == "__main__":
    main()
