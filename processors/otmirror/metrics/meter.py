"""A processor's metrics file: the figures of its source or sink, written every few seconds, read back at the start.

NiFi's Python processes come and go and cannot serve HTTP each, so every processor has one file, named by NiFi's id of
it, in the folder that the environment variable OTMIRROR_METRICS names. It is in the format of node_exporter's textfile
collector too. Whatever goes wrong with it costs figures, never a sample.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from otmirror import __version__
from otmirror.metrics import text
from otmirror.metrics.figures import Figures, Values

FOLDER = "OTMIRROR_METRICS"
EVERY = 5.0
"""Seconds between two writes."""
PATIENCE = 3.0
"""Seconds that a stop waits for the last write."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Meter:
    """Keeps the metrics file of one processor, from `start` to `stop`, with a thread of its own.

    Only the thread touches the disk, so that one that hangs holds up no call. It writes when nothing happens too, as
    NiFi does not call a sink whose queue is empty, and keeps no process alive. Counts of parts that were replaced go
    on in those of the next.
    """

    def __init__(self, folder: Path, processor: str, identity: str, every: float = EVERY):
        """Take the folder (made when it is missing), the processor's type, NiFi's id of it, and seconds.

        Raises:
            ValueError: the id cannot be a file's name.
        """
        if not _NAME.fullmatch(identity):
            raise ValueError(f"{identity!r} cannot be the name of a metrics file")
        self.file = folder / f"{identity}.prom"
        self._labels = (("processor", processor), ("id", identity))
        self._every = every
        self._own = Figures()
        self._part: Figures | None = None
        self._past = Values()
        self._began = time.time()
        self._running = False
        self._lock, self._writing = threading.RLock(), threading.Lock()
        self._stopped, self._thread = threading.Event(), threading.Thread()
        self._recalled = False
        self.problem: str | None = None
        """What is wrong with the file; None while it can be written."""
        for kind in ("read", "write"):
            self._own.add("otmirror_metrics_errors_total", 0, kind=kind)
        self._own.add("otmirror_faults_total", 0)

    def start(self) -> None:
        """Begin to write; nothing happens when it has begun already."""
        with self._lock:
            if self._running:
                return
            self._running, self._stopped = True, threading.Event()
            self._began = time.time()
            name = f"metrics {self.file.stem}"
            self._thread = threading.Thread(target=self._keep, args=(self._stopped,), name=name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Have a last write say that the processor is stopped, and end the thread.

        A disk that hangs is waited for `PATIENCE` seconds only.
        """
        with self._lock:
            if not self._running:
                return
            self._running = False
            self._stopped.set()
            thread = self._thread
        thread.join(PATIENCE)

    def watch(self, part: Figures | None) -> None:
        """Go on with the figures of another part; None: there is none now."""
        with self._lock:
            if part is self._part:
                return
            if self._part is not None:
                self._past = self._past.merged(self._part.collect()).lasting()
            self._part = part

    def fault(self) -> None:
        """Count a call that ended in an error notice."""
        self._own.add("otmirror_faults_total")

    def values(self) -> Values:
        """Return all there is now."""
        own = self._own
        own.put("otmirror_build_info", 1, version=__version__)
        own.put("otmirror_process_start_time_seconds", self._began)
        own.put("otmirror_heartbeat_timestamp_seconds", time.time())
        own.put("otmirror_processor_running", float(self._running))
        with self._lock:
            past, part = self._past, self._part
            now = past.merged(part.collect()) if part is not None else past
        return now.merged(own.collect())

    def write(self) -> None:
        """Replace the file, as one step for whoever reads it. Never raises; `problem` says what went wrong."""
        with self._writing:
            self._recall()
            fresh = self.file.with_name(f".{self.file.name}.{os.getpid()}")
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                fresh.write_text(text.render(self.values(), self._labels), encoding="utf-8")
                fresh.replace(self.file)
                self.problem = None
            except Exception as error:  # whatever it is, samples go on
                self._own.add("otmirror_metrics_errors_total", kind="write")
                reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                self.problem = f"metrics cannot be written to {self.file}: {reason}"
                with contextlib.suppress(OSError):
                    fresh.unlink()

    def _keep(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            self.write()
            stopped.wait(self._every)
        self.write()

    def _recall(self) -> None:
        """Go on with the counts in the file, once; one that is not whole is set aside."""
        if self._recalled:
            return
        self._recalled = True
        try:
            found = text.parse(self.file.read_text(encoding="utf-8")).lasting()
            with self._lock:
                self._past = found.merged(self._past)
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            self._own.add("otmirror_metrics_errors_total", kind="read")
            with contextlib.suppress(OSError):
                self.file.replace(self.file.with_suffix(".unreadable"))


def meter_for(
    processor: str, identity: str | None, environment: Callable[[str], str | None] = os.environ.get
) -> Meter | None:
    """Return a processor's meter; None without OTMIRROR_METRICS or outside NiFi, where it has no id.

    Never raises: a processor without figures still does its work.
    """
    folder = environment(FOLDER)
    if not folder or not identity:
        return None
    with contextlib.suppress(Exception):
        return Meter(Path(folder), processor, identity)
    return None
