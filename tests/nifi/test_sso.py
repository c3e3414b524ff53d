"""People log in at a real Keycloak into NiFi over HTTPS, and each role reaches what docs/sso.md says and no more."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.embedded import browser as chromium
from otmirror.embedded import keycloak as kc
from otmirror.embedded.brokers import Tls
from otmirror.embedded.https import Https
from otmirror.embedded.install import Installation
from otmirror.embedded.keycloak import Keycloak
from otmirror.embedded.loopback import session
from otmirror.embedded.oidc import Oidc
from otmirror.embedded.processes import free_port, wait_until
from otmirror.embedded.server import EmbeddedNifi
from otmirror.errors import UnavailableError
from otmirror.flow.api import Login, Rest
from otmirror.flow.client import NifiApi
from otmirror.pki.development import Files, Wanted, make
from otmirror.workspace import PROJECT

from . import canvas
from .people import COOKIE, Desk, Person, Visitor, ask_to_log_in, authorization_request, give_password, log_in

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]

GROUPS = {
    "viewer": "ot-viewers", "operator": "ot-operators", "flow-author": "ot-flow-authors", "auditor": "ot-auditors",
    "no role": None,
}  # fmt: skip
STOCK = "org.apache.nifi.processors.standard"


def reach() -> tuple[list[str], dict[str, dict[str, int]]]:
    """The roles and, for each request, the status of each role, from the table in docs/sso.md."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (PROJECT / "docs" / "sso.md").read_text("utf-8").splitlines()
        if re.match(r"\| (request|[^|]*`(GET|PUT|POST|DELETE) )", line)
    ]
    roles = rows[0][1:]
    table = {}
    for first, *statuses in rows[1:]:
        named = re.search(r"`(.*)`", first)
        assert named
        table[named[1]] = dict(zip(roles, map(int, statuses), strict=True))
    return roles, table


ROLES, REACH = reach()


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


