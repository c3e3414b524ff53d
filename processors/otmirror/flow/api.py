"""Requests to NiFi's REST API: one connection, every failure in one line."""

from __future__ import annotations

import os
import ssl
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
    """Who to be at a NiFi with TLS, and whose certificate to believe.

    Either a user, for whom a token is asked, or a client certificate, or neither.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    authority: str | None = None
    """PEM file of the certificate authority; None: the system's."""
    certificate: str | None = None
    """PEM file of the client's certificate with its chain."""
    key: str | None = None
    """PEM file of its key, without a password."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Login:
        """Read OTMIRROR_NIFI_CA and either _USER and _PASSWORD_FILE or _CERTIFICATE and _KEY.

        Raises:
            ConfigError: a file cannot be read, one of a pair is missing, or both pairs are given.
        """
        user, authority = environ.get("OTMIRROR_NIFI_USER") or None, environ.get("OTMIRROR_NIFI_CA") or None
        if authority and not Path(authority).is_file():
            raise ConfigError(f"OTMIRROR_NIFI_CA: there is no file {authority}")
        certificate, key = (environ.get(f"OTMIRROR_NIFI_{part}") or None for part in ("CERTIFICATE", "KEY"))
        if user and (certificate or key):
            raise ConfigError("OTMIRROR_NIFI_USER and OTMIRROR_NIFI_CERTIFICATE are both set: only one can log in")
        if not user:
            _check_pair(certificate, key)
            return cls(authority=authority, certificate=certificate, key=key)
        file = environ.get("OTMIRROR_NIFI_PASSWORD_FILE")
        if not file:
            raise ConfigError("OTMIRROR_NIFI_USER is set, but OTMIRROR_NIFI_PASSWORD_FILE is not")
        try:
            password = Path(file).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise ConfigError(f"OTMIRROR_NIFI_PASSWORD_FILE {file}: {why}") from None
        return cls(user, password, authority)


def _check_pair(certificate: str | None, key: str | None) -> None:
    """Raise ConfigError unless both files are named and belong together, or neither is named."""
    if bool(certificate) != bool(key):
        raise ConfigError("OTMIRROR_NIFI_CERTIFICATE and OTMIRROR_NIFI_KEY: one is set without the other")
    if not certificate or not key:
        return

    def refuse() -> str:
        # Otherwise the question for it would wait on the terminal.
        raise ConfigError(f"OTMIRROR_NIFI_KEY {key}: the key has a password; give one without")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, refuse)
    except ssl.SSLError:
        raise ConfigError(
            f"OTMIRROR_NIFI_CERTIFICATE {certificate} and OTMIRROR_NIFI_KEY {key}: they are not PEM, or no pair"
        ) from None
    except OSError as error:
        missing = next((file for file in (certificate, key) if not Path(file).is_file()), certificate)
        raise ConfigError(f"OTMIRROR_NIFI_CERTIFICATE or _KEY {missing}: {error.strerror}") from None


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
        if (self._login.user or self._login.certificate) and not self.url.lower().startswith("https://"):
            raise ConfigError(f"{self.url}: a user and password are only sent over https, and so is a certificate")
        certificate, key = self._login.certificate, self._login.key
        self._pair = (certificate, key) if certificate and key else None

    def get(self, path: str, **params: Any) -> Json:
        """Return the answer to a GET."""
        return self._json("GET", path, params=params)

    def find(self, path: str) -> Json | None:
        """Return the answer to a GET, None when NiFi has no such thing (404)."""
        answer = self._asked("GET", path)
        return None if answer.status_code == 404 else self._told(answer, "GET", path)

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
        return self._told(self._asked(method, path, **options), method, path)

    def _asked(self, method: str, path: str, **options: Any) -> requests.Response:
        answer = self._answer(method, path, auth=self._authorization(), **options)
        if answer.status_code == 401 and self._token:
            # A token lasts some hours.
            self._token = None
            answer = self._answer(method, path, auth=self._authorization(), **options)
        return answer

    def _told(self, answer: requests.Response, method: str, path: str) -> Json:
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
            return self._session.request(
                method, self.url + path, timeout=self._timeout, verify=verify, cert=self._pair, **options
            )
        except requests.Timeout:
            raise UnavailableError(f"NiFi at {self.url} did not answer in {self._timeout:.0f} s") from None
        except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL):
            raise ConfigError(f"{self.url!r} is not the address of a NiFi, such as http://host:port/nifi-api") from None
        except requests.exceptions.SSLError as error:
            raise self._distrust(str(error)) from None
        except requests.RequestException as error:
            # In TLS 1.3 the server judges the client's certificate after the handshake.
            if "alert" in str(error) or "SSLError" in str(error):
                raise self._distrust(str(error)) from None
            raise UnavailableError(f"NiFi at {self.url} cannot be reached; is it running?") from None

    def _distrust(self, told: str) -> ConfigError:
        """Return who does not trust whom, from what OpenSSL says of a handshake."""
        if "CERTIFICATE_VERIFY_FAILED" in told:
            return ConfigError(f"NiFi at {self.url}: its certificate is not trusted; name its CA in OTMIRROR_NIFI_CA")
        if "WRONG_VERSION_NUMBER" in told or "RECORD_LAYER" in told:
            return ConfigError(f"NiFi at {self.url} does not speak TLS on that port (http instead of https?)")
        if self._pair:
            return ConfigError(
                f"NiFi at {self.url} does not accept the certificate {self._pair[0]} (expired? other CA?)"
            )
        return ConfigError(
            f"NiFi at {self.url} wants a client certificate: OTMIRROR_NIFI_CERTIFICATE and OTMIRROR_NIFI_KEY"
        )

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
