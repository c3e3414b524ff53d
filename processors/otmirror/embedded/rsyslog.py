"""rsyslog as a child server: the shipper of the audit trail, with the configuration that is delivered."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from otmirror.embedded.maven import apt_install
from otmirror.embedded.processes import Server
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import PROJECT

CONFIGURATION = PROJECT / "security" / "audit" / "rsyslog-opensearch.conf"
_MODULE = "rsyslog/omelasticsearch.so"


class Rsyslog:
    """One rsyslog of the user's own that ships the audit trail's files; it has no other input."""

    def __init__(self, folder: Path, settings: Mapping[str, str]):
        """Take the folder for log and scratch, and the variables that the configuration asks for but the scratch."""
        self._server = Server("rsyslog", folder)
        # A proxy of the environment must not see what goes to this machine.
        self._scratch = self._server.folder / "scratch"
        self._settings = {
            "OTMIRROR_AUDIT_SCRATCH": str(self._scratch), "no_proxy": "127.0.0.1,localhost", **settings
        }  # fmt: skip

    def start(self, timeout: float = 30.0) -> None:
        """Start it and wait until it has taken its configuration.

        Raises:
            UnavailableError: it is not installed, or does not start.
            ConfigError: it does not accept the configuration.
        """
        binary = install()
        # As systemd does for the delivered unit.
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        pid = self._scratch / "rsyslogd.pid"
        argv = [str(binary), "-n", "-f", str(CONFIGURATION), "-i", str(pid)]
        check = subprocess.run(
            [str(binary), "-N1", "-f", str(CONFIGURATION)],
            env={**self._settings, "PATH": "/usr/sbin:/usr/bin:/bin"}, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        if check.returncode:
            raise ConfigError(f"rsyslog does not accept {CONFIGURATION.name}: {' '.join(check.stderr.split())[:400]}")
        self._server.start(argv, pid.exists, timeout, env=self._settings)

    def stop(self) -> None:
        """Stop it."""
        self._server.stop(5.0)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._server.kill()

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._server.running


def install() -> Path:
    """Return the path of rsyslogd with its module for OpenSearch, installing Debian's packages when there is root.

    Raises:
        UnavailableError: it is not there and cannot be installed.
    """
    if not _found():
        apt_install("rsyslog", "rsyslog-elasticsearch")
    binary = _found()
    if binary is None:
        raise UnavailableError(
            "rsyslog ships the audit trail and was not found: install it "
            "(Debian: apt-get install rsyslog rsyslog-elasticsearch)"
        )
    return binary


def _found() -> Path | None:
    binary = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    modules = [*Path("/usr/lib").glob(f"*/{_MODULE}"), *Path("/usr/lib").glob(_MODULE)]
    return Path(binary) if binary and modules else None
