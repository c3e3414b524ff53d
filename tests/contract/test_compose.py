"""docker-compose.yml and what belongs to it, as far as they can be checked without a container engine."""

from __future__ import annotations

import asyncio
import re
import runpy
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from otmirror.embedded.brokers import mosquitto_binary
from otmirror.embedded.processes import free_port, wait_until
from otmirror.errors import UnavailableError
from otmirror.plant import Plant, PlantConfig, tags
from otmirror.workspace import PROJECT, work

yaml = pytest.importorskip("yaml", reason="reads the compose file with PyYAML")
mqtt = pytest.importorskip("paho.mqtt.client", reason="speaks MQTT with paho-mqtt")

COMPOSE = PROJECT / "compose"
ONE_SHOTS = {"kafka-setup", "flows-pilot", "flows-edge", "flows-hub"}
OT_PORTS = {"4840", "48400", "502", "5020", "5021"}
LITERAL = re.compile(r"(password|passwd|secret|token)[\w.\-]*\s*[=:]\s*[\"']?(?!file:///)[\w+/!@#%]{6,}", re.IGNORECASE)
SIBLINGS = {8428, 9000, 9001, 9009, 3000, 3002, 19120, 8080, 8081, 8082, 8083, 8089, 8181, 8200, 9090, 9092,
            3100, 3200, 4317, 4318, 1883, 18083}  # fmt: skip


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def services(stack: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = stack["services"]
    assert {"plant", "nifi", "nifi-edge", "nifi-hub", "registry", "mosquitto", "kafka", "victoriametrics"} <= set(found)
    return found


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("make-secrets needs openssl")
    folder = tmp_path_factory.mktemp("stack") / "secrets"
    subprocess.run([COMPOSE / "make-secrets", folder], check=True, timeout=60)
    return folder


def test_every_image_has_an_exact_version(services: dict[str, Any]) -> None:
    for name, service in services.items():
        repository, _, tag = service["image"].rpartition(":")
        assert repository, f"{name} has no tag"
        assert re.search(r"\d", tag), f"{name}: {tag} names no version"
        assert tag not in {"latest", "stable"}
    for dockerfile in COMPOSE.glob("*/Dockerfile"):
        for base in re.findall(r"^FROM (\S+)", dockerfile.read_text(), re.MULTILINE):
            assert re.search(r":v?\d+\.\d+\.\d+", base), f"{dockerfile}: {base} is not exact"


def test_every_service_is_limited_and_confined(services: dict[str, Any]) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert float(limits["cpus"]) > 0, name
        assert re.fullmatch(r"\d+[MG]", limits["memory"]), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name


def test_what_runs_has_a_health_check_and_what_waits_waits_for_it(services: dict[str, Any]) -> None:
    assert set(services) >= ONE_SHOTS
    for name, service in services.items():
        assert ("healthcheck" in service) == (name not in ONE_SHOTS), name
        assert service["restart"] == ("no" if name in ONE_SHOTS else "unless-stopped"), name
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_healthy", f"{name} -> {other}"
            assert set(service["profiles"]) <= set(services[other]["profiles"]), f"{other} is not there for {name}"


def test_only_the_edge_reaches_the_plant(stack: dict[str, Any], services: dict[str, Any]) -> None:
    assert stack["networks"]["ot"]["internal"] is True
    assert stack["networks"]["edge"]["internal"] is True
    assert stack["networks"]["dmz"]["internal"] is True
    on = {name: set(service.get("networks", [])) for name, service in services.items()}
    assert on["plant"] == {"ot"}
    assert {name for name, networks in on.items() if "ot" in networks} == {"plant", "nifi", "nifi-edge"}
    assert [name for name, networks in on.items() if {"ot", "edge"} <= networks] == ["nifi-edge"]
    # The pilot is one NiFi for everything; with the bus there is no way around the DMZ.
    assert [name for name, networks in on.items() if {"ot", "it"} <= networks] == ["nifi"]
    assert services["nifi"]["profiles"] == ["pilot"]


def test_ports_are_on_loopback_and_nobody_elses(services: dict[str, Any]) -> None:
    hosts = []
    for name, service in services.items():
        for published in service.get("ports", []):
            found = re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-(\d+)\}:(\d+)", published)
            assert found, f"{name}: {published}"
            assert found[2] not in OT_PORTS, name
            assert "it" in service["networks"], f"{name}: Docker publishes nothing from closed networks"
            hosts.append(int(found[1]))
    assert "ports" not in services["plant"]
    assert len(set(hosts)) == len(hosts)
    assert not set(hosts) & SIBLINGS


