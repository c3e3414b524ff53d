"""Which of the findings brought about the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otmirror.doctor.findings import ERROR, KINDS, NOTE, Finding

_ORDER = {code: place for place, code in enumerate(KINDS)}


@dataclass(frozen=True)
class Cause:
    """A finding that no other one explains, with those that follow from it, nearest first."""

    finding: Finding
    consequences: tuple[Finding, ...] = ()

    @property
    def since(self) -> float | None:
        """The earliest moment at which it or a consequence of it showed."""
        told = [one.since for one in (self.finding, *self.consequences) if one.since is not None]
        return min(told, default=None)


def brings_about(cause: Finding, effect: Finding) -> bool:
    """Return whether one finding explains another by their kinds, at the same part of the flow."""
    if effect.code not in cause.kind.effects:
        return False
    return not cause.scope or not effect.scope or bool(cause.scope & effect.scope)


def diagnose(found: Sequence[Finding]) -> tuple[list[Cause], list[Finding]]:
    """Return the causes, the gravest first, and the notes that belong to none of them.

    Among equals the one with more consequences comes first, then the one nearer to the root by the order of `KINDS`.
    """
    roots = [one for one in found if not any(brings_about(other, one) for other in found if other is not one)]
    causes = [Cause(root, _reached(root, found)) for root in roots if root.kind.weight != NOTE]
    causes.sort(key=lambda one: (one.finding.kind.weight != ERROR, -_weight(one), _ORDER[one.finding.code]))
    return causes, [one for one in roots if one.kind.weight == NOTE]


def _weight(cause: Cause) -> int:
    return sum(one.kind.weight == ERROR for one in cause.consequences)


def _reached(root: Finding, found: Sequence[Finding]) -> tuple[Finding, ...]:
    reached: list[Finding] = []
    rim = [root]
    while rim:
        following = [
            one
            for one in found
            if one is not root and one not in reached and any(brings_about(near, one) for near in rim)
        ]
        reached += following
        rim = following
    return tuple(reached)
