"""A process to be killed: reads subscribed counters and writes each batch as a line, before it asks for the next."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from opcua_server import tags

from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.reader import OpcUaReader


class FileMemory:
    """What NiFi's state manager is to the processor."""

    def __init__(self, file: Path):
        self._file = file

    def load(self) -> str | None:
        return self._file.read_text() if self._file.exists() else None

    def save(self, text: str) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(text)
        new.replace(self._file)


def main() -> None:
    url, count, memory, out = sys.argv[1:]
    config = OpcUaConfig(
        url, tags(*(f"Written{n}" for n in range(int(count)))), pki=Path(tempfile.gettempdir()) / "pki",
        mode_of_tags="subscribe", interval_ms=200, sampling_ms=0, queue_size=1000, refresh=3600.0,
    )  # fmt: skip
    reader = OpcUaReader(config, memory=FileMemory(Path(memory)))
    with Path(out).open("a") as written:
        while True:
            table = reader.read()
            if table is None:
                time.sleep(0.01)
                continue
            time.sleep(0.2)  # NiFi takes a while to commit: most kills come in here
            rows = [[row["tag"], row["value"], row["status"]] for row in table.to_pylist()]
            written.write(json.dumps({"count": len(rows), "rows": rows}) + "\n")
            written.flush()


main()