def test_no_secret_is_written_down(stack: dict[str, Any], services: dict[str, Any], secrets: Path) -> None:
    ignored = (PROJECT / ".gitignore").read_text().split()
    assert "/compose/secrets/" in ignored
    for name, secret in stack["secrets"].items():
        assert secret == {"file": f"./compose/secrets/{name}"}
        assert (secrets / name).stat().st_size > 0, f"make-secrets does not make {name}"
    for name, service in services.items():
        assert set(service.get("secrets", [])) <= set(stack["secrets"]), name
    texts = [
        PROJECT / "docker-compose.yml",
        *(f for f in COMPOSE.rglob("*") if f.is_file() and "secrets" not in f.parts),
    ]
    shown = [f"{f.name}: {line}" for f in texts for line in f.read_text().splitlines() if LITERAL.search(line)]
    # A name of a parameter is given the name of a variable.
    assert [line for line in shown if not re.search(r"=[A-Z_]+PASSWORD\b|PASSWORD=admin", line)] == []


def test_the_search_for_written_secrets_finds_one() -> None:
    assert LITERAL.search("MINIO_ROOT_PASSWORD: minioadmin")
    assert not LITERAL.search("-httpAuth.password=file:///run/secrets/victoriametrics-password")


def test_everything_mounted_and_built_exists(stack: dict[str, Any], services: dict[str, Any]) -> None:
    for name, service in services.items():
        for mount in service.get("volumes", []):
            source, _target, *mode = mount.split(":")
            if source.startswith("."):
                assert (PROJECT / source).exists(), f"{name}: {source}"
                assert mode == ["ro"], f"{name} may write {source}"
            else:
                assert source in stack["volumes"], f"{name}: {source}"
        if build := service.get("build"):
            dockerfile = PROJECT / build["dockerfile"]
            for copied in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", dockerfile.read_text(), re.MULTILINE):
                assert all((PROJECT / part).exists() for part in copied.split()), f"{dockerfile}: {copied}"


@pytest.mark.parametrize("flow", ["pilot", "edge", "hub"])
def test_parameter_files_fit_their_flows(flow: str) -> None:
    import json

    told = json.loads((PROJECT / f"flows/{flow}.json").read_text())
    known = {p["name"]: p for context in told["parameterContexts"].values() for p in context["parameters"]}
    lines = [line for line in (COMPOSE / f"params/{flow}.env").read_text().splitlines() if not line.startswith("#")]
    given = dict(line.split("=", 1) for line in lines)
    assert set(given) <= set(known)
    assert not [name for name in given if known[name].get("sensitive")]
    # What would be this machine's loopback has to be told where it is in the stack.
    local = [n for n, p in known.items() if re.search(r"127\.0\.0\.1|\./", p.get("value") or "")]
    assert set(local) - set(given) <= {"opcua.pki"}


