"""vmalert as a child server: rules judged against a store, alerts written back to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import requests

from otmirror.embedded.loopback import session
from otmirror.embedded.processes import Server, free_port
from otmirror.embedded.vmtools import tool


class VmAlert:
    """One vmalert on 127.0.0.1. Nobody is notified: who wants to know asks its API, or the store for ALERTS."""

    def __init__(self, folder: Path, store: str, rules: Sequence[Path], interval: float = 5.0, port: int = 0):
        """Take the folder for its log, the store's address, the rule files and the seconds between two judgements."""
        self._server = Server("vmalert", folder)
        self._store, self._rules, self._interval, self._port = store, tuple(rules), interval, port

    @property
    def url(self) -> str:
        """The address of its API."""
        return f"http://127.0.0.1:{self._server.info.get('port', self._port)}"

    def start(self, timeout: float = 60.0) -> None:
        """Start it and wait until it answers.

        Raises:
            UnavailableError: it cannot be had, or does not start; the message says why in one line.
        """
        binary = tool("vmalert")
        self._port = self._port or free_port()
        self._server.start(
            [
                str(binary),
                *(f"-rule={file}" for file in self._rules),
                f"-datasource.url={self._store}",
                f"-remoteWrite.url={self._store}",
                f"-remoteRead.url={self._store}",
                f"-evaluationInterval={self._interval:g}s",
                # What was scraped a moment ago is to be judged now.
                "-rule.evalDelay=0s",
                "-datasource.queryStep=5s",
                "-notifier.blackhole",
                f"-httpListenAddr=127.0.0.1:{self._port}",
            ],
            self._answers,
            timeout,
            info={"port": self._port},
        )

    def stop(self) -> None:
        """Stop it. May be called more than once."""
        self._server.stop()

    def _answers(self) -> bool:
        url = f"http://127.0.0.1:{self._port}"
        try:
            with session(url) as asking:
                return asking.get(f"{url}/health", timeout=2).ok
        except requests.RequestException:
            return False
