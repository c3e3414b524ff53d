"""Starts the node-opcua server of server.js and talks to it."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from otmirror.opcua.reader import OpcUaReader
from otmirror.samples import SCHEMA
from otmirror.taglist import Tag
from peers import node_modules

HERE = Path(__file__).parent
PLANT = "http://test.example/plant"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process; `do` sends a command and returns its answer."""

    def __init__(self, folder: Path, **options: Any):
        modules = node_modules(node_opcua="2.182.2") / "node_modules"
        self.port = options.setdefault("port", free_port())
        self.pki: str = options.setdefault("pki", str(folder / "server-pki"))
        flags = options.pop("node_flags", [])
        self.log = (folder / f"server-{self.port}.log").open("ab")
        self._process = subprocess.Popen(
            ["node", *flags, str(HERE / "server.js"), json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, cwd=folder,
            env={**os.environ, "NODE_PATH": str(modules), "HOME": str(folder)},
        )  # fmt: skip
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        ready = self._answer(options.get("patience", 60))
        self.namespaces: list[str] = ready["namespaces"]
        self.url = f"opc.tcp://127.0.0.1:{self.port}"

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(b"{"):
                self._lines.put(json.loads(line))
        self._lines.put({"error": f"the server ended, see {self.log.name}"})

    def _answer(self, timeout: float) -> dict[str, Any]:
        answer = self._lines.get(timeout=timeout)
        assert "error" not in answer, answer["error"]
        return answer

    def do(self, command: str, **arguments: Any) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer(15)["answer"]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        self.log.close()


def tags(*names: str, **options: Any) -> tuple[Tag, ...]:
    """Tags of the plant's nodes of the same names."""
    return tuple(Tag(name, f"nsu={PLANT};s={name}", **options) for name in names)


def rows(table: Any) -> dict[str, dict[str, Any]]:
    """A batch's samples by tag, the latest of each; no sample may come twice."""
    if table is None:
        return {}
    assert table.schema == SCHEMA
    found = sorted(table.to_pylist(), key=lambda row: row["ts"])
    assert len({(row["tag"], row["ts"]) for row in found}) == len(found)
    return {row["tag"]: row for row in found}


def read_until(reader: OpcUaReader, enough: Callable[[dict[str, dict[str, Any]]], bool], seconds: float = 15) -> Any:
    """Read cycle after cycle until a batch is what is waited for, and return its samples by tag."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = rows(reader.read())
        if found and enough(found):
            return found
        if not found:
            time.sleep(0.005)  # nothing was due: the reader leaves the waiting to its caller
    raise AssertionError(f"not within {seconds} s; {[n.message for n in reader.notices()]}")


def all_good(samples: dict[str, dict[str, Any]]) -> bool:
    return all(sample["quality"] == "good" for sample in samples.values())


def all_bad(samples: dict[str, dict[str, Any]]) -> bool:
    return all(sample["quality"] == "bad" for sample in samples.values())


def messages(reader: OpcUaReader) -> str:
    return "\n".join(f"{notice.level}: {notice.message}" for notice in reader.notices())
