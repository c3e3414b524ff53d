"""One secret of a Vault (or OpenBao): login by AppRole, reading by KV version 2, and what goes wrong in one line.

Sources: https://developer.hashicorp.com/vault/api-docs/auth/approle and .../secret/kv/kv-v2; OpenBao has the same API.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import hvac
import requests
from hvac import exceptions

from otmirror import netfault
from otmirror.embedded.loopback import session
from otmirror.errors import ConfigError, UnavailableError

T = TypeVar("T")
MOUNT = "otmirror"
"""Where the KV version 2 engine is mounted."""
_RENEW_AT = 0.5
"""Which part of a token's life may pass before it is renewed."""


@dataclass(frozen=True)
class Access:
    """Where the Vault is, whom it knows us as, and whose certificate to believe.

    The login is an AppRole (`role_id_file` and `secret_id_file`), or a token that somebody else keeps fresh in
    `token_file`, such as Vault Agent. Files are read at every login: what is put there is used without a restart.
    """

    url: str
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    namespace: str | None = None
    role_id_file: Path | None = None
    secret_id_file: Path | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: no https address, no login or two, or a file that is not there.
        """
        if urlsplit(self.url).scheme != "https":
            raise ConfigError(f"Vault: {self.url!r} is no https:// address; secrets are only asked for over TLS")
        if bool(self.role_id_file) != bool(self.secret_id_file):
            raise ConfigError("Vault: --role-id-file and --secret-id-file go together")
        if bool(self.role_id_file) == bool(self.token_file):
            raise ConfigError("Vault: give either --role-id-file and --secret-id-file, or --token-file")
        if bool(self.certificate) != bool(self.key):
            raise ConfigError("Vault: --vault-cert and --vault-key go together")
        for option, file in (("ca", self.authority), ("cert", self.certificate), ("key", self.key)):
            if file and not file.is_file():
                raise ConfigError(f"Vault: --vault-{option}: there is no file {file}")


@dataclass(frozen=True)
class Secret:
    """The newest version of a secret: its values by key, its number, and when it was written (RFC 3339)."""

    values: Mapping[str, str] = field(repr=False)
    version: int
    written: str


def connect(access: Access, token: str = "") -> Any:
    """Return hvac's client for a Vault; with an empty token it may only log in."""
    asking = session(access.url)
    asking.verify = str(access.authority) if access.authority else True
    if access.certificate:
        asking.cert = (str(access.certificate), str(access.key))
    # An explicit token: for None hvac takes whatever the environment or the home folder holds.
    return hvac.Client(access.url, token=token, timeout=30, session=asking, namespace=access.namespace)


