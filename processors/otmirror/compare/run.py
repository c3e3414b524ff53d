"""A whole comparison: both sides onto disk by tag, then tag by tag, then the tags among each other."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from otmirror.compare import pairs
from otmirror.compare.common import share_shift
from otmirror.compare.findings import Finding
from otmirror.compare.options import Options, Window
from otmirror.compare.pairs import Pair
from otmirror.compare.result import Side, TagResult
from otmirror.compare.series import Series, clean
from otmirror.compare.spill import Spill
from otmirror.compare.tag import compare, fingerprint, side
from otmirror.compare.totals import Totals
from otmirror.errors import ConfigError

PIECES = 64
"""Pieces a side is cut into by tag; one of each side is in memory at a time."""


class Source(Protocol):
    """A side."""

    @property
    def title(self) -> str:
        """What it is, for people, without secrets."""

    def batches(self, window: Window) -> Iterable[pa.RecordBatch]:
        """Yield its rows in the window as batches of `spill.ROWS`.

        Raises:
            ConfigError: it is not as its profile says.
            UnavailableError: it cannot be read now.
        """


@dataclass
class Comparison:
    """What came of it."""

    window: Window
    options: Options
    left: str
    right: str
    tags: list[TagResult]
    """Of both sides' tags, those on one side only included, by name."""
    totals: Totals
    proposals: list[Pair]
    """Renamed tags, proposed."""
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    """Of all tags."""


Say = Callable[[str], None]


def run(
    left: Source,
    right: Source,
    window: Window,
    options: Options,
    *,
    tag_map: Mapping[str, str] | None = None,
    wanted: Callable[[str], bool] = lambda _: True,
    pieces: int = PIECES,
    folder: Path | None = None,
    say: Say = lambda _: None,
) -> Comparison:
    """Compare two sides over a window.

    Args:
        left: The side that is taken as the reference, usually the incumbent.
        right: The other one.
        window: From when to when.
        options: What counts as the same and as a fault.
        tag_map: Left name -> right name of tags that are called otherwise.
        wanted: Which tags, by their left name.
        pieces: Pieces each side is cut into: more need less memory.
        folder: Where the temporary folder is made; the system's own place when None.
        say: Is told what is being done.

    Raises:
        ConfigError: a side is not as its profile says, or has no samples in the window, or
            the map or `wanted` names tags that are not there.
        UnavailableError: a side cannot be read now.
    """
    begun = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="otmirror-compare-", dir=folder))
    try:
        spills = []
        for name, source in (("left", left), ("right", right)):
            (place / name).mkdir()
            spill = Spill(place / name, pieces)
            spill.take(source.batches(window), lambda rows, n=name: say(f"{n}: {rows:,} rows read"))  # type: ignore[misc]
            if not spill.rows:
                raise ConfigError(f"{source.title}: there are no samples in {window.name}")
            spills.append(spill)
        for name, other in (tag_map or {}).items():
            if name not in spills[0].names and other not in spills[1].names:
                raise ConfigError(f"--tag-map: neither side has samples of {name} = {other} in {window.name}")
        work = _Work(window, options, dict(tag_map or {}), wanted)
        for piece in work.pieces(spills[0], spills[1]):
            say(f"compared {piece} of {pieces} pieces, {len(work.results):,} tags")
        if not work.results:
            raise ConfigError("--tags: no tag of either side matches")
        proposals = work.finish()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    work.results.sort(key=lambda result: result.tag)
    findings = [finding for result in work.results for finding in result.findings]
    return Comparison(window, options, left.title, right.title, work.results, work.totals, proposals,
                      time.monotonic() - begun, findings)  # fmt: skip


class _Work:
    """The tags compared so far."""

    def __init__(self, window: Window, options: Options, tag_map: dict[str, str], wanted: Callable[[str], bool]):
        self.window, self.options, self.wanted = window, options, wanted
        self.back = {right: left for left, right in tag_map.items()}
        self.results: list[TagResult] = []
        self.totals = Totals()
        self.alone: dict[str, dict[str, TagResult]] = {"left": {}, "right": {}}
        self.waiting: dict[str, dict[str, Series]] = {"left": {}, "right": {}}

    def pieces(self, left: Spill, right: Spill) -> Iterable[int]:
        """Compare piece after piece; yields how many are done."""
        # A renamed tag's two names lie in different pieces: those few wait in memory.
        renamed = set(self.back) | set(self.back.values())
        for piece in range(left.pieces):
            one = {tag: clean(*rows) for tag, *rows in left.tags(piece) if self.wanted(tag)}
            for tag, *rows in right.tags(piece):
                name = self.back.get(tag, tag)
                if not self.wanted(name):
                    continue
                series = clean(*rows)
                if name in renamed:
                    self.waiting["right"][name] = series
                elif name in one:
                    self._both(name, one.pop(name), series)
                else:
                    self._one("right", name, series)
            for tag, series in one.items():
                if tag in renamed:
                    self.waiting["left"][tag] = series
                else:
                    self._one("left", tag, series)
            yield piece + 1
        self._waited()

    def _waited(self) -> None:
        one, two = self.waiting["left"], self.waiting["right"]
        for name in sorted(one.keys() & two.keys()):
            self._both(name, one.pop(name), two.pop(name))
        for where in ("left", "right"):
            for name, series in self.waiting[where].items():
                self._one(where, name, series)

    def _both(self, tag: str, left: Series, right: Series) -> None:
        result = compare(tag, left, right, self.window, self.options)
        self._add(result)

    def _one(self, where: str, tag: str, series: Series) -> None:
        nothing = Side(0, 0, 0, 0)
        counted = side(series)
        result = TagResult(tag, counted if where == "left" else nothing, counted if where == "right" else nothing)
        print_ = fingerprint(series, self.window)
        result.prints = (print_, None) if where == "left" else (None, print_)
        text = f"{counted.samples:,} samples, {counted.bad:,} bad ones"
        result.findings.append(Finding(f"only_{where}", tag, where, text, {"rows": counted.samples}))
        self.alone[where][tag] = result
        self._add(result)

    def _add(self, result: TagResult) -> None:
        self.totals.add(result)
        # The lags are in the totals and in the tag's percentiles now.
        for counted in (result.left, result.right):
            if counted.lag is not None and len(counted.lag):
                counted.lag = np.quantile(counted.lag, [0.5, 0.95, 0.99, 1.0])
        self.results.append(result)

    def finish(self) -> list[Pair]:
        """Look for renamed and swapped tags, and count what was found; return the renamed ones."""
        tolerance = self.options.tolerance
        left = {tag: result.prints[0] for tag, result in self.alone["left"].items()}
        right = {tag: result.prints[1] for tag, result in self.alone["right"].items()}
        proposals = pairs.renamed(left, right, tolerance)
        for pair in proposals:
            evidence = (f"{pair.right} on the right side has its values at {pair.values:.0%} of the times looked at; "
                        f"the names are {pair.name:.0%} alike")  # fmt: skip
            self.alone["left"][pair.left].findings = [
                Finding("renamed", pair.left, "right", evidence,
                        {"right": pair.right, "values": pair.values, "name": pair.name})
            ]  # fmt: skip
            self.alone["right"][pair.right].findings = []
        pairs.swap(self.results, tolerance)
        share_shift(self.results, self.window)
        self.totals.renamed = len(proposals)
        return proposals
