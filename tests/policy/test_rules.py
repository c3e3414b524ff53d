"""The rules: OPA's own tests of them, what is shipped is allowed, and each seeded violation is denied by its rule."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from deciding import TODAY, decide

from otmirror.cli.flow import collect
from otmirror.flow.canonical import dumps, load
from otmirror.flow.catalogue import OWN, catalogue
from otmirror.policy import site
from otmirror.policy.check import Context, check
from otmirror.policy.engine import RULES, Engine, Told, line
from otmirror.workspace import PROJECT

# The first one may have to build OPA.
pytestmark = pytest.mark.timeout(900)
FLOWS = sorted((PROJECT / "flows").glob("*.json"))
COMPOSE = PROJECT / "docker-compose.yml"
Flow = dict[str, Any]


def metadata() -> dict[str, dict[str, Any]]:
    """What the rules say of themselves, read as text."""
    found = {}
    for file in RULES.glob("*.rego"):
        for block in re.findall(r"^# METADATA\n((?:#.*\n)+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            told = yaml.safe_load(re.sub(r"^# ?", "", block, flags=re.MULTILINE))
            if "custom" in told:
                found[told["custom"]["id"]] = told
    return found


def test_opa_tests_pass_and_cover_every_line(program: Path) -> None:
    command = [program, "test", "--coverage", "--threshold", "100", RULES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    report = json.loads(done.stdout)
    assert report["coverage"] == 100
    assert {Path(name).name for name in report["files"]} >= {file.name for file in RULES.glob("*.rego")}


def test_the_threshold_is_held_and_a_test_that_fails_is_told(program: Path, tmp_path: Path) -> None:
    rule = "package p\n\nallow if input.a\n\nallow if input.b\n"
    (tmp_path / "p.rego").write_text(rule)
    (tmp_path / "p_test.rego").write_text('package p_test\n\ntest_a if data.p.allow with input as {"a": true}\n')
    command = [program, "test", "--coverage", "--threshold", "100", tmp_path]
    low = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert low.returncode == 2
    assert "threshold" in low.stdout + low.stderr
    (tmp_path / "p_test.rego").write_text("package p_test\n\ntest_a if data.p.allow with input as {}\n")
    fails = subprocess.run([program, "test", tmp_path], capture_output=True, text=True, timeout=60, check=False)
    assert fails.returncode == 2
    assert "test_a" in fails.stdout


def test_the_rules_are_strict_rego(program: Path) -> None:
    command = [program, "check", "--strict", RULES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_the_shipped_flows_are_allowed(engine: Engine, path: Path) -> None:
    decision = decide(engine, path)
    assert [line(path, told) for told in decision.denied] == []


@pytest.mark.parametrize("path", sorted((PROJECT / "compose" / "params").glob("*.env")), ids=lambda path: path.stem)
def test_the_flows_of_the_compose_stack_are_allowed(engine: Engine, path: Path) -> None:
    flow = PROJECT / "flows" / f"{path.stem}.json"
    told = check([flow], engine, None, "test", Context(collect(path, (), ()), None, TODAY))
    assert [line(flow, denial) for denial in told[flow].denied] == []


def test_the_shipped_compose_file_is_allowed_in_every_profile(engine: Engine) -> None:
    decision = decide(engine, COMPOSE)
    assert [line(COMPOSE, told) for told in decision.denied] == []
    # Not because nothing was looked at: without the addresses of its ports it is denied.
    ports = decide(engine, COMPOSE, NIFI_PORT="4840")
    assert {told.rule for told in ports.denied} == {"published-port"}


def find(flow: Flow, kind: str, name: str) -> Flow:
    (found,) = (c for c in flow["flowContents"][kind] if c["name"] == name)
    return found


def prop(name: str, key: str, value: str, kind: str = "processors") -> Callable[[Flow], object]:
    return lambda flow: find(flow, kind, name)["properties"].__setitem__(key, value)


def field(name: str, key: str, value: object) -> Callable[[Flow], object]:
    return lambda flow: find(flow, "processors", name).__setitem__(key, value)


def parameter(name: str, value: str) -> Callable[[Flow], object]:
    def set_it(flow: Flow) -> None:
        (context,) = flow["parameterContexts"].values()
        (one,) = (p for p in context["parameters"] if p["name"] == name)
        one["value"] = value

    return set_it


def queue(source: str, relationship: str, key: str, value: object) -> Callable[[Flow], object]:
    def set_it(flow: Flow) -> None:
        every = flow["flowContents"]["connections"]
        (one,) = (c for c in every if c["source"]["name"] == source and relationship in c["selectedRelationships"])
        one[key] = value

    return set_it


def writes_over_http(flow: Flow) -> None:
    processor = find(flow, "processors", "Merge for Iceberg")
    processor["type"] = "org.apache.nifi.processors.standard.InvokeHTTP"
    processor["properties"] = {"HTTP Method": "PUT", "HTTP URL": "https://127.0.0.1:8428/registers/7"}
    queue("Merge for Iceberg", "failure", "selectedRelationships", ["Failure", "No Retry", "Retry"])(flow)


def disconnected(flow: Flow) -> None:
    every = flow["flowContents"]["connections"]
    every.remove(next(c for c in every if "unmatched" in c["selectedRelationships"]))


def bundle(flow: Flow) -> None:
    find(flow, "processors", "Poll Modbus")["bundle"]["group"] = "com.example"


MERGE = "Merge for Iceberg"
FLOW_SEEDS: list[tuple[str, str, str, Callable[[Flow], object]]] = [
    ("component-not-allowed", "pilot", MERGE, field(MERGE, "type", "org.apache.nifi.processors.standard.PutFile")),
    ("component-not-allowed", "pilot", "Poll Modbus", bundle),
    ("write-capable", "pilot", MERGE, field(MERGE, "type", "org.apache.nifi.processors.standard.ExecuteStreamCommand")),
    ("write-capable", "pilot", MERGE, field(MERGE, "type", "org.apache.plc4x.nifi.Plc4xSinkProcessor")),
    ("write-capable", "pilot", MERGE, writes_over_http),
    ("plaintext-endpoint", "hub", "From MQTT", parameter("mqtt.broker", "tcp://127.0.0.1:8883")),
    ("plaintext-endpoint", "edge", "Kafka", parameter("kafka.security.protocol", "PLAINTEXT")),
    ("literal-secret", "pilot", "Read OPC UA", prop("Read OPC UA", "Password", "hunter2")),
    ("literal-secret", "edge", "tls.keystore.password", parameter("tls.keystore.password", "hunter2")),
    ("literal-secret", "pilot", "victoriametrics.url", parameter("victoriametrics.url", "https://me:hunter2@127.0.0.1:8428")),
    ("endpoint-not-approved", "pilot", "To VictoriaMetrics", parameter("victoriametrics.url", "https://elsewhere.example")),
    ("endpoint-not-approved", "edge", "Poll Modbus", parameter("modbus.devices", "127.0.0.1:5020, 10.9.9.9:502")),
    ("tag-prefix", "edge", "To MQTT, a sample", prop("To MQTT, a sample", "Topic", "cmd/v1/${tag}")),
    ("tag-prefix", "hub", "Write Iceberg", parameter("telegraf.tag", "{name}")),
    ("poll-too-fast", "pilot", "Read OPC UA", parameter("poll.interval", "100 ms")),
    ("no-back-pressure", "pilot", "Read OPC UA -> Funnel",
     queue("Read OPC UA", "success", "backPressureObjectThreshold", 0)),
    ("flowfiles-expire", "hub", "From Kafka -> Funnel", queue("From Kafka", "success", "flowFileExpiration", "1 hour")),
    ("no-failure-path", "pilot", "Write Iceberg",
     field("Write Iceberg", "autoTerminatedRelationships", ["failure", "success"])),
    ("no-failure-path", "edge", "Choose the bus", disconnected),
]  # fmt: skip


def with_(**changes: object) -> Callable[[Flow], object]:
    return lambda service: service.update(changes)


def more(key: str, value: object) -> Callable[[Flow], object]:
    return lambda service: service.__setitem__(key, [*service.get(key, []), value])


def open_port(service: Flow) -> None:
    service["ports"] = [port.removeprefix("127.0.0.1:") for port in service["ports"]]


def password_in_command(service: Flow) -> None:
    service["command"] = [re.sub(r"password=file://.*", "password=hunter2hunter2", word) for word in service["command"]]


COMPOSE_SEEDS: list[tuple[str, str, Callable[[Flow], object]]] = [
    ("image-not-pinned", "mosquitto", with_(image="eclipse-mosquitto:latest")),
    ("image-not-pinned", "registry", with_(image="apache/nifi-registry")),
    ("published-port", "plant", more("ports", "127.0.0.1:4840:4840")),
    ("published-port", "nifi", open_port),
    ("no-limits", "kafka", with_(deploy={})),
    ("no-limits", "kafka", with_(deploy={"resources": {"limits": {"cpus": "1"}}})),
    ("privileged", "kafka", with_(privileged=True)),
    ("privileged", "kafka", with_(cap_add=["NET_RAW"])),
    ("host-network", "kafka", with_(network_mode="host")),
    ("docker-socket", "kafka", more("volumes", "/run/docker.sock:/run/docker.sock")),
    ("secret-in-environment", "kafka", with_(environment={"KAFKA_SSL_KEY_PASSWORD": "hunter2"})),
    ("secret-in-environment", "victoriametrics", password_in_command),
]


def told_of(decided: tuple[Told, ...], name: str, path: Path, rule: str) -> None:
    assert {told.rule for told in decided} == {rule}
    assert name in {told.name for told in decided}
    for told in decided:
        text = line(path, told)
        assert told.id
        assert told.remedy == " ".join(metadata()[rule]["custom"]["remedy"].split())
        assert all(part in text for part in (told.name, told.id, told.remedy, f"[{rule}]"))
        assert "hunter2" not in text


@pytest.mark.parametrize(
    ("rule", "name", "component", "seed"), FLOW_SEEDS, ids=[f"{s[0]}-{n}" for n, s in enumerate(FLOW_SEEDS)]
)
def test_a_seeded_flow_is_denied_by_its_rule_and_no_other(
    engine: Engine, tmp_path: Path, rule: str, name: str, component: str, seed: Callable[[Flow], object]
) -> None:
    flow = load(PROJECT / "flows" / f"{name}.json")
    seed(flow)
    path = tmp_path / f"{name}.json"
    path.write_text(dumps(flow), encoding="utf-8")
    denied = decide(engine, path).denied
    told_of(denied, component, path, rule)
    identifiers = set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", path.read_text(encoding="utf-8")))
    assert all(told.id in identifiers for told in denied if told.kind != "parameter")


@pytest.mark.parametrize(
    ("rule", "service", "seed"), COMPOSE_SEEDS, ids=[f"{s[0]}-{n}" for n, s in enumerate(COMPOSE_SEEDS)]
)
def test_a_seeded_compose_file_is_denied_by_its_rule_and_no_other(
    engine: Engine, tmp_path: Path, rule: str, service: str, seed: Callable[[Flow], object]
) -> None:
    stack = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    # Services share what an anchor holds; the seed is for one of them.
    stack["services"][service] = json.loads(json.dumps(stack["services"][service]))
    seed(stack["services"][service])
    path = tmp_path / "docker-compose.yml"
    path.write_text(yaml.safe_dump(stack), encoding="utf-8")
    denied = decide(engine, path).denied
    told_of(denied, service, path, rule)
    assert {told.id for told in denied} == {f"services.{service}"}


def test_every_rule_has_a_seed_and_there_are_twenty() -> None:
    seeds = [seed[0] for seed in (*FLOW_SEEDS, *COMPOSE_SEEDS)]
    assert len(seeds) >= 20
    assert set(seeds) == set(metadata())


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_without_its_waivers_a_plaintext_endpoint_is_denied(program: Path, tmp_path: Path, path: Path) -> None:
    approved = json.loads(site.DEFAULT.read_text(encoding="utf-8"))
    approved["otmirror"]["site"]["waivers"] = []
    # A name that OPA itself would take for something else.
    named = tmp_path / "our site: 50 %.json"
    named.write_text(json.dumps(approved), encoding="utf-8")
    bare = decide(Engine(program, site.load(named)), path)
    assert {told.rule for told in bare.denied} == {"plaintext-endpoint"}


def test_the_day_after_a_waiver_its_endpoint_is_denied(engine: Engine) -> None:
    path = PROJECT / "flows" / "pilot.json"
    late = Context(date=datetime.date(2029, 1, 1))
    denied = check([path], engine, None, "test", late)[path].denied
    assert {told.name for told in denied} == {"Read OPC UA", "To VictoriaMetrics"}
    assert all("its waiver ended on 2028-12-31" in told.message for told in denied)
    last = Context(date=datetime.date(2028, 12, 31))
    assert check([path], engine, None, "test", last)[path].denied == ()


def test_a_tag_list_at_hand_counts(engine: Engine, tmp_path: Path) -> None:
    path = PROJECT / "flows" / "pilot.json"
    (tmp_path / "opcua.csv").write_text("tag,address,interval_ms\nacme/p,ns=2;i=1,100\nother/q,ns=2;i=2,\n")
    (tmp_path / "modbus.csv").write_text("tag,address\nacme/r,1:coil:4\n")
    denied = check([path], engine, None, "test", Context(tags=tmp_path, date=TODAY))[path].denied
    assert {(told.rule, told.name) for told in denied} == {
        ("poll-too-fast", "Read OPC UA"),
        ("tag-prefix", "Read OPC UA"),
    }


def test_what_is_inside_counts(engine: Engine, tmp_path: Path) -> None:
    """Inner groups, with a parameter context of their own; groups that are kept elsewhere; remote groups."""
    flow = load(PROJECT / "flows" / "edge.json")
    inner = json.loads(json.dumps(flow["flowContents"]))
    kafka = find({"flowContents": inner}, "controllerServices", "Kafka")
    kafka["properties"]["bootstrap.servers"] = "#{brokers}"
    inner.update(
        identifier="inner", name="inner", parameterContextName="own", processors=[], connections=[], funnels=[]
    )
    flow["parameterContexts"]["own"] = {
        "name": "own",
        "parameters": [{"name": "brokers", "sensitive": False, "value": "elsewhere:9093"}],
        "inheritedParameterContexts": ["otmirror edge"],
    }
    away = {"identifier": "away", "name": "away", "versionedFlowCoordinates": {"flowId": "x"}}
    remote = {"identifier": "remote", "name": "remote", "targetUris": "https://elsewhere.example:8443/nifi"}
    flow["flowContents"]["processGroups"] = [inner, away]
    flow["flowContents"]["remoteProcessGroups"] = [remote]
    path = tmp_path / "edge.json"
    path.write_text(json.dumps(flow), encoding="utf-8")
    assert {(told.rule, told.name) for told in decide(engine, path).denied} == {
        ("endpoint-not-approved", "Kafka"),
        ("component-not-allowed", "away"),
        ("component-not-allowed", "remote"),
        ("endpoint-not-approved", "remote"),
    }


@pytest.mark.timeout(60)
def test_a_value_made_to_keep_the_reader_busy_does_not(engine: Engine, tmp_path: Path) -> None:
    flow = load(PROJECT / "flows" / "pilot.json")
    prop("Read OPC UA", "Endpoint URL", "#{" + " " * 100_000 + "x")(flow)
    path = tmp_path / "pilot.json"
    path.write_text(dumps(flow), encoding="utf-8")
    assert {told.rule for told in decide(engine, path).denied} == {"endpoint-not-approved", "plaintext-endpoint"}


def test_a_name_does_not_pass_for_a_line_of_ours(engine: Engine, tmp_path: Path) -> None:
    flow = load(PROJECT / "flows" / "pilot.json")
    merge = find(flow, "processors", MERGE)
    merge.update(name="x\nflows/pilot.json: allowed\x1b[2K", type="org.acme.Unknown")
    path = tmp_path / "pilot.json"
    path.write_text(dumps(flow), encoding="utf-8")
    (told,) = decide(engine, path).denied
    assert line(path, told).isprintable()


def test_what_the_policy_approves_exists() -> None:
    """A misspelt type or property would never be looked at."""
    data = json.loads((RULES / "data.json").read_text(encoding="utf-8"))["otmirror"]["policy"]
    known = catalogue()
    assert set(OWN) <= set(data["components"])
    for name, approved in data["components"].items():
        if name not in known:
            continue
        kind = known[name]
        assert approved["bundle"] == f"{kind.group}:{kind.artifact}", name
        of_newer_versions = {"Bootstrap Servers", "Security Protocol"}
        used = {*approved.get("endpoints", {}), *approved.get("intervals", ()), *approved.get("topics", ())}
        used |= {p for one in approved.get("encrypted_by", ()) for p in one["properties"]} | set(
            approved.get("tags", ())
        )
        assert used - of_newer_versions <= set(kind.properties), name


def test_every_address_property_of_our_processors_is_looked_at() -> None:
    """By hand: a property that holds an address and is not in the data would be checked only when it is a URL."""
    data = json.loads((RULES / "data.json").read_text(encoding="utf-8"))["otmirror"]["policy"]
    looks = re.compile(r"\b(URLs?|URI|Endpoint|Devices|Broker|bootstrap|Servers?)\b", re.IGNORECASE)
    harmless = {"Server Certificate Trust", "Server Profile", "Deadband In Server"}
    for name, approved in data["components"].items():
        kind = catalogue().get(name)
        properties = kind.properties if kind else {}
        assert {p for p in properties if looks.search(p)} - harmless <= set(approved.get("endpoints", {})), name


def test_the_document_lists_every_rule_with_its_remedy() -> None:
    text = (PROJECT / "docs" / "policy.md").read_text(encoding="utf-8")
    for rule, told in metadata().items():
        (row,) = re.findall(rf"^\| `{rule}` \|.*$", text, re.MULTILINE)
        assert " ".join(told["custom"]["remedy"].split()) in row, rule
