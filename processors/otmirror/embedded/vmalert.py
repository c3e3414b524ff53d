"""vmalert as a child server: it evaluates the rules against the monitoring store and writes its findings back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import requests

from otmirror.embedded.loopback import answers, session
from otmirror.embedded.processes import Server, free_port
from otmirror.embedded.vmtools import tool
from otmirror.errors import UnavailableError


@dataclass(frozen=True)
class Firing:
    """One alert that fires: its labels and annotations, and since when (seconds since 1970)."""

    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    since: float


class VmAlert:
    """One vmalert on 127.0.0.1, on a port that it keeps over restarts."""

    def __init__(
        self,
        folder: Path,
        store: str,
        rules: Sequence[Path],
        interval: float = 5.0,
        port: int = 0,
        alertmanager: str | None = None,
    ):
        """Take the folder for its log, the store's address, rule files, seconds between two evaluations, the port.

        Alerts are sent to the address of an Alertmanager if one is given; else whoever wants to know asks.
        """
        self._server = Server("vmalert", folder)
        self._store, self._rules, self._interval, self._port = store, tuple(rules), interval, port
        self._notifier = f"-notifier.url={alertmanager}" if alertmanager else "-notifier.blackhole"

    @property
    def url(self) -> str:
        """Its address, which has a page of its own and an API."""
        return f"http://127.0.0.1:{self._server.info.get('port', self._port)}"

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._server.running

    def start(self, timeout: float = 60.0, say: Callable[[str], object] = print) -> None:
        """Start it and wait until it answers.

        Raises:
            UnavailableError: it cannot be had, a rule is wrong, or it does not start; the message says which.
        """
        binary = tool("vmalert", say)
        self._port = self._port or free_port()
        self._server.start(
            [
                str(binary),
                f"-httpListenAddr=127.0.0.1:{self._port}",
                f"-datasource.url={self._store}",
                # Recorded series and ALERTS go there, and the states of alerts come from there after a restart.
                f"-remoteWrite.url={self._store}",
                f"-remoteRead.url={self._store}",
                "-remoteWrite.flushInterval=1s",
                f"-evaluationInterval={self._interval:g}s",
                # The store shows a sample at once (-search.latencyOffset=0s): nothing to wait for.
                "-rule.evalDelay=0s",
                self._notifier,
                *(f"-rule={file}" for file in self._rules),
            ],
            lambda: answers(f"http://127.0.0.1:{self._port}/health"),
            timeout,
            info={"port": self._port},
        )

    def stop(self) -> None:
        """Stop it. May be called more than once."""
        self._server.stop()

    def firing(self) -> list[Firing]:
        """Return the alerts that fire now, those that only wait aside.

        Raises:
            UnavailableError: it does not answer.
        """
        try:
            with session(self.url) as asking:
                told = asking.get(f"{self.url}/api/v1/alerts", timeout=5).json()["data"]["alerts"]
        except (requests.RequestException, ValueError, KeyError):
            raise UnavailableError(f"vmalert at {self.url} does not answer") from None
        return [
            Firing(alert["name"], dict(alert["labels"]), dict(alert["annotations"]), _seconds(alert["activeAt"]))
            for alert in told
            if alert["state"] == "firing"
        ]


def _seconds(moment: str) -> float:
    # Python 3.10 reads neither Z nor nanoseconds.
    whole, _, _rest = moment.replace("Z", "").partition(".")
    return datetime.fromisoformat(f"{whole[:19]}+00:00").timestamp()
