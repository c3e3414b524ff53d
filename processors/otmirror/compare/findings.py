"""What can be found between two historians, each kind with its name, its meaning and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone


@dataclass(frozen=True)
class Kind:
    """A class of findings."""

    title: str
    alarm: bool
    """Whether it turns a day red; the others are told and nothing more."""
    meaning: str
    remedy: str


KINDS: dict[str, Kind] = {
    "missing": Kind("missing interval", True, "one side has no samples where the other one's value moves on",
                    "look at that side's collector and buffer at that time; backfill the interval"),
    "scattered_loss": Kind("scattered loss", True, "single samples are missing that no deadband explains",
                           "look for a full queue, a rate limit or a lossy hop"),
    "clock_offset": Kind("clock offset", True, "the same values, all later or earlier by the same time",
                         "set both sides' clocks by NTP; make both store the source's timestamp"),
    "dst_shift": Kind("one-hour shift", True, "exactly one hour off, over all of the window or from a changeover on",
                      "export in UTC, or name the export's zone with --left-zone or --right-zone; check the collector"),
    "gain": Kind("gain or offset", True, "the values differ by a constant factor, a constant, or both",
                 "compare range, scale and unit of the tag on both sides"),
    "renamed": Kind("renamed", True, "two tags, each on one side only, have the same values",
                    "check the proposed map and give it with --tag-map"),
    "swapped": Kind("swapped", True, "two tags have each other's values on the right side",
                    "check the addresses of both tags"),
    "frozen": Kind("frozen", True, "samples go on with one and the same value while the other side moves",
                   "look at the collector of that side: a stale subscription, a cache, a substituted value"),
    "duplicates": Kind("duplicates", True, "several rows have the same tag and time",
                       "read through samples_once, run `otmirror lakehouse maintain`, or deduplicate the export"),
    "quality_lost": Kind("quality lost", True, "samples that are bad or uncertain on one side are good on the other",
                         "check how that side maps quality and what it does with bad samples"),
    "late": Kind("late", True, "samples arrived long after their time",
                 "look at buffers and links at that time; expected after an outage that was backfilled"),
    "precision": Kind("truncated precision", True, "the values are the other side's with fewer digits",
                      "check display digits of the export and the type of the stored value"),
    "out_of_order": Kind("out of order", True, "rows of a tag arrived after later ones",
                         "expected after an outage; else look for parallel writers"),
    "value_mismatch": Kind("values differ", True, "the values differ and no single cause explains it",
                           "look at the plot; compare the tag's address and its scan on both sides"),
    "only_left": Kind("only on the left", True, "the right side has no samples of this tag",
                      "add the tag, or leave it out of the comparison with --tags"),
    "only_right": Kind("only on the right", True, "the left side has no samples of this tag",
                       "add the tag, or leave it out of the comparison with --tags"),
    "deadband": Kind("deadband", False, "one side stores fewer samples, and its held value stays within a band",
                     "nothing; the band is in the evidence"),
    "sparse": Kind("fewer samples", False, "one side stores every so many samples only, at an even pace",
                   "nothing when intended; else compare the scan rates"),
}  # fmt: skip

SEEDED = ("missing", "clock_offset", "gain", "renamed", "swapped", "frozen", "duplicates", "quality_lost", "late",
          "dst_shift", "precision", "deadband")  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing found at one tag."""

    kind: str
    tag: str
    side: str
    """`left` or `right`: where it is seen; empty when it lies between the two."""
    evidence: str
    numbers: dict[str, float | str] = field(default_factory=dict)

    @property
    def alarm(self) -> bool:
        """Whether it turns a day red."""
        return KINDS[self.kind].alarm


def moment(us: int) -> str:
    """Write a time in microseconds for people, to the second."""
    try:
        return datetime.fromtimestamp(us / 1e6, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{us} us"


def span(us: float) -> str:
    """Write a duration in microseconds for people."""
    seconds = us / 1e6
    if abs(seconds) < 120:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"
    if abs(seconds) < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
