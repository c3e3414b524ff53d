"""Clients that are not written with asyncua or pymodbus: node-opcua and jsmodbus, driven over stdin and stdout."""

from __future__ import annotations

import json
import os
import queue
import struct
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from peers import node_modules

HERE = Path(__file__).parent


class Client:
    """One running script; `ask` sends a command and returns its answer."""

    def __init__(self, script: str, modules: Path, *arguments: str, home: Path):
        self._process = subprocess.Popen(
            ["node", str(HERE / script), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=home,
            env={**os.environ, "NODE_PATH": str(modules / "node_modules"), "HOME": str(home)},
        )  # fmt: skip
        self._lines: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.greeting: dict[str, Any] = self._lines.get(timeout=30)

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("@"):
                self._lines.put(json.loads(line[1:]))
        self._lines.put({"error": "the client ended"})

    def ask(self, do: str, **arguments: Any) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._lines.get(timeout=30)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(10)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()


def opcua_client(url: str | None, home: Path, **options: Any) -> Client:
    arguments = json.dumps({"url": url, "pki": str(home / "client-pki"), **options})
    return Client("opcua_client.js", node_modules(node_opcua="2.182.2"), arguments, home=home)


def modbus_client(address: tuple[str, int] | None, home: Path) -> Client:
    assert address
    return Client("modbus_client.js", node_modules(jsmodbus="5.0.0"), address[0], str(address[1]), home=home)


def unpack(answer: str) -> tuple[list[float], int, int]:
    """The eight floats, the row's number and the row's time from the hex of registers 0 to 21."""
    *floats, row, time = struct.unpack(">8fIQ", bytes.fromhex(answer))
    return floats, row, time
