"""Requests to NiFi's REST API: one connection, every failure in one line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from otmirror.embedded.loopback import session
from otmirror.embedded.processes import wait_until
from otmirror.errors import ConfigError, UnavailableError

Json = Any


@dataclass(frozen=True)
class Login:
    """Who to be at a NiFi with TLS, and whose certificate to believe; without a user no token is asked for."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    authority: str | None = None
    """PEM file of the certificate authority; None: the system's."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Login:
        """Read OTMIRROR_NIFI_USER, OTMIRROR_NIFI_PASSWORD_FILE and OTMIRROR_NIFI_CA.

        Raises:
            ConfigError: a file cannot be read, or there is a user without a password file.
        """
        user, authority = environ.get("OTMIRROR_NIFI_USER") or None, environ.get("OTMIRROR_NIFI_CA") or None
        if authority and not Path(authority).is_file():
            raise ConfigError(f"OTMIRROR_NIFI_CA: there is no file {authority}")
        if not user:
            return cls(authority=authority)
        file = environ.get("OTMIRROR_NIFI_PASSWORD_FILE")
        if not file:
            raise ConfigError("OTMIRROR_NIFI_USER is set, but OTMIRROR_NIFI_PASSWORD_FILE is not")
        try:
            password = Path(file).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise ConfigError(f"OTMIRROR_NIFI_PASSWORD_FILE {file}: {why}") from None
        return cls(user, password, authority)


class _Bearer(requests.auth.AuthBase):
    """Sends the token; as `auth`, so that no .netrc takes its place."""

    def __init__(self, token: str):
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Rest:
    """A session with the REST API of one NiFi; `url` ends in /nifi-api."""

    def __init__(self, url: str, timeout: float = 60.0, login: Login | None = None):
        """Take the address, how many seconds one request may take, and the login (None: the environment's).

        Raises:
            ConfigError: the login in the environment is not complete, or would be sent without TLS.
        """
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._session = session(url)
        self._login = Login.from_environment() if login is None else login
        self._token: _Bearer | None = None
        if self._login.user and not self.url.lower().startswith("https://"):
            raise ConfigError(f"{self.url}: a user and password are only sent over https")

    def get(self, path: str, **params: Any) -> Json:
        """Return the answer to a GET."""
        return self._json("GET", path, params=params)

    def put(self, path: str, body: Json) -> Json:
        """Return the answer to a PUT of a JSON body."""
        return self._json("PUT", path, json=body)

    def post(self, path: str, body: Json = None, **options: Any) -> Json:
        """Return the answer to a POST of a JSON body, or of what `options` give requests."""
        return self._json("POST", path, **({"json": body} if body is not None else {}), **options)

    def delete(self, path: str, **params: Any) -> Json:
        """Return the answer to a DELETE."""
        return self._json("DELETE", path, params=params)

    def work_off(self, path: str, body: Json, key: str, what: str, timeout: float) -> Json:
        """Post a request that NiFi works off in the background, wait for it, remove it; return what came of it.

        Raises:
            UnavailableError: it was not finished after `timeout` seconds.
        """
        told = self.post(path, body)[key]
        this = f"{path}/{told.get('requestId') or told['id']}"

        def finished() -> bool:
            nonlocal told
            if not _finished(told):
                told = self.get(this)[key]
            return _finished(told)

        in_time = wait_until(finished, timeout)
        self.delete(this)
        if not in_time:
            raise UnavailableError(f"NiFi: {what} took more than {timeout:.0f} s")
        return told

    def _json(self, method: str, path: str, **options: Any) -> Json:
        answer = self._answer(method, path, auth=self._authorization(), **options)
        if answer.status_code == 401 and self._token:
            # A token lasts some hours.
            self._token = None
            answer = self._answer(method, path, auth=self._authorization(), **options)
        if answer.ok:
            return _decoded(answer, self.url)
        raise self._refusal(answer, method, path)

    def _authorization(self) -> _Bearer | None:
        if self._login.user and not self._token:
            form = {"username": self._login.user, "password": self._login.password}
            answer = self._answer("POST", "/access/token", data=form)
            if answer.status_code in (400, 401, 403):
                raise ConfigError(f"NiFi at {self.url} does not let {self._login.user!r} in: wrong user or password")
            if not answer.ok:
                raise self._refusal(answer, "POST", "/access/token")
            self._token = _Bearer(answer.text.strip())
        return self._token

    def _answer(self, method: str, path: str, **options: Any) -> requests.Response:
        # Given with each request: a variable of the environment would come before the session's own.
        verify = self._login.authority or True
        try:
            return self._session.request(method, self.url + path, timeout=self._timeout, verify=verify, **options)
        except requests.Timeout:
            raise UnavailableError(f"NiFi at {self.url} did not answer in {self._timeout:.0f} s") from None
        except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL):
            raise ConfigError(f"{self.url!r} is not the address of a NiFi, such as http://host:port/nifi-api") from None
        except requests.exceptions.SSLError:
            raise ConfigError(
                f"NiFi at {self.url}: its certificate is not trusted; name its CA in OTMIRROR_NIFI_CA"
            ) from None
        except requests.RequestException:
            raise UnavailableError(f"NiFi at {self.url} cannot be reached; is it running?") from None

    def _refusal(self, answer: requests.Response, method: str, path: str) -> ConfigError | UnavailableError:
        # NiFi's plain-text explanations name components and properties, never sensitive values.
        told = " ".join(answer.text.split())[:400] or answer.reason
        kind = UnavailableError if answer.status_code >= 500 or answer.status_code == 409 else ConfigError
        return kind(f"NiFi at {self.url} refused {method} {path}: {answer.status_code} {told}")


def _finished(told: Json) -> bool:
    return bool(told["finished"] if "finished" in told else told.get("complete"))


def _decoded(answer: requests.Response, url: str) -> Json:
    try:
        return answer.json() if answer.content else {}
    except ValueError:
        raise ConfigError(f"{url} is not the address of a NiFi's REST API (it answered no JSON)") from None
