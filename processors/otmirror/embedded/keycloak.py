"""A real Keycloak on 127.0.0.1 for tests and laboratories, over HTTPS, with a realm from a file."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import requests

from otmirror.embedded.brokers import Tls
from otmirror.embedded.install import locked
from otmirror.embedded.java import java_home
from otmirror.embedded.loopback import session
from otmirror.embedded.maven import maven
from otmirror.embedded.processes import Server, free_port
from otmirror.errors import ConfigError, UnavailableError
from otmirror.workspace import PROJECT, work

VERSION = "26.7.0"
REALM = PROJECT / "security" / "keycloak" / "realm.json"
ADMIN_CLIENT = "otmirror-bootstrap"
"""The client of the realm master that administers this server; it has a secret, and there is no user."""

_ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:tar.gz"
# One node with its data in a file; all else as it comes.
_BUILD = ("--db=dev-file", "--cache=local", "--health-enabled=true", "--metrics-enabled=false")
_JAVA = (
    "-Xms64m", "-Xmx512m", "-XX:MaxMetaspaceSize=256m", "-Dfile.encoding=UTF-8",
    "-Djava.util.logging.manager=org.jboss.logmanager.LogManager", "-Dpicocli.disable.closures=true",
    "-Djava.util.concurrent.ForkJoinPool.common.threadFactory="
    "io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
    "--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.security=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED", "-Duser.language=en", "-Duser.country=US",
)  # fmt: skip
_MAIN = "io.quarkus.bootstrap.runner.QuarkusEntryPoint"


def install(say: Callable[[str], object] = print) -> Path:
    """Return the folder of Keycloak, fetched with Maven and built once when missing.

    Raises:
        UnavailableError: Java, Maven or the archive cannot be had, or the build fails; the message says why.
    """
    folder = work() / "keycloak"
    folder.mkdir(exist_ok=True)
    home, marker, wanted = folder / f"keycloak-{VERSION}", folder / "built", " ".join((VERSION, *_BUILD))
    with locked(folder / "install.lock"):
        if not (marker.is_file() and marker.read_text() == wanted):
            say(f"Keycloak: fetching {VERSION} with Maven and building it (about a minute)")
            marker.unlink(missing_ok=True)
            shutil.rmtree(home, ignore_errors=True)
            _fetch(folder)
            _run([str(home / "bin" / "kc.sh"), "build", *_BUILD], folder / "build.log", "could not be built")
            marker.write_text(wanted)
    return home


class Keycloak:
    """One Keycloak whose data are in `folder`, at https://localhost:`port`."""

    def __init__(self, folder: Path, tls: Tls, realm: Path = REALM, values: Mapping[str, str] | None = None):
        """Take its folder, its certificate, and the realm with values for the ${NAME} in it."""
        self._server = Server("keycloak", folder)
        self._tls, self._realm, self._values = tls, realm, dict(values or {})
        self.admin_secret = secrets.token_urlsafe(24)
        """Of the client that administers it."""
        self.port = 0

    @property
    def folder(self) -> Path:
        """Where its data and log are."""
        return self._server.folder

    @property
    def log(self) -> Path:
        """What it says since its last start, log-ins included."""
        return self._server.log

    @property
    def url(self) -> str:
        """Its address; realms are under /realms."""
        return f"https://localhost:{self.port}"

    @property
    def issuer(self) -> str:
        """The address of the realm that was imported."""
        return f"{self.url}/realms/{json.loads(self._realm.read_text('utf-8'))['realm']}"

    @property
    def discovery(self) -> str:
        """The address of the description of that realm's provider."""
        return f"{self.issuer}/.well-known/openid-configuration"

    def start(self, timeout: float = 480.0) -> None:
        """Start it and wait until the realm answers; a second start keeps port and data.

        Raises:
            ConfigError: the realm needs a value that was not given.
            UnavailableError: it cannot be had, or does not start.
        """
        self._place_realm()
        self._place_lib(install(lambda _line: None))
        self.port = self.port or free_port()
        java = java_home() / "bin" / "java"
        argv = [
            str(java), *_JAVA, f"-Dkc.home.dir={self.folder}", f"-Djboss.server.config.dir={self.folder / 'conf'}",
            "-cp", str(self.folder / "lib" / "quarkus-run.jar"), _MAIN, "start", "--optimized", "--import-realm",
            "--http-host=127.0.0.1", "--http-enabled=false", f"--https-port={self.port}", f"--hostname={self.url}",
            f"--https-certificate-file={self._tls.certificate}", f"--https-certificate-key-file={self._tls.key}",
            "--http-management-host=127.0.0.1", f"--http-management-port={free_port()}",
        ]  # fmt: skip
        bootstrap = {
            "KC_BOOTSTRAP_ADMIN_CLIENT_ID": ADMIN_CLIENT,
            "KC_BOOTSTRAP_ADMIN_CLIENT_SECRET": self.admin_secret,
        }
        self._server.start(argv, self._ready, timeout, env={**bootstrap, **self._values}, cwd=self.folder)

    def stop(self) -> None:
        """Stop it; what it knows is on disk."""
        self._server.stop()

    def _place_realm(self) -> None:
        text = self._realm.read_text("utf-8")
        # Keycloak would take a name without a value literally, a secret included.
        missing = sorted(set(re.findall(r"\$\{(\w+)\}", text)) - set(self._values))
        if missing:
            raise ConfigError(f"{self._realm} needs values for {', '.join(missing)}")
        for name in ("conf", "providers", "themes", "data/import"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "data" / "import" / "realm.json").write_text(text, "utf-8")

    def _place_lib(self, home: Path) -> None:
        """Share the installation's programs, which know how it was built; data and configuration are this server's."""
        link = self.folder / "lib"
        link.unlink(missing_ok=True)
        link.symlink_to(home / "lib", target_is_directory=True)

    def _ready(self) -> bool:
        try:
            with session(self.url) as asking:
                return asking.get(self.discovery, timeout=5, verify=str(self._tls.authority)).ok
        except requests.RequestException:
            return False


def _fetch(folder: Path) -> None:
    argv = [
        str(maven()), "-B", "-ntp", "-q", "dependency:copy",
        f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={folder}",
    ]  # fmt: skip
    _run(argv, folder / "maven.log", "could not be fetched")
    archive = next(folder.glob("*.tar.gz"))
    shutil.unpack_archive(archive, folder)
    archive.unlink()


def _run(argv: list[str], log: Path, what: str) -> None:
    with log.open("wb") as output:
        env = {**os.environ, "JAVA_HOME": str(java_home())}
        done = subprocess.run(argv, env=env, cwd=log.parent, stdout=output, stderr=output, check=False, timeout=900)
    if done.returncode:
        raise UnavailableError(f"Keycloak {what} (all of it: {log})")
