"""VictoriaMetrics: a snapshot copied by vmbackup, restored by vmrestore, counted in a server of its own.

https://docs.victoriametrics.com/victoriametrics/#how-to-work-with-snapshots and .../vmbackup/. A local origin makes
vmbackup link what has not changed (parts are never written again), so a further backup takes what is new only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import requests

from otmirror.embedded.loopback import session
from otmirror.embedded.processes import started
from otmirror.embedded.victoriametrics import VictoriaMetrics
from otmirror.embedded.vmtools import tool
from otmirror.errors import ConfigError, UnavailableError
from otmirror.recovery.manifest import Counts, Hot

FOLDER, SCRATCH = "hot", "scratch"
_SNAPSHOT = re.compile(r"\d{14}-[0-9A-F]+")
_RECENT = 600
"""Seconds back from now in which a source counts as alive."""
_HOUR, _DAY = 3600, 86400
_ANY = '{__name__!=""}'
# A scratch server counts whatever there is; its limits protect others.
_UNLIMITED = ("-search.maxSeries=1000000000", "-search.maxUniqueTimeseries=1000000000",
              "-search.maxSamplesPerQuery=100000000000", "-search.maxQueryDuration=1h",
              "-search.maxExportDuration=1h", "-loggerLevel=ERROR")  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A running VictoriaMetrics, the folder of its data as seen from here, and how to log in; secrets in files."""

    url: str
    data: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    snapshot_key_file: Path | None = None
    """Holds what the server's -snapshotAuthKey is."""
    authority: Path | None = None

    def get(self, path: str, **params: str) -> requests.Response:
        """Return the answer to a GET.

        Raises:
            UnavailableError: it does not answer, or not with 200.
            ConfigError: it does not let us in, or a file cannot be read.
        """
        auth = (self.user, _secret(self.password_file, "--hot-password-file")) if self.user else None
        try:
            with session(self.url) as asking:
                answer = asking.get(f"{self.url.rstrip('/')}{path}", params=params, auth=auth, timeout=(5, 600),
                                    verify=str(self.authority) if self.authority else True)  # fmt: skip
        except requests.RequestException as error:
            raise UnavailableError(f"VictoriaMetrics at {self.url} cannot be reached: {type(error).__name__}") from None
        if answer.status_code in (401, 403):
            raise ConfigError(f"VictoriaMetrics at {self.url} lets us not in: check --hot-user, --hot-password-file "
                              "and --hot-snapshot-key-file")  # fmt: skip
        if not answer.ok:
            raise UnavailableError(f"VictoriaMetrics at {self.url} answers {answer.status_code} to {path}")
        return answer

    def data_of(self, path: str, **params: str) -> Any:
        """Return the data of an answer of the query API.

        Raises:
            ConfigError: it is no VictoriaMetrics.
        """
        try:
            return self.get(path, **params).json()["data"]
        except (ValueError, KeyError, TypeError):
            raise self._stranger() from None

    def _stranger(self) -> ConfigError:
        return ConfigError(f"{self.url} is not the address of a VictoriaMetrics")

    def snapshots(self, action: str, **params: str) -> dict[str, Any]:
        """Return what the server says to /snapshot/`action`.

        Raises:
            ConfigError: it is no VictoriaMetrics, or says no.
        """
        if self.snapshot_key_file:
            params["authKey"] = _secret(self.snapshot_key_file, "--hot-snapshot-key-file")
        try:
            told = self.get(f"/snapshot/{action}", **params).json()
        except ValueError:
            told = None
        if not isinstance(told, dict) or "status" not in told:
            raise self._stranger()
        if told["status"] != "ok":
            raise UnavailableError(f"VictoriaMetrics at {self.url}: snapshot/{action}: {str(told.get('msg'))[:200]}")
        return told

    def newest(self, prefix: str) -> dict[str, int]:
        """Return the newest time (us since 1970) of each source that sent something in the last ten minutes."""
        # What was accepted in the last seconds cannot be queried yet.
        self.get("/internal/force_flush")
        query = f"max by (source) (tlast_over_time({prefix}_value[{_RECENT}s]))"
        # Without a time it answers for the last whole second.
        rows = self.data_of("/api/v1/query", query=query, nocache="1", time=f"{time.time() + 1:.3f}")["result"]
        return {row["metric"].get("source", ""): round(float(row["value"][1]) * 1e6) for row in rows}

    def version(self) -> str:
        """Return its version, as far as it tells."""
        found = re.search(r'^vm_app_version\{version="([^"]*)"', self.get("/metrics").text, re.MULTILINE)
        return (found[1] if found else "") or "not told"


