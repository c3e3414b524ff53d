"""What each source's lines become. The samples were recorded from the real servers named in samples/README.md."""

import json
from pathlib import Path

import jsonschema
import pytest

from otmirror.audit import nifilogs, otherlogs
from otmirror.audit.event import AuditEvent, Thing, clean, identify
from otmirror.audit.sources import moment
from otmirror.workspace import PROJECT

SAMPLES = Path(__file__).parent / "samples"
SCHEMA = json.loads((PROJECT / "security" / "audit" / "schema.json").read_text())


def told(event: AuditEvent) -> dict:
    """The event as somebody sees it who knows only the schema."""
    line = json.loads(event.line())
    jsonschema.validate({**line, "id": "0" * 32}, SCHEMA)
    return line


def sample(name: str, parse) -> list[dict]:
    lines = (SAMPLES / name).read_text().splitlines()
    return [told(event) for line in lines if (event := parse(line))]


def brief(event: dict) -> tuple:
    return event["actor"], event["action"], event["object"]["name"], event["outcome"]


def test_requests_that_change_something_or_are_refused_are_told():
    events = sample("nifi-request.log", nifilogs.request)
    assert [(e["actor"], e["detail"]["method"], e["object"]["name"], e["outcome"]) for e in events] == [
        ("anonymous", "POST", "/nifi-api/process-groups/root/process-groups/upload", "success"),
        ("CN=alice, OU=operations", "PUT", "/nifi-api/processors/1/run-status", "refused"),
        ("anonymous", "GET", "/nifi-api/access/oidc/callback", "refused"),
        ("anonymous", "POST", "/nifi-api/parameter-contexts", "failed"),
    ]
    assert events[0]["time"] == "2026-11-25T21:30:34.000Z"
    assert "canary" not in json.dumps(events)  # it stood in a query


def test_openbao_tells_who_read_a_secret_and_who_was_denied():
    events = sample("openbao-audit.jsonl", otherlogs.vault)
    assert [brief(e) for e in events] == [
        ("approle:nifi", "login", "auth/approle/login", "success"),
        ("approle:nifi", "read", "secret/data/otmirror/influx", "success"),
        ("approle:nifi", "update", "secret/data/otmirror/influx", "refused"),
        ("anonymous", "login", "auth/approle/login", "refused"),
    ]
    assert events[2]["time"] == "2026-11-25T22:36:41.992Z"
    assert "permission denied" in events[2]["detail"]["reason"]


def test_keycloak_tells_logins_and_what_administrators_do():
    events = sample("keycloak.jsonl", otherlogs.keycloak)
    assert [brief(e) for e in events] == [
        ("alice", "login", "otmirror", "refused"),
        ("mallory", "login", "otmirror", "refused"),
        ("alice", "login", "otmirror", "success"),
        ("admin", "login", "master", "success"),
        ("b5749244-c212-4298-bf3a-a2abc42a472e", "update", "master", "success"),
        ("b5749244-c212-4298-bf3a-a2abc42a472e", "create", "users/2c33370f-3445-45b1-ad9f-05e8463a3c98", "success"),
    ]
    assert [e["detail"].get("reason") for e in events[:3]] == ["invalid_user_credentials", "user_not_found", None]
    assert events[0]["time"] == "2026-11-25T23:00:33.042Z"
    assert events[5]["object"]["kind"] == "user"


def test_a_refusal_of_a_guard_is_told_with_service_device_and_count():
    line = (
        "2026-11-25 21:30:36,016 ERROR [python-log-25775] otmirror.refused "
        '{"protocol": "opcua", "device": "opc.tcp://plc7:4840", "service": "Write", "count": 2}'
    )
    event = told(nifilogs.refusal(line))
    assert brief(event) == ("otmirror", "write", "opc.tcp://plc7:4840", "refused")
    assert event["detail"] == {
        "protocol": "opcua", "device": "opc.tcp://plc7:4840", "service": "Write", "count": "2",
    }  # fmt: skip


