"""How much to ask of which server: profiles of known products, as data, and the limits that follow.

`profiles.json` holds a profile a product with its reason and where the figures come from. A limit is the smallest of
what the server states (OperationLimits, OPC 10000-5, 6.3.11), its profile and the configuration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources

AUTO, UNKNOWN = "auto", "unknown"

NODES_PER_READ = "MaxNodesPerRead"
NODES_PER_BROWSE = "MaxNodesPerBrowse"
PATHS_PER_TRANSLATE = "MaxNodesPerTranslateBrowsePathsToNodeIds"
ITEMS_PER_CALL = "MaxMonitoredItemsPerCall"
NODES_PER_HISTORY_READ = "MaxNodesPerHistoryReadData"
STATED = (NODES_PER_READ, NODES_PER_BROWSE, PATHS_PER_TRANSLATE, ITEMS_PER_CALL, NODES_PER_HISTORY_READ)
"""The OperationLimits that count here, by their browse names."""


@dataclass(frozen=True)
class BuildInfo:
    """What a server calls itself (OPC 10000-5, 12.4); empty where it says nothing."""

    product: str = ""
    manufacturer: str = ""
    version: str = ""
    uri: str = ""

    def __str__(self) -> str:
        """For a message: `Product 1.2 of Maker`."""
        name = " ".join(part for part in (self.product, self.version) if part)
        return " of ".join(part for part in (name, self.manufacturer) if part) or "a server that does not name itself"


@dataclass(frozen=True)
class Profile:
    """What one kind of server can be asked for; 0 is no limit. Times are milliseconds.

    `recognised` holds alternatives: each a pattern for some of `manufacturer`, `product` and `version`, which all have
    to occur, whatever the case. A profile without any is only chosen by name.
    """

    name: str
    title: str
    recognised: tuple[Mapping[str, str], ...]
    max_nodes_per_read: int
    max_items_per_call: int
    max_items: int
    max_nodes_per_browse: int
    requests_per_second: float
    deadband_filter: bool
    min_sampling_ms: int
    min_publishing_ms: int
    note: str
    sources: tuple[str, ...]

    def fits(self, build: BuildInfo) -> bool:
        """Return whether a server that calls itself so is of this kind."""
        said = {
            "manufacturer": build.manufacturer,
            "product": f"{build.product} {build.uri}",
            "version": build.version,
        }
        return any(
            all(re.search(pattern, said[name], re.IGNORECASE) for name, pattern in alternative.items())
            for alternative in self.recognised
        )


@dataclass(frozen=True)
class Limits:
    """What this source asks of the server it is connected to.

    `items` (monitored items in all) and `requests_per_second` are 0 where there is no limit; all others are above 0,
    but for the two shortest intervals in milliseconds. `deadband_filter`: whether a DataChangeFilter may be tried.
    """

    profile: str
    nodes_per_read: int
    nodes_per_browse: int
    paths_per_translate: int
    nodes_per_history_read: int
    items_per_call: int
    items: int
    requests_per_second: float
    deadband_filter: bool
    min_sampling_ms: int
    min_publishing_ms: int


def _load() -> dict[str, Profile]:
    data = json.loads(resources.files(__package__ or "").joinpath("profiles.json").read_text(encoding="ascii"))
    names = {field.name for field in fields(Profile)} - {"name"}
    found = {}
    for name, entry in data.items():
        if set(entry) != names:
            raise ValueError(f"profiles.json: {name} has to have exactly {sorted(names)}")
        tuples = {"recognised": tuple(entry["recognised"]), "sources": tuple(entry["sources"])}
        found[name] = Profile(name=name, **entry | tuples)
    return found


PROFILES: Mapping[str, Profile] = _load()
"""Every profile by name, those of products first."""

NAMES = (AUTO, *PROFILES)
"""What Server Profile may be."""


def choose(name: str, build: BuildInfo) -> Profile:
    """Return the profile of that name; with `auto` the first one that the server's own description fits."""
    if name != AUTO:
        return PROFILES[name]
    return next((profile for profile in PROFILES.values() if profile.fits(build)), PROFILES[UNKNOWN])


def effective(
    stated: Mapping[str, int | None], profile: Profile, configured_max_nodes: int = 0, configured_rate: float = 0.0
) -> Limits:
    """Return what may be asked: the smallest of what is stated, the profile's and the configured limits.

    Args:
        stated: the server's OperationLimits by browse name; 0 or None where it states none.
        profile: the server's profile.
        configured_max_nodes: nodes a Read, 0 for no limit of one's own.
        configured_rate: requests a second, 0 for the profile's. It replaces the profile's, upwards too: the profile's
            is a guess, and somebody knows better.
    """

    def smallest(name: str, *own: int) -> int:
        return min(limit for limit in (stated.get(name) or 0, *own) if limit > 0)

    calls = profile.max_items_per_call
    return Limits(
        profile=profile.name,
        nodes_per_read=smallest(NODES_PER_READ, profile.max_nodes_per_read, configured_max_nodes),
        nodes_per_browse=smallest(NODES_PER_BROWSE, profile.max_nodes_per_browse),
        paths_per_translate=smallest(PATHS_PER_TRANSLATE, profile.max_nodes_per_browse),
        nodes_per_history_read=smallest(NODES_PER_HISTORY_READ, calls),
        items_per_call=smallest(ITEMS_PER_CALL, calls),
        items=profile.max_items,
        requests_per_second=configured_rate or profile.requests_per_second,
        deadband_filter=profile.deadband_filter,
        min_sampling_ms=profile.min_sampling_ms,
        min_publishing_ms=profile.min_publishing_ms,
    )
