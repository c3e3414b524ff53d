"""Ordinary MQTT and Kafka clients behind HTTP, in place of the processors that the embedded NiFi lacks.

    python -m otmirror.demo.relay --port P [--kafka HOST:PORT] [--mqtt HOST:PORT] [--consume URL] [--redeliver 0.2]

POST /kafka/<topic>?key=<field> publishes one record a line, POST /mqtt/<topic>?message=whole|lines publishes at QoS 1.
The answer is 200 only when the broker acknowledged everything, else 503: the sender tries again, so a message may come
twice and none is lost. With `--consume`, what the brokers deliver is posted to URL and acknowledged after a 2xx.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import requests

from otmirror.embedded.loopback import session

GATHER = 0.25
"""Seconds that a consumer gathers messages before it hands them over."""
MOST = 5000
"""Messages a consumer hands over at once, at most."""
PATIENCE = 10.0
"""Seconds that a broker has to acknowledge."""

Post = Callable[[list[bytes]], None]


class KafkaPublisher:
    """An idempotent producer, acks=all."""

    def __init__(self, address: str):
        """Take the bootstrap address."""
        self._address = address
        self._producer: Any = None
        self._lock = threading.Lock()

    def publish(self, topic: str, messages: Sequence[bytes], key: str) -> bool:
        """Publish messages, keyed by the JSON field `key` when that is not empty; whether all were acknowledged."""
        from confluent_kafka import Producer

        with self._lock:
            if self._producer is None:
                self._producer = Producer(
                    {"bootstrap.servers": self._address, "enable.idempotence": True, "compression.type": "lz4",
                     "linger.ms": 5, "message.timeout.ms": int(PATIENCE * 1000),
                     "queue.buffering.max.messages": 1000000, "log_level": 0}
                )  # fmt: skip
            failed: list[object] = []

            def told(error: object, _message: object) -> None:
                if error is not None:
                    failed.append(error)

            for message in messages:
                value = json.loads(message)[key] if key else None
                self._producer.produce(topic, message, value, on_delivery=told)
                self._producer.poll(0)
            left = self._producer.flush(PATIENCE + 2)
            if failed or left:
                self._producer.purge()
                self._producer = None
            return not failed and not left


class MqttPublisher:
    """An MQTT 5 client that publishes at QoS 1."""

    def __init__(self, address: str):
        """Take host:port."""
        self._client = mqtt_client(address, f"relay-{random.getrandbits(32):x}")
        self._client.loop_start()

    def publish(self, topic: str, messages: Sequence[bytes], _key: str = "") -> bool:
        """Publish messages; return whether all were acknowledged."""
        if not self._client.is_connected():
            return False
        end = time.monotonic() + PATIENCE
        sent = [self._client.publish(topic, message, qos=1) for message in messages]
        for info in sent:
            try:
                info.wait_for_publish(max(0.01, end - time.monotonic()))
            except (RuntimeError, ValueError):
                return False
        return all(info.is_published() for info in sent)


def mqtt_client(address: str, name: str, **options: Any) -> Any:
    """Return a client that connects, and connects again, in the background."""
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    host, _, port = address.rpartition(":")
    client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5, **options)
    client.max_inflight_messages_set(1000)
    client.reconnect_delay_set(1, 2)
    client.connect_async(host, int(port), keepalive=10, clean_start=False, properties=_session())
    return client


def _session() -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    kept: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    kept.SessionExpiryInterval = 7 * 86400
    return kept


def consume_kafka(address: str, pattern: str, group: str, post: Post) -> None:
    """Hand over what a consumer group reads, for ever; offsets are committed afterwards."""
    from confluent_kafka import Consumer, KafkaException

    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
         "topic.metadata.refresh.interval.ms": 1000, "session.timeout.ms": 10000, "log_level": 0}
    )  # fmt: skip
    consumer.subscribe([pattern])
    while True:
        found = [m for m in consumer.consume(MOST, GATHER) if m.error() is None]
        if found:
            post([m.value() or b"" for m in found])
            try:
                consumer.commit(asynchronous=False)
            except KafkaException:
                # Delivered again after the next rebalance.
                continue


def consume_mqtt(address: str, pattern: str, group: str, post: Post) -> None:
    """Hand over what a shared subscription delivers, for ever; messages are acknowledged afterwards."""
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client = mqtt_client(address, f"{group}-relay", manual_ack=True)
    client.on_message = lambda _client, _data, message: arrived.put(message)
    client.on_connect = lambda mine, *_told: mine.subscribe(f"$share/{group}/{pattern}", qos=1)
    client.loop_start()
    while True:
        found = list(_gather(arrived))
        if found:
            post([m.payload for m in found])
            for message in found:
                client.ack(message.mid, message.qos)


def _gather(arrived: queue.SimpleQueue[Any]) -> Iterator[Any]:
    yield arrived.get()
    end = time.monotonic() + GATHER
    for _ in range(MOST - 1):
        try:
            yield arrived.get(timeout=max(0.001, end - time.monotonic()))
        except queue.Empty:
            return


class Handover:
    """Posts messages to an HTTP address until it takes them; a share of them twice, later and in another order."""

    def __init__(self, url: str, redeliver: float, seed: int = 1):
        """Take the address and the share of messages that come again."""
        self._url, self._share, self._random = url, redeliver, random.Random(seed)  # noqa: S311 - chance, not secrecy
        self._again: list[bytes] = []
        self._session = session(url)

    def __call__(self, messages: list[bytes]) -> None:
        """Hand over messages; returns when they were taken."""
        again, self._again = self._again, [m for m in messages if self._random.random() < self._share]
        if again or self._share:
            messages = [*messages, *again]
            self._random.shuffle(messages)
        self._until_taken(b"\n".join(messages) + b"\n")

    def _until_taken(self, body: bytes) -> None:
        while True:
            try:
                if self._session.post(self._url, data=body, timeout=60).ok:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.5)


def serve(port: int, publishers: dict[str, KafkaPublisher | MqttPublisher]) -> None:
    """Answer POSTs on 127.0.0.1, for ever."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            kind, _, topic = parts.path.lstrip("/").partition("/")
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            whole = kind == "mqtt" and asked.get("message") != "lines"
            messages = [body] if whole else [line for line in body.split(b"\n") if line.strip()]
            done = kind in publishers and publishers[kind].publish(unquote(topic), messages, asked.get("key", ""))
            self.send_response(200 if done else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def main() -> None:
    """Run the relay."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--kafka", default="", metavar="HOST:PORT")
    options.add_argument("--mqtt", default="", metavar="HOST:PORT")
    options.add_argument("--topics", default="", help="regular expression (Kafka) or filter (MQTT) to consume")
    options.add_argument("--consume", default="", metavar="URL")
    options.add_argument("--redeliver", type=float, default=0.0)
    asked = options.parse_args()
    publishers: dict[str, KafkaPublisher | MqttPublisher] = {}
    if asked.kafka:
        publishers["kafka"] = KafkaPublisher(asked.kafka)
    if asked.mqtt:
        publishers["mqtt"] = MqttPublisher(asked.mqtt)
    if asked.consume:
        consume, address = (consume_kafka, asked.kafka) if asked.kafka else (consume_mqtt, asked.mqtt)
        post = Handover(asked.consume, asked.redeliver)
        threading.Thread(target=consume, args=(address, asked.topics, "otmirror-hub", post), daemon=True).start()
    serve(asked.port, publishers)


if __name__ == "__main__":
    main()
