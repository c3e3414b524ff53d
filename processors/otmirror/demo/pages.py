"""The pilot's dashboards in a browser, without Grafana."""

from __future__ import annotations

import sys
from pathlib import Path

from otmirror.dashboards.serve import PORT
from otmirror.demo.monitoring import INTERVAL_S
from otmirror.embedded.loopback import answers
from otmirror.embedded.processes import Server, free_port, port_is_free


class Pages:
    """`otmirror dashboards serve` as a child server."""

    def __init__(self, folder: Path):
        """Take the folder for its log."""
        self._server = Server("dashboards", folder)

    @property
    def url(self) -> str:
        """Its address; empty when it does not run."""
        return f"http://127.0.0.1:{self._server.info['port']}/" if self._server.running else ""

    def start(self, monitoring: str, hot: str) -> None:
        """Show what two stores hold, on the usual port or, when that is taken, a free one.

        Raises:
            UnavailableError: it does not start.
        """
        port = PORT if port_is_free(PORT) else free_port()
        argv = [sys.executable, "-m", "otmirror", "dashboards", "serve", f"--listen=127.0.0.1:{port}",
                f"--monitoring={monitoring}", f"--hot={hot}", f"--scrape={INTERVAL_S:g}", "--span=15m"]  # fmt: skip
        self._server.start(argv, lambda: answers(f"http://127.0.0.1:{port}/health"), info={"port": port})

    def stop(self) -> None:
        """Stop it. May be called more than once."""
        self._server.stop()
