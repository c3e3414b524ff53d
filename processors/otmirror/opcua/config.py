"""What an operator configures of an OPC UA source, checked as a whole before anything connects."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from otmirror import taglist
from otmirror.errors import MistakesError, gathered
from otmirror.opcua import address, usercert
from otmirror.taglist import LONGEST_MS, SHORTEST_MS, Tag

DEFAULT_PORT = 4840
POLICIES = ("None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
DEPRECATED = ("Basic128Rsa15", "Basic256")
"""Broken, or resting on SHA-1 (OPC 10000-7, 6.6): used only when that is allowed expressly."""
MODES = ("Sign", "SignAndEncrypt")
POLL, SUBSCRIBE = "poll", "subscribe"
ACQUISITION = (POLL, SUBSCRIBE)
FIRST_USE, TRUSTED_ONLY, ANY = "first use", "trusted only", "any"
TRUST = (FIRST_USE, TRUSTED_ONLY, ANY)
AS_JSON, AS_ELEMENTS = "json", "elements"
ARRAYS = (AS_JSON, AS_ELEMENTS)
AS_TEXT, AS_BAD = "text", "bad"
NAN_POLICIES = (AS_TEXT, AS_BAD)


@dataclass(frozen=True)
class OpcUaConfig:
    """An OPC UA source. Times are seconds except the tags' and the default interval, which are milliseconds.

    `mode` is None with security policy None. `max_nodes` 0 leaves the size of a read request to the server's own
    limit. The user is `username`, or whom `user_certificate` is for, or anonymous. An empty `source` becomes
    `opcua:<host>:<port>`. A tag not emitted for `refresh` seconds is emitted again (0: never).

    Tags without a mode of their own are read as `mode_of_tags` says. Of subscribed ones the server looks at the node
    every `sampling_ms` (None: once a publishing interval, which is the tag's interval), keeps `queue_size` values, and
    the subscription for `lifetime` seconds without a word from here, and applies deadbands where it can if
    `server_deadband`. Here `buffer` readings may wait for NiFi.

    `arrays` says whether an array is one sample or one an element, `nan_policy` whether a NaN is text or bad.

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
    reconnect_longest: float = 30.0
    max_nodes: int = 0
    refresh: float = 60.0
    emit_repeats: bool = False
    mode_of_tags: str = POLL
    sampling_ms: int | None = None
    queue_size: int = 10
    server_deadband: bool = True
    buffer: int = 200_000
    lifetime: float = 600.0
    arrays: str = AS_JSON
    nan_policy: str = AS_TEXT

    def __post_init__(self) -> None:
        """Fill in what has a derived default and check the rest."""
        problems = list(self._problems())
        if problems:
            raise MistakesError(problems)
        url = urlsplit(self.endpoint)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        port = url.port or DEFAULT_PORT
        object.__setattr__(self, "endpoint", url._replace(netloc=f"{host}:{port}").geturl())
        object.__setattr__(self, "source", self.source or f"opcua:{host}:{port}")
        object.__setattr__(self, "mode", None if self.policy == "None" else self.mode or MODES[-1])

    @property
    def host_port(self) -> tuple[str, int]:
        """The host and port to connect to."""
        url = urlsplit(self.endpoint)
        return url.hostname or "", url.port or DEFAULT_PORT

    @property
    def secure(self) -> bool:
        """Whether messages are signed."""
        return self.policy != "None"

    def _problems(self) -> list[str]:
        return self._endpoint_problems() + self._security_problems() + self._number_problems()

    def _endpoint_problems(self) -> list[str]:
        try:
            url: SplitResult = urlsplit(self.endpoint)
            port = url.port
        except ValueError:
            return ["Endpoint URL: the port is not a number from 1 to 65535"]
        if url.scheme != "opc.tcp" or not url.hostname or port == 0:
            return ["Endpoint URL: write opc.tcp://<host>:<port>, with the server's path if it has one"]
        if "@" in url.netloc:
            return ["Endpoint URL: leave user name and password out of it and use the properties Username and Password"]
        return []

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
        if self.max_nodes < 0:
            problems.append(f"Max Nodes Per Read: {self.max_nodes} is below 0")
        if not self.tags:
            problems.append("Tag List: declares no tag")
        return problems


def build(tag_list_file: str | None, tag_list: str | None, **settings: object) -> OpcUaConfig:
    """Make a configuration out of a tag list and the other settings.

    Raises:
        MistakesError: with every mistake of the settings and of the list.
    """
    tags: tuple[Tag, ...] = (Tag("-", "i=0"),)
    in_list: list[str] = []
    problems: list[str] = []
    with gathered(in_list):
        tags = taglist.from_properties(tag_list_file, tag_list, address.check)
    with gathered(problems):
        config = OpcUaConfig(tags=tags, **settings)  # type: ignore[arg-type]
    if problems or in_list:
        raise MistakesError(problems + in_list)
    return config
