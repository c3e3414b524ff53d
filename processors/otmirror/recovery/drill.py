"""The restore drill: back up the running pilot, destroy both stores and NiFi, restore, and prove what came back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from otmirror.demo import stores
from otmirror.demo.audit import audit
from otmirror.demo.stack import Stack
from otmirror.embedded.processes import wait_until
from otmirror.errors import UnavailableError
from otmirror.iceberg.config import Config
from otmirror.recovery.create import Sources, create
from otmirror.recovery.hot import Server
from otmirror.recovery.manifest import Manifest
from otmirror.recovery.restore import Targets, restore
from otmirror.recovery.verify import verify

Say = Callable[[str], object]
_PATIENCE = 180.0


@dataclass
class Drill:
    """What was measured. Times in seconds, sizes in bytes; samples are those read before the consistency point."""

    samples: int = 0
    lost_cold: int = 0
    lost_hot: int = 0
    repeated: int = 0
    different: int = 0
    problems: list[str] = field(default_factory=list)
    """What the verification found, and where counts or flows differ from the manifest."""
    rpo: float = 0.0
    """From the consistency point to the destruction."""
    rto: float = 0.0
    """From the destruction to the first new sample in both stores."""
    steps: dict[str, float] = field(default_factory=dict)
    bytes: int = 0
    hot_bytes: int = 0
    lakehouse_bytes: int = 0
    new_samples: int = 0
    """Mirrored after the restore, up to the end of the drill."""
    new_lost: int = 0

    @property
    def passed(self) -> bool:
        """Whether everything up to the consistency point is back, once, and the flow mirrors on."""
        wrong = self.lost_cold + self.lost_hot + self.repeated + self.different + self.new_lost
        return self.samples > 0 and self.new_samples > 0 and wrong == 0 and not self.problems

    @contextmanager
    def step(self, name: str, say: Say) -> Iterator[None]:
        """Time a step."""
        say(name)
        began = time.monotonic()
        yield
        self.steps[name] = time.monotonic() - began


def drill(stack: Stack, seconds: float, say: Say, on: float = 5.0) -> Drill:
    """Drill with a started stack whose flow does not run yet; its stores and its NiFi are destroyed on the way.

    Args:
        stack: as `Stack.start` leaves it.
        seconds: mirrored before the backup.
        say: told each step.
        on: seconds mirrored between backup and destruction, and after the restore.

    Raises:
        MirrorError: a part failed, or a step took too long.
    """
    told = Drill()
    data, config = stack.folder / "victoriametrics" / "data", Config(warehouse=str(stack.lakehouse.warehouse))
    stack.run()
    _await(lambda: len(_sources(stack)) == 2, "both sources to be in Iceberg")
    time.sleep(seconds)
    with told.step("backup", say):
        sources = Sources(
            hot=Server(stack.victoriametrics.url, data), lakehouse=config, nifi=stack.nifi.url,
            nifi_home=stack.nifi.home, data=True,
        )  # fmt: skip
        folder, manifest = create(sources, stack.folder / "backups")
    told.bytes = manifest.bytes
    told.hot_bytes, told.lakehouse_bytes = (
        sum(file.bytes for file in manifest.files if file.path.startswith(f"{part}/")) for part in ("hot", "lakehouse")
    )
    with told.step("verify", say):
        told.problems += verify(folder)
    time.sleep(on)
    before = _cold(stack)
    say("destroying VictoriaMetrics, Iceberg and NiFi with all their data")
    destroyed = time.time()
    _destroy(stack)
    _restore(stack, folder, manifest, data, config, told, say)
    with told.step("first new sample in both stores", say):
        _await(lambda: _is_newer(stack, destroyed), "new samples in both stores")
    told.rto = time.time() - destroyed
    time.sleep(on)
    stack.stop_sources()
    stack.drain(_PATIENCE)
    _reckon(stack, manifest, before, destroyed, told)
    return told


def _destroy(stack: Stack) -> None:
    """End both servers as a lost machine would, and remove every byte they kept."""
    stack.nifi.kill()
    stack.victoriametrics.kill()
    stack.nifi.stop()
    stack.victoriametrics.stop()
    for folder in (stack.nifi.home, stack.folder / "victoriametrics", stack.lakehouse.warehouse):
        shutil.rmtree(folder)


def _restore(
    stack: Stack, folder: Path, manifest: Manifest, data: Path, config: Config, told: Drill, say: Say
) -> None:  # fmt: skip
    with told.step("restore VictoriaMetrics", say):
        told.problems += restore(folder, Targets(hot_data=data), say=say).differences
    with told.step("restore Iceberg", say):
        told.problems += restore(folder, Targets(lakehouse=config), say=say).differences
    with told.step("start VictoriaMetrics", say):
        stack.victoriametrics.start()
    with told.step("start NiFi", say):
        stack.nifi.start()
    with told.step("restore and start the flow", say):
        told.problems += restore(folder, Targets(nifi=stack.nifi.url), say=say).differences
        stack.group = stack.api.group(manifest.flows[0].name)
        stack.run()


def _reckon(stack: Stack, manifest: Manifest, before: pa.Table, destroyed: float, told: Drill) -> None:
    point = manifest.consistency_point.us
    if point is None:
        told.problems.append("the backup has no consistency point: a store had nothing of a source")
        return
    told.rpo = destroyed - point / 1e6
    cold, hot = _cold(stack), stores.victoriametrics(stack.victoriametrics.url)
    then, now = (rows.filter(pc.less(rows.column("ts_read"), point)) for rows in (before, cold))
    told.samples = then.num_rows
    known = {tuple(row.values()) for row in then.to_pylist()}
    found = {tuple(row.values()) for row in now.to_pylist()}
    told.lost_cold, told.different = len(known - found), len(found - known)
    result = audit(now, hot)
    told.lost_hot = sum(source.hot_missing for source in result.sources)
    told.lost_cold += sum(source.missing for source in result.sources)
    told.repeated = result.duplicated + now.num_rows - len(found)
    told.different += result.hot_different
    new = cold.filter(pc.greater(cold.column("ts_read"), round(destroyed * 1e6)))
    after = audit(new, hot)
    told.new_samples, told.new_lost = new.num_rows, after.lost + after.duplicated


def _cold(stack: Stack) -> pa.Table:
    rows = stack.lakehouse.samples()
    if rows is None:
        raise UnavailableError("there is no table ot.samples")
    return rows


def _sources(stack: Stack) -> set[str]:
    rows = stack.lakehouse.samples()
    return set() if rows is None else set(pc.unique(rows.column("source")).to_pylist())


def _is_newer(stack: Stack, moment: float) -> bool:
    us = moment * 1e6
    newest = Server(stack.victoriametrics.url).newest("ot")
    if len(newest) < 2 or min(newest.values()) <= us:
        return False
    rows = _cold(stack)
    return {
        s for s, at in zip(*(rows.column(c).to_pylist() for c in ("source", "ts_read")), strict=True) if at > us
    } >= set(newest)


def _await(done: Callable[[], bool], what: str) -> None:
    if not wait_until(done, _PATIENCE, 0.25):
        raise UnavailableError(f"waited {_PATIENCE:.0f} s for {what}")
