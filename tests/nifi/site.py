"""A NiFi over HTTPS beside a real Keycloak, with one person for each role."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.embedded.brokers import Tls
from otmirror.embedded.keycloak import Keycloak
from otmirror.embedded.loopback import session
from otmirror.embedded.server import EmbeddedNifi
from otmirror.flow.api import Rest
from otmirror.flow.client import NifiApi
from otmirror.pki.development import Files

from .people import Desk, Person, log_in

GROUPS = {
    "viewer": "ot-viewers", "operator": "ot-operators", "flow-author": "ot-flow-authors", "auditor": "ot-auditors",
    "no role": None,
}  # fmt: skip


@dataclass
class Site:
    """A NiFi over HTTPS that sends people to a Keycloak, with one person for each role, and what they act on."""

    nifi: EmbeddedNifi
    keycloak: Keycloak
    desk: Desk
    pki: Path
    admin: Rest
    secret: str
    people: dict[str, Person] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def api(self) -> NifiApi:
        """NiFi as the administrator works with it."""
        made = NifiApi(self.nifi.url)
        made.rest = self.admin
        return made

    @property
    def ca(self) -> str:
        return str(self.pki / "ca.pem")

    def ask(self, token: str | None, method: str, path: str, **options: Any) -> requests.Response:
        """Return what NiFi answers to a request with a token."""
        with session(self.nifi.url) as asking:
            asking.verify = self.ca
            head = {"Authorization": f"Bearer {token}"} if token else {}
            return asking.request(method, self.nifi.url + path, headers=head, timeout=30, **options)


def tls(pki: Path, name: str) -> Tls:
    files = Files.of(pki, name)
    return Tls(pki / "ca.pem", files.certificate, files.key)


def employ(site: Site) -> None:
    """Give NiFi its roles and hire one person for each."""
    done = CliRunner().invoke(app, ["nifi", "roles", "apply"], env=as_admin(site))
    assert done.exit_code == 0, done.output
    for role, group in GROUPS.items():
        site.people[role] = site.desk.hire(role.replace(" ", "-"), group)
        site.tokens[role] = log_in(site.ca, site.nifi.url, site.people[role])


def as_admin(site: Site) -> dict[str, str]:
    return {
        "OTMIRROR_NIFI_URL": site.nifi.url,
        "OTMIRROR_NIFI_CA": site.ca,
        "OTMIRROR_NIFI_CERTIFICATE": str(site.pki / "admin.pem"),
        "OTMIRROR_NIFI_KEY": str(site.pki / "admin.key"),
    }
