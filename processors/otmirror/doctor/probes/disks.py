"""Disks: NiFi's repositories as NiFi tells them, and the folders that can be looked at from here."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from otmirror.doctor.findings import Finding
from otmirror.flow.api import Rest

FULL, FILLING = 0.01, 0.20
"""Shares of a disk that are free."""


def of_nifi(rest: Rest) -> list[Finding]:
    """Return which of NiFi's repositories are on a disk that fills."""
    told: dict[str, Any] = rest.get("/system-diagnostics")["systemDiagnostics"]["aggregateSnapshot"]
    usages = [("FlowFile repository", told.get("flowFileRepositoryStorageUsage"))]
    for key, what in (
        ("contentRepositoryStorageUsage", "content repository"),
        ("provenanceRepositoryStorageUsage", "provenance repository"),
    ):
        usages += [(what, usage) for usage in told.get(key) or ()]
    found: list[Finding] = []
    for what, usage in usages:
        if usage and int(usage.get("totalSpaceBytes") or 0):
            found += _judged(f"NiFi's {what}", int(usage["freeSpaceBytes"]), int(usage["totalSpaceBytes"]), frozenset())
    return found


def of_folders(folders: Iterable[tuple[Path, frozenset[str]]]) -> Iterator[Finding]:
    """Yield which folders are on a disk that fills, each with the processors it matters to; a disk is told once."""
    seen: set[int] = set()
    for folder, scope in folders:
        try:
            usage, device = shutil.disk_usage(folder), folder.stat().st_dev
        except OSError:
            continue
        if device not in seen and usage.total:
            seen.add(device)
            yield from _judged(str(folder), usage.free, usage.total, scope)


def _judged(what: str, free: int, total: int, scope: frozenset[str]) -> Iterator[Finding]:
    share = free / total
    if share < FILLING:
        text = f"{free / 1e9:.2f} GB, {100 * share:.1f} % of its disk are free"
        yield Finding("disk-full" if share < FULL else "disk-filling", what, text, scope=scope)
