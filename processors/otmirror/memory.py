"""What a processor remembers beyond its process: one short text, kept by NiFi's state manager."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Protocol

_KEY = "otmirror"


class Memory(Protocol):
    """Where a source keeps what a new process of it needs. Neither call raises."""

    def load(self) -> str | None:
        """Return what was saved last, by any process of this processor; None when there is nothing."""

    def save(self, text: str) -> None:
        """Replace what is kept; at most some 60,000 characters."""


class NoMemory:
    """Keeps nothing: the next process begins anew."""

    def load(self) -> str | None:
        """Return None."""
        return None

    def save(self, text: str) -> None:
        """Do nothing."""


class StateMemory:
    """Keeps the text in NiFi's state manager: on a cluster for all nodes, else on this NiFi's disk.

    What NiFi cannot keep or give back is given up: memory only saves work after a crash.
    """

    def __init__(self) -> None:
        self.context: Any = None
        """The context of NiFi's call at hand: one of an earlier call need not answer any more."""
        self.scope: Any = None
        """`nifiapi.componentstate.Scope.CLUSTER`."""

    def load(self) -> str | None:
        """Return what was saved last; None when there is nothing."""
        with contextlib.suppress(Exception):
            found = self.context.getStateManager().getState(self.scope).get(_KEY)
            return str(found) if found else None
        return None

    def save(self, text: str) -> None:
        """Replace what is kept."""
        with contextlib.suppress(Exception):
            self.context.getStateManager().setState({_KEY: text}, self.scope)


def ranges(places: Iterable[int]) -> str:
    """Write places as ranges, such as `0-99,101`."""
    runs: list[list[int]] = []
    for place in sorted(places):
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def places(written: str) -> set[int]:
    """Read what `ranges` wrote.

    Raises:
        ValueError: it is something else.
    """
    found: set[int] = set()
    for run in filter(None, written.split(",")):
        first, _, last = run.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
