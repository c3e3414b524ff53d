"""What an operator configures of an OPC UA source, checked as a whole before anything connects."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from otmirror import taglist
from otmirror.errors import MistakesError, gathered
from otmirror.opcua import address, profiles, usercert
from otmirror.taglist import LONGEST_MS, SHORTEST_MS, Tag

DEFAULT_PORT = 4840
POLICIES = ("None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
DEPRECATED = ("Basic128Rsa15", "Basic256")
"""Broken, or resting on SHA-1 (OPC 10000-7, 6.6): used only when that is allowed expressly."""
MODES = ("Sign", "SignAndEncrypt")
POLL, SUBSCRIBE = "poll", "subscribe"
ACQUISITION = (POLL, SUBSCRIBE)
FIRST_USE, TRUSTED_ONLY, ANY = "first use", "trusted only", "any"
_LONGEST_BACKFILL, _FASTEST_BACKFILL = 366 * 86400.0, 100
TRUST = (FIRST_USE, TRUSTED_ONLY, ANY)
AS_JSON, AS_ELEMENTS = "json", "elements"
ARRAYS = (AS_JSON, AS_ELEMENTS)
AS_TEXT, AS_BAD = "text", "bad"
NAN_POLICIES = (AS_TEXT, AS_BAD)
COLD, WARM = "cold", "warm"
REDUNDANCY = (COLD, WARM)
FASTEST = 10_000
"""The most requests a second that make sense to configure."""


@dataclass(frozen=True)
class OpcUaConfig:
    """An OPC UA source. Times are seconds except the tags' and the default interval, which are milliseconds.

    `mode` is None with security policy None. `max_nodes` 0 leaves the size of a read request to the server's own
    limit. The user is `username`, or whom `user_certificate` is for, or anonymous. An empty `source` becomes
    `opcua:<host>:<port>`. A tag not emitted for `refresh` seconds is emitted again (0: never). `profile` is one of
    `profiles.NAMES`, `max_requests` a rate a second (0: the profile's). `backups` are further servers with the same
    nodes; the source is named after the first one, whichever is read. With `backfill`, what was missed in an outage is
    read from the server's history, `backfill_limit` seconds back and with at most `backfill_rate` requests a second.

    Tags without a mode of their own are read as `mode_of_tags` says. Of subscribed ones the server looks at the node
    every `sampling_ms` (None: once a publishing interval, which is the tag's interval), keeps `queue_size` values, and
    the subscription for `lifetime` seconds without a word from here, and applies deadbands where it can if
    `server_deadband`. Here `buffer` readings may wait for NiFi.

    With `metadata` the server is asked for what it says of the tags. `arrays` says whether an array is one sample or
    one an element, `nan_policy` whether a NaN is text or bad.

    Raises:
        MistakesError: with everything that is wrong.
    """

    endpoint: str
    tags: tuple[Tag, ...]
    source: str = ""
    interval_ms: int = 1000
    policy: str = "None"
    mode: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    allow_plain_password: bool = False
    user_certificate: Path | None = None
    user_key: Path | None = None
    user_key_password: str | None = field(default=None, repr=False)
    allow_deprecated: bool = False
    pki: Path = Path("otmirror-pki")
    trust: str = FIRST_USE
    request_timeout: float = 5.0
    session_timeout: float = 30.0
    reconnect_first: float = 1.0
    reconnect_longest: float = 5.0
    max_nodes: int = 0
    refresh: float = 60.0
    emit_repeats: bool = False
    mode_of_tags: str = POLL
    sampling_ms: int | None = None
    queue_size: int = 10
    server_deadband: bool = True
    buffer: int = 200_000
    lifetime: float = 600.0
    metadata: bool = False
    arrays: str = AS_JSON
    nan_policy: str = AS_TEXT
    profile: str = profiles.AUTO
    max_requests: int = 0
    backups: tuple[str, ...] = ()
    redundancy: str = COLD
    backfill: bool = True
    backfill_limit: float = 86400.0
    backfill_rate: int = 2

    def __post_init__(self) -> None:
        """Fill in what has a derived default and check the rest."""
        problems = list(self._problems())
        if problems:
            raise MistakesError(problems)
        object.__setattr__(self, "endpoint", _whole_url(self.endpoint))
        object.__setattr__(self, "source", self.source or f"opcua:{urlsplit(self.endpoint).netloc}")
        object.__setattr__(self, "backups", tuple(map(_whole_url, self.backups)))
        object.__setattr__(self, "mode", None if self.policy == "None" else self.mode or MODES[-1])

    @property
    def host_port(self) -> tuple[str, int]:
        """The host and port to connect to."""
        url = urlsplit(self.endpoint)
        return url.hostname or "", url.port or DEFAULT_PORT

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Every server of this source, the first one first."""
        return (self.endpoint, *self.backups)

    @property
    def secure(self) -> bool:
        """Whether messages are signed."""
        return self.policy != "None"

    def _problems(self) -> list[str]:
        return self._endpoint_problems() + self._device_problems() + self._security_problems() + self._number_problems()

    def _endpoint_problems(self) -> list[str]:
        problems = _url_problems("Endpoint URL", self.endpoint)
        for number, url in enumerate(self.backups, 1):
            problems += _url_problems(f"Backup Endpoint URLs, number {number}", url)
        if not problems:
            whole = [_whole_url(url) for url in self.endpoints]
            twice = sorted({url for url in whole if whole.count(url) > 1})
            problems += [f"Backup Endpoint URLs: {url} is named twice, or is Endpoint URL: remove it" for url in twice]
        return problems

    def _device_problems(self) -> list[str]:
        problems = []
        if self.redundancy not in REDUNDANCY:
            problems.append(f"Redundancy: {self.redundancy!r} is none of {', '.join(REDUNDANCY)}")
        if self.profile not in profiles.NAMES:
            problems.append(f"Server Profile: {self.profile!r} is none of {', '.join(profiles.NAMES)}")
        if not 0 <= self.max_requests <= FASTEST:
            problems.append(
                f"Max Requests Per Second: {self.max_requests} is not between 0 (the profile's) and {FASTEST}"
            )
        return problems

    def _security_problems(self) -> list[str]:
        problems = []
        if self.policy in DEPRECATED and not self.allow_deprecated:
            problems.append(
                f"Security Policy: {self.policy} is no longer safe; let the server offer {POLICIES[1]}, or set Allow "
                "Deprecated Security to true if it cannot"
            )
        elif self.policy not in POLICIES + DEPRECATED:
            problems.append(f"Security Policy: {self.policy!r} is none of {', '.join(POLICIES)}")
        if self.mode is not None and self.mode not in MODES:
            problems.append(f"Security Mode: {self.mode!r} is none of {', '.join(MODES)}")
        if self.trust not in TRUST:
            problems.append(f"Server Certificate Trust: {self.trust!r} is none of {', '.join(TRUST)}")
        return problems + self._password_problems() + self._user_certificate_problems()

    def _password_problems(self) -> list[str]:
        problems = []
        if self.password and not self.username:
            problems.append("Password: is set, but Username is not")
        if self.username and self.password is None:
            problems.append("Username: is set, but Password is not")
        if self.password and self.policy == "None" and not self.allow_plain_password:
            problems.append(
                "Password: Security Policy None does not protect it; choose Basic256Sha256, or set Allow Password "
                "Without Encryption to true if the network in between is trusted"
            )
        return problems

    def _user_certificate_problems(self) -> list[str]:
        file, key = self.user_certificate, self.user_key
        problems = []
        if self.username and (file or key):
            problems.append(
                f"Username and {usercert.CERTIFICATE}: both are set, but a session has one user: remove Username and "
                f"Password, or {usercert.CERTIFICATE} and {usercert.KEY}"
            )
        if file and not key:
            problems.append(f"{usercert.CERTIFICATE}: is set, but {usercert.KEY} is not")
        if key and not file:
            problems.append(f"{usercert.KEY}: is set, but {usercert.CERTIFICATE} is not")
        if self.user_key_password and not key:
            problems.append(f"{usercert.PASSWORD}: is set, but {usercert.KEY} is not")
        if file and key:
            with gathered(problems):
                usercert.load(file, key, self.user_key_password)
        return problems

    def _number_problems(self) -> list[str]:
        problems = []
        for name, seconds, least in (
            ("Poll Interval", self.interval_ms / 1000, SHORTEST_MS / 1000),
            ("Request Timeout", self.request_timeout, 0.1),
            ("Session Timeout", self.session_timeout, 1.0),
            ("Reconnect Delay", self.reconnect_first, 0.1),
            ("Longest Reconnect Delay", self.reconnect_longest, self.reconnect_first),
            ("Refresh Interval", self.refresh, 0.0),
            ("Sampling Interval", (self.sampling_ms or 0) / 1000, 0.0),
            ("Subscription Lifetime", self.lifetime, 10.0),
        ):
            if not least <= seconds <= LONGEST_MS / 1000:
                problems.append(f"{name}: {seconds:g} s is not between {least:g} s and one day")
        if self.mode_of_tags not in ACQUISITION:
            problems.append(f"Acquisition: {self.mode_of_tags!r} is none of {', '.join(ACQUISITION)}")
        if self.arrays not in ARRAYS:
            problems.append(f"Arrays: {self.arrays!r} is none of {', '.join(ARRAYS)}")
        if self.nan_policy not in NAN_POLICIES:
            problems.append(f"NaN Policy: {self.nan_policy!r} is none of {', '.join(NAN_POLICIES)}")
        if not 1 <= self.queue_size <= 10_000:
            problems.append(f"Queue Size: {self.queue_size} is not between 1 and 10000 values")
        if self.buffer < 1000:
            problems.append(f"Buffer Size: {self.buffer} is less than 1000 values")
        if not 1.0 <= self.backfill_limit <= _LONGEST_BACKFILL:
            problems.append(f"Backfill Limit: {self.backfill_limit:g} s is not between 1 s and 366 days")
        if not 1 <= self.backfill_rate <= _FASTEST_BACKFILL:
            problems.append(f"Backfill Requests Per Second: {self.backfill_rate} is not from 1 to {_FASTEST_BACKFILL}")
        if self.max_nodes < 0:
            problems.append(f"Max Nodes Per Read: {self.max_nodes} is below 0")
        if not self.tags:
            problems.append("Tag List: declares no tag")
        return problems


def _url_problems(name: str, text: str) -> list[str]:
    try:
        url: SplitResult = urlsplit(text)
        port = url.port
    except ValueError:
        return [f"{name}: the port is not a number from 1 to 65535"]
    if url.scheme != "opc.tcp" or not url.hostname or port == 0:
        return [f"{name}: write opc.tcp://<host>:<port>, with the server's path if it has one"]
    if "@" in url.netloc:
        return [f"{name}: leave user name and password out of it and use the properties Username and Password"]
    return []


def _whole_url(text: str) -> str:
    """Return a checked URL with its port, which may have been left out."""
    url = urlsplit(text)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return url._replace(netloc=f"{host}:{url.port or DEFAULT_PORT}").geturl()


def build(
    tag_list_file: str | None, tag_list: str | None, backups: str | None = None, **settings: object
) -> OpcUaConfig:
    """Make a configuration out of a tag list, backup servers separated by commas or line breaks, and other settings.

    Raises:
        MistakesError: with every mistake of the settings and of the list.
    """
    tags: tuple[Tag, ...] = (Tag("-", "i=0"),)
    in_list: list[str] = []
    problems: list[str] = []
    with gathered(in_list):
        tags = taglist.from_properties(tag_list_file, tag_list, address.check)
    with gathered(problems):
        others = tuple(url for url in re.split(r"[,\s]+", backups or "") if url)
        config = OpcUaConfig(tags=tags, backups=others, **settings)  # type: ignore[arg-type]
    if problems or in_list:
        raise MistakesError(problems + in_list)
    return config
