"""How long backing up, adding to it, verifying and restoring take; values have noise in every digit."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from otmirror.clock import SystemClock
from otmirror.embedded.victoriametrics import VictoriaMetrics
from otmirror.iceberg.config import Config
from otmirror.iceberg.sink import IcebergSink
from otmirror.recovery.create import Sources, create
from otmirror.recovery.hot import Server
from otmirror.recovery.restore import Targets, restore
from otmirror.recovery.verify import verify

BATCH = 100_000


def values(count: int) -> list[float]:
    return [50 + random.random() for _ in range(count)]


def fill_hot(url: str, tags: int, each: int, end: int) -> None:
    """`each` samples a tag, one a second, up to `end` (s), by VictoriaMetrics' own import."""
    for tag in range(tags):
        stamps = list(range((end - each) * 1000, end * 1000, 1000))
        line = {"metric": {"__name__": "ot_value", "tag": f"t{tag}", "source": "bench"}, "values": values(each)}
        body = json.dumps({**line, "timestamps": stamps}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{url}/api/v1/import", body, method="POST"), timeout=60):
            pass


def batches(tags: int, each: int, end: int) -> Iterator[bytes]:
    lines = []
    for second in range(end - each, end):
        for tag, value in enumerate(values(tags)):
            us = second * 1_000_000
            lines.append(f'{{"tag":"t{tag}","ts":{us},"value":{value!r},"type":"double","quality":"good",'
                         f'"ts_read":{us},"source":"bench","seq":{us + tag}}}\n')  # fmt: skip
        if len(lines) >= BATCH:
            yield "".join(lines).encode()
            lines.clear()
    if lines:
        yield "".join(lines).encode()


def timed(what: str, work: Callable[[], object]) -> None:
    began = time.monotonic()
    told = work()
    print(f"| {what} | {time.monotonic() - began:.1f} s | {told} |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tags", type=int, default=1000)
    options.add_argument("--each", type=int, default=10_000, help="samples of each tag in VictoriaMetrics")
    options.add_argument("--cold", type=int, default=2_000, help="samples of each tag in Iceberg")
    asked = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="recovery-", dir=os.environ.get("OTMIRROR_WORK")))
    hot, config, now = VictoriaMetrics(folder / "vm"), Config(warehouse=str(folder / "lake")), int(time.time())
    hot.start()
    try:
        fill_hot(hot.url, asked.tags, asked.each, now)
        sink = IcebergSink(config, SystemClock())
        for content in batches(asked.tags, asked.cold, now):
            assert sink.write(content, {}).relationship == "success"
        sources = Sources(hot=Server(hot.url, folder / "vm" / "data"), lakehouse=config, data=True)
        quick = Sources(hot=sources.hot, lakehouse=config, data=True, count=False)
        made: list[Path] = []

        def backup(of: Sources) -> str:
            path, told = create(of, folder / "backups")
            made.append(path)
            return f"{told.bytes / 1e6:.1f} MB, {told.new_bytes / 1e6:.1f} MB of it new"

        print(f"load {os.getloadavg()[0]:.1f}; {asked.tags * asked.each:,} samples in VictoriaMetrics, "
              f"{asked.tags * asked.cold:,} in Iceberg\n\n| step | time | |\n|---|---:|---|")  # fmt: skip
        timed("backup, counted", lambda: backup(sources))
        fill_hot(hot.url, asked.tags, 60, now + 60)
        for content in batches(asked.tags, 60, now + 60):
            assert sink.write(content, {}).relationship == "success"
        timed("backup a minute of samples later, --quick", lambda: backup(quick))
        timed("verify the first", lambda: f"{len(verify(made[0]))} problems")
        targets = Targets(hot_data=folder / "new" / "vm", lakehouse=Config(warehouse=str(folder / "new" / "lake")))
        timed("restore it to new folders, counted", lambda: f"{len(restore(made[0], targets).differences)} differences")
    finally:
        hot.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
