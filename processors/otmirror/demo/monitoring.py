"""The monitoring of a pilot: a store of its own that scrapes NiFi, the hot store and the exporter, and vmalert."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from otmirror.embedded.brokers import Tls
from otmirror.embedded.loopback import answers
from otmirror.embedded.processes import Server, free_port, port_is_free
from otmirror.embedded.victoriametrics import VictoriaMetrics
from otmirror.embedded.vmalert import Firing, VmAlert
from otmirror.embedded.vmtools import tool
from otmirror.errors import UnavailableError
from otmirror.workspace import PROJECT

SCRAPE = PROJECT / "monitoring" / "scrape.yaml"
RULES = PROJECT / "monitoring" / "rules"
PORT, EXPORTER_PORT = 8429, 9478
INTERVAL_S = 5.0
"""Seconds between two scrapes, and two evaluations of the rules, of a pilot."""


class Monitoring:
    """The monitoring store, the exporter and vmalert, as child servers. All ports are free ones unless given.

    The store is apart from the hot store, so that it tells of an outage of that one.
    """

    def __init__(
        self,
        folder: Path,
        nifi_url: str,
        victoriametrics_url: str,
        metrics_folders: Sequence[Path],
        say: Callable[[str], object] = print,
        *,
        port: int = 0,
        exporter_port: int = 0,
        disks: Sequence[Path] = (),
        interval: float = INTERVAL_S,
        nifi_client: Tls | None = None,
        rules: Sequence[Path] | None = None,
        alertmanager: str | None = None,
    ):
        """Take the folder for data and logs, and what to watch.

        Args:
            folder: holds all data of the monitoring.
            nifi_url: NiFi's REST API, such as `http://127.0.0.1:8080/nifi-api`.
            victoriametrics_url: the hot store.
            metrics_folders: where NiFi's processors write their metrics (OTMIRROR_METRICS).
            say: told each step.
            port: port of the store; one that is taken is replaced by a free one.
            exporter_port: port of the exporter, likewise.
            disks: paths whose disks are watched.
            interval: seconds between two scrapes.
            nifi_client: authority and client certificate for a NiFi over HTTPS.
            rules: files of rules; those of monitoring/rules unless given, no vmalert when there are none.
            alertmanager: where alerts are sent; nowhere unless given.
        """
        self.folder = folder.resolve()
        self._nifi, self._hot, self._metrics = nifi_url, victoriametrics_url, tuple(metrics_folders)
        self.say, self._disks, self._interval, self._client = say, tuple(disks), interval, nifi_client
        self._exporter = Server("exporter", self.folder / "exporter")
        self._ports = (port, exporter_port)
        self._exporter_port = 0
        self._store: VictoriaMetrics | None = None
        self._rules = sorted(RULES.glob("*.yaml")) if rules is None else list(rules)
        self._alertmanager = alertmanager
        self._vmalert = VmAlert(self.folder / "vmalert", "", ())

    @property
    def vmalert_url(self) -> str:
        """The address of vmalert; empty when it does not run."""
        return self._vmalert.url if self._vmalert.running else ""

    def firing(self) -> list[Firing]:
        """Return the alerts that fire now.

        Raises:
            UnavailableError: vmalert does not answer.
        """
        return self._vmalert.firing()

    @property
    def url(self) -> str:
        """The store's address; empty before `start`."""
        return self._store.url if self._store else ""

    @property
    def exporter_url(self) -> str:
        """The exporter's address, without /metrics."""
        return f"http://127.0.0.1:{self._exporter_port}"

    def start(self) -> None:
        """Start the exporter, the store, which scrapes from now on, and vmalert where it can be had.

        Raises:
            MirrorError: one of them does not start; the message says why.
        """
        self.say("starting the monitoring")
        self.start_exporter()
        port = _usable(self._ports[0])
        file = self.folder / "scrape.yaml"
        file.write_text(yaml.safe_dump(self._scrape(port), sort_keys=False))
        self._store = VictoriaMetrics(
            self.folder / "store", port, more=[f"-promscrape.config={file}", "-promscrape.config.strictParse"]
        )
        self._store.start()
        if self._rules:
            self._alert()

    def start_exporter(self) -> None:
        """Start the exporter alone, on the port it had before if it ran."""
        self._exporter_port = self._exporter_port or _usable(self._ports[1])
        argv = [sys.executable, "-m", "otmirror", "metrics", "serve", f"--listen=127.0.0.1:{self._exporter_port}"]
        argv += [f"--folder={folder}" for folder in self._metrics] + [f"--disk={path}" for path in self._disks]
        self._exporter.start(argv, lambda: answers(f"{self.exporter_url}/health"))

    def stop_exporter(self) -> None:
        """Stop the exporter alone."""
        self._exporter.stop()

    def _alert(self) -> None:
        try:
            tool("vmalert", self.say)
        except UnavailableError as error:
            self.say(f"{error}; there are no alerts")
            return
        self._vmalert = VmAlert(
            self.folder / "vmalert", self.url, self._rules, self._interval, alertmanager=self._alertmanager
        )
        self._vmalert.start()

    def stop(self) -> None:
        """Stop whatever runs. May be called more than once."""
        self._vmalert.stop()
        (self._store or VictoriaMetrics(self.folder / "store")).stop()
        self._exporter.stop()

    def _scrape(self, port: int) -> dict[str, Any]:
        """Return monitoring/scrape.yaml with the addresses of this pilot."""
        config: dict[str, Any] = yaml.safe_load(SCRAPE.read_text(encoding="utf-8"))
        seconds = f"{self._interval:g}s"
        config["global"] |= {"scrape_interval": seconds, "scrape_timeout": seconds}
        targets = {
            "otmirror": self.exporter_url, "nifi": self._nifi, "victoriametrics": self._hot,
            "monitoring": f"http://127.0.0.1:{port}",
        }  # fmt: skip
        for job in config["scrape_configs"]:
            address = urlsplit(targets[job["job_name"]])
            job["scheme"] = address.scheme
            job["static_configs"] = [{"targets": [address.netloc]}]
            if job["job_name"] == "nifi" and self._client:
                files = self._client
                job["tls_config"] = {
                    "ca_file": str(files.authority), "cert_file": str(files.certificate), "key_file": str(files.key),
                }  # fmt: skip
        return config


def _usable(port: int) -> int:
    return port if port and port_is_free(port) else free_port()
