"""OpenSearch as a child server, for the tests of the audit trail: the published core, no plugin but HTTP."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from otmirror.embedded.install import CONF, locked
from otmirror.embedded.java import java_home
from otmirror.embedded.loopback import answers
from otmirror.embedded.maven import maven
from otmirror.embedded.processes import Server, free_port
from otmirror.errors import UnavailableError
from otmirror.workspace import work

_POM = CONF / "opensearch" / "pom.xml"
_MAIN = CONF / "opensearch" / "OpenSearchNode.java"


class OpenSearch:
    """One node on 127.0.0.1 with its data in `folder`."""

    def __init__(self, folder: Path):
        """Take the folder for data and log."""
        self._server = Server("OpenSearch", folder)
        self.port = self._transport = 0

    @property
    def url(self) -> str:
        """The address of its REST API."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, timeout: float = 180.0) -> None:
        """Start it and wait until it answers; a second start keeps port and data.

        Raises:
            UnavailableError: a JDK, Maven or its jars cannot be had, or it does not start.
        """
        installed = install()
        if not self.port:
            self.port, self._transport = free_port(), free_port()
        home = self._server.folder
        argv = [
            str(java_home() / "bin" / "java"), "-Xms256m", "-Xmx512m", "--enable-native-access=ALL-UNNAMED",
            "-cp", f"{installed / 'classes'}{os.pathsep}{installed / 'lib'}/*",
            "OpenSearchNode", str(home), str(self.port), str(self._transport),
        ]  # fmt: skip
        self._server.start(argv, self._answers, timeout)

    def stop(self) -> None:
        """Stop it; what it accepted is on disk."""
        self._server.stop()

    def _answers(self) -> bool:
        # Not before the node has itself as its cluster's manager: it would refuse to make an index.
        return answers(f"{self.url}/_cluster/health")


def install(say: Callable[[str], object] = lambda _line: None) -> Path:
    """Return the folder with OpenSearch's jars in `lib` and its start in `classes`, made with Maven when missing.

    Raises:
        UnavailableError: a JDK, Maven or the jars cannot be had; the message says why.
    """
    folder = work() / "opensearch"
    marker = folder / "installed"
    wanted = hashlib.sha256(_POM.read_bytes() + _MAIN.read_bytes()).hexdigest()
    with locked(folder / "install.lock"):
        if not (marker.is_file() and marker.read_text() == wanted):
            say("OpenSearch: fetching its jars with Maven")
            for old in ("lib", "classes"):
                shutil.rmtree(folder / old, ignore_errors=True)
            _build(folder)
            marker.write_text(wanted)
    return folder


def _build(folder: Path) -> None:
    java, log = java_home(), folder / "build.log"
    compiler = java / "bin" / "javac"
    if not compiler.is_file():
        raise UnavailableError(f"OpenSearch needs a JDK to be built, {java} is only a Java to run programs")
    steps = (
        [
            str(maven()), "-B", "-ntp", "-q", "-f", str(_POM), "dependency:copy-dependencies",
            "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}", "-Dmaven.artifact.threads=10",
        ],
        [str(compiler), "-cp", f"{folder / 'lib'}/*", "-d", str(folder / "classes"), str(_MAIN)],
    )  # fmt: skip
    with log.open("wb") as output:
        for argv in steps:
            env = {**os.environ, "JAVA_HOME": str(java)}
            if subprocess.run(argv, env=env, stdout=output, stderr=output, check=False).returncode:
                raise UnavailableError(f"OpenSearch could not be fetched and built (all of it: {log})")
