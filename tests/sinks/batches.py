"""Batches for the tests of the sinks, written without the library."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "3w"


def line(tag: str, ts: int, value: object, **fields: object) -> str:
    """Return one sample; the source is `test`, the type double, the quality good."""
    sample = {"tag": tag, "ts": ts, "value": value, "type": "double", "quality": "good", "source": "test"}
    return json.dumps({**sample, **fields})


def batch(*lines: str) -> bytes:
    return "".join(f"{text}\n" for text in lines).encode()


def well(name: str, rows: int) -> list[tuple[str, int, float | None]]:
    """Return (column, microseconds, value or None) of the first rows of a recorded well; skips without it."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs the recorded data {name}")
    cells = []
    with open(path, newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if number == rows:
                break
            stamp = datetime.fromisoformat(row.pop("timestamp")).replace(tzinfo=timezone.utc)
            at = round(stamp.timestamp() * 1_000_000)
            cells += [(column, at, float(cell) if cell else None) for column, cell in row.items()]
    return cells
