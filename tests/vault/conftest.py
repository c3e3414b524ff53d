"""A real OpenBao, which speaks Vault's API: raft storage, TLS with client certificates, unsealed by the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otmirror.embedded import openbao
from otmirror.embedded.openbao import Keys, OpenBao
from otmirror.embedded.pki import Authority
from otmirror.errors import UnavailableError
from otmirror.pki.stores import write_private
from otmirror.vault.client import Access, Vault, connect
from otmirror.vault.setup import Setup


class Bao:
    """The server, its keys, and who works with it; every file a login needs is in `folder`."""

    def __init__(self, folder: Path):
        self.folder, self.authority = folder, Authority(folder / "pki")
        self.server = OpenBao(folder / "openbao", self.authority.issue("openbao"))
        self.tls = self.authority.issue("otmirror-edge")
        self.keys: Keys

    def start(self) -> None:
        self.server.start()
        self.keys = self.server.initialise()
        self.root_token = self.folder / "root-token"
        write_private(self.root_token, self.keys.root)
        Setup(self.access(token_file=self.root_token)).apply()

    def access(self, **login: Any) -> Access:
        settings = {"authority": self.tls.authority, "certificate": self.tls.certificate, "key": self.tls.key}
        return Access(self.server.url, **{**settings, **login})

    @property
    def root(self) -> Any:
        """hvac's client with the root token: the oracle, and the hand that rotates and revokes."""
        return connect(self.access(token_file=self.root_token), self.keys.root)

    def put(self, flow: str = "pilot", **values: str) -> None:
        self.root.secrets.kv.v2.create_or_update_secret(
            f"{flow}", {key.replace("__", "."): value for key, value in values.items()}, mount_point="otmirror"
        )

    def approle(self, flow: str = "pilot") -> dict[str, Path]:
        """A new secret id of a flow's role, as files."""
        folder = self.folder / f"login-{flow}"
        role, secret = Setup(self.access(token_file=self.root_token)).hand_out(flow, folder)
        return {"role_id_file": role, "secret_id_file": secret}


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    try:
        openbao.install()
    except UnavailableError as error:
        pytest.skip(str(error))
    made = Bao(tmp_path_factory.mktemp("bao"))
    try:
        made.start()
        yield made
    finally:
        made.server.stop()


@pytest.fixture
def login(bao: Bao) -> Callable[..., Vault]:
    """A login as the flow's own AppRole."""

    def make(flow: str = "pilot", **options: Any) -> Vault:
        return Vault(bao.access(**bao.approle(flow)), **options)

    return make