def test_the_compose_command_takes_the_file(stack: dict[str, Any], secrets: Path, tmp_path: Path) -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        argv, text = ["docker", "compose"], (PROJECT / "docker-compose.yml").read_text()
    elif shutil.which("docker-compose"):
        # Version 1 knows neither a project's name nor a profile nobody asked for.
        argv, text = ["docker-compose"], yaml.safe_dump({k: v for k, v in stack.items() if k != "name"})
    else:
        pytest.skip("there is neither `docker compose` nor docker-compose")
    file = tmp_path / "docker-compose.yml"
    file.write_text(text)
    for profile in ("pilot", "full"):
        command = [*argv, "--project-directory", str(PROJECT), "-f", str(file), "--profile", profile, "config"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "victoria-metrics:v" in done.stdout


def test_certificates_are_of_the_authority_and_a_second_run_keeps_them(secrets: Path) -> None:
    before = {f.name: f.read_bytes() for f in secrets.iterdir()}
    leaves = [f for f in secrets.glob("*.pem") if not f.name.endswith(".pair.pem") and f.name != "ca.pem"]
    assert len(leaves) == 8
    for leaf in leaves:
        argv = ["openssl", "verify", "-CAfile", secrets / "ca.pem", "-purpose", "sslclient", leaf]
        assert subprocess.run(argv, capture_output=True, check=False).returncode == 0, leaf.name
    argv = ["openssl", "verify", "-CAfile", secrets / "ca.pem", "-verify_hostname", "kafka", secrets / "kafka.pem"]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
    for name in ("redpanda", "stream-relay", "iot-relay", "vault-relay"):
        argv[-2:] = [name, secrets / "relay.pem"]
        assert subprocess.run(argv, capture_output=True, check=False).returncode == 0, name
    argv[-2:] = ["mosquitto", secrets / "kafka.pem"]
    assert subprocess.run(argv, capture_output=True, check=False).returncode != 0
    argv = ["openssl", "pkcs12", "-in", secrets / "otmirror-hub.p12", "-passin", f"file:{secrets}/keystore-password",
            "-nokeys", "-clcerts"]  # fmt: skip
    assert b"CN = otmirror-hub" in subprocess.run(argv, capture_output=True, check=True).stdout
    assert (secrets.stat().st_mode & 0o777, (secrets / "ca.key").stat().st_mode & 0o777) == (0o700, 0o600)
    subprocess.run([COMPOSE / "make-secrets", secrets], check=True, timeout=60)
    assert {f.name: f.read_bytes() for f in secrets.iterdir()} == before


class Client:
    """An MQTT client that holds one certificate of the stack."""

    def __init__(self, secrets: Path, port: int, name: str, purpose: str = ""):
        self.got: list[tuple[str, bytes]] = []
        self.connected, self.subscribed, self.message = threading.Event(), threading.Event(), threading.Event()
        self.answered = threading.Event()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=name + purpose,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        self.client.tls_set(str(secrets / "ca.pem"), str(secrets / f"{name}.pem"), str(secrets / f"{name}.key"))
        self.client.on_connect = lambda *_: self.connected.set()
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self._take
        # A forbidden message is taken and dropped, or ends the connection: brokers differ.
        self.client.on_publish = self.client.on_disconnect = lambda *_: self.answered.set()
        self.client.connect("localhost", port)
        self.client.loop_start()
        assert self.connected.wait(10)

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        self.got.append((message.topic, message.payload))
        if message.payload == b"last":
            self.message.set()

    def subscribe(self, *topics: str) -> None:
        self.client.subscribe([(topic, 1) for topic in topics])
        assert self.subscribed.wait(10)

    def publish(self, topic: str, payload: bytes) -> None:
        self.answered.clear()
        self.client.publish(topic, payload, qos=1)
        assert self.answered.wait(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_mosquitto_lets_each_certificate_do_its_part_only(secrets: Path, tmp_path: Path) -> None:
    try:
        binary = mosquitto_binary()
    except UnavailableError as error:
        pytest.skip(str(error))
    port = free_port()
    text = (COMPOSE / "mosquitto/mosquitto.conf").read_text()
    for there, here in {
        "listener 8883": f"listener {port} 127.0.0.1",
        "/run/secrets": str(secrets),
        "/mosquitto/config/acl": str(COMPOSE / "mosquitto/acl"),
        "/mosquitto/data/": f"{tmp_path}/",
    }.items():
        assert there in text
        text = text.replace(there, here)
    # Started as root it would give that up, and with it these files.
    (tmp_path / "mosquitto.conf").write_text(text + "user root\n")
    broker = subprocess.Popen([binary, "-c", tmp_path / "mosquitto.conf"])
    clients: list[Client] = []
    try:
        assert wait_until(lambda: listens(port), 20)
        hub, edge, telegraf = clients = [
            Client(secrets, port, n) for n in ("otmirror-hub", "otmirror-edge", "telegraf")
        ]
        hub.subscribe("$share/otmirror-hub/ot/v1/#", "telegraf/#")
        spy = Client(secrets, port, "health")
        clients.append(spy)
        spy.subscribe("ot/v1/#", "telegraf/#")
        for name, topic in {
            "otmirror-edge": "telegraf/forged",
            "telegraf": "ot/v1/acme/forged",
            "otmirror-hub": "ot/v1/acme/forged",
            "health": "telegraf/forged",
        }.items():
            clients.append(Client(secrets, port, name, "-forger"))
            clients[-1].publish(topic, b"forged")
        telegraf.publish("telegraf/cpu", b"telegraf's own")
        edge.publish("ot/v1/acme/north/_batch/opcua:plant", b"last")
        assert hub.message.wait(10)
        assert set(hub.got) == {
            ("telegraf/cpu", b"telegraf's own"),
            ("ot/v1/acme/north/_batch/opcua:plant", b"last"),
        }
        assert spy.got == []
        with pytest.raises(OSError, match=r"certificate|closed|reset|EOF"):
            without_certificate(secrets, port)
    finally:
        for client in clients:
            client.close()
        broker.terminate()
        broker.wait(10)


@pytest.mark.parametrize("flow", ["pilot", "edge"])
def test_the_plant_writes_the_tag_lists_that_the_flow_reads(flow: str, tmp_path: Path) -> None:
    plant = Plant(PlantConfig(wells=1, rows=60))
    written = {f"/tags/{file.name}" for file in tags.write(tmp_path, plant.wells, plant.modbus_wells)}
    lines = (COMPOSE / f"params/{flow}.env").read_text().splitlines()
    assert {line.split("=", 1)[1] for line in lines if ".tags=" in line} == written


def test_the_plants_ports_are_passed_on() -> None:
    module = runpy.run_path(str(COMPOSE / "otmirror/plant.py"))

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readexactly(5)).upper())
        await writer.drain()
        writer.close()

    async def ask() -> bytes:
        inner = await asyncio.start_server(echo, "127.0.0.1", 0)
        outer = await module["serve"](0, inner.sockets[0].getsockname()[1], "127.0.0.1")
        async with inner, outer:
            reader, writer = await asyncio.open_connection(*outer.sockets[0].getsockname())
            writer.write(b"hello")
            told = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return told

    assert asyncio.run(ask()) == b"HELLO"