@pytest.fixture(scope="module")
def site(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    try:
        kc.install()
    except UnavailableError as error:
        pytest.skip(f"no Keycloak here: {error}")
    pki = tmp_path_factory.mktemp("pki")
    make(pki, Wanted(("nifi", "keycloak"), ("admin",), kind="ec"))
    port, secret = free_port(), secrets.token_urlsafe(32)
    values = {"OTMIRROR_NIFI_ORIGIN": f"https://localhost:{port}", "OTMIRROR_NIFI_CLIENT_SECRET": secret}
    keycloak = Keycloak(tmp_path_factory.mktemp("keycloak"), tls(pki, "keycloak"), values=values)
    nifi: EmbeddedNifi | None = None
    try:
        keycloak.start()
        https = Https.from_folder(pki, Oidc(keycloak.discovery, "nifi", secret))
        nifi = EmbeddedNifi(tmp_path_factory.mktemp("nifi"), port, installation=installation, https=https)
        nifi.start()
        login = Login(authority=str(pki / "ca.pem"), certificate=str(pki / "admin.pem"), key=str(pki / "admin.key"))
        made = Site(nifi, keycloak, Desk(keycloak, str(pki / "ca.pem")), pki, Rest(nifi.url, login=login), secret)
        employ(made)
        yield made
    finally:
        if nifi is not None:
            nifi.stop()
        keycloak.stop()


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


# Things to act on, made by the administrator for each request anew, so that one role does not spoil it for the next.


def new(**component: Any) -> dict[str, Any]:
    return {"revision": {"version": 0}, "component": component}


def at(x: float = 0.0) -> dict[str, float]:
    return {"x": x, "y": 0.0}


@dataclass
class Things:
    """A group with a processor that feeds a queue, and a parameter context."""

    group: dict[str, Any]
    processor: dict[str, Any]
    queue: str
    context: str
    empty: dict[str, Any]


@pytest.fixture
def things(site: Site) -> Iterator[Things]:
    rest = site.admin
    name = f"things {secrets.token_hex(4)}"
    group = rest.post("/process-groups/root/process-groups", new(name=name, position=at()))
    inside = f"/process-groups/{group['id']}"
    config = {"autoTerminatedRelationships": []}
    kind = f"{STOCK}.GenerateFlowFile"
    source = rest.post(f"{inside}/processors", new(type=kind, name="source", position=at(), config=config))
    funnel = rest.post(f"{inside}/funnels", new(position=at(400.0)))
    ends = {
        "source": {"id": source["id"], "groupId": group["id"], "type": "PROCESSOR"},
        "destination": {"id": funnel["id"], "groupId": group["id"], "type": "FUNNEL"},
    }
    queue = rest.post(f"{inside}/connections", new(**ends, selectedRelationships=["success"]))
    context = rest.post("/parameter-contexts", new(name=name, parameters=[]))
    empty = rest.post("/process-groups/root/process-groups", new(name=f"empty {name}", position=at(800.0)))
    yield Things(group, rest.get(f"/processors/{source['id']}"), queue["id"], context["id"], empty)
    for one in (group["id"], empty["id"]):
        if rest.find(f"/process-groups/{one}"):
            site.api.delete_group(one, drop_queued=True)
    made = rest.get(f"/parameter-contexts/{context['id']}")
    rest.delete(f"/parameter-contexts/{context['id']}", version=made["revision"]["version"])


def renamed(things: Things) -> dict[str, Any]:
    return {
        "revision": things.processor["revision"],
        "component": {"id": things.processor["id"], "name": "renamed"},
    }


REQUESTS: dict[str, Callable[[Things], tuple[str, Any]]] = {
    "GET /flow/current-user": lambda _: ("/flow/current-user", None),
    "GET /flow/process-groups/root": lambda _: ("/flow/process-groups/root", None),
    "GET /processors/{id}": lambda t: (f"/processors/{t.processor['id']}", None),
    "GET /flow/bulletin-board": lambda _: ("/flow/bulletin-board", None),
    "PUT /processors/{id}/run-status": lambda t: (
        f"/processors/{t.processor['id']}/run-status",
        {"revision": t.processor["revision"], "state": "RUNNING"},
    ),
    "POST /flowfile-queues/{id}/drop-requests": lambda t: (f"/flowfile-queues/{t.queue}/drop-requests", None),
    "POST /flowfile-queues/{id}/listing-requests": lambda t: (f"/flowfile-queues/{t.queue}/listing-requests", None),
    "PUT /processors/{id}": lambda t: (f"/processors/{t.processor['id']}", renamed(t)),
    "POST /process-groups/{id}/processors": lambda t: (
        f"/process-groups/{t.group['id']}/processors",
        new(type=f"{STOCK}.MergeContent", name="added", position=at()),
    ),
    "POST /process-groups/{id}/processors, restricted": lambda t: (
        f"/process-groups/{t.group['id']}/processors",
        new(type=f"{STOCK}.ExecuteProcess", name="added", position=at()),
    ),
    "DELETE /process-groups/{id}": lambda t: (
        f"/process-groups/{t.empty['id']}?version={t.empty['revision']['version']}",
        None,
    ),
    "GET /parameter-contexts/{id}": lambda t: (f"/parameter-contexts/{t.context}", None),
    "POST /parameter-contexts": lambda _: (
        "/parameter-contexts",
        new(name=f"added {secrets.token_hex(4)}", parameters=[]),
    ),
    "POST /provenance": lambda _: (
        "/provenance",
        {"provenance": {"request": {"maxResults": 1, "summarize": True, "incrementalResults": False}}},
    ),
    "GET /counters": lambda _: ("/counters", None),
    "GET /system-diagnostics": lambda _: ("/system-diagnostics", None),
    "GET /flow/history": lambda _: ("/flow/history?offset=0&count=1", None),
    "GET /tenants/users": lambda _: ("/tenants/users", None),
    "POST /tenants/users": lambda _: ("/tenants/users", new(identity=f"intruder {secrets.token_hex(4)}")),
    "GET /policies/read/flow": lambda _: ("/policies/read/flow", None),
    "POST /policies": lambda _: (
        "/policies",
        new(action="write", resource="/policies", users=[], userGroups=[]),
    ),
    "PUT /controller/config": lambda _: (
        "/controller/config",
        new(maxTimerDrivenThreadCount=11),
    ),
    "POST /controller/reporting-tasks": lambda _: (
        "/controller/reporting-tasks",
        new(type="org.apache.nifi.reporting.SiteToSiteStatusReportingTask"),
    ),
}


def test_the_table_of_the_documentation_is_what_is_asked() -> None:
    assert list(REACH) == list(REQUESTS)
    assert list(GROUPS) == ROLES


@pytest.mark.parametrize("request_", REACH)
def test_each_role_reaches_what_its_name_says_and_no_more(site: Site, things: Things, request_: str) -> None:
    method = request_.split()[0]
    got = {}
    # Those who may come last: what they change would change the answer to the others.
    for role in sorted(ROLES, key=lambda one: REACH[request_][one] != 403):
        # What one role has changed has a new revision.
        things.processor = site.admin.get(f"/processors/{things.processor['id']}")
        stop(site, things)
        path, body = REQUESTS[request_](things)
        got[role] = site.ask(
            site.tokens[role], method, path, **({"json": body} if body is not None else {})
        ).status_code
    assert got == REACH[request_]


def stop(site: Site, things: Things) -> None:
    if things.processor["component"]["state"] == "RUNNING":
        body = {"revision": things.processor["revision"], "state": "STOPPED"}
        where = f"/processors/{things.processor['id']}"
        site.admin.put(f"{where}/run-status", body)
        assert wait_until(lambda: not site.admin.get(where)["status"]["aggregateSnapshot"]["activeThreadCount"], 30)
        things.processor = site.admin.get(where)


def test_starting_everything_starts_nothing_for_a_viewer(site: Site, things: Things) -> None:
    group = things.group["id"]
    site.ask(site.tokens["viewer"], "PUT", f"/flow/process-groups/{group}", json={"id": group, "state": "RUNNING"})
    assert site.admin.get(f"/processors/{things.processor['id']}")["component"]["state"] == "STOPPED"


def test_no_role_sees_a_sensitive_value(site: Site, things: Things) -> None:
    value = secrets.token_hex(16)
    context = site.admin.get(f"/parameter-contexts/{things.context}")
    parameter = {"parameter": {"name": "password", "sensitive": True, "value": value}}
    body = {"revision": context["revision"], "id": things.context}
    body["component"] = {"id": things.context, "name": context["component"]["name"], "parameters": [parameter]}
    site.admin.put(f"/parameter-contexts/{things.context}", body)
    for role in ROLES:
        answer = site.ask(site.tokens[role], "GET", f"/parameter-contexts/{things.context}")
        assert value not in answer.text
    assert '"password"' in site.ask(site.tokens["auditor"], "GET", f"/parameter-contexts/{things.context}").text


def test_a_person_logs_in_with_a_browser(site: Site, tmp_path: Path) -> None:
    try:
        browser = chromium.install()
    except UnavailableError as error:
        pytest.skip(f"no browser here: {error}")
    known = [site.pki / "nifi.pem", site.pki / "keycloak.pem"]
    with canvas.chromium(browser, tmp_path / "profile", known) as driver:
        canvas.log_in(driver, site.nifi.canvas, site.people["operator"])
        status, text = canvas.ask(driver, "/flow/current-user")
        assert status == 200
        told = json.loads(text)
        assert (told["identity"], told["anonymous"]) == ("operator", False)
        assert not told["controllerPermissions"]["canWrite"]
        # Chromium asked the person to do nothing but to give name and password, and believes no other certificate.
        assert driver.execute_script("return window.isSecureContext")


def test_every_request_is_somebodys(site: Site) -> None:
    for role in set(ROLES) - {"no role"}:
        told = site.ask(site.tokens[role], "GET", "/flow/current-user").json()
        assert told["identity"] == site.people[role].name
    assert site.ask(None, "GET", "/flow/about").status_code == 401


def forged(token: str) -> str:
    """A token whose claims were changed to the administrator's, with no signature (RFC 8725, 2.1)."""
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    claims |= {"sub": "CN=admin", "groups": ["flow-author"]}
    parts = ({"alg": "none"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def swapped(token: str) -> str:
    """The same claims with a signature that was made for other ones."""
    head, claims, signature = token.split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"groups": ["flow-author"]}
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip('=')}.{signature}"


@pytest.mark.parametrize("made", [lambda _: "garbage", lambda _: "a.b.c", forged, swapped])
def test_a_token_that_nifi_did_not_sign_is_nobody(site: Site, made: Callable[[str], str]) -> None:
    assert site.ask(made(site.tokens["viewer"]), "GET", "/flow/process-groups/root").status_code == 401


def test_a_token_ends_with_the_log_out(site: Site) -> None:
    token = log_in(site.ca, site.nifi.url, site.people["viewer"])
    assert site.ask(token, "GET", "/flow/process-groups/root").status_code == 200
    assert site.ask(token, "DELETE", "/access/logout").ok
    assert site.ask(token, "GET", "/flow/process-groups/root").status_code == 401


def test_a_wrong_password_gives_no_token_and_is_in_the_audit(site: Site) -> None:
    person = Person(site.people["viewer"].name, "not the password at all")
    visitor = Visitor(site.ca)
    page = give_password(visitor, ask_to_log_in(visitor, site.nifi.url), person)
    assert page.url.startswith(site.keycloak.url)
    assert COOKIE not in visitor.cookies
    events = site.desk.ask("GET", "/events", params={"type": "LOGIN_ERROR"}).json()
    assert events[0]["error"] == "invalid_user_credentials"
    assert events[0]["details"]["username"] == "viewer"


def test_the_audit_events_hold_no_secret(site: Site) -> None:
    who = {event["details"]["username"] for event in site.desk.ask("GET", "/events", params={"type": "LOGIN"}).json()}
    assert who >= {person.name for person in site.people.values()}
    told = site.desk.ask("GET", "/admin-events", params={"max": 500}).text
    assert '"resourceType":"USER"' in told.replace(" ", "")
    for secret in (site.secret, site.keycloak.admin_secret, *(person.password for person in site.people.values())):
        assert secret not in told
        assert secret not in site.keycloak.log.read_text()


def test_the_realm_as_it_runs_is_as_strict_as_its_file(site: Site) -> None:
    clients = [one for one in site.desk.ask("GET", "/clients").json() if one["enabled"]]
    assert "nifi" in {one["clientId"] for one in clients}
    for client in clients:
        name = client["clientId"]
        assert not client["implicitFlowEnabled"], name
        assert not client["directAccessGrantsEnabled"], name
        assert not any("*" in uri for uri in client["redirectUris"]), name


def test_an_export_of_the_realm_holds_no_secret_and_no_person(site: Site) -> None:
    options = {"exportClients": "true", "exportGroupsAndRoles": "true"}
    text = site.desk.ask("POST", "/partial-export", params=options).text
    exported = json.loads(text)
    assert {client["clientId"] for client in exported["clients"]} >= {"nifi"}
    assert not exported.get("users")
    for secret in (site.secret, *(person.password for person in site.people.values())):
        assert secret not in text


def test_nifi_proves_its_code_and_comes_back_to_one_address(site: Site) -> None:
    sent = authorization_request(Visitor(site.ca), site.nifi.url)
    assert sent["code_challenge_method"] == "S256"
    assert sent["redirect_uri"] == f"https://localhost:{site.nifi.port}/nifi-api/access/oidc/callback"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"code_challenge": None, "code_challenge_method": None}, "code_challenge_method"),
        ({"code_challenge_method": "plain"}, r"code\+challenge\+method\+is\+not"),
        ({"redirect_uri": "https://evil.example/"}, "redirect_uri"),
        ({"redirect_uri": "{origin}/nifi-api/access/oidc/callback/../../x"}, "redirect_uri"),
        ({"redirect_uri": "{origin}/nifi/"}, "redirect_uri"),
        ({"response_type": "token"}, "unsupported_response_type|unauthorized_client|Implicit"),
    ],
)
def test_keycloak_refuses_any_other_authorization_request(site: Site, change: dict[str, Any], told: str) -> None:
    visitor = Visitor(site.ca)
    origin = f"https://localhost:{site.nifi.port}"
    sent: dict[str, str | None] = {**authorization_request(visitor, site.nifi.url)}
    sent |= {name: value and value.format(origin=origin) for name, value in change.items()}
    where = f"{site.keycloak.issuer}/protocol/openid-connect/auth"
    answer = visitor.go("GET", where, params=sent, follow=False)
    assert answer.status_code == 400 or "error=" in answer.headers.get("Location", "")
    assert 'id="kc-form-login"' not in answer.text
    assert re.search(told, answer.text + answer.headers.get("Location", ""))


