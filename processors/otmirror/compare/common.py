"""A shift of an hour that many tags share, put in the place of what it looks like at tags that stand still."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from otmirror.compare.clocks import HOUR
from otmirror.compare.findings import Finding
from otmirror.compare.options import Window, parse_moment
from otmirror.compare.result import TagResult

_FEWEST = 3


def share_shift(results: Sequence[TagResult], window: Window) -> None:
    """Tell the shift that at least half of the tags with a moving value have, also at tags that show none.

    A tag that stands still shows an hour without samples where the clock went on, and rows of the same time where it
    went back; with the shift known, neither is a fault of its own.
    """
    shifts = Counter(_key(f) for result in results for f in result.findings if f.kind == "dst_shift")
    if not shifts:
        return
    (offset, first, last), count = shifts.most_common(1)[0]
    on_time = sum(result.offset_s == result.offset_s for result in results)  # not NaN
    if count < _FEWEST or count < on_time:
        return
    edges = (parse_moment(first), parse_moment(last), window.start, window.end)
    for result in results:
        if result.offset_s != result.offset_s and not any(f.kind == "dst_shift" for f in result.findings):
            kept = [f for f in result.findings if not _is_shift(f, edges)]
            if len(kept) < len(result.findings):
                evidence = f"as {count:,} other tags; the value stands still, the shift is seen at its edges only"
                numbers: dict[str, float | str] = {"offset_s": offset, "from": first, "until": last}
                result.findings = [*kept, Finding("dst_shift", result.tag, "right", evidence, numbers)]


def _key(finding: Finding) -> tuple[float, str, str]:
    numbers = finding.numbers
    return float(numbers["offset_s"]), str(numbers["from"]), str(numbers["until"])


def _is_shift(finding: Finding, edges: Sequence[int]) -> bool:
    """Return whether it is a hole or a repetition of an hour that begins or ends at one of the edges."""
    if finding.side != "right" or finding.kind not in ("missing", "duplicates", "out_of_order", "value_mismatch"):
        return False
    if finding.kind != "missing":
        return True
    start, end = (parse_moment(str(finding.numbers[name])) for name in ("from", "until"))
    near = min(abs(moment - edge) for moment in (start, end) for edge in edges)
    return end - start <= HOUR * 1.2 and near <= HOUR * 0.1
