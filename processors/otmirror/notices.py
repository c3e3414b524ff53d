"""What an operator should be told, once: said again only when it changed or after a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """One message; `level` is `info`, `warn` or `error`."""

    level: str
    message: str


class Notices:
    """Gathers notices by key. Thread-safe."""

    def __init__(self, monotonic: Callable[[], float], repeat_after: float = 600.0):
        """Take a clock in seconds and how long an unchanged notice stays quiet."""
        self._monotonic, self._repeat_after = monotonic, repeat_after
        self._said: dict[str, tuple[str, float]] = {}
        self._pending: list[Notice] = []
        self._lock = threading.Lock()

    def say(self, level: str, key: str, message: str) -> None:
        """Say `message` about `key`, unless the same was said of it within the quiet time."""
        now = self._monotonic()
        with self._lock:
            before = self._said.get(key)
            if before and before[0] == message and now - before[1] < self._repeat_after:
                return
            self._said[key] = (message, now)
            self._pending.append(Notice(level, message))

    def clear(self, key: str, message: str | None = None) -> None:
        """Forget what was said of `key`; if something was, and `message` is given, say that it is over."""
        with self._lock:
            if self._said.pop(key, None) and message:
                self._pending.append(Notice("info", message))

    def take(self) -> list[Notice]:
        """Return the pending notices and forget them."""
        with self._lock:
            pending, self._pending = self._pending, []
        return pending
