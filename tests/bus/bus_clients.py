"""Ordinary clients of the brokers, as a third party would write them: paho-mqtt and confluent-kafka."""

from __future__ import annotations

import json
import queue
import ssl
import threading
import time
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from otmirror.embedded.brokers import Tls

WITHIN = 20.0
SENSORS = ("P-PDG", "P-TPT", "T-TPT", "P-MON-CKP", "T-JUS-CKP", "P-JUS-CKGL", "T-JUS-CKGL", "QGL")
ROWS = 10
EXPECTED = {f"acme/north/w1/{s}": [100.0 * n + row for row in range(ROWS)] for n, s in enumerate(SENSORS)}
"""The values of each tag in the order in which the plant showed them."""


def context(tls: Tls, certificate: bool = True) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(tls.authority))
    if certificate:
        made.load_cert_chain(tls.certificate, tls.key)
    return made


class Mqtt:
    """An MQTT 5 client with a session of its own that outlives the connection."""

    def __init__(self, port: int, name: str, tls: Tls | None = None):
        self.arrived: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._connected, self._subscribed = threading.Event(), threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda *_: self._connected.set()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.arrived.put((message.topic, message.payload))
        if tls:
            self._client.tls_set_context(context(tls))
        kept = Properties(PacketTypes.CONNECT)
        kept.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, keepalive=10, clean_start=False, properties=kept)
        self._client.loop_start()
        assert self._connected.wait(WITHIN), "no CONNACK"

    def subscribe(self, pattern: str) -> None:
        self._client.subscribe(pattern, qos=1)
        assert self._subscribed.wait(WITHIN), "no SUBACK"

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish and wait for the acknowledgement, whatever it says."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(WITHIN)

    def next(self, within: float = WITHIN) -> tuple[str, bytes]:
        return self.arrived.get(timeout=within)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def kafka_settings(address: str, tls: Tls | None = None, certificate: bool = True) -> dict[str, Any]:
    settings: dict[str, Any] = {"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.max.ms": 500}
    if tls:
        settings |= {"security.protocol": "SSL", "ssl.ca.location": str(tls.authority)}
    if tls and certificate:
        settings |= {"ssl.certificate.location": str(tls.certificate), "ssl.key.location": str(tls.key)}
    return settings


def consume(settings: dict[str, Any], group: str, topic: str, wanted: int, within: float = 40.0) -> list[Any]:
    """The first `wanted` records of a topic and what else comes within a second; fewer after `within` s."""
    from confluent_kafka import Consumer

    consumer = Consumer(settings | {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([topic])
    found: list[Any] = []
    end = time.monotonic() + within
    while len(found) < wanted and time.monotonic() < end:
        found += [m for m in consumer.consume(1000, 0.5) if m.error() is None]
    found += [m for m in consumer.consume(1000, 1.0) if m.error() is None]
    consumer.close()
    return found


def sent_rows(payloads: list[bytes]) -> list[tuple[str, int, float]]:
    """(tag, milliseconds, value) of all samples, sorted."""
    samples = [json.loads(line) for payload in payloads for line in payload.splitlines()]
    return sorted((s["tag"], s["ts"] // 1000, s["value"]) for s in samples)


def in_order(samples: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The values by tag, in the order of the samples."""
    found: dict[str, list[float]] = {}
    for sample in samples:
        found.setdefault(sample["tag"], []).append(sample["value"])
    return found
