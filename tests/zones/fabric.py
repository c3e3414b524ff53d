"""Zones as network namespaces around a router's. Nothing of the host's own network is touched.

Each namespace is held by a process that waits for the end of its standard input, and no namespace has a name in the
file system: when the test's process ends in whatever way, the kernel removes all of it.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otmirror.embedded.nftables import nft_binary
from otmirror.embedded.processes import wait_until
from otmirror.errors import UnavailableError

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWNET = 0x40000000
_SYS_ADMIN, _NET_ADMIN = 21, 12
ROUTER = "router"


def run(*argv: str | Path, text: str | None = None) -> str:
    """Run a command in the thread's namespace; its standard output."""
    done = subprocess.run([*map(str, argv)], input=text, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def require() -> None:
    """Skip with the reason when namespaces or nftables cannot be had here."""
    capabilities = int(Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
    for name, bit in (("CAP_SYS_ADMIN", _SYS_ADMIN), ("CAP_NET_ADMIN", _NET_ADMIN)):
        if not capabilities >> bit & 1:
            pytest.skip(f"zones need network namespaces: {name} is missing (run as root)")
    for command in ("unshare", "ip"):
        if not shutil.which(command):
            pytest.skip(f"zones need network namespaces: there is no {command}")
    try:
        program = nft_binary()
    except UnavailableError as error:
        pytest.skip(str(error))
    make = ["ip", "link", "add", "one", "type", "veth", "peer", "name", "two"]
    forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
    script = f"{shlex.join(make)} && {forward} && {program} -f -"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], input=_RULES, capture_output=True, text=True, timeout=30
    )
    assert "syntax error" not in done.stderr, done.stderr
    if done.returncode:
        pytest.skip(f"network namespaces, veth or nftables are not allowed here: {done.stderr.strip()[:200]}")


_RULES = """
table inet probe {
  counter seen { }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct direction reply ct state established accept
    limit rate 1/second log prefix "x" level warn
    counter name "seen" drop
  }
}
"""


class Fabric:
    """A namespace a zone, each with `eth0` towards its own interface of the router, `<zone>0`."""

    def __init__(self, zones: dict[str, list[str]]):
        """Take the zones with their addresses; each zone is a /24 whose .1 is the router's."""
        self._keepers: dict[str, subprocess.Popen[bytes]] = {}
        self._routes: dict[str, list[str]] = {}
        try:
            for name in (ROUTER, *zones):
                self._hold(name)
            with self.inside(ROUTER):
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            for name, addresses in zones.items():
                self._connect(name, addresses)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the holders; what still runs in a namespace keeps it until it ends."""
        for keeper in self._keepers.values():
            assert keeper.stdin
            keeper.stdin.close()
            keeper.wait(10)

    @contextmanager
    def inside(self, zone: str) -> Iterator[None]:
        """Be in a zone: sockets that this thread makes, and processes that it starts, belong there."""
        with (
            open("/proc/thread-self/ns/net") as back,
            open(f"/proc/{self._keepers[zone].pid}/ns/net") as there,
        ):
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(back.fileno())

    def rules(self, text: str) -> None:
        """Load rules in the router."""
        with self.inside(ROUTER):
            run(nft_binary(), "-f", "-", text=text)

    def counters(self, zone: str = ROUTER) -> dict[str, int]:
        """Packets by counter, in the router or in a zone's host."""
        with self.inside(zone):
            listed = json.loads(run(nft_binary(), "-j", "list", "counters"))["nftables"]
        return {entry["counter"]["name"]: entry["counter"]["packets"] for entry in listed if "counter" in entry}

    def link(self, zone: str, up: bool) -> None:
        """Pull a zone's cable, or put it back: the router keeps its way there, and nothing answers."""
        with self.inside(zone):
            run("ip", "link", "set", "eth0", "up" if up else "down")
            if up:
                run("ip", "route", "add", *self._routes[zone])

    def _hold(self, name: str) -> None:
        keeper = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self._keepers[name] = keeper
        own = os.readlink("/proc/self/ns/net")
        assert wait_until(lambda: os.readlink(f"/proc/{keeper.pid}/ns/net") != own, 10, 0.01)
        with self.inside(name):
            run("ip", "link", "set", "lo", "up")

    def _connect(self, name: str, addresses: list[str]) -> None:
        router = addresses[0].rpartition(".")[0] + ".1"
        with self.inside(ROUTER):
            peer = str(self._keepers[name].pid)
            run("ip", "link", "add", f"{name}0", "type", "veth", "peer", "name", "eth0", "netns", peer)
            run("ip", "address", "add", f"{router}/24", "dev", f"{name}0")
            run("ip", "link", "set", f"{name}0", "up")
        with self.inside(name):
            for address in addresses:
                run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        # No default route: a look-up of a name fails at once instead of waiting for an answer that is dropped.
        self._routes[name] = [f"{router.rsplit('.', 2)[0]}.0.0/16", "via", router, "src", addresses[0]]
        self.link(name, up=True)


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