@pytest.mark.parametrize("grant", ["password", "client_credentials"])
def test_the_clients_secret_alone_gets_no_token(site: Site, grant: str) -> None:
    person = site.people["flow-author"]
    form = {"grant_type": grant, "username": person.name, "password": person.password, "scope": "openid"}
    where = f"{site.keycloak.issuer}/protocol/openid-connect/token"
    answer = Visitor(site.ca).go("POST", where, data=form, auth=("nifi", site.secret))
    assert answer.status_code in (400, 401)
    assert answer.json()["error"] == "unauthorized_client"


def test_nobody_can_be_called_like_the_administrator(site: Site) -> None:
    user = {"username": "CN=admin", "enabled": True, "firstName": "A", "lastName": "B", "email": "a@plant.example"}
    assert site.desk.try_("POST", "/users", json=user).status_code == 400


def test_applying_the_roles_again_changes_nothing_and_a_change_is_seen(site: Site) -> None:
    run, environment = CliRunner(), as_admin(site)
    assert run.invoke(app, ["nifi", "roles", "apply"], env=environment).output == "4 roles, 0 changes.\n"
    told = run.invoke(app, ["nifi", "roles", "check"], env=environment)
    assert told.exit_code == 0
    assert "CN=admin: no role, " in told.output
    groups = site.admin.get("/tenants/user-groups")["userGroups"]
    viewer = next(group for group in groups if group["component"]["identity"] == "viewer")
    policy = site.admin.get("/policies/write/tenants")
    body = {part: policy["component"][part] for part in ("id", "users", "userGroups")}
    body["userGroups"] = [*body["userGroups"], {"id": viewer["id"]}]
    site.admin.put(f"/policies/{policy['id']}", {"revision": policy["revision"], "component": body})
    told = run.invoke(app, ["nifi", "roles", "check"], env=environment)
    assert told.exit_code == 1
    assert "viewer: has, beyond its role, write /tenants" in told.output
    assert run.invoke(app, ["nifi", "roles", "apply"], env=environment).output.endswith("4 roles, 1 changes.\n")
    assert run.invoke(app, ["nifi", "roles", "check"], env=environment).exit_code == 0


