"""The Vault side as code: mount, policies and AppRoles of `security/vault`, put into a Vault."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hvac import exceptions

from otmirror.errors import ConfigError
from otmirror.pki.stores import write_private
from otmirror.vault.client import MOUNT, Access, connect, content, told
from otmirror.workspace import PROJECT

T = TypeVar("T")
POLICIES = PROJECT / "security" / "vault"
_READ = re.compile(r"otmirror-read-([a-z0-9-]+)")


class Setup:
    """What somebody with the policy `otmirror-setup`, or more, does once for a Vault."""

    def __init__(self, access: Access, policies: Path = POLICIES):
        """Take the access, by token, and the folder of the policies.

        Raises:
            ConfigError: there is no token.
        """
        if access.token_file is None:
            raise ConfigError("Vault: setting up needs --token-file, a token of the policy otmirror-setup or more")
        self._access, self._policies = access, policies
        self._client: Any = connect(access, content(access.token_file, "--token-file"))

    def apply(self) -> list[str]:
        """Make what is missing, set what differs; return what was set. Running it again is harmless.

        Raises:
            ConfigError: the token may not do it, or something else is mounted there.
            UnavailableError: the Vault does not answer, or is sealed.
        """
        done = [*self._mount(), *self._approle()]
        for file in sorted(self._policies.glob("*.hcl")):
            self._do(partial(self._client.sys.create_or_update_acl_policy, file.stem, file.read_text()))
            done.append(f"policy {file.stem}")
        settings = json.loads((self._policies / "approle.json").read_text())
        for flow in self.flows():
            approle = partial(self._client.auth.approle.create_or_update_approle, _role(flow), **settings)
            self._do(partial(approle, token_policies=[f"otmirror-read-{flow}"]))
            done.append(f"AppRole {_role(flow)}")
        return done

    def flows(self) -> list[str]:
        """Return the flows for which there is a policy."""
        found = (_READ.fullmatch(file.stem) for file in self._policies.glob("*.hcl"))
        return sorted(match[1] for match in found if match)

    def hand_out(self, flow: str, folder: Path) -> tuple[Path, Path]:
        """Write the role id and a new secret id of a flow into `folder`, readable by their owner alone.

        Raises:
            ConfigError: there is no role for the flow, or the folder cannot be written.
        """
        if flow not in self.flows():
            raise ConfigError(
                f"there is no policy otmirror-read-{flow} in {self._policies} (there are: {self.flows()})"
            )
        approle, role = self._client.auth.approle, _role(flow)
        role_id = self._do(lambda: approle.read_role_id(role))["data"]["role_id"]
        secret_id = self._do(lambda: approle.generate_secret_id(role))["data"]["secret_id"]
        files = folder / "role-id", folder / "secret-id"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for file, text in zip(files, (role_id, secret_id), strict=True):
                write_private(file, text)
        except OSError as error:
            raise ConfigError(f"{error.filename or folder}: {error.strerror}") from None
        return files

    def _mount(self) -> Iterable[str]:
        mounts = self._do(self._client.sys.list_mounted_secrets_engines)["data"]
        there = mounts.get(f"{MOUNT}/")
        if there is None:
            self._do(lambda: self._client.sys.enable_secrets_engine("kv", MOUNT, options={"version": "2"}))
            return [f"KV version 2 at {MOUNT}/"]
        if there["type"] != "kv" or (there.get("options") or {}).get("version") != "2":
            raise ConfigError(f"Vault at {self._access.url}: {MOUNT}/ is mounted and is not KV version 2")
        return []

    def _approle(self) -> Iterable[str]:
        if "approle/" in self._do(self._client.sys.list_auth_methods)["data"]:
            return []
        self._do(lambda: self._client.sys.enable_auth_method("approle"))
        return ["AppRole login"]

    def _do(self, request: Callable[[], T]) -> T:
        try:
            return told(self._access, request)
        except exceptions.Forbidden:
            raise ConfigError(
                f"Vault at {self._access.url}: this token may not do that, or is not valid; it needs the policy "
                "otmirror-setup"
            ) from None
        except exceptions.VaultError as error:
            raise ConfigError(f"Vault at {self._access.url}: {error.args[0]}") from None


def _role(flow: str) -> str:
    return f"otmirror-{flow}"