def without_certificate(secrets: Path, port: int) -> None:
    context = ssl.create_default_context(cafile=str(secrets / "ca.pem"))
    with (
        socket.create_connection(("localhost", port), 5) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        tls.send(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
        if not tls.recv(4):
            raise ConnectionResetError("closed")


def test_victoriametrics_takes_the_flags(services: dict[str, Any], secrets: Path, tmp_path: Path) -> None:
    import requests

    binary = work() / "bin" / "victoria-metrics"
    if not binary.exists():
        pytest.skip("VictoriaMetrics is not installed: otmirror setup")
    port = free_port()
    flags = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(flag)) for flag in services["victoriametrics"]["command"]]
    # What the flows are told by compose/flows/import is the same variable, their files hold its default.
    (days,) = [flag.partition("=")[2] for flag in flags if flag.startswith("-retentionPeriod=")]
    for name in ("pilot", "hub"):
        environment = services[f"flows-{name}"]["environment"]
        assert environment["HOT_RETENTION_DAYS"] == f"${{HOT_RETENTION_DAYS:-{days.removesuffix('d')}}}"
        told = (COMPOSE / "params" / f"{name}.env").read_text().splitlines()
        assert f"victoriametrics.retention={days.removesuffix('d')} days" in told
    assert "-dedup.minScrapeInterval=1ms" in flags
    text = "\n".join(flags).replace("/storage", str(tmp_path / "s")).replace("=:8428", f"=127.0.0.1:{port}")
    argv = [str(binary), *text.replace("/run/secrets", str(secrets)).split("\n")]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log)
    base, password = f"http://127.0.0.1:{port}", (secrets / "victoriametrics-password").read_text().strip()
    try:
        assert wait_until(lambda: listens(port), 20), (tmp_path / "log").read_text()[-500:]
        # The health check has no password, a query needs it.
        assert requests.get(f"{base}/health", timeout=5).status_code == 200
        assert requests.get(f"{base}/api/v1/query?query=1", timeout=5).status_code == 401
        assert requests.get(f"{base}/api/v1/query?query=1", auth=("otmirror", password), timeout=5).status_code == 200
    finally:
        server.terminate()
        server.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0