def test_only_an_administrator_applies_roles(site: Site, tmp_path: Path) -> None:
    make(site.pki, Wanted((), ("somebody",), kind="ec"))
    environment = as_admin(site)
    environment["OTMIRROR_NIFI_CERTIFICATE"] = str(site.pki / "somebody.pem")
    environment["OTMIRROR_NIFI_KEY"] = str(site.pki / "somebody.key")
    told = CliRunner().invoke(app, ["nifi", "roles", "apply"], env=environment)
    assert told.exit_code == 1
    assert "403" in str(told.exception)


def test_the_last_without_keycloak_the_administrator_gets_in_and_nobody_else(site: Site) -> None:
    """Runs last: Keycloak stays down, and NiFi is started anew without it."""
    token = log_in(site.ca, site.nifi.url, site.people["viewer"])
    site.keycloak.stop()
    # Who is in works on; who wants in is told by the browser that nobody answers.
    assert site.ask(token, "GET", "/flow/process-groups/root").status_code == 200
    with pytest.raises(requests.ConnectionError):
        ask_to_log_in(Visitor(site.ca), site.nifi.url)
    site.nifi.stop()
    began = time.monotonic()
    site.nifi.start()
    assert time.monotonic() - began < 240
    assert site.admin.get("/flow/current-user")["identity"] == "CN=admin"
    assert site.ask(None, "GET", "/flow/process-groups/root").status_code == 401
