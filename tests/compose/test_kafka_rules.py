"""The stack's server.properties in a real broker: certificates on both sides, rules, no topics by accident."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otmirror.embedded.brokers import kafka_jars
from otmirror.embedded.java import java_home
from otmirror.embedded.processes import free_port, wait_until
from otmirror.errors import MirrorError
from otmirror.workspace import PROJECT

kafka = pytest.importorskip("confluent_kafka", reason="speaks to Kafka with confluent-kafka")
admin = pytest.importorskip("confluent_kafka.admin")

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(240)]
COMPOSE = PROJECT / "compose"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    if shutil.which("openssl") is None:
        pytest.skip("make-secrets needs openssl")
    folder = tmp_path_factory.mktemp("kafka")
    secrets = folder / "secrets"
    subprocess.run([COMPOSE / "make-secrets", secrets], check=True, timeout=60)
    try:
        lib, java = kafka_jars(), java_home() / "bin" / "java"
    except MirrorError as error:
        pytest.skip(str(error))
    port, controller = free_port(), free_port()
    text = (COMPOSE / "kafka/server.properties").read_text()
    for there, here in {
        "SSL://:9093": f"SSL://127.0.0.1:{port}",
        "SSL://kafka:9093": f"SSL://localhost:{port}",
        "localhost:9094": f"localhost:{controller}",
        "/var/lib/kafka/data": str(folder / "data"),
        "/run/secrets": str(secrets),
    }.items():
        assert there in text
        text = text.replace(there, here)
    config = folder / "server.properties"
    config.write_text(text)
    run = [str(java), "-Xmx512m", "-cp", f"{lib}/*"]
    form = [*run, "kafka.tools.StorageTool", "format", "-t", "5L6g3nShT-eMCtK--X86sw", "-c", str(config)]
    subprocess.run(form, check=True, capture_output=True, timeout=90)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*run, "kafka.Kafka", str(config)], stdout=log, stderr=log, cwd=folder)
    try:
        assert wait_until(lambda: listens(port), 90), (folder / "log").read_text()[-2000:]
        yield secrets, port
    finally:
        server.kill()
        server.wait(20)


def settings(broker: tuple[Path, int], name: str) -> dict[str, Any]:
    secrets, port = broker
    return {
        "bootstrap.servers": f"localhost:{port}",
        "security.protocol": "SSL",
        "ssl.ca.location": str(secrets / "ca.pem"),
        "ssl.certificate.location": str(secrets / f"{name}.pem"),
        "ssl.key.location": str(secrets / f"{name}.key"),
        "log_level": 0,
    }


def rules() -> list[Any]:
    """The calls of kafka-acls.sh in compose/kafka/setup, as the protocol has them."""
    text = (COMPOSE / "kafka/setup").read_text().replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        if not line.startswith("allow --"):
            continue
        words = line.split()[1:]
        pairs = list(zip(words[::2], words[1::2], strict=True))
        said = dict(pairs)
        for operation in (value for key, value in pairs if key == "--operation"):
            found.append(
                admin.AclBinding(
                    admin.ResourceType.GROUP if "--group" in said else admin.ResourceType.TOPIC,
                    said.get("--group") or said["--topic"],
                    admin.ResourcePatternType[said.get("--resource-pattern-type", "literal").upper()],
                    said.get("--allow-principal") or said["--deny-principal"],
                    "*",
                    admin.AclOperation[operation.upper()],
                    admin.AclPermissionType.ALLOW if "--allow-principal" in said else admin.AclPermissionType.DENY,
                )
            )
    assert len(found) >= 10
    return found


def test_each_certificate_does_its_part_only(broker: tuple[Path, int]) -> None:
    boss = admin.AdminClient(settings(broker, "kafka-admin"))
    topics = ["ot.v1.acme.north", "ot.v1.dead-letters", "telegraf"]
    for made in boss.create_topics([admin.NewTopic(t, 4, 1) for t in topics]).values():
        made.result(60)
    for made in boss.create_acls(rules()).values():
        made.result(30)

    # The broker learns of new rules a moment after the controller has taken them.
    assert wait_until(lambda: send(broker, "otmirror-edge", "ot.v1.acme.north", b"sample") is None, 20), rules()
    assert send(broker, "telegraf", "telegraf", b"metric") is None
    assert send(broker, "otmirror-hub", "ot.v1.dead-letters", b"letter") is None
    denied = kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert send(broker, "otmirror-edge", "ot.v1.dead-letters", b"forged") == denied
    assert send(broker, "otmirror-edge", "telegraf", b"forged") == denied
    assert send(broker, "telegraf", "ot.v1.acme.north", b"forged") == denied
    assert send(broker, "otmirror-hub", "ot.v1.acme.north", b"forged") == denied
    assert send(broker, "health", "ot.v1.acme.north", b"forged") == denied

    assert read(broker, "otmirror-hub", "otmirror-hub", "ot.v1.acme.north") == b"sample"
    assert read(broker, "otmirror-hub", "others", "ot.v1.acme.north") == kafka.KafkaError.GROUP_AUTHORIZATION_FAILED
    assert read(broker, "telegraf", "otmirror-hub", "ot.v1.acme.north") in (
        denied,
        kafka.KafkaError.GROUP_AUTHORIZATION_FAILED,
    )


def send(broker: tuple[Path, int], name: str, topic: str, value: bytes) -> int | None:
    """Send one record; return the code of the error, None when it was acknowledged."""
    told: list[int | None] = []
    producer = kafka.Producer({**settings(broker, name), "message.timeout.ms": 20000, "acks": "all"})
    producer.produce(topic, value, on_delivery=lambda error, _: told.append(error.code() if error else None))
    producer.flush(30)
    assert len(told) == 1
    return told[0]


def read(broker: tuple[Path, int], name: str, group: str, topic: str) -> bytes | int | None:
    """Read one record as a member of `group`; return it or the code of the error."""
    consumer = kafka.Consumer({**settings(broker, name), "group.id": group, "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        message = consumer.poll(30)
        assert message is not None, "neither a record nor an error in 30 s"
        return message.error().code() if message.error() else message.value()
    except kafka.KafkaException as error:
        return int(error.args[0].code())
    finally:
        consumer.close()


def listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0
