"""NiFi Registry's REST API: a flow file as the next version of a flow in a bucket; `otmirror flow publish`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from otmirror.embedded.loopback import session
from otmirror.errors import ConfigError, UnavailableError
from otmirror.flow.canonical import Flow, canonical

_CONTENT = ("flowContents", "parameterContexts", "externalControllerServices", "parameterProviders")
_WHY = {
    401: "it does not know who asks; give a token or a client certificate",
    403: "whoever asks may not do this; give the right to read and write the bucket",
    404: "it does not have this; is the address that of a NiFi Registry?",
    409: "somebody else changed it at the same time; publish again",
}


@dataclass(frozen=True)
class Published:
    """What came of it: the flow's version in the registry and whether it is new."""

    version: int
    new: bool


class Registry:
    """One NiFi Registry. Every method raises ConfigError or UnavailableError with one line when it says no."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        certificate: tuple[str, str] | None = None,
        ca: str | None = None,
        timeout: float = 30.0,
    ):
        """Take the address, such as https://registry:18443, and how to log in.

        Args:
            url: with or without /nifi-registry-api at its end.
            token: a bearer token.
            certificate: files of a client certificate and its key, PEM.
            ca: file of the certificates to trust, PEM; None means those of the system.
            timeout: seconds one request may take.
        """
        base = url.rstrip("/")
        self.url = base if base.endswith("/nifi-registry-api") else f"{base}/nifi-registry-api"
        self._timeout = timeout
        self._session = session(url)
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        if certificate:
            self._session.cert = certificate
        if ca:
            self._session.verify = ca

    def publish(self, flow: Flow, bucket: str, comment: str = "") -> Published:
        """Save a flow as its next version, unless the latest one has the same content; make what is missing.

        Args:
            flow: its name is that of the flow in the registry.
            bucket: name of the bucket.
            comment: of the version.

        Raises:
            ConfigError: the registry refuses, or the flow has no name.
            UnavailableError: the registry does not answer.
        """
        wanted = canonical(flow)
        name = str(wanted["flowContents"].get("name") or "")
        if not name:
            raise ConfigError("the flow has no name; its file needs one in flowContents")
        home = self._found_or_made("/buckets", bucket, {"name": bucket})
        flows = f"/buckets/{quote(home)}/flows"
        entry = {"name": name, "bucketIdentifier": home, "type": "Flow"}
        if wanted["flowContents"].get("comments"):
            entry["description"] = wanted["flowContents"]["comments"]
        item = self._found_or_made(flows, name, entry)
        versions = f"{flows}/{quote(item)}/versions"
        latest = max((int(told["version"]) for told in self._list(versions)), default=0)
        if latest and _same(self._request("GET", f"{versions}/{latest}"), wanted):
            return Published(latest, new=False)
        metadata = {"bucketIdentifier": home, "flowIdentifier": item, "version": latest + 1, "comments": comment}
        body = {key: value for key, value in wanted.items() if key in (*_CONTENT, "flowEncodingVersion")}
        told = self._request("POST", versions, {**body, "snapshotMetadata": metadata})
        return Published(int(self._field(told, "snapshotMetadata", "version")), new=True)

    def _found_or_made(self, path: str, name: str, entry: dict[str, str]) -> str:
        for told in self._list(path):
            if told.get("name") == name:
                return str(self._field(told, "identifier"))
        return str(self._field(self._request("POST", path, entry), "identifier"))

    def _list(self, path: str) -> list[Any]:
        told = self._request("GET", path)
        if not isinstance(told, list) or not all(isinstance(item, dict) for item in told):
            raise ConfigError(f"{self.url} is not the address of a NiFi Registry (GET {path} gave no list)")
        return told

    def _field(self, told: Any, *names: str) -> Any:
        for name in names:
            if not isinstance(told, dict) or name not in told:
                raise ConfigError(f"{self.url} is not the address of a NiFi Registry (an answer has no {name})")
            told = told[name]
        return told

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        try:
            answer = self._session.request(method, self.url + path, json=body, timeout=self._timeout)
        except requests.Timeout:
            raise UnavailableError(f"NiFi Registry at {self.url} did not answer in {self._timeout:.0f} s") from None
        except requests.exceptions.SSLError as error:
            raise ConfigError(
                f"NiFi Registry at {self.url}: its certificate is not accepted: {_cause(error)}"
            ) from None
        except (requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL):
            raise ConfigError(
                f"{self.url!r} is not the address of a NiFi Registry, such as https://HOST:PORT"
            ) from None
        except OSError as error:
            # requests' own errors are OSErrors, and so is a certificate file that cannot be read.
            if not isinstance(error, requests.RequestException):
                raise ConfigError(f"client certificate: {error}") from None
            raise UnavailableError(f"NiFi Registry at {self.url} cannot be reached; is it running?") from None
        if not answer.ok:
            why = _WHY.get(answer.status_code) or " ".join(answer.text.split())[:300] or answer.reason
            kind = UnavailableError if answer.status_code >= 500 else ConfigError
            raise kind(f"NiFi Registry at {self.url} refused {method} {path}: {answer.status_code}: {why}")
        try:
            return answer.json()
        except ValueError:
            raise ConfigError(f"{self.url} is not the address of a NiFi Registry (it answered no JSON)") from None


def _same(stored: Any, wanted: Flow) -> bool:
    if not isinstance(stored, dict) or not isinstance(stored.get("flowContents"), dict):
        return False
    has = canonical(stored)
    return all((has.get(key) or {}) == (wanted.get(key) or {}) for key in _CONTENT)


def _cause(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
