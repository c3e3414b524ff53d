"""Roles as a file, and the groups and policies of a NiFi that make them true.

A role is a group; who is in it the identity provider says with each login (claim `groups`), so NiFi keeps no members.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from otmirror.errors import ConfigError, MistakesError
from otmirror.flow.api import Json, Rest

_toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

ACTIONS = ("read", "write")
ROOT = "{root}"
"""Stands for the id of the root canvas in a resource."""

_GROUPS, _POLICIES = "/tenants/user-groups", "/policies"


@dataclass(frozen=True, order=True)
class Grant:
    """One policy: an action on a resource, as NiFi names them."""

    action: str
    resource: str

    def __str__(self) -> str:
        return f"{self.action} {self.resource}"


@dataclass(frozen=True)
class Role:
    """A role: its name, the group of NiFi and of the claim, what it is for, and its policies."""

    name: str
    group: str
    tells: str
    grants: frozenset[Grant]

    def at(self, root: str) -> set[Grant]:
        """Return its policies on a NiFi whose root canvas has the id `root`."""
        return {Grant(one.action, one.resource.replace(ROOT, root)) for one in self.grants}


@dataclass(frozen=True)
class Difference:
    """Where a NiFi is not as the roles want it: a group without a policy, or with one too many, or no group at all."""

    role: Role
    grant: Grant | None
    missing: bool

    def __str__(self) -> str:
        if self.grant is None:
            return f"{self.role.name}: there is no group {self.role.group!r}"
        return f"{self.role.name}: {'lacks' if self.missing else 'has, beyond its role,'} {self.grant}"


def load(path: Path) -> list[Role]:
    """Return the roles of a TOML file: [roles.NAME] with group, tells, read, write.

    Raises:
        ConfigError: the file cannot be read, or some of it makes no role; all mistakes at once.
    """
    try:
        tables = _toml.loads(path.read_text("utf-8")).get("roles")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(tables, dict) or not tables:
        raise ConfigError(f"{path} has no [roles.NAME]")
    problems = [f"{path}, {name}: {why}" for name, table in tables.items() for why in _mistakes(table)]
    if problems:
        raise MistakesError(problems)
    roles = [
        Role(
            name, table["group"], table["tells"],
            frozenset(Grant(action, resource) for action in ACTIONS for resource in table[action]),
        )
        for name, table in tables.items()
    ]  # fmt: skip
    if len({role.group for role in roles}) < len(roles):
        raise ConfigError(f"{path}: two roles have the same group")
    return roles


class Roles:
    """The groups and policies of one NiFi, seen against the roles it shall have. Needs an administrator."""

    def __init__(self, rest: Rest, roles: Sequence[Role]):
        """Take the session and the roles."""
        self._rest, self._roles, self._names = rest, roles, {role.group for role in roles}
        self._root = str(rest.get("/flow/process-groups/root")["processGroupFlow"]["id"])

    def differences(self) -> list[Difference]:
        """Return where this NiFi is not as the roles want it; nothing is changed.

        Raises:
            ConfigError: who asks is no administrator, or NiFi keeps no policies.
        """
        held = self._held()
        found: list[Difference] = []
        for role in self._roles:
            wanted, has = role.at(self._root), held.get(role.group)
            if has is None:
                found.append(Difference(role, None, missing=True))
            found += [Difference(role, grant, missing=True) for grant in sorted(wanted - (has or set()))]
            found += [Difference(role, grant, missing=False) for grant in sorted((has or set()) - wanted)]
        return found

    def apply(self) -> list[Difference]:
        """Make this NiFi as the roles want it and return what was changed; other users and groups keep what they have.

        Raises:
            ConfigError: as `differences`.
        """
        changes = self.differences()
        for change in changes:
            if change.grant is None:
                group = {"identity": change.role.group, "users": []}
                self._rest.post(_GROUPS, {"revision": {"version": 0}, "component": group})
        ids = {group["component"]["identity"]: str(group["id"]) for group in self._groups()}
        for change in changes:
            if change.grant is not None:
                self._set(change.grant, ids[change.role.group], member=change.missing)
        return changes

    def others(self) -> dict[str, int]:
        """Return the users and groups that no role is about, each with how many policies it has of its own."""
        users = self._rest.get("/tenants/users")["users"]
        tenants = [*users, *(group for group in self._groups() if group["component"]["identity"] not in self._names)]
        return {one["component"]["identity"]: len(one["component"].get("accessPolicies") or ()) for one in tenants}

    def _groups(self) -> list[Json]:
        return list(self._rest.get(_GROUPS)["userGroups"])

    def _held(self) -> dict[str, set[Grant]]:
        return {
            group["component"]["identity"]: {
                Grant(policy["component"]["action"], policy["component"]["resource"])
                for policy in group["component"].get("accessPolicies") or ()
            }
            for group in self._groups()
        }

    def _set(self, grant: Grant, group: str, *, member: bool) -> None:
        """Put a group into a policy or take it out; the policy is made when there is none."""
        found = self._rest.find(f"{_POLICIES}/{grant.action}{grant.resource}")
        entity = found["component"] if found else {}
        # Where a resource has no policy of its own NiFi answers with the one that it inherits.
        own = entity.get("resource") == grant.resource
        users, groups = entity.get("users") or [], [one for one in entity.get("userGroups") or () if one["id"] != group]
        if not own:
            # A policy of its own takes the place of the inherited one: who is no role has to come along.
            groups = [one for one in groups if one["component"]["identity"] not in self._names]
        body = {"users": users, "userGroups": groups + ([{"id": group}] if member else [])}
        if found and own:
            body["id"] = found["id"]
            self._rest.put(f"{_POLICIES}/{found['id']}", {"revision": found["revision"], "component": body})
        elif member:
            body |= {"action": grant.action, "resource": grant.resource}
            self._rest.post(_POLICIES, {"revision": {"version": 0}, "component": body})


def table(roles: Sequence[Role]) -> str:
    """Return the roles and their policies as a table in Markdown."""
    grants = sorted({grant for role in roles for grant in role.grants}, key=lambda one: (one.resource, one.action))
    head = f"| resource | action | {' | '.join(role.name for role in roles)} |"
    rows = [
        f"| `{grant.resource}` | {grant.action} | {' | '.join('x' if grant in role.grants else '' for role in roles)} |"
        for grant in grants
    ]
    return "\n".join([head, "|---" * (len(roles) + 2) + "|", *rows]) + "\n"


def _mistakes(table: Any) -> list[str]:
    if not isinstance(table, Mapping):
        return ["is no table"]
    unknown = sorted(set(table) - {"group", "tells", *ACTIONS})
    found = [f"unknown key {key!r}" for key in unknown]
    found += [f"{key} has to be a text" for key in ("group", "tells") if not _is_text(table.get(key))]
    for action in ACTIONS:
        resources = table.get(action)
        if not isinstance(resources, list) or not all(_is_text(one) for one in resources):
            found.append(f"{action} has to be a list of resources")
            continue
        found += [f"{action}: {one!r} does not begin with /" for one in resources if not one.startswith("/")]
    return found


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