def _secret(file: Path | None, option: str) -> str:
    if file is None:
        raise ConfigError(f"{option} is missing")
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option} {file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


@contextmanager
def snapshot(server: Server, note: Path) -> Iterator[str]:
    """Give the name of a snapshot that is deleted afterwards; `note` names it, should this command be killed.

    Raises:
        ConfigError: the server is none, or keeps its data somewhere else than in `server.data`.
        UnavailableError: it does not answer or has no room.
    """
    assert server.data is not None
    # What was accepted in the last seconds is not on disk yet.
    server.get("/internal/force_flush")
    name = str(server.snapshots("create").get("snapshot"))
    if not _SNAPSHOT.fullmatch(name):
        raise ConfigError(
            f"{server.url} is not the address of a VictoriaMetrics (its snapshot is called {name[:60]!r})"
        )
    note.write_text(name)
    try:
        if not (server.data / "snapshots" / name).is_dir():
            raise ConfigError(
                f"--hot-data {server.data}: the VictoriaMetrics at {server.url} keeps its data somewhere else (there "
                f"is no snapshots/{name}); give its -storageDataPath as it is seen from here"
            )
        yield name
    finally:
        delete(server, note)


def delete(server: Server, note: Path) -> None:
    """Delete the snapshot that `note` names, if it is still there."""
    name = note.read_text().strip() if note.is_file() else ""
    if _SNAPSHOT.fullmatch(name) and name in server.snapshots("list")["snapshots"]:
        server.snapshots("delete", snapshot=name)
    note.unlink(missing_ok=True)


def back_up(server: Server, name: str, folder: Path, previous: Path | None, lock: TextIO, count: bool) -> Hot:
    """Copy a snapshot into `folder`/hot, what `previous` has too as links; with `count` restored once and counted.

    Raises:
        UnavailableError: the disk is full, or vmbackup or vmrestore failed; the message says why.
    """
    target = folder / FOLDER
    origin = [f"-origin=fs://{previous / FOLDER}"] if previous and (previous / FOLDER).is_dir() else []
    run(
        "vmbackup",
        f"-storageDataPath={server.data}",
        f"-snapshotName={name}",
        f"-dst=fs://{target}",
        *origin,
        lock=lock,
    )
    rows, first, last = rows_of(target)
    counts = None
    if count:
        restore(target, folder / SCRATCH / "data", lock)
        counts = counted(folder / SCRATCH, first, last)
        clear(folder / SCRATCH)
    return Hot(server.url, name, rows, first, last, counts)


def restore(backup: Path, data: Path, lock: TextIO | None = None) -> None:
    """Restore a backup's folder to a new data folder.

    Raises:
        UnavailableError: the disk is full, the backup is not whole, or vmrestore failed; the message says why.
    """
    data.parent.mkdir(parents=True, exist_ok=True)
    run("vmrestore", f"-src=fs://{backup}", f"-storageDataPath={data}", lock=lock)


def run(name: str, *flags: str, lock: TextIO | None = None) -> None:
    """Run a tool of VictoriaMetrics; it inherits the lock, so that a new command waits for it if this one is killed."""
    # Without its server of metrics: one that is not up yet when the work is done ends the tool in a panic.
    argv = [str(tool(name)), *flags, "-httpListenAddr=", "-loggerLevel=ERROR"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False,
                          pass_fds=(lock.fileno(),) if lock else ())  # fmt: skip
    if done.returncode:
        raise UnavailableError(f"{name} failed: {_brief(_cause(done.stderr))}")


def _cause(text: str) -> str:
    """Return the message of the first line that a tool of VictoriaMetrics logged as an error, before any stack."""
    logged = (line.split("\t") for line in text.splitlines())
    told = next((parts[-1] for parts in logged if len(parts) >= 4 and parts[1] in ("error", "fatal", "panic")), None)
    return told or next((line for line in text.splitlines() if line.startswith("panic")), text.strip()[-300:])


def _brief(text: str) -> str:
    """Return the start of an error and its end, which is the cause."""
    return text if len(text) <= 400 else f"{text[:120]} ... {text[-270:]}"


def rows_of(backup: Path) -> tuple[int, int, int]:
    """Return rows, first and last time (ms since 1970) of a backup, from its parts' own metadata; 0, 0, 0: empty."""
    rows, first, last = 0, [], []
    for kind in ("small", "big"):
        # vmbackup keeps a file as a folder of pieces; these are smaller than one.
        for file in backup.glob(f"data/{kind}/*/*/metadata.json/*"):
            told = json.loads(file.read_text())
            rows += int(told["RowsCount"])
            first.append(int(told["MinTimestamp"]))
            last.append(int(told["MaxTimestamp"]))
    return rows, min(first, default=0), max(last, default=0)


def counted(folder: Path, first_ms: int, last_ms: int) -> Counts:
    """Return what a server on `folder`/data shows; it is started for that and stopped again.

    Raises:
        UnavailableError: it does not start on this data.
    """
    scratch = VictoriaMetrics(folder, more=_UNLIMITED)
    scratch.start()
    try:
        return counts(Server(scratch.url), first_ms, last_ms)
    finally:
        scratch.stop()


@contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """Give a folder that is removed afterwards; what a killed command left of its own is removed first."""
    for old in beside.glob(".scratch-*"):
        if started(int(old.name.rpartition("-")[2])) is None:
            clear(old)
    folder = beside / f".scratch-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        clear(folder)


def clear(folder: Path) -> None:
    """Remove a folder; a server that was started to count in it is ended first."""
    VictoriaMetrics(folder).stop()
    shutil.rmtree(folder)


def counts(server: Server, first_ms: int, last_ms: int) -> Counts:
    """Return series and samples by metric between two times, both included, as queries see them."""
    samples: dict[str, int] = {}
    if last_ms <= 0:
        return Counts(0, samples)
    query = f"sum by (__name__) (count_over_time({_ANY}[1h]) keep_metric_names)"
    for start, end in _windows(first_ms, last_ms):
        told = server.data_of(
            "/api/v1/query_range", query=query, start=str(start), end=str(end), step="1h", nocache="1"
        )
        for row in told["result"]:
            name = row["metric"].get("__name__", "")
            samples[name] = samples.get(name, 0) + sum(int(float(value)) for _, value in row["values"])
    series = server.data_of(
        "/api/v1/series", **{"match[]": _ANY, "start": str(first_ms // 1000), "end": str(last_ms // 1000 + 1)}
    )
    return Counts(len(series), dict(sorted(samples.items())))


def _windows(first_ms: int, last_ms: int) -> Iterator[tuple[int, int]]:
    """Yield the ends (s since 1970) of a day's first and last hour; an hour holds its end, not its start."""
    end, last = -(-first_ms // (_HOUR * 1000)) * _HOUR, -(-last_ms // (_HOUR * 1000)) * _HOUR
    while end <= last:
        yield end, min(end + _DAY - _HOUR, last)
        end += _DAY


def differences(wanted: Counts, found: Counts) -> list[str]:
    """Return in words what two counts do not share."""
    told: Sequence[tuple[str, int, int]] = [("series", wanted.series, found.series)]
    told = [*told, *((f"samples of {name}", wanted.samples.get(name, 0), found.samples.get(name, 0))
                     for name in sorted(wanted.samples.keys() | found.samples.keys()))]  # fmt: skip
    return [
        f"VictoriaMetrics: {have:,} {what}, the manifest says {should:,}"
        for what, should, have in told
        if should != have
    ]
