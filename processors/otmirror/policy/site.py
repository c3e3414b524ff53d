"""The site file: what the plant's owner approves. Its form is checked here, what it means is in the policy."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from otmirror.errors import ConfigError
from otmirror.workspace import PROJECT

DEFAULT = PROJECT / "security" / "site" / "demo.json"


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Encrypted(_Strict):
    """A condition for a component's connections to be encrypted: one of the properties has one of the values."""

    properties: list[str]
    values: list[str]


class Component(_Strict):
    """An approved type: its bundle, and which of its properties hold addresses, intervals, topics and tags."""

    bundle: str
    endpoints: dict[str, str] = {}
    encrypted_by: list[Encrypted] = []
    intervals: list[str] = []
    topics: list[str] = []
    tags: list[str] = []


class Device(_Strict):
    """A device that may be read, and the shortest interval it may be asked at, in milliseconds."""

    endpoint: str
    shortest_poll_ms: int | None = None


class Waiver(_Strict):
    """An endpoint that need not be encrypted until the end of a day, and why."""

    endpoint: str
    reason: str
    expires: datetime.date


class Site(_Strict):
    """What one site approves; docs/policy.md says how each part is meant."""

    name: str
    components: dict[str, Component] = {}
    endpoints: list[str] = []
    devices: list[Device] = []
    topics: list[str] = []
    tags: list[str] = []
    published: list[str] = []
    waivers: list[Waiver] = []


class _Root(_Strict):
    site: Site


class _File(_Strict):
    otmirror: _Root


@dataclass(frozen=True)
class SiteFile:
    """A site file whose form is right; `digest` is the SHA-256 of its bytes."""

    path: Path
    site: Site
    digest: str


def load(path: Path) -> SiteFile:
    """Read and check a site file.

    Raises:
        ConfigError: it cannot be read or its form is wrong; the message names file and place.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"site file {path}: {error.strerror}") from None
    try:
        site = msgspec.json.decode(content, type=_File).otmirror.site
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"site file {path}: {error}") from None
    for waiver in site.waivers:
        if not waiver.reason.strip():
            raise ConfigError(f"site file {path}: the waiver of {waiver.endpoint} has no reason")
        if "*" in waiver.endpoint:
            raise ConfigError(f"site file {path}: a waiver is for one endpoint, not for a pattern: {waiver.endpoint}")
    for device in site.devices:
        if device.shortest_poll_ms is not None and device.shortest_poll_ms <= 0:
            raise ConfigError(f"site file {path}: shortest_poll_ms of {device.endpoint} has to be above 0")
    return SiteFile(path, site, hashlib.sha256(content).hexdigest())
