"""Real message brokers on 127.0.0.1 for tests and benchmarks: Mosquitto (MQTT) and Kafka, one node each."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from otmirror.embedded.install import CONF, locked
from otmirror.embedded.java import java_home
from otmirror.embedded.maven import apt_install, maven
from otmirror.embedded.processes import Server, free_port
from otmirror.errors import UnavailableError
from otmirror.workspace import work

_POM = CONF / "kafka" / "pom.xml"


@dataclass(frozen=True)
class Tls:
    """PEM files of a broker: the authorities it trusts, its certificate with chain, its key."""

    authority: Path
    certificate: Path
    key: Path


class Mosquitto:
    """An MQTT broker that keeps sessions and their messages on disk; nothing is dropped for being too much."""

    def __init__(self, folder: Path, tls: Tls | None = None, acl: Path | None = None):
        """Take its folder; with `tls` every client needs a certificate, whose CN is its user in the file `acl`."""
        self._server = Server("mosquitto", folder)
        self._tls, self._acl = tls, acl
        self.port = 0

    @property
    def folder(self) -> Path:
        """Where its configuration, log and stored messages are."""
        return self._server.folder

    def start(self) -> None:
        """Start it and wait until it listens; a second start keeps port, sessions and messages.

        Raises:
            UnavailableError: it is not installed, or does not start.
        """
        binary = mosquitto_binary()
        self.port = self.port or free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(self._config()) + "\n")
        self._server.start([str(binary), "-c", str(config)], lambda: _listens(self.port), 60.0)

    def stop(self) -> None:
        """Stop it; what it holds is on disk."""
        self._server.stop()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._server.kill()

    def _config(self) -> list[str]:
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {self.folder}/",
            # Written after every change, so that a killed broker has what it acknowledged.
            "autosave_on_changes true",
            "autosave_interval 1",
            "max_queued_messages 0",
            "max_inflight_messages 1000",
            "set_tcp_nodelay true",
        ]
        if os.geteuid() == 0:
            # It would give up root and then not be able to read its files.
            lines.append("user root")
        if self._tls is None:
            return [*lines, "allow_anonymous true"]
        lines += [
            f"cafile {self._tls.authority}",
            f"certfile {self._tls.certificate}",
            f"keyfile {self._tls.key}",
            "require_certificate true",
            "use_identity_as_username true",
            "allow_anonymous false",
        ]
        return [*lines, f"acl_file {self._acl}"] if self._acl else lines


class Kafka:
    """A Kafka broker in KRaft mode, broker and controller in one process."""

    def __init__(self, folder: Path, tls: Tls | None = None, superuser: str = ""):
        """Take its folder; with `tls` clients need certificates, and all but CN=`superuser` need rules."""
        self._server = Server("kafka", folder)
        self._tls, self._superuser = tls, superuser
        self.port = self._controller = 0

    @property
    def folder(self) -> Path:
        """Where its configuration, log and data are."""
        return self._server.folder

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._server.pid

    @property
    def address(self) -> str:
        """Its bootstrap address."""
        return f"127.0.0.1:{self.port}"

    def start(self, timeout: float = 180.0) -> None:
        """Start it and wait until it listens; a second start keeps ports and data.

        Raises:
            UnavailableError: Java, Maven or its jars cannot be had, or it does not start.
        """
        lib, java = kafka_jars(), str(java_home() / "bin" / "java")
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.properties"
        if not self.port:
            self.port, self._controller = free_port(), free_port()
            config.write_text("".join(f"{key}={value}\n" for key, value in self._config().items()))
            self._run(java, lib, "kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(config))
        argv = [java, "-Xms256m", "-Xmx512m", "-cp", f"{lib}/*", "kafka.Kafka", str(config)]
        self._server.start(argv, lambda: _listens(self.port), timeout)

    def stop(self) -> None:
        """Stop it; what it acknowledged is on disk."""
        self._server.stop()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._server.kill()

    def _run(self, java: str, lib: Path, *arguments: str) -> None:
        done = subprocess.run([java, "-cp", f"{lib}/*", *arguments], capture_output=True, timeout=120, check=False)
        if done.returncode:
            raise UnavailableError(f"Kafka could not format its storage: {done.stderr.decode(errors='replace')[-300:]}")

    def _config(self) -> Mapping[str, str]:
        kind = "SSL" if self._tls else "PLAINTEXT"
        basic = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "listeners": f"{kind}://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": f"{kind}://127.0.0.1:{self.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": kind,
            "log.dirs": str(self.folder / "data"),
            "num.partitions": "4",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
        }
        if self._tls is None:
            return basic
        pair = self.folder / "broker.pem"
        pair.write_bytes(self._tls.key.read_bytes() + self._tls.certificate.read_bytes())
        pair.chmod(0o600)
        return {
            **basic,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(pair),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._tls.authority),
            "ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # A user is its certificate's CN, as Mosquitto has it.
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
            "super.users": f"User:{self._superuser};User:ANONYMOUS",
        }


def mosquitto_binary() -> Path:
    """Return Mosquitto's program, installing Debian's package when there is none and there is root.

    Raises:
        UnavailableError: there is none and it cannot be installed.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    found = shutil.which("mosquitto", path=path) or (apt_install("mosquitto") and shutil.which("mosquitto", path=path))
    if not found:
        raise UnavailableError("Mosquitto was not found: install it (Debian: apt-get install mosquitto)")
    return Path(found)


def kafka_jars(say: Callable[[str], object] = lambda _line: None) -> Path:
    """Return the folder of Kafka's jars, fetched with Maven when missing.

    Raises:
        UnavailableError: Java, Maven or the jars cannot be had; the message says why.
    """
    folder = work() / "kafka"
    folder.mkdir(exist_ok=True)
    lib, marker, wanted = folder / "lib", folder / "installed", hashlib.sha256(_POM.read_bytes()).hexdigest()
    with locked(folder / "install.lock"):
        if not (marker.is_file() and marker.read_text() == wanted):
            say("Kafka: fetching its jars with Maven")
            shutil.rmtree(lib, ignore_errors=True)
            log = folder / "maven.log"
            argv = [
                str(maven()), "-B", "-ntp", "-q", "-f", str(_POM), "dependency:copy-dependencies",
                "-DincludeScope=runtime", f"-DoutputDirectory={lib}", "-Dmaven.artifact.threads=10",
            ]  # fmt: skip
            with log.open("wb") as output:
                env = {**os.environ, "JAVA_HOME": str(java_home())}
                done = subprocess.run(argv, env=env, stdout=output, stderr=output, check=False)
            if done.returncode:
                raise UnavailableError(f"Maven could not fetch Kafka (all of it: {log})")
            marker.write_text(wanted)
    return lib


def _cluster_id() -> str:
    """Return a new cluster id in Kafka's notation: a UUID in URL-safe base64 without padding."""
    # Kafka's own command takes one that begins with a dash for an option.
    return "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def _listens(port: int) -> bool:
    with socket.socket() as trying:
        trying.settimeout(1.0)
        return trying.connect_ex(("127.0.0.1", port)) == 0
