"""The union of the processors' metrics files, one HELP and TYPE a family, and what the exporter knows itself."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from otmirror.kpi import report
from otmirror.metrics import text
from otmirror.metrics.definitions import BY_NAME, EXPORTER, METRICS

STALE_S = 86_400.0
"""Seconds after its last write from which on a file is taken for that of a processor that was removed."""
MOST_BYTES = 16 * 1024**2
"""A file that is larger is none of ours."""

_PARTS = ("_bucket", "_sum", "_count")


class Union:
    """Reads all files anew at each scrape. Safe for scrapes at the same time."""

    def __init__(self, folders: Sequence[Path], disks: Sequence[Path] = (), wall: Callable[[], float] = time.time):
        """Take the folders of metrics files, paths whose disks to watch, and a clock in seconds since 1970.

        None of them has to exist yet.
        """
        self._folders, self._disks, self._wall = tuple(folders), tuple(disks), wall
        self._unreadable: dict[Path, int] = {}
        self._errors = 0
        self._lock = threading.Lock()

    def render(self) -> str:
        """Return the text of a scrape. A file that cannot be read is left out and counted."""
        families: dict[str, list[str]] = {}
        found = 0
        for file in self._files():
            lines = self._lines(file)
            if lines is not None:
                found += 1
                for name, line in lines:
                    families.setdefault(name, []).append(line)
        figures = self._figures()
        for name, labels, value in self._own(found):
            families.setdefault(name, []).append(text.line(name, labels, value))
        return (
            "".join(
                text.heading(metric) + "".join(families[metric.name]) for metric in METRICS if metric.name in families
            )
            + figures
        )

    def _files(self) -> Iterable[Path]:
        seen: set[str] = set()
        for folder in self._folders:
            # Temporary files begin with a dot.
            for file in sorted(folder.glob("[!.]*.prom")):
                if file.name not in seen and file.name != report.FILE:
                    seen.add(file.name)
                    yield file

    def _lines(self, file: Path) -> list[tuple[str, str]] | None:
        """Return the file's lines with their families' names; None when it is stale or cannot be read."""
        try:
            status = file.stat()
            if self._wall() - status.st_mtime > STALE_S:
                return None
            if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
                raise ValueError("none of ours")
            content = file.read_text(encoding="utf-8")
            text.parse(content)
            _check(content, file.stem)
            found = [(_family(one.name), text.line(one.name, one.labels.items(), one.value))
                     for one in text.lines(content)]  # fmt: skip
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            with self._lock:
                self._errors += 1
            return None
        return [(name, line) for name, line in found if name is not None]

    def _figures(self) -> str:
        """Return the last report of `otmirror kpi` in the first folder that has one, however old: it tells its time."""
        for folder in self._folders:
            try:
                content = (folder / report.FILE).read_text(encoding="utf-8")
                return report.checked(content)
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                with self._lock:
                    self._errors += 1
        return ""

    def _own(self, files: int) -> Iterable[tuple[str, list[tuple[str, str]], float]]:
        yield "otmirror_metrics_files", [], files
        with self._lock:
            yield "otmirror_metrics_unreadable_total", [], self._errors
        for path in self._disks:
            try:
                disk = os.statvfs(path)
            except OSError:
                continue  # absent() is the alarm of a disk that is gone
            label = [("path", str(path))]
            yield "otmirror_disk_free_bytes", label, disk.f_bavail * disk.f_frsize
            yield "otmirror_disk_size_bytes", label, disk.f_blocks * disk.f_frsize


def _check(content: str, identity: str) -> None:
    """Make sure that a file is of the processor it is named after, and gives each series once.

    Raises:
        ValueError: it is something else; one such line would cost Prometheus the whole scrape.
    """
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    for one in text.lines(content):
        key = (one.name, tuple(sorted(one.labels.items())))
        if one.labels.get("id") != identity or key in seen:
            raise ValueError("not the file of one processor")
        seen.add(key)


def _family(name: str) -> str | None:
    """Return the family of a series that a processor may give; None: it is none."""
    for part in ("", *_PARTS):
        metric = BY_NAME.get(name.removesuffix(part) if part else name)
        if metric is not None and EXPORTER not in metric.of:
            return metric.name
    return None
