"""The Kafka half: a real broker with TLS and rules, ordinary clients, and the real source and sinks around it.

NiFi's PublishKafka and ConsumeKafka are not exercised here: clients do what they would do, and the processors are
called as NiFi calls them.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from bus_clients import EXPECTED, consume, in_order, kafka_settings, sent_rows

pytest.importorskip("confluent_kafka", reason="needs confluent-kafka (the extra `test`)")
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from otmirror.embedded.pki import Authority
from otmirror.pki.authority import Validity

pytestmark = pytest.mark.heavy
TOPIC = "ot.v1.acme.north"
WITHIN = 60.0


def rule(kind: ResourceType, name: str, who: str, what: AclOperation) -> AclBinding:
    return AclBinding(kind, name, ResourcePatternType.PREFIXED, f"User:{who}", "*", what, AclPermissionType.ALLOW)


@pytest.fixture(scope="module")
def bus(kafka, authority):
    """The broker with a topic of four partitions, which CN=edge may write and CN=hub read."""
    admin = AdminClient(kafka_settings(kafka.address, authority.issue("admin")))
    for done in admin.create_topics([NewTopic(t, 4, 1) for t in (TOPIC, "ot.v1.kill")], request_timeout=30).values():
        done.result(WITHIN)
    rules = [
        rule(ResourceType.TOPIC, "ot.v1.", "edge", AclOperation.WRITE),
        rule(ResourceType.TOPIC, "ot.v1.", "hub", AclOperation.READ),
        rule(ResourceType.GROUP, "otmirror-", "hub", AclOperation.READ),
    ]
    for done in admin.create_acls(rules, request_timeout=30).values():
        done.result(WITHIN)
    return kafka


def producer(bus, tls, **settings):
    return Producer(kafka_settings(bus.address, tls) | {"enable.idempotence": True, "linger.ms": 5, **settings})


def publish(client: Producer, topic: str, lines: list[bytes]) -> list[object]:
    """Publish samples by the convention, key = tag; return the errors."""
    errors: list[object] = []
    for line in lines:
        client.produce(
            topic, line, json.loads(line)["tag"], on_delivery=lambda error, _: error and errors.append(error)
        )
        client.poll(0)
    assert client.flush(WITHIN) == 0
    return errors


def test_certificates_and_rules(bus, authority, tmp_path):
    edge = authority.issue("edge")
    line = b'{"tag":"a","value":1}'
    with pytest.raises(KafkaException):
        AdminClient(kafka_settings(bus.address, edge, certificate=False)).list_topics(timeout=5)
    over = Validity.lasting(1, datetime.now(timezone.utc) - timedelta(days=3))
    foreign = replace(Authority(tmp_path / "other").issue("edge"), authority=edge.authority)
    for bad in (authority.issue("edge-of-yesterday", over), foreign):
        with pytest.raises(KafkaException):
            AdminClient(kafka_settings(bus.address, bad)).list_topics(timeout=5)
    assert TOPIC in AdminClient(kafka_settings(bus.address, edge)).list_topics(timeout=10).topics
    for name in ("stranger", "hub"):
        client = producer(bus, authority.issue(name), **{"message.timeout.ms": 5000, "enable.idempotence": False})
        [error] = publish(client, TOPIC, [line])
        assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_each_sample_of_a_source_is_once_in_both_stores(bus, authority, batches, both):
    lines = [line for payload in batches for line in payload.splitlines()]
    assert publish(producer(bus, authority.issue("edge")), TOPIC, lines) == []
    hub = kafka_settings(bus.address, authority.issue("hub"))
    records = consume(hub, "otmirror-hub", TOPIC, len(lines))
    assert in_order([json.loads(r.value()) for r in records]) == EXPECTED
    partitions: dict[bytes, set[int]] = {}
    for record in records:
        assert record.key().decode() == json.loads(record.value())["tag"]
        partitions.setdefault(record.key(), set()).add(record.partition())
    assert [len(p) for p in partitions.values()] == [1] * len(EXPECTED)
    both.write(b"\n".join(r.value() for r in records) + b"\n")
    rows = both.rows()
    assert rows["victoriametrics"] == sent_rows(batches)
    assert rows["iceberg"] == sent_rows(batches)


def test_a_broker_killed_while_it_is_written_to_loses_nothing(bus, authority):
    client = producer(bus, authority.issue("edge"), **{"retry.backoff.max.ms": 500})
    delivered, errors = [], []

    def told(error, message):
        (errors if error else delivered).append(message.value())

    for n in range(20000):
        client.produce("ot.v1.kill", b'{"tag":"a%d","value":%d}' % (n % 5, n), f"a{n % 5}", on_delivery=told)
        if n % 100 == 0:
            client.poll(0)
        if n == 10000:
            end = time.monotonic() + WITHIN
            while not delivered and time.monotonic() < end:
                client.poll(0.01)
            assert 0 < len(delivered) < 20000
            bus.kill()
    bus.start()
    assert client.flush(WITHIN) == 0
    assert (errors, len(delivered)) == ([], 20000)
    hub = kafka_settings(bus.address, authority.issue("hub"))
    records = consume(hub, "otmirror-kill", "ot.v1.kill", 20000)
    found = in_order([json.loads(r.value()) for r in records])
    assert found == {f"a{n}": list(range(n, 20000, 5)) for n in range(5)}
