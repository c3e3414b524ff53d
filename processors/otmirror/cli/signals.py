"""Ending a command as a whole, whatever signal ends it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """End what runs within on Ctrl-C, SIGTERM or a lost terminal; after it another one does nothing."""
    signs = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # What is ignored from outside, as nohup does, stays so.
    wanted = [sign for sign in signs if signal.getsignal(sign) is not signal.SIG_IGN]
    for sign in wanted:
        signal.signal(sign, signal.default_int_handler)
    try:
        yield
    finally:
        # The shell sends SIGHUP beside the kernel, and people are impatient: servers must end nevertheless.
        for sign in wanted:
            signal.signal(sign, signal.SIG_IGN)
