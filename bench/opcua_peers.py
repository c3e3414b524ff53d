"""What the OPC UA benchmarks share: the servers to read from, the other clients, and how results are printed.

The server and one of the peers are Rust (`bench/async-opcua`), another peer is Go (`bench/gopcua`, the client inside
Telegraf). What cannot be built on this machine is left out, and the run says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties

from otmirror.opcua import chain, security
from otmirror.workspace import PROJECT, work

REQUEST = 1000
"""Nodes a request."""
SECURE = "Basic256Sha256"


class RustServer:
    """The server of `bench/async-opcua`: counters that a client can check for gaps."""

    def __init__(self, folder: Path, tags: int, changes: float = 0.0, mixed: bool = False):
        """Start it with so many tags, all Double or `mixed`, each written so many times a second (0: never)."""
        self._process = subprocess.Popen(
            [binaries(folder) / "server", "--tags", str(tags), "--pki", folder / "server-pki",
             "--changes-per-second-per-tag", str(changes), *(["--mixed"] if mixed else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        ready = self._answer()
        self.namespace: int = ready["namespace_index"]
        self.url = f"opc.tcp://127.0.0.1:{ready['port']}"

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the Rust server ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def changes(self) -> dict[str, Any]:
        """Return the writes so far in all (`changes`) and of each tag (`counters`), and its CPU seconds (`cpu`)."""
        assert self._process.stdin
        self._process.stdin.write("changes\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10)


class NodeServer:
    """node-opcua, where there is no Rust: slower, and its values stand still."""

    def __init__(self, folder: Path, tags: int):
        """Start it with so many tags."""
        sys.path[:0] = [str(PROJECT / "tests"), str(PROJECT / "tests/protocol/opcua")]
        from opcua_server import Server

        self._server = Server(folder, security=["None", "SignAndEncrypt"], acceptAnyClient=True, counters=tags)
        self.namespace, self.url = 2, self._server.url

    def close(self) -> None:
        """End it."""
        self._server.close()


def binaries(folder: Path) -> Path:
    """Where cargo leaves what it builds."""
    return folder / "cargo-target/release"


def prepared() -> tuple[Path, list[str]]:
    """Make the work folder and an own certificate, build the peers; returns the folder and the peers there are."""
    folder = work() / "bench-opcua"
    folder.mkdir(parents=True, exist_ok=True)
    security.own_certificate(folder / "pki")
    ways = {
        "gopcua": ("go", ["go", "build", "-o", str(folder / "gopcua"), "."]),
        "async-opcua": ("cargo", ["cargo", "build", "--release", "--quiet"]),
    }
    return folder, [name for name, (tool, argv) in ways.items() if _built(name, tool, argv, folder)]


def _built(name: str, tool: str, argv: list[str], folder: Path) -> bool:
    if not shutil.which(tool):
        print(f"{name}: left out, there is no {tool}")
        return False
    print(f"building {name}, which takes minutes the first time", file=sys.stderr)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(folder / "cargo-target")}
    done = subprocess.run(
        argv, cwd=PROJECT / "bench" / name, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"{name}: left out, it cannot be built: {done.stderr.strip()[-300:]}")
    return not done.returncode


def add_hidden(options: argparse.ArgumentParser) -> None:
    """Add what a run tells the clients that it starts."""
    for hidden in ("--client", "--url", "--policy", "--pki"):
        options.add_argument(hidden, default="", help=argparse.SUPPRESS)
    options.add_argument("--namespace", type=int, default=2, help=argparse.SUPPRESS)


def peer_argv(name: str, folder: Path, policy: str, options: Mapping[str, Any]) -> list[str]:
    """Return the command of a peer that is no Python: both take the same options."""
    program, dash = (folder / "gopcua", "-") if name == "gopcua" else (binaries(folder) / "client", "--")
    keys = {"cert": folder / "pki/own/cert.der", "key": folder / "pki/own/key.pem"} if policy == SECURE else {}
    words = [(dash + key, str(value)) for key, value in {**options, "policy": policy, **keys}.items()]
    return [str(program), *(word for pair in words for word in pair)]


def output_of(argv: Sequence[str], name: str) -> str:
    """Run one client and return its last line."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip().splitlines()[-1]


async def asyncua_client(asked: argparse.Namespace) -> Client:
    """Return asyncua's own client, with the security asked for, not connected yet."""
    client = Client(asked.url, timeout=30)
    if asked.policy == SECURE:
        own = security.own_certificate(Path(asked.pki))
        client.application_uri = own.application_uri
        offered = await Client(asked.url, timeout=30).connect_and_get_server_endpoints()
        theirs = chain.split(next(e.ServerCertificate for e in offered if e.ServerCertificate))[0]
        await client.set_security(SecurityPolicyBasic256Sha256, own.certificate, own.key,
                                  server_certificate=CertProperties(theirs, "der"),
                                  mode=ua.MessageSecurityMode.SignAndEncrypt)  # fmt: skip
    return client


def headline(what: str) -> str:
    """Return date, machine, load and what is measured."""
    return (f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, "
            f"load {os.getloadavg()[0]:.2f} at the start, {what}")  # fmt: skip


def spread(numbers: Sequence[float], digits: int = 3) -> str:
    """Return minimum, median and maximum."""
    picked = (min(numbers), statistics.median(numbers), max(numbers))
    return " / ".join(f"{number:{digits + 4}.{digits}f}" for number in picked)


def tell_ratios(found: Mapping[str, Sequence[float]], wanted: Mapping[tuple[str, str], float | None]) -> None:
    """Print ours against each peer: the ratio of each round, its median, and the goal that it has to be below."""
    for (ours, peer), goal in wanted.items():
        if peer not in found or ours not in found:
            continue
        ratios = [a / b for a, b in zip(found[ours], found[peer], strict=True)]
        middle = statistics.median(ratios)
        verdict = "" if goal is None else f"; goal {_fraction(goal)}: {'met' if middle <= goal else 'NOT met'}"
        print(f"  {ours} / {peer}: {spread(ratios)}, that is {_fraction(middle)}{verdict}")


def _fraction(ratio: float) -> str:
    return f"1/{1 / ratio:.1f}" if ratio < 0.8 else f"{ratio:.2f}"
