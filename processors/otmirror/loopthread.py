"""An asyncio loop on a thread of its own, for callers that come from any thread and must never hang."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines on one background loop; every call has a time limit."""

    def __init__(self, name: str):
        """Start the loop; `name` shows up in thread dumps."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run `work` and return its result; cancels it after `timeout` seconds.

        Raises:
            TimeoutError: the time limit passed.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except (FutureTimeoutError, TimeoutError):
            future.cancel()
            raise TimeoutError(f"no result within {timeout:g} s") from None

    def soon(self, work: Callable[[], object]) -> None:
        """Have the loop call `work`; nothing once it is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(work)

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Let `work` run on the loop and return at once; cancelling what is returned cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, timeout: float = 5.0) -> None:
        """Cancel what still runs and stop the loop. May be called more than once."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._loop.close()

    def _stop(self) -> None:
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        gathered = asyncio.gather(*pending, return_exceptions=True)
        gathered.add_done_callback(lambda _: self._loop.stop())