class Vault:
    """A login at a Vault that keeps itself alive. One thread at a time."""

    def __init__(self, access: Access, clock: Callable[[], float] = time.monotonic):
        """Nothing is sent yet."""
        self.access, self._clock = access, clock
        self._client: Any = None
        self._renew_at = float("inf")
        self._renewable = False
        self.notices: list[str] = []
        """What happened to the login that its owner should hear of; whoever tells it empties the list."""

    def read(self, path: str, version: int | None = None) -> Secret:
        """Return a version, the newest unless one is named, of the secret `path`, such as `pilot`, in `otmirror/`.

        Raises:
            ConfigError: the login is refused, the policy does not allow it, or there is no such secret.
            UnavailableError: the Vault does not answer, or is sealed.
        """
        known = self._client is not None
        if not known:
            self._login()
        elif self._clock() >= self._renew_at:
            self._renew()
        try:
            return self._secret(path, version)
        except exceptions.Forbidden:
            if not (known and self._token_is_gone()):
                raise self._refused(path) from None
        self.notices.append(f"Vault at {self.access.url}: the token was revoked or has expired; logging in again")
        self._login()
        try:
            return self._secret(path, version)
        except exceptions.Forbidden:
            raise self._refused(path) from None

    def close(self) -> None:
        """Give the token back when it is an AppRole's; whatever then goes wrong, it expires by itself."""
        client, self._client = self._client, None
        if client is not None and self.access.role_id_file:
            try:
                client.auth.token.revoke_self()
            except (exceptions.VaultError, requests.RequestException):
                return

    def _secret(self, path: str, version: int | None) -> Secret:
        reading = self._client.secrets.kv.v2.read_secret_version
        try:
            told = self._told(lambda: reading(path, version, mount_point=MOUNT, raise_on_deleted_version=True))
        except exceptions.InvalidPath:
            raise ConfigError(
                f"Vault at {self.access.url} has no secret {MOUNT}/{path}, or its newest version is deleted; write it "
                f"(vault kv put {MOUNT}/{path} ...)"
            ) from None
        values, about = told["data"]["data"], told["data"]["metadata"]
        wrong = sorted(key for key, value in values.items() if not isinstance(value, str) or not value)
        if wrong:
            raise ConfigError(f"Vault secret {MOUNT}/{path}: {', '.join(wrong)} has to be a text that is not empty")
        return Secret(values, int(about["version"]), str(about["created_time"]))

    def _login(self) -> None:
        self._client, access = None, self.access
        if access.token_file:
            client = connect(access, content(access.token_file, "--token-file"))
            try:
                told = self._told(client.auth.token.lookup_self)["data"]
            except exceptions.Forbidden:
                raise ConfigError(
                    f"Vault at {access.url} does not know the token in {access.token_file}: it was revoked or has "
                    "expired; put a new one there"
                ) from None
            self._keep(client, float(told["ttl"]), bool(told.get("renewable")))
            return
        assert access.role_id_file is not None
        assert access.secret_id_file is not None
        role, secret = (
            content(access.role_id_file, "--role-id-file"),
            content(access.secret_id_file, "--secret-id-file"),
        )
        client = connect(access)
        try:
            told = self._told(lambda: client.auth.approle.login(role, secret))["auth"]
        except (exceptions.InvalidRequest, exceptions.Forbidden, exceptions.Unauthorized):
            raise ConfigError(
                f"Vault at {access.url} refuses the AppRole login: the role id or the secret id is wrong, has expired "
                f"or was revoked; put a new secret id into {access.secret_id_file}"
            ) from None
        self._keep(client, float(told["lease_duration"]), bool(told["renewable"]))

    def _keep(self, client: Any, seconds: float, renewable: bool) -> None:
        self._client, self._renewable = client, renewable
        # A root token, which nobody should give us, never ends.
        self._renew_at = self._clock() + _RENEW_AT * seconds if seconds else float("inf")

    def _renew(self) -> None:
        """Renew the token, or log in when it cannot be renewed any further."""
        client = self._client
        if self._renewable:
            try:
                told = self._told(client.auth.token.renew_self)["auth"]
            except (exceptions.Forbidden, exceptions.InvalidRequest):
                told = None
            if told and told["lease_duration"] > 0:
                self._keep(client, float(told["lease_duration"]), bool(told["renewable"]))
                return
        if self.access.role_id_file:
            self._login()

    def _token_is_gone(self) -> bool:
        try:
            self._told(self._client.auth.token.lookup_self)
        except exceptions.Forbidden:
            return True
        return False

    def _refused(self, path: str) -> ConfigError:
        return ConfigError(
            f"Vault at {self.access.url} does not let this login read {MOUNT}/data/{path}; check the policy of its "
            "role (security/vault)"
        )

    def _told(self, request: Callable[[], T]) -> T:
        """Return what a request gives; what nobody can answer for here becomes one line."""
        return told(self.access, request)


def told(access: Access, request: Callable[[], T]) -> T:
    """Return what a request to the Vault gives.

    Raises:
        UnavailableError: it does not answer, is sealed or not initialised, or fails.
        VaultError: hvac's, when it says no: for the caller to explain.
    """
    where = f"Vault at {access.url}"
    try:
        return request()
    except (exceptions.Forbidden, exceptions.InvalidRequest, exceptions.InvalidPath, exceptions.Unauthorized):
        raise
    except exceptions.VaultNotInitialized:
        raise UnavailableError(f"{where} is not initialised") from None
    except exceptions.VaultDown:
        raise UnavailableError(f"{where} is sealed, or a standby without a leader; unseal it") from None
    except exceptions.VaultError as error:
        raise UnavailableError(f"{where} fails ({type(error).__name__}); its log says why") from None
    except requests.exceptions.SSLError as error:
        raise UnavailableError(f"{where}: {netfault.words(error)}; check {_option(error)}") from None
    except (requests.RequestException, OSError) as error:
        raise UnavailableError(f"{where}: {netfault.words(error)}") from None
    except ValueError:
        raise ConfigError(f"{access.url} is not a Vault (it answered no JSON)") from None


def content(file: Path, option: str) -> str:
    """Return what a file with a secret holds, without the line's end.

    Raises:
        ConfigError: it cannot be read or is empty.
    """
    try:
        text = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Vault: {option} {file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    if not text:
        raise ConfigError(f"Vault: {option} {file} is empty")
    return text


def _option(error: BaseException) -> str:
    return "--vault-cert" if netfault.blames_client_certificate(error) else "--vault-ca"
