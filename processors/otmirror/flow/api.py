"""Requests to NiFi's REST API: one connection, every failure in one line."""

from __future__ import annotations

from typing import Any

import requests

from otmirror.embedded.loopback import session
from otmirror.embedded.processes import wait_until
from otmirror.errors import ConfigError, UnavailableError

Json = Any


class Rest:
    """A session with the REST API of one NiFi; `url` ends in /nifi-api."""

    def __init__(self, url: str, timeout: float = 30.0):
        """Take the address, and how many seconds one request may take."""
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._session = session(url)

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
        try:
            answer = self._session.request(method, self.url + path, timeout=self._timeout, **options)
        except requests.Timeout:
            raise UnavailableError(f"NiFi at {self.url} did not answer in {self._timeout:.0f} s") from None
        except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL):
            raise ConfigError(f"{self.url!r} is not the address of a NiFi, such as http://host:port/nifi-api") from None
        except requests.RequestException:
            raise UnavailableError(f"NiFi at {self.url} cannot be reached; is it running?") from None
        if answer.ok:
            return _decoded(answer, self.url)
        # NiFi's plain-text explanations name components and properties, never sensitive values.
        told = " ".join(answer.text.split())[:400] or answer.reason
        kind = UnavailableError if answer.status_code >= 500 or answer.status_code == 409 else ConfigError
        raise kind(f"NiFi at {self.url} refused {method} {path}: {answer.status_code} {told}")


def _finished(told: Json) -> bool:
    return bool(told["finished"] if "finished" in told else told.get("complete"))


def _decoded(answer: requests.Response, url: str) -> Json:
    try:
        return answer.json() if answer.content else {}
    except ValueError:
        raise ConfigError(f"{url} is not the address of a NiFi's REST API (it answered no JSON)") from None
