"""HTTP to VictoriaMetrics: import requests and its own metrics."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass

import requests
import zstandard
from requests.auth import HTTPBasicAuth

from otmirror import netfault
from otmirror.errors import UnavailableError
from otmirror.tlsfiles import AUTHORITY, CERTIFICATE
from otmirror.victoriametrics.config import Config

ACCEPTED = 204
"""What the import answers; anything else in the 2xx range is somebody else (a proxy, a login page)."""

_ADVICE = {
    401: "check Username and Password or Bearer Token",
    403: "check Username and Password or Bearer Token, and what they may do",
    404: "check VictoriaMetrics URL, the path in particular",
    429: "the server asks for fewer requests",
    503: "the server is overloaded or its disk is full",
}
_COUNTER = re.compile(r'^(vm_rows_(?:ignored|invalid)_total)\{(?:reason|type)="([^"]*)"\} (\d+)', re.MULTILINE)
_FLAG = re.compile(r'^flag\{name="([^"]*)", value="([^"]*)"', re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """A server's answer: the status code and the start of its text."""

    status: int
    text: str


@dataclass(frozen=True)
class ServerMetrics:
    """What the server tells of itself: samples dropped since its start by reason, and its command line flags."""

    dropped: dict[str, int]
    flags: dict[str, str]


class Client:
    """One server, over connections kept open."""

    def __init__(self, config: Config):
        """Nothing is sent yet."""
        self._url = config.url.rstrip("/")
        self._timeout = (min(10.0, config.timeout), config.timeout)
        # Nobody waits for the counters: they must not hold up the samples.
        self._metrics_timeout = min(5.0, config.timeout)
        self._encoding, self._compress = _compressor(config.compression)
        basic = base64.b64encode(f"{config.username}:{config.password}".encode()).decode()
        self._secrets = [secret for secret in (config.password, config.token, basic) if secret]
        self._session = requests.Session()
        # Proxies and .netrc from the environment would send samples or credentials where no property says.
        self._session.trust_env = False
        if config.ca_file:
            self._session.verify = config.ca_file
        self._session.cert = config.tls.pair
        if config.username and config.password:
            self._session.auth = HTTPBasicAuth(config.username.encode(), config.password.encode())
        elif config.token:
            self._session.headers["Authorization"] = f"Bearer {config.token}"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(self, body: bytes) -> Answer:
        """Post lines to the import.

        Raises:
            UnavailableError: no answer.
        """
        headers = {"Content-Type": "application/x-ndjson"}
        if self._encoding:
            headers["Content-Encoding"] = self._encoding
        data = self._compress(body)
        return self._ask(
            "/api/v1/import",
            lambda url: self._session.post(
                url, data=data, headers=headers, timeout=self._timeout, allow_redirects=False
            ),
        )

    def metrics(self) -> ServerMetrics:
        """Read the server's metrics.

        Raises:
            UnavailableError: it gives none.
        """
        answer = self._ask(
            "/metrics",
            lambda url: self._session.get(url, timeout=self._metrics_timeout, allow_redirects=False),
        )
        if answer.status != 200:
            raise UnavailableError(f"{self._url}/metrics answered {answer.status}")
        dropped = {
            name: int(count)
            for family, name, count in _COUNTER.findall(answer.text)
            if family == "vm_rows_ignored_total" or name == "vmimport"
        }
        return ServerMetrics(dropped, dict(_FLAG.findall(answer.text)))

    def explain(self, answer: Answer) -> str:
        """Say what an answer other than ACCEPTED means and what to do."""
        status = answer.status
        where = f"{self._url}/api/v1/import answered {status}"
        if 300 <= status < 400:
            return f"{where}, a redirect: give its target as VictoriaMetrics URL"
        if 200 <= status < 300:
            return f"{where} instead of {ACCEPTED}: this is not VictoriaMetrics; check VictoriaMetrics URL"
        if status == 400:
            return f"{where} even to an empty request: check VictoriaMetrics URL{self._said(answer)}"
        advice = _ADVICE.get(status, "look into the server's log" if status >= 500 else "check VictoriaMetrics URL")
        return f"{where}: {advice}{'' if status in (401, 403) else self._said(answer)}"

    def quote(self, answer: Answer) -> str:
        """Return the start of an answer's text in one line; proxies repeat credentials, which are masked."""
        return self.hide(" ".join(answer.text.split()))[:200]

    def hide(self, text: str) -> str:
        """Return `text` with the credentials masked."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _said(self, answer: Answer) -> str:
        text = self.quote(answer)
        return f' (it says: "{text}")' if text else ""

    def _ask(self, path: str, request: Callable[[str], requests.Response]) -> Answer:
        """Send a request; once more at once when a kept connection turned out to be closed."""
        url = self._url + path
        try:
            try:
                response = request(url)
            except requests.ConnectionError as error:
                if isinstance(error, (requests.Timeout, requests.exceptions.SSLError)):
                    raise
                response = request(url)
            return Answer(response.status_code, response.text)
        except (requests.RequestException, OSError, ValueError) as error:
            raise UnavailableError(f"{url}: {netfault.words(error)}{_tls_advice(error)}") from None


def _tls_advice(error: BaseException) -> str:
    if netfault.blames_client_certificate(error):
        return f"; check {CERTIFICATE}"
    return f"; check {AUTHORITY}" if isinstance(error, requests.exceptions.SSLError) else ""


def _compressor(name: str) -> tuple[str | None, Callable[[bytes], bytes]]:
    if name == "zstd":
        return name, zstandard.ZstdCompressor(level=1).compress
    if name == "gzip":
        return name, lambda body: gzip.compress(body, compresslevel=1)
    return None, bytes
