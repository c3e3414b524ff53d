"""ZooKeeper as a child server: it elects the coordinator and the primary node of a NiFi cluster on this machine."""

from __future__ import annotations

import fnmatch
import os
import shutil
import socket
import zipfile
from pathlib import Path
from string import Template

from otmirror.embedded.install import CONF, Installation
from otmirror.embedded.java import java_home
from otmirror.embedded.processes import Server, port_is_free
from otmirror.errors import ConfigError, UnavailableError

_CONF = CONF / "cluster"
_IN_NAR = "META-INF/bundled-dependencies/"
# NiFi's framework brings ZooKeeper along, as its client and for the server it can embed.
_JARS = ("zookeeper-*.jar", "audience-annotations-*.jar", "netty-*.jar", "snappy-java-*.jar", "metrics-core-*.jar")
_LOGGING = ("slf4j-api-*.jar", "logback-*.jar")


class ZooKeeper:
    """One ZooKeeper on 127.0.0.1 with its jars, data and log in `folder`."""

    def __init__(self, folder: Path, port: int):
        """Take its folder and the port it listens on."""
        self._server = Server("ZooKeeper", folder)
        self.port = port

    @property
    def folder(self) -> Path:
        """Where its configuration, jars, log and data are."""
        return self._server.folder

    @property
    def address(self) -> str:
        """What NiFi is told as its connect string."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._server.pid

    def start(self, installation: Installation, timeout: float = 120.0) -> None:
        """Start it with the jars of a NiFi and wait until it answers.

        Raises:
            ConfigError: that NiFi holds no ZooKeeper.
            UnavailableError: its port is taken, or it does not start; the message says why in one line.
        """
        if not self._server.running and not port_is_free(self.port):
            raise UnavailableError(f"ZooKeeper: port {self.port} of 127.0.0.1 is in use")
        jars = unpack(installation, self.folder / "lib")
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        config = self.folder / "zoo.cfg"
        config.write_text(Template((_CONF / "zoo.cfg").read_text()).substitute(port=self.port, data=data))
        logging = [str(jar) for pattern in _LOGGING for jar in sorted(installation.lib.glob(pattern))]
        java = java_home()
        argv = [
            str(java / "bin" / "java"), "-Xmx128m", "-Djava.awt.headless=true", "-Dzookeeper.jmx.log4j.disable=true",
            f"-Dlogback.configurationFile={_CONF / 'zookeeper-logback.xml'}",
            "-cp", os.pathsep.join([f"{jars}/*", *logging]),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config),
        ]  # fmt: skip
        self._server.start(argv, lambda: answers(self.port), timeout, env={"JAVA_HOME": str(java)})

    def stop(self) -> None:
        """Stop it; what it keeps for the nodes (their state, no samples) is on disk."""
        self._server.stop()


def unpack(installation: Installation, folder: Path) -> Path:
    """Take ZooKeeper's jars out of the framework NAR of a NiFi into `folder`; return it.

    Raises:
        ConfigError: there is no framework NAR, or no ZooKeeper in it.
    """
    nar = next(iter(sorted(installation.lib.glob("nifi-framework-nar-*.nar"))), None)
    if nar is None:
        raise ConfigError(f"{installation.lib} has no nifi-framework-nar-*.nar, which holds ZooKeeper")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(nar) as archive:
        names = [name for name in archive.namelist() if name.startswith(_IN_NAR)]
        wanted = [name for name in names if any(fnmatch.fnmatch(Path(name).name, jar) for jar in _JARS)]
        if not any(Path(name).name.startswith("zookeeper-") for name in wanted):
            raise ConfigError(f"{nar} holds no ZooKeeper")
        for name in wanted:
            (folder / Path(name).name).write_bytes(archive.read(name))
    return folder


def answers(port: int) -> bool:
    """Return whether the ZooKeeper on a port of 127.0.0.1 says that it is well."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as asking:
            asking.sendall(b"ruok")
            return asking.recv(16) == b"imok"
    except OSError:
        return False
