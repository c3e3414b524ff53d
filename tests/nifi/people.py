"""People at a real Keycloak: made through its admin API with random passwords, logged in as a browser would."""

from __future__ import annotations

import html
import re
import secrets
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

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


class Visitor:
    """Follows redirects and keeps cookies as browsers do; Python's cookie jar refuses those with Domain=localhost."""

    def __init__(self, authority: str):
        self._session = session("https://localhost")
        self._session.verify = authority
        self.cookies: dict[str, str] = {}

    def go(self, method: str, url: str, *, follow: bool = True, **options: Any) -> requests.Response:
        """Return the answer after all redirects, or the first one."""
        while True:
            head = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
            self._session.cookies.clear()
            answer = self._session.request(method, url, headers=head, allow_redirects=False, timeout=60, **options)
            self._keep(answer.raw.headers.getlist("Set-Cookie"))
            if not follow or not answer.is_redirect:
                return answer
            method, url, options = "GET", urljoin(url, answer.headers["Location"]), {}

    def _keep(self, headers: list[str]) -> None:
        for header in headers:
            for name, morsel in SimpleCookie(header).items():
                self.cookies[name] = morsel.value
                if not morsel.value or morsel["max-age"] == "0":
                    del self.cookies[name]


def ask_to_log_in(visitor: Visitor, nifi: str) -> requests.Response:
    """Return Keycloak's login page, where NiFi sends who wants in; `nifi` is the REST API's address."""
    return visitor.go("GET", f"{nifi}/oauth2/authorization/consumer")


def authorization_request(visitor: Visitor, nifi: str) -> dict[str, str]:
    """Return the parameters NiFi sends to the identity provider, which is not asked."""
    answer = visitor.go("GET", f"{nifi}/oauth2/authorization/consumer", follow=False)
    return dict(parse_qsl(urlsplit(answer.headers["Location"]).query))


def give_password(visitor: Visitor, page: requests.Response, person: Person) -> requests.Response:
    """Return what the login form on a page answers, after all redirects."""
    form = re.search(r'<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"', page.text)
    assert form, f"{page.url}: {page.text[:500]}"
    return visitor.go("POST", html.unescape(form[1]), data={"username": person.name, "password": person.password})


def log_in(authority: str, nifi: str, person: Person) -> str:
    """Return NiFi's token of a person, by the authorization code flow."""
    visitor = Visitor(authority)
    answer = give_password(visitor, ask_to_log_in(visitor, nifi), person)
    assert COOKIE in visitor.cookies, (
        f"{person.name} got no token: {answer.url}: {answer.status_code} {answer.text[:500]}"
    )
    return visitor.cookies[COOKIE]
