"""The brokers as the flows meet them: mutual TLS, rules by the certificate's name. Ordinary clients, real brokers."""

import queue
import threading

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from otmirror.embedded.brokers import Kafka, Mosquitto, Tls
from otmirror.errors import UnavailableError

trustme = pytest.importorskip("trustme")
mqtt = pytest.importorskip("paho.mqtt.client")
kafka = pytest.importorskip("confluent_kafka")
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("broker", "edge", "hub", "stranger"):
        made = authority.issue_cert("127.0.0.1", common_name=name)
        key = load_pem_private_key(made.private_key_pem.bytes(), None)
        # Kafka reads keys in PKCS #8 only.
        (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    return folder


def tls(pki):
    return Tls(pki / "ca.pem", pki / "broker.pem", pki / "broker.key")


def started(broker):
    try:
        broker.start()
    except UnavailableError as error:
        if "was not found" in str(error) or "Maven" in str(error) or "Java" in str(error):
            pytest.skip(str(error))
        raise
    return broker


@pytest.fixture(scope="module")
def mosquitto(pki, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mosquitto")
    acl = folder / "acl"
    acl.write_text("user edge\ntopic write ot/v1/#\n\nuser hub\ntopic read ot/v1/#\n")
    broker = started(Mosquitto(folder / "data", tls(pki), acl))
    yield broker
    broker.stop()


def client(broker, pki, name):
    """A connected client with the certificate `name`, and a queue of what it receives."""
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, f"{name}-client", protocol=mqtt.MQTTv5)
    made.tls_set(str(pki / "ca.pem"), str(pki / f"{name}.pem"), str(pki / f"{name}.key"))
    received, connected, subscribed = queue.SimpleQueue(), threading.Event(), threading.Event()
    made.on_connect = lambda *_: connected.set()
    made.on_subscribe = lambda *_: subscribed.set()
    made.on_message = lambda _client, _data, message: received.put((message.topic, message.payload))
    made.connect("127.0.0.1", broker.port)
    made.loop_start()
    assert connected.wait(20)
    return made, received, subscribed


def published(sender, topic, payload):
    """The reason code of the broker's acknowledgement."""
    told = queue.SimpleQueue()
    sender.on_publish = lambda _client, _data, _mid, code, _properties: told.put(code)
    sender.publish(topic, payload, qos=1)
    return told.get(timeout=20)


def test_mosquitto_takes_samples_from_the_edge_and_gives_them_to_the_hub_alone(mosquitto, pki):
    hub, received, subscribed = client(mosquitto, pki, "hub")
    edge, _, _ = client(mosquitto, pki, "edge")
    stranger, unseen, asked = client(mosquitto, pki, "stranger")
    hub.subscribe("ot/v1/#", qos=1)
    stranger.subscribe("ot/v1/#", qos=1)
    assert subscribed.wait(20)
    assert asked.wait(20)
    assert str(published(stranger, "ot/v1/acme/north/T1", b"forged")) == "Not authorized"
    assert not published(edge, "ot/v1/acme/north/T1", b"sample").is_failure
    assert received.get(timeout=20) == ("ot/v1/acme/north/T1", b"sample")
    assert received.empty()
    assert unseen.empty()
    for each in (hub, edge, stranger):
        each.disconnect()
        each.loop_stop()


def test_mosquitto_refuses_a_client_without_a_certificate(mosquitto, pki):
    nobody = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "nobody", protocol=mqtt.MQTTv5)
    nobody.tls_set(str(pki / "ca.pem"))
    joined = threading.Event()
    nobody.on_connect = lambda _client, _data, _flags, code, _properties: code.is_failure or joined.set()
    # TLS 1.3 tells a client only after the handshake that its certificate was wanted.
    try:
        nobody.connect("127.0.0.1", mosquitto.port)
        ended = threading.Event()
        nobody.on_disconnect = lambda *_: ended.set()
        nobody.loop_start()
        assert ended.wait(20)
    except OSError:
        pass
    finally:
        nobody.loop_stop()
    assert not joined.is_set()


@pytest.mark.heavy
def test_kafka_takes_records_from_those_with_a_rule_alone(pki, tmp_path):
    broker = started(Kafka(tmp_path / "kafka", tls(pki), superuser="edge"))
    try:
        told = {name: delivered(broker, pki, name) for name in ("edge", "stranger")}
        assert told["edge"] is None
        assert told["stranger"] == kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED
        assert delivered(broker, pki, None) == kafka.KafkaError._MSG_TIMED_OUT
    finally:
        broker.stop()


def delivered(broker, pki, name):
    """The error code of one record published with the certificate `name`; None when it was acknowledged."""
    settings = {"bootstrap.servers": broker.address, "security.protocol": "SSL", "ssl.ca.location": str(pki / "ca.pem"),
                "message.timeout.ms": 8000, "log_level": 0}  # fmt: skip
    if name:
        settings |= {"ssl.certificate.location": str(pki / f"{name}.pem"), "ssl.key.location": str(pki / f"{name}.key")}
    codes = []
    producer = kafka.Producer(settings)
    producer.produce("ot.v1.acme.north", b"{}", on_delivery=lambda error, _: codes.append(error and error.code()))
    assert producer.flush(30) == 0
    return codes[0]