def test_a_line_that_only_looks_like_a_refusal_is_none():
    said = '2026-11-25 21:30:36,016 INFO [web-1] o.a.n.Some otmirror.refused {"protocol": "opcua"}'
    assert nifilogs.refusal(said) is None


DENIED = {
    "time": "2026-11-25T22:00:00.123+00:00", "decision_id": "d1", "asked_by": "otmirror flow lint",
    "file": "flows/pilot.json", "sha256": "ab" * 32, "kind": "flow", "policy": "r1", "decision": "deny",
    "rule": "flow.allowlist", "component": {"kind": "processor", "name": "PutModbus", "id": "p1"},
    "message": "not on the allow-list",
}  # fmt: skip


@pytest.mark.parametrize(("decision", "action", "outcome"), [
    ("deny", "decide", "refused"), ("waive", "waive", "success"), ("allow", "decide", "success"),
])  # fmt: skip
def test_decisions_of_the_policy(decision, action, outcome):
    line = {**DENIED, "decision": decision}
    if decision == "allow":
        del line["rule"], line["component"], line["message"]
    event = told(otherlogs.decision(json.dumps(line)))
    assert brief(event) == ("otmirror flow lint", action, "flows/pilot.json", outcome)
    if decision == "deny":
        assert (event["detail"]["rule"], event["detail"]["component"]) == ("flow.allowlist", "PutModbus")


@pytest.mark.parametrize(("text", "utc"), [
    ("2026-11-25T22:36:41.995697198Z", "2026-11-25T22:36:41.995697+00:00"),
    ("2026-11-25T22:36:41.99+01:00", "2026-11-25T21:36:41.990000+00:00"),
    ("2026-11-25T22:36:41Z", "2026-11-25T22:36:41+00:00"),
    ("2026-11-25 22:36:41,123+00:00", "2026-11-25T22:36:41.123000+00:00"),
])  # fmt: skip
def test_times(text, utc):
    assert moment(text).isoformat() == utc


CANARY = "cAnArY-7f3a91"


@pytest.mark.parametrize("text", [
    f"Bearer {CANARY}",
    f"https://user:{CANARY}@host/x",
    f"password={CANARY}",
    f'{{"client_secret": "{CANARY}"}}',
    f"Authorization: Basic {CANARY}",
    f"eyJhbGciOiJSUzI1NiJ9.{CANARY}.sig",
    f"hvs.{CANARY}AAAAAAAAAAAA",
    f"s3.secret-key = {CANARY}, next",
    f"-----BEGIN RSA PRIVATE KEY----- {CANARY} -----END RSA PRIVATE KEY-----",
])  # fmt: skip
def test_what_looks_like_a_secret_is_hidden(text):
    assert CANARY not in clean(text)
    event = AuditEvent(identify("t"), moment("2026-11-25T22:36:41Z"), text, "request", Thing("rest", text, text),
                       "failed", "nifi-request", {"reason": text, "value": text})  # fmt: skip
    assert CANARY not in event.line()


@pytest.mark.parametrize("name", ["Password", "S3 Secret Key", "catalog.credential", "API Key", "User Key Passphrase"])
def test_values_of_a_property_with_a_secrets_name_are_hidden(name):
    event = AuditEvent(identify("t"), moment("2026-11-25T22:36:41Z"), "alice", "configure", Thing("processor", "p"),
                       "success", "nifi-history", {"property": name, "previous": "old1", "value": CANARY})  # fmt: skip
    assert told(event)["detail"] == {"property": name, "previous": "(hidden)", "value": "(hidden)"}


def test_ordinary_texts_stay_as_they_are():
    text = "property Max Nodes Per Read: 1000 -> 500; secret/data/otmirror/influx; opc.tcp://plc7:4840; 10 secs"
    assert clean(text) == text
