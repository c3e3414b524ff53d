"""People at a real Keycloak: made through its admin API with random passwords, logged in as a browser would."""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from otmirror.embedded.keycloak import ADMIN_CLIENT, Keycloak
from otmirror.embedded.loopback import session

COOKIE = "__Secure-Authorization-Bearer"
"""Where NiFi keeps its token in a browser."""


@dataclass(frozen=True)
class Person:
    """A user of the realm."""

    name: str
    password: str = field(repr=False)


class Desk:
    """Keycloak's admin API, as the client that administers it; a token is taken for each request."""

    def __init__(self, keycloak: Keycloak, authority: str):
        self._keycloak, self._authority = keycloak, authority
        self._realm = keycloak.issuer.rpartition("/")[2]

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Return the answer of the realm's admin API; fails the test on a refusal."""
        answer = self.try_(method, path, **options)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def try_(self, method: str, path: str, **options: Any) -> requests.Response:
        base = self._keycloak.url
        with session(base) as asking:
            asking.verify = self._authority
            form = {"grant_type": "client_credentials"}
            who = (ADMIN_CLIENT, self._keycloak.admin_secret)
            told = asking.post(
                f"{base}/realms/master/protocol/openid-connect/token", data=form, auth=who, timeout=30
            ).json()  # fmt: skip
            head = {"Authorization": f"Bearer {told['access_token']}"}
            return asking.request(
                method, f"{base}/admin/realms/{self._realm}{path}", headers=head, timeout=30, **options
            )

    def hire(self, name: str, group: str | None = None) -> Person:
        """Make a user with a random password, in a group."""
        person = Person(name, secrets.token_urlsafe(18))
        user = {
            "username": name,
            "enabled": True,
            "firstName": name.title(),
            "lastName": "Test",
            "email": f"{name}@plant.example",
            "groups": [group] if group else [],
            "credentials": [{"type": "password", "value": person.password, "temporary": False}],
        }
        self.ask("POST", "/users", json=user)
        return person


def browse(authority: str) -> requests.Session:
    """Return a session that keeps cookies, as a browser does."""
    browser = session("https://localhost")
    browser.verify = authority
    return browser


def ask_to_log_in(browser: requests.Session, nifi: str) -> requests.Response:
    """Return Keycloak's login page, where NiFi sends who wants in; `nifi` is the REST API's address."""
    return browser.get(f"{nifi}/oauth2/authorization/consumer", timeout=30)


def authorization_request(browser: requests.Session, nifi: str) -> Mapping[str, list[str]]:
    """Return the parameters NiFi sends to the identity provider, which is not asked."""
    answer = browser.get(f"{nifi}/oauth2/authorization/consumer", timeout=30, allow_redirects=False)
    return parse_qs(urlsplit(answer.headers["Location"]).query)


def give_password(browser: requests.Session, page: requests.Response, person: Person) -> requests.Response:
    """Return what the login form on a page answers, after all redirects."""
    form = re.search(r'<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"', page.text)
    assert form, page.text[:500]
    data = {"username": person.name, "password": person.password}
    return browser.post(html.unescape(form[1]), data=data, timeout=60)


def log_in(authority: str, nifi: str, person: Person) -> str:
    """Return NiFi's token of a person, by the authorization code flow."""
    with browse(authority) as browser:
        page = ask_to_log_in(browser, nifi)
        give_password(browser, page, person)
        tokens = [cookie.value for cookie in browser.cookies if cookie.name == COOKIE]
    assert tokens, f"{person.name} got no token"
    return str(tokens[0])
