"""A small mirror without NiFi: both real stores, filled by the real sinks."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from pathlib import Path

from otmirror.clock import SystemClock
from otmirror.embedded.victoriametrics import VictoriaMetrics
from otmirror.iceberg.config import Config
from otmirror.iceberg.sink import IcebergSink
from otmirror.recovery.hot import Server
from otmirror.victoriametrics.config import Config as HotConfig
from otmirror.victoriametrics.sink import VictoriaMetricsSink

TAGS = ("plant/a/pressure", "plant/a/flow", "plant/b/level")


class Mirror:
    """VictoriaMetrics and an Iceberg warehouse below `folder`."""

    def __init__(self, folder: Path):
        self.hot = VictoriaMetrics(folder / "victoriametrics")
        self.data, self.warehouse = folder / "victoriametrics" / "data", folder / "warehouse"
        self.seq = 0

    @property
    def server(self) -> Server:
        return Server(self.hot.url, self.data)

    @property
    def config(self) -> Config:
        return Config(warehouse=str(self.warehouse))

    def write(self, rounds: int) -> int:
        """One sample a tag and round into both stores, read now; return how many."""
        lines = []
        for number in range(rounds):
            now = round(time.time() * 1e6) - (rounds - number) * 10_000
            for tag in TAGS:
                self.seq += 1
                lines.append(json.dumps({
                    "tag": tag, "ts": now, "value": self.seq / 7, "type": "double", "quality": "good", "status": 0,
                    "ts_read": now + 500, "source": "test", "seq": self.seq,
                }))  # fmt: skip
        content = "".join(f"{line}\n" for line in lines).encode()
        for sink in (
            VictoriaMetricsSink(HotConfig(self.hot.url), SystemClock()),
            IcebergSink(self.config, SystemClock()),
        ):
            output = sink.write(content, {})
            assert output.relationship == "success", output
            sink.close()
        return len(lines)


def exported(url: str) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """What a server holds, by its own export: (metric, tag) -> times and values."""
    with urllib.request.urlopen(f"{url}/internal/force_flush", timeout=10):
        pass
    query = urllib.parse.urlencode({"match[]": '{__name__!=""}', "start": "0", "end": str(time.time() + 86400)})
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    with urllib.request.urlopen(f"{url}/api/v1/export?{query}", timeout=10) as answer:
        for line in answer.read().splitlines():
            told = json.loads(line)
            key = (told["metric"]["__name__"], told["metric"]["tag"])
            found.setdefault(key, []).extend(zip(told["timestamps"], told["values"], strict=True))
    return {key: sorted(points) for key, points in found.items()}


def snapshots(url: str) -> list[str]:
    with urllib.request.urlopen(f"{url}/snapshot/list", timeout=10) as answer:
        return list(json.load(answer)["snapshots"])
