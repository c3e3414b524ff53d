"""The realm as code: what it must not hold and must insist on, and that the check finds what it looks for."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otmirror.embedded.brokers import Tls
from otmirror.embedded.keycloak import REALM, Keycloak
from otmirror.errors import ConfigError
from otmirror.flow.roles import load
from otmirror.workspace import PROJECT

PLACEHOLDER = re.compile(r"\$\{\w+\}")
SECRETS = re.compile(r"secret|password$|credential|privateKey|token$", re.IGNORECASE)


def walk(node: Any, where: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield path, last key and value of everything in a JSON document."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield f"{where}/{key}", str(key), value
        yield from walk(value, f"{where}/{key}")


def problems(realm: dict[str, Any]) -> set[str]:
    """What is wrong with a realm, in one word each."""
    found = set()
    if realm.get("users"):
        found.add("user")
    for _, key, value in walk(realm):
        if SECRETS.search(key) and isinstance(value, str) and not PLACEHOLDER.fullmatch(value):
            found.add("secret")
    for client in realm["clients"]:
        addresses = [*client["redirectUris"], *client["webOrigins"]]
        addresses += client.get("attributes", {}).get("post.logout.redirect.uris", "").split("##")
        if any("*" in one or "+" in one for one in addresses):
            found.add("wildcard")
        if any(one.startswith("http://") for one in addresses):
            found.add("plaintext")
        if client["implicitFlowEnabled"] or client["directAccessGrantsEnabled"] or client["serviceAccountsEnabled"]:
            found.add("grant")
        if client["enabled"] and client.get("attributes", {}).get("pkce.code.challenge.method") != "S256":
            found.add("pkce")
        if client["enabled"] and client["publicClient"]:
            found.add("public")
        if client.get("fullScopeAllowed", True):
            found.add("scope")
    if (
        realm["accessTokenLifespan"] > 300
        or realm["ssoSessionMaxLifespan"] > 8 * 3600
        or not realm["ssoSessionIdleTimeout"]
    ):
        found.add("lifetime")
    if not realm["bruteForceProtected"] or realm["failureFactor"] > 5:
        found.add("brute force")
    length = re.search(r"\blength\((\d+)\)", realm.get("passwordPolicy", ""))
    if not length or int(length[1]) < 14:
        found.add("password policy")
    if not (realm["eventsEnabled"] and realm["adminEventsEnabled"]):
        found.add("audit")
    if realm["sslRequired"] != "all" or realm["registrationAllowed"] or realm["editUsernameAllowed"]:
        found.add("doors")
    return found


@pytest.fixture
def realm() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(REALM.read_text("utf-8"))
    return made


def nifi(realm: dict[str, Any]) -> dict[str, Any]:
    return next(client for client in realm["clients"] if client["clientId"] == "nifi")


def test_the_realm_is_sound(realm: dict[str, Any]) -> None:
    assert problems(realm) == set()


SEEDED: dict[str, list[Callable[[dict[str, Any]], object]]] = {
    "user": [lambda r: r.update(users=[{"username": "admin"}])],
    "secret": [
        lambda r: nifi(r).update(secret="s3cret"),
        lambda r: nifi(r)["attributes"].update({"client.secret": "s3cret"}),
        lambda r: r.update(smtpServer={"password": "s3cret"}),
    ],
    "wildcard": [
        lambda r: nifi(r).update(redirectUris=["https://nifi/*"]),
        lambda r: nifi(r).update(webOrigins=["*"]),
        lambda r: nifi(r)["attributes"].update({"post.logout.redirect.uris": "+"}),
    ],
    "plaintext": [lambda r: nifi(r).update(redirectUris=["http://nifi/callback"])],
    "grant": [
        lambda r: nifi(r).update(implicitFlowEnabled=True),
        lambda r: nifi(r).update(directAccessGrantsEnabled=True),
        lambda r: nifi(r).update(serviceAccountsEnabled=True),
    ],
    "pkce": [lambda r: nifi(r)["attributes"].update({"pkce.code.challenge.method": "plain"})],
    "public": [lambda r: nifi(r).update(publicClient=True)],
    "scope": [lambda r: nifi(r).pop("fullScopeAllowed")],
    "lifetime": [lambda r: r.update(accessTokenLifespan=3600)],
    "brute force": [lambda r: r.update(bruteForceProtected=False)],
    "password policy": [lambda r: r.update(passwordPolicy="length(8)")],
    "audit": [lambda r: r.update(adminEventsEnabled=False)],
    "doors": [lambda r: r.update(sslRequired="none"), lambda r: r.update(registrationAllowed=True)],
}


@pytest.mark.parametrize(("problem", "spoil"), [(name, one) for name, spoils in SEEDED.items() for one in spoils])
def test_what_makes_it_unsound_is_found(realm: dict[str, Any], problem: str, spoil: Callable[..., object]) -> None:
    spoilt = copy.deepcopy(realm)
    spoil(spoilt)
    assert problems(spoilt) == {problem}


def test_the_roles_of_keycloak_are_those_of_nifi(realm: dict[str, Any]) -> None:
    roles = {role.group for role in load(PROJECT / "security" / "roles.toml")}
    assert {role["name"] for role in realm["roles"]["realm"]} == roles
    assert {name for group in realm["groups"] for name in group["realmRoles"]} == roles
    assert set(realm["scopeMappings"][0]["roles"]) == roles


def test_a_realm_whose_values_are_not_given_is_not_started(tmp_path) -> None:
    tls = Tls(tmp_path / "ca.pem", tmp_path / "k.pem", tmp_path / "k.key")
    with pytest.raises(ConfigError, match="needs values for OTMIRROR_NIFI_CLIENT_SECRET, OTMIRROR_NIFI_ORIGIN"):
        Keycloak(tmp_path, tls).start()
