"""What reading 10,000 values over OPC UA costs: asyncua, gopcua (the client inside Telegraf) and this project's client.

The server is node-opcua; what counts is the client's own CPU time, interleaved round by round, which hardly depends on
the server's speed. gopcua is built with Go; without Go it is left out, and the run says so.

    make bench-opcua
    python bench/opcua.py --rounds 5 --scans 10 --tags 10000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties

from otmirror import samples
from otmirror.opcua import security, wire
from otmirror.opcua.address import value_of
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.decode import Batch
from otmirror.opcua.guard import GuardedClient
from otmirror.taglist import Tag
from otmirror.workspace import PROJECT, work

REQUEST = 1000
"""Nodes a request."""
SECURE = "Basic256Sha256"

Scan = Callable[[], Awaitable[object]]


def tags(count: int) -> list[Tag]:
    """The server's counters."""
    return [Tag(f"bench/Counter{i}", f"ns=2;s=Counter{i}", unit="bar") for i in range(count)]


def nodes(count: int) -> list[ua.ReadValueId]:
    """The same as nodes of a request."""
    return [value_of(ua.NodeId(f"Counter{i}", 2)) for i in range(count)]


async def measured(scan: Scan, scans: int) -> float:
    """Return CPU seconds of this process for `scans` scans, after one to warm up."""
    await scan()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(scans):
        await scan()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def with_asyncua(asked: argparse.Namespace) -> float:
    """asyncua's own client, values as objects or (`json`) as one JSON object a line."""
    client = Client(asked.url, timeout=30)
    if asked.policy == SECURE:
        own = security.own_certificate(Path(asked.pki))
        client.application_uri = own.application_uri
        offered = await Client(asked.url, timeout=30).connect_and_get_server_endpoints()
        theirs = security.first_certificate(offered[0].ServerCertificate)
        await client.set_security(SecurityPolicyBasic256Sha256, own.certificate, own.key,
                                  server_certificate=CertProperties(theirs, "der"),
                                  mode=ua.MessageSecurityMode.SignAndEncrypt)  # fmt: skip
    chosen, rows = nodes(asked.tags), tags(asked.tags)
    async with client:

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
    chosen = [wire.node(node) for node in nodes(asked.tags)]

    async def scan() -> None:
        batch = Batch("bench")
        for start in range(0, len(chosen), REQUEST):
            values = await client.read_values(chosen[start : start + REQUEST])
            if asked.json:
                now = time.time_ns() // 1000
                for tag, value in zip(rows[start : start + REQUEST], values, strict=True):
                    batch.add(tag, value, now)
        if asked.json:
            samples.encode(batch.table())

    try:
        return await measured(scan, asked.scans)
    finally:
        await client.close()


def client_argv(name: str, asked: argparse.Namespace, url: str, policy: str, pki: Path) -> list[str]:
    """Return the command of one client's run."""
    if name == "gopcua":
        keys = [str(pki / "own/cert.der"), str(pki / "own/key.pem")] if policy == SECURE else ["", ""]
        return [str(pki.parent / "gopcua"), url, str(asked.tags), str(asked.scans), policy, *keys]
    form = ["--json"] if name.endswith("NDJSON") else []
    return [sys.executable, __file__, "--client", name.split()[0], "--url", url, "--policy", policy, "--pki", str(pki),
            "--tags", str(asked.tags), "--scans", str(asked.scans), *form]  # fmt: skip


def built(folder: Path) -> bool:
    """Build the gopcua client unless that cannot be done, which is said."""
    if not shutil.which("go"):
        print("gopcua: left out, there is no Go")
        return False
    argv = ["go", "build", "-o", str(folder / "gopcua"), "."]
    done = subprocess.run(argv, cwd=PROJECT / "bench/gopcua", capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"gopcua: left out, it cannot be built: {done.stderr.strip()[-300:]}")
    return not done.returncode


def compare(asked: argparse.Namespace, url: str, folder: Path, policy: str, names: list[str]) -> None:
    """Run all clients in turn, round by round, and print CPU seconds a million values and ratios."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(asked.rounds):
        for name in names:
            argv = client_argv(name, asked, url, policy, folder / "pki")
            done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr.strip()[-500:]}")
            found[name].append(float(done.stdout.split()[-1]) * 1e6 / (asked.tags * asked.scans))
    ours = {form: statistics.median(found[f"ours{form}"]) for form in ("", " to NDJSON")}
    print(f"\n{policy}: CPU seconds a million values, min / median / max of {asked.rounds}; times ours")
    for name, costs in found.items():
        middle = statistics.median(costs)
        against = middle / ours[" to NDJSON" if name.endswith("NDJSON") else ""]
        print(f"  {name:<18} {min(costs):6.3f} / {middle:6.3f} / {max(costs):6.3f}   x {against:.1f}")


def serve(asked: argparse.Namespace) -> None:
    """Start the server and run everything."""
    sys.path[:0] = [str(PROJECT / "tests"), str(PROJECT / "tests/protocol/opcua")]
    from opcua_server import Server

    folder = work() / "bench-opcua"
    folder.mkdir(parents=True, exist_ok=True)
    security.own_certificate(folder / "pki")
    go = ["gopcua"] if built(folder) else []
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.2f} at the start, {asked.tags} tags")  # fmt: skip
    server = Server(folder, security=["None", "SignAndEncrypt"], acceptAnyClient=True, counters=asked.tags)
    try:
        for policy in asked.policies or ["None", SECURE]:
            names = ["asyncua", *go, "ours", "asyncua to NDJSON", "ours to NDJSON"]
            compare(asked, server.url, folder, policy, names)
    finally:
        server.close()


def main() -> None:
    """Run the comparison, or one client of it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--scans", type=int, default=10)
    options.add_argument("--tags", type=int, default=10_000)
    options.add_argument("--policies", action="append", choices=["None", SECURE])
    for hidden in ("--client", "--url", "--policy", "--pki"):
        options.add_argument(hidden, default="", help=argparse.SUPPRESS)
    options.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.client:
        print(asyncio.run({"asyncua": with_asyncua, "ours": with_ours}[asked.client](asked)))
    else:
        serve(asked)


if __name__ == "__main__":
    main()
