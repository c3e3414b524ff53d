"""Kafka behind the relay: the address that a broker tells its clients is the relay's, so that they stay on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from relay import Relay, certificates

from otmirror.embedded import haproxy
from otmirror.embedded.brokers import Kafka
from otmirror.embedded.processes import free_port
from otmirror.errors import UnavailableError

kafka = pytest.importorskip("confluent_kafka", reason="speaks to Kafka with confluent-kafka")
admin = pytest.importorskip("confluent_kafka.admin")

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(240)]
TOPIC = "ot.v1.acme.north"


class Sibling(Kafka):
    """A plaintext broker that tells its clients the relay's address, as Redpanda tells the name that the relay has."""

    def __init__(self, folder: Path, told: int):
        super().__init__(folder)
        self._told = told

    def _config(self) -> dict[str, str]:
        found = dict(super()._config())
        assert "advertised.listeners" in found
        return found | {"advertised.listeners": f"PLAINTEXT://localhost:{self._told}"}


def test_samples_go_through_and_topics_are_made(tmp_path: Path) -> None:
    port = free_port()
    sibling = Sibling(tmp_path / "kafka", port)
    secrets = certificates(tmp_path / "secrets", "otmirror-edge", "otmirror-hub", "kafka-admin", "health")
    try:
        haproxy.binary()
        sibling.start()
    except UnavailableError as error:
        pytest.skip(str(error))
    relay = Relay(tmp_path / "relay", secrets, int(sibling.address.rpartition(":")[2]), port)
    try:
        relay.start()

        def settings(name: str) -> dict[str, Any]:
            return {
                "bootstrap.servers": f"localhost:{port}",
                "security.protocol": "SSL",
                "ssl.ca.location": str(secrets / "ca.pem"),
                "ssl.certificate.location": str(secrets / f"{name}.pem"),
                "ssl.key.location": str(secrets / f"{name}.key"),
                "log_level": 0,
            }

        boss = admin.AdminClient(settings("kafka-admin"))
        boss.create_topics([admin.NewTopic(TOPIC, 1, 1)])[TOPIC].result(60)
        told: list[Any] = []
        producer = kafka.Producer(settings("otmirror-edge"))
        producer.produce(TOPIC, b"sample", on_delivery=lambda error, _: told.append(error))
        producer.flush(30)
        assert told == [None]
        consumer = kafka.Consumer(
            {**settings("otmirror-hub"), "group.id": "otmirror-hub", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe([TOPIC])
        message = consumer.poll(60)
        consumer.close()
        assert message is not None
        assert (message.error(), message.value()) == (None, b"sample")
        with pytest.raises(kafka.KafkaException):
            admin.AdminClient(settings("health")).list_topics(timeout=5)
    finally:
        relay.server.stop()
        sibling.stop()
