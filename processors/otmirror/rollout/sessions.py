"""Which connections to devices NiFi's processes on this machine still hold, from /proc (Linux)."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from otmirror.embedded.processes import wait_until
from otmirror.errors import MirrorError
from otmirror.modbus.config import parse_devices
from otmirror.rollout.canvas import Part

_PROC = Path("/proc")
# include/net/tcp_states.h: what still is, or becomes, a connection of ours.
_OPEN = {"01": "established", "02": "connecting", "04": "closing", "05": "closing", "08": "half closed"}
_LISTEN = "0A"
_TABLES = ("tcp", "tcp6")
_OPCUA_PORT = 4840
_PYTHON = b"Controller.py"
"""In the command lines of NiFi's Python processes."""


@dataclass(frozen=True)
class Session:
    """A TCP connection of a process to a device."""

    pid: int
    device: str
    state: str

    def __str__(self) -> str:
        return f"process {self.pid} to {self.device} ({self.state})"


def devices(parts: Iterable[Part]) -> dict[str, tuple[str, int]]:
    """Return host and port of each device that sources name, backups included, by how it is shown."""
    found: dict[str, tuple[str, int]] = {}
    for part in parts:
        if part.kind == "PollModbusReadOnly":
            with suppress(MirrorError):
                pairs = parse_devices(part.properties.get("Devices", "")).values()
                found.update({f"{host}:{port}": (host, port) for host, port in pairs})
            continue
        text = f"{part.properties.get('Endpoint URL', '')} {part.properties.get('Backup Endpoint URLs', '')}"
        for url in text.replace(",", " ").split():
            with suppress(ValueError):
                split = urlsplit(url)
                if split.hostname:
                    host, port = split.hostname, split.port or _OPCUA_PORT
                    found[f"{host}:{port}"] = (host, port)
    return found


def nifi_processes(port: int) -> list[int]:
    """Return the pids of the process that listens on a port of this machine, and of those it started."""
    inodes = {inode for table in _TABLES for local, _, state, inode in _connections(_PROC / "net" / table)
              if local[1] == port and state == _LISTEN}  # fmt: skip
    every = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    leaders = {pid for pid in every if _sockets(pid) & inodes}
    return [pid for pid in every if pid in leaders or _parent(pid) in leaders]


def open_sessions(pids: Iterable[int], addresses: dict[str, tuple[str, int]]) -> list[Session]:
    """Return the connections that processes hold to devices."""
    wanted = {pair: name for name, address in addresses.items() for pair in _resolved(*address)}
    found = []
    for pid in pids:
        mine = _sockets(pid)
        for table in _TABLES:
            for _, remote, state, inode in _connections(_PROC / str(pid) / "net" / table):
                if inode in mine and state in _OPEN and remote in wanted:
                    found.append(Session(pid, wanted[remote], _OPEN[state]))
    return found


def end(pids: Sequence[int], patience: float = 3.0) -> None:
    """End processes: SIGTERM, and SIGKILL for those that live on; NiFi starts its Python processes anew by itself."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        left = [pid for pid in pids if _lives(pid)]
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, sign)
        if not left or wait_until(lambda: not any(map(_lives, pids)), patience):
            return


def is_python(pid: int) -> bool:
    """Return whether a process is one of NiFi's Python processes."""
    with suppress(OSError):
        return _PYTHON in (_PROC / str(pid) / "cmdline").read_bytes()
    return False


def _lives(pid: int) -> bool:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def _resolved(host: str, port: int) -> Iterator[tuple[str, int]]:
    with suppress(OSError):
        for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            yield str(ipaddress.ip_address(entry[4][0])), port


def _sockets(pid: int) -> set[str]:
    """Return the inodes of a process's sockets."""
    found = set()
    with suppress(OSError):
        for entry in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                link = os.readlink(entry)
                if link.startswith("socket:["):
                    found.add(link[8:-1])
    return found


def _parent(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _connections(table: Path) -> Iterator[tuple[tuple[str, int], tuple[str, int], str, str]]:
    """Yield local and remote address, state and inode of each line of /proc/net/tcp (proc(5))."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        yield _address(fields[1]), _address(fields[2]), fields[3], fields[9]


def _address(text: str) -> tuple[str, int]:
    """Return an address from the kernel's notation: 32-bit words in the machine's byte order, and the port."""
    host, _, port = text.partition(":")
    raw = b"".join(bytes.fromhex(host[n : n + 8])[::-1] for n in range(0, len(host), 8))
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address), int(port, 16)
