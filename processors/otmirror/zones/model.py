"""The table of zones and conduits (security/zones.toml): who may open connections to whom."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from otmirror.errors import ConfigError, MistakesError
from otmirror.workspace import PROJECT

_toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

TABLE = PROJECT / "security" / "zones.toml"
PROFILES = ("full", "pilot")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40
"""Characters of a name: it becomes part of names in nftables and Kubernetes."""
_FIELDS: dict[str, dict[str, type]] = {
    "zone": {"title": str, "target": int, "why": str, "member": dict},
    "member": {"title": str, "compose": list, "outside": bool},
    "conduit": {"name": str, "from": str, "to": str, "protocol": str, "ports": list, "why": str, "profiles": list},
}
_OPTIONAL = {"compose", "outside", "profiles"}


@dataclass(frozen=True)
class Member:
    """One role of a zone: `compose` names its services there, `outside` says that no pod of Kubernetes has it."""

    name: str
    zone: str
    title: str
    compose: tuple[str, ...] = ()
    outside: bool = False


@dataclass(frozen=True)
class Zone:
    """A zone with its target security level (SL-T, 1 to 4: IEC 62443-1-1)."""

    name: str
    title: str
    target: int
    why: str


@dataclass(frozen=True)
class Conduit:
    """`source` may open TCP connections to `ports` of `to`; answers come back on the same connection."""

    name: str
    source: str
    to: str
    protocol: str
    ports: tuple[int, ...]
    why: str
    profiles: tuple[str, ...]


@dataclass(frozen=True)
class Matrix:
    """All zones, members and conduits, in the order of the file."""

    zones: dict[str, Zone]
    members: dict[str, Member]
    conduits: tuple[Conduit, ...]

    def of(self, profile: str) -> tuple[Conduit, ...]:
        """Return the conduits of a profile.

        Raises:
            ConfigError: there is no such profile.
        """
        if profile not in PROFILES:
            raise ConfigError(f"there is no profile {profile!r}: choose one of {', '.join(PROFILES)}")
        return tuple(conduit for conduit in self.conduits if profile in conduit.profiles)

    def pair(self, conduit: Conduit) -> tuple[str, str]:
        """Return the zones a conduit goes from and to."""
        return self.members[conduit.source].zone, self.members[conduit.to].zone

    def ports(self, profile: str) -> list[int]:
        """Return every port that a conduit of a profile goes to, in order."""
        return sorted({port for conduit in self.of(profile) for port in conduit.ports})

    def allowed(self, source: str, to: str, profile: str) -> set[int]:
        """Return the ports of `to` that `source` may connect to."""
        return {port for c in self.of(profile) if (c.source, c.to) == (source, to) for port in c.ports}

    def member(self, name: str) -> Member:
        """Return a member by its name.

        Raises:
            ConfigError: there is none.
        """
        if name not in self.members:
            raise ConfigError(f"there is no member {name!r} in the zones: choose one of {', '.join(self.members)}")
        return self.members[name]


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ConfigError: it cannot be read or is not TOML; the message names file and line.
    """
    try:
        return dict(_toml.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def load(path: Path = TABLE) -> Matrix:
    """Read and check the table.

    Raises:
        ConfigError: the file cannot be read, or MistakesError with every mistake in it.
    """
    raw = read_toml(path)
    problems = [f"{path}: {key} is not known; use zone and conduit" for key in raw if key not in ("zone", "conduit")]
    zones: dict[str, Zone] = {}
    members: dict[str, Member] = {}
    for name, entry in _tables(raw.get("zone", {}), f"{path}: zone", problems):
        where = f"{path}: zone {name}"
        if not _fits(entry, "zone", where, problems):
            continue
        if not 1 <= entry["target"] <= 4:
            problems.append(f"{where}: target is a security level from 1 to 4, not {entry['target']}")
        zones[name] = Zone(name, entry["title"], entry["target"], entry["why"])
        _take_members(entry["member"], name, where, members, problems)
    conduits = tuple(_conduits(raw.get("conduit", []), members, str(path), problems))
    if not zones and not problems:
        problems.append(f"{path}: there is no zone")
    if problems:
        raise MistakesError(problems)
    return Matrix(zones, members, conduits)


def _take_members(raw: dict[str, Any], zone: str, where: str, members: dict[str, Member], problems: list[str]) -> None:
    for name, about in _tables(raw, f"{where}: member", problems):
        if not _fits(about, "member", f"{where}: member {name}", problems):
            continue
        if name in members:
            problems.append(f"{where}: {name} is a member of {members[name].zone} already")
        compose = tuple(str(service) for service in about.get("compose", ()))
        members[name] = Member(name, zone, about["title"], compose, about.get("outside", False))


def _tables(raw: Any, where: str, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(raw, dict):
        problems.append(f"{where} is a table of tables: [{where.rpartition(' ')[2]}.NAME]")
        return
    for name, entry in raw.items():
        if not _NAME.fullmatch(name) or len(name) > _LONGEST:
            problems.append(f"{where} {name}: a name is small letters, digits and hyphens, at most {_LONGEST}")
        elif not isinstance(entry, dict):
            problems.append(f"{where} {name} is a table")
        else:
            yield name, entry


def _fits(entry: dict[str, Any], kind: str, where: str, problems: list[str]) -> bool:
    known, before = _FIELDS[kind], len(problems)
    problems += [f"{where}: {key} is not known; use {', '.join(known)}" for key in entry if key not in known]
    for key, wanted in known.items():
        if key not in entry:
            if key not in _OPTIONAL:
                problems.append(f"{where}: {key} is missing")
        elif type(entry[key]) is not wanted:
            problems.append(f"{where}: {key} is {type(entry[key]).__name__}, has to be {wanted.__name__}")
    return len(problems) == before


def _conduits(raw: Any, members: dict[str, Member], path: str, problems: list[str]) -> Iterator[Conduit]:
    if not isinstance(raw, list):
        problems.append(f"{path}: conduits are [[conduit]]")
        return
    seen: set[str] = set()
    taken: dict[tuple[str, str, str, str], str] = {}
    for number, entry in enumerate(raw, 1):
        if not isinstance(entry, dict):
            problems.append(f"{path}: conduit {number} is not a table: conduits are [[conduit]]")
            continue
        where = f"{path}: conduit {number} ({entry.get('name', 'without a name')})"
        if not _fits(entry, "conduit", where, problems):
            continue
        made = Conduit(
            entry["name"], entry["from"], entry["to"], entry["protocol"], tuple(entry["ports"]), entry["why"],
            tuple(entry.get("profiles", PROFILES)),
        )  # fmt: skip
        wrong = list(_wrong(made, members, seen))
        for key in (
            (made.source, made.to, str(port), str(profile)) for port in made.ports for profile in made.profiles
        ):
            if taken.setdefault(key, made.name) != made.name:
                wrong.append(f"port {key[2]} of {key[1]} is in {taken[key]} already")
        problems += [f"{where}: {what}" for what in wrong]
        seen.add(made.name)
        if not wrong:
            yield made


def _wrong(conduit: Conduit, members: dict[str, Member], seen: set[str]) -> Iterator[str]:
    if not _NAME.fullmatch(conduit.name) or len(conduit.name) > _LONGEST:
        yield f"a name is small letters, digits and hyphens, at most {_LONGEST}"
    if conduit.name in seen:
        yield "the name appears twice"
    for end in (conduit.source, conduit.to):
        if end not in members:
            yield f"{end} is not a member of a zone: use one of {', '.join(members)}"
    if conduit.source == conduit.to:
        yield "goes from a member to itself"
    if not conduit.ports:
        yield "ports is empty; a conduit lists what it opens"
    for port in conduit.ports:
        if type(port) is not int or not 1 <= port <= 65535:
            yield f"port {port!r} is not a number from 1 to 65535"
    for profile in conduit.profiles:
        if profile not in PROFILES:
            yield f"profile {profile!r} is not known: use {', '.join(PROFILES)}"
    if not conduit.profiles:
        yield "profiles is empty; leave it out for all"
