"""A Modbus device that is not written with pymodbus: jsmodbus, driven over stdin and stdout."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from otmirror.modbus.reader import ModbusReader
from peers import node_modules

SCRIPT = Path(__file__).with_name("device.js")


class Device:
    """A running device.js. Commands are methods: `device.poke(unit=1, ...)`."""

    def __init__(self, port: int = 0):
        folder = node_modules(jsmodbus="5.0.0")
        self._process = subprocess.Popen(
            ["node", str(SCRIPT), str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env=os.environ | {"NODE_PATH": str(folder / "node_modules")},
        )  # fmt: skip
        self._buffer = b""
        self.port = self._line()["port"]

    def _line(self) -> Any:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                assert selector.select(15), "device.js does not answer"
                data = os.read(self._process.stdout.fileno(), 1 << 16)
                assert data, "device.js ended"
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def __getattr__(self, command: str) -> Callable[..., Any]:
        def send(**arguments: Any) -> Any:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
            return self._line()["result"]

        return send

    def asked(self) -> list[tuple[int, ...]]:
        """Requests since the last call: (unit, function code, offset, count)."""
        return [tuple(entry) for entry in self.log()["requests"]]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


def next_batch(reader: ModbusReader, within: float = 10.0) -> pa.Table:
    """Return the next batch, asking again until there is one."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        table = reader.read()
        if table is not None:
            return table
        time.sleep(0.005)
    raise AssertionError(f"no batch within {within} s")


def batch_where(reader: ModbusReader, accept: Callable[[dict[str, dict]], bool], within: float = 15.0):
    """Return the first batch, as rows by tag, that `accept` takes."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        rows = by_tag(next_batch(reader, within))
        if accept(rows):
            return rows
    raise AssertionError(f"no such batch within {within} s; the last: {rows}")


def by_tag(table: pa.Table) -> dict[str, dict[str, Any]]:
    """Return the last sample of each tag."""
    return {row["tag"]: row for row in table.to_pylist()}
