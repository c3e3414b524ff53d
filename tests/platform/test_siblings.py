"""The overrides that join a sibling's stack, as Compose itself merges them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
from siblings import BASE, JOINS, OFF, OVERRIDES, PILOTS, PORTS, TAKEN, published, stacks

from otmirror.embedded import opa
from otmirror.embedded.compose import Stack, merged
from otmirror.errors import ConfigError, UnavailableError
from otmirror.policy import site
from otmirror.policy import stacks as stacks_read
from otmirror.policy.check import Context, check
from otmirror.policy.engine import Engine
from otmirror.workspace import PROJECT
from otmirror.zones import model

ALL = tuple(JOINS)
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
RELAYS = {"stream-relay": "kafka", "iot-relay": "mosquitto", "vault-relay": "vault",
          "secrets-edge": "edge-nifi", "secrets-hub": "hub-nifi"}  # fmt: skip
"""The member of the zones that a service of an override stands in for, or runs beside."""


@pytest.fixture(scope="module")
def full(merge: Path) -> dict[tuple[str, ...], Stack]:
    chosen = [(), *((module,) for module in ALL), ALL]
    return dict(zip(chosen, stacks(merge, "full", chosen), strict=True))


@pytest.fixture(scope="module")
def pilot(merge: Path) -> dict[tuple[str, ...], Stack]:
    chosen = [(), *((module,) for module in PILOTS), PILOTS]
    return dict(zip(chosen, stacks(merge, "pilot", chosen), strict=True))


def test_there_is_an_override_a_module() -> None:
    assert {file.stem for file in OVERRIDES.iterdir()} == set(JOINS)


def test_what_a_sibling_replaces_stays_off_and_all_else_goes_on(full: dict[tuple[str, ...], Stack]) -> None:
    ours = set(full[()]["services"])
    for modules, stack in full.items():
        off = set().union(*(OFF.get(module, set()) for module in modules))
        assert ours - set(stack["services"]) == off, modules
        for name, service in stack["services"].items():
            assert not set(service.get("depends_on", {})) & off, f"{name} waits for what is off"


def test_no_override_publishes_a_port(full: dict[tuple[str, ...], Stack], pilot: dict[tuple[str, ...], Stack]) -> None:
    for profile, all_of_it in (("full", full), ("pilot", pilot)):
        for modules, stack in all_of_it.items():
            told = published(stack)
            ports = [port for _, port in told]
            wanted = PORTS[profile] - ({8438} if "tsdb" in modules else set())
            assert sorted(ports) == sorted(wanted), modules
            assert {address for address, _ in told} == {"127.0.0.1"}
            assert not set(ports) & TAKEN


def test_each_sibling_is_joined_by_those_who_need_it_only(
    full: dict[tuple[str, ...], Stack], pilot: dict[tuple[str, ...], Stack]
) -> None:
    for stack in (full[ALL], pilot[PILOTS]):
        services = stack["services"]
        for module, joined in JOINS.items():
            there = {name for name, service in services.items() if module in service["networks"]}
            assert there == joined & set(services), module
    for name, network in full[ALL]["networks"].items():
        assert network.get("external", False) == (name in JOINS), name
        assert network.get("internal", False) == (name in {"ot", "edge", "dmz"}), name
    assert not {"nifi-edge", "secrets-edge"} & set().union(*JOINS.values())


def test_the_zones_hold_with_every_sibling_joined(full: dict[tuple[str, ...], Stack]) -> None:
    matrix = model.load()
    role = {service: member.name for member in matrix.members.values() for service in member.compose} | RELAYS
    zone = {name: member.zone for name, member in matrix.members.items()}
    conduits = {frozenset((one.source, one.to)) for one in matrix.of("full")}
    here = {name: set(service["networks"]) for name, service in full[ALL]["services"].items()}
    strangers = set(here) - set(role)
    assert strangers == {"exporter"}
    assert here["exporter"] == {"observability"}, "it meets the NiFis through files only"
    for one, other in combinations(sorted(set(here) - strangers), 2):
        if not here[one] & here[other]:
            continue
        pair = frozenset((role[one], role[other]))
        assert len({zone[member] for member in pair}) == 1 or pair in conduits, f"{one} and {other} share a network"


def test_what_an_override_brings_is_pinned_limited_and_confined(full: dict[tuple[str, ...], Stack]) -> None:
    brought = set(full[ALL]["services"]) - set(full[()]["services"])
    assert brought == {"stream-relay", "iot-relay", "vault-relay", "secrets-edge", "secrets-hub", "exporter"}
    for name in brought:
        service = full[ALL]["services"][name]
        assert re.search(r":[\w.-]*\d", service["image"]), name
        assert service["read_only"] is True
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
        assert service["healthcheck"]["test"]
        assert service["restart"] == "unless-stopped"
        for mount in service.get("volumes", ()):
            assert mount["read_only"] is True, f"{name} may write {mount['source']}"
            if mount["type"] == "bind":
                assert Path(mount["source"]).exists()


def test_the_policy_has_nothing_to_say(
    full: dict[tuple[str, ...], Stack], pilot: dict[tuple[str, ...], Stack], tmp_path: Path
) -> None:
    try:
        engine = Engine(opa.install(), site.load(site.DEFAULT))
    except UnavailableError as error:
        pytest.skip(str(error))
    files = []
    for name, stack in (("full", full[ALL]), ("pilot", pilot[PILOTS])):
        files.append(tmp_path / f"{name}.yml")
        files[-1].write_text(json.dumps(stack))
    for flow, stack in (("hub", full[ALL]), ("edge", full[ALL]), ("pilot", pilot[PILOTS])):
        values = parameters(stack, flow, tmp_path)
        for path, decision in check([PROJECT / f"flows/{flow}.json"], engine, None, "test", Context(values)).items():
            assert not decision.denied, (path, decision.denied)
    for path, decision in check(files, engine, None, "test", Context({})).items():
        assert not decision.denied, (path, decision.denied)


def parameters(stack: Stack, flow: str, folder: Path) -> dict[str, str]:
    """Return what compose/flows/import hands to `otmirror flow import` in a stack's environment."""
    secrets, told = folder / "secrets", folder / f"{flow}.told"
    secrets.mkdir(exist_ok=True)
    for name in ("keystore-password", "victoriametrics-password"):
        (secrets / name).write_text("of-the-test")
    program = folder / "otmirror"
    # As the real one: a flow that is not there cannot be started.
    program.write_text(f'#!/bin/sh\n[ "$2" != start ] || exit 1\necho "$@" >{told}\nexit 9\n')
    program.chmod(0o755)
    script = (PROJECT / "compose/flows/import").read_text()
    for there, here in {
        "/tmp/": f"{folder}/", "/params/": f"{PROJECT}/compose/params/", "/run/secrets": str(secrets),
        "/opt/otmirror": str(PROJECT),
    }.items():  # fmt: skip
        assert there in script
        script = script.replace(there, here)
    environment = {k: v for k, v in stack["services"][f"flows-{flow}"]["environment"].items() if v is not None}
    done = subprocess.run(
        ["sh", "-c", script, "import", flow],
        env={"PATH": f"{folder}:{os.environ['PATH']}", **environment},
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    words = told.read_text().split()
    lines = Path(words[words.index("--params") + 1]).read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    with_password = "victoriametrics.password=VICTORIAMETRICS_PASSWORD" in words
    assert with_password == ("victoriametrics.username" in given), "user and password are both there or none"
    known = json.loads((PROJECT / f"flows/{flow}.json").read_text())["parameterContexts"].values()
    assert set(given) <= {parameter["name"] for context in known for parameter in context["parameters"]}
    return given


def test_the_siblings_addresses_reach_the_flows(
    full: dict[tuple[str, ...], Stack], pilot: dict[tuple[str, ...], Stack], tmp_path: Path
) -> None:
    hub = parameters(full[ALL], "hub", tmp_path)
    assert hub["victoriametrics.url"] == "http://victoriametrics:8428"
    assert hub["iceberg.catalog.uri"] == "http://nessie:19120/iceberg"
    assert (hub["iceberg.warehouse"], hub["iceberg.s3.endpoint"]) == ("warehouse", "http://minio:9000")
    edge = parameters(full[ALL], "edge", tmp_path)
    for flow in (hub, edge):
        assert (flow["kafka.brokers"], flow["kafka.security.protocol"]) == ("redpanda:9092", "SSL")
        assert flow["mqtt.broker"] == "ssl://iot-relay:8883"
    assert parameters(pilot[PILOTS], "pilot", tmp_path)["iceberg.catalog.type"] == "rest"
    alone = parameters(full[()], "hub", tmp_path)
    assert alone["victoriametrics.username"] == "otmirror"
    assert alone["iceberg.catalog.uri"] == "http://catalog:8181"


def test_a_variable_of_the_caller_is_put_in(merge: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TSDB_VICTORIAMETRICS_URL", "http://vm.plant:8428")
    monkeypatch.setenv("TSDB_VICTORIAMETRICS_USERNAME", "mirror")
    monkeypatch.setenv("TSDB_NETWORK", "plant_store")
    monkeypatch.setenv("STREAM_KAFKA_HOST", "broker")
    monkeypatch.setenv("STREAM_NETWORK", "bus")
    (stack,) = stacks(merge, "full", [("tsdb", "stream")])
    assert stack["networks"]["tsdb"]["name"] == "plant_store"
    relay = stack["services"]["stream-relay"]
    assert relay["environment"]["RELAY_TO"] == "broker.bus:9092"
    assert relay["networks"]["edge"]["aliases"] == ["broker"]
    hub = parameters(stack, "hub", tmp_path)
    assert (hub["victoriametrics.url"], hub["victoriametrics.username"]) == ("http://vm.plant:8428", "mirror")
    assert hub["kafka.brokers"] == "broker:9092"


def test_every_variable_is_documented_with_its_default() -> None:
    document = (PROJECT / "docs/platform.md").read_text()
    lines = (PROJECT / ".env.example").read_text().splitlines()
    shown = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    found = {
        (name, default)
        for file in OVERRIDES.iterdir()
        for name, default in VARIABLE.findall(file.read_text())
    }  # fmt: skip
    assert len(found) == len({name for name, _ in found}), "one variable, two defaults"
    assert found
    for name, default in found:
        assert f"`{name}`" in document, name
        assert shown[name] == default, name
    siblings = {name for name in shown if re.match(r"(TSDB|CORE|STREAM|OBSERVABILITY|SECURITY|IOT_BROKER)_", name)}
    assert siblings == {name for name, _ in found}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pilot", "tsbd"], "no module tsbd: core iot-broker observability security stream tsdb"),
        (["pilot", "tsdb", "stream"], "stream needs PROFILE=full"),
        (["tsdb"], "PROFILE is pilot or full, not tsdb"),
    ],
)
def test_a_mistake_at_up_is_told_before_anything_is_started(arguments: list[str], told: str) -> None:
    done = subprocess.run([PROJECT / "compose/up", *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert told in done.stderr


def test_a_stack_that_compose_would_refuse_is_told(merge: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("services: { nifi: { depends_on: { nowhere: { condition: service_healthy } } } }\n")
    with pytest.raises(ConfigError, match="nowhere"):
        merged(merge, [(("pilot",), [BASE, wrong])])


def test_the_policy_says_what_to_do_with_an_override() -> None:
    path = OVERRIDES / "tsdb.yaml"
    with pytest.raises(
        ConfigError, match=r"tsdb\.yaml: an override of another file; check what `docker compose config`"
    ):
        stacks_read.document(path, path.read_bytes(), {})
