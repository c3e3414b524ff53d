"""Edge and hub as they are shipped, in a full NiFi (NIFI_HOME): its own publishers and consumers, TLS both ways.

Both brokers are killed in mid-run and the devices frozen. What the topics hold is read by ordinary clients.
"""

import json
import os
import ssl
import threading

import pytest
from cryptography import x509

from otmirror.demo.bus import MQTT_TOPIC, TOPIC, BusStack
from otmirror.embedded.brokers import Kafka, Mosquitto
from otmirror.embedded.pki import Authority
from otmirror.pki.stores import read_pair, write_keystore, write_truststore
from otmirror.workspace import PROJECT

from .pilots import folder
from .test_bus import OUTAGE, in_order, on_the_topic, reckoned, run_with_an_outage

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(1200 + 2 * int(OUTAGE)),
    pytest.mark.skipif(
        not os.environ.get("NIFI_HOME"),
        reason="needs a full NiFi with PublishMQTT, PublishKafka, ConsumeMQTT and ConsumeKafka: set NIFI_HOME",
    ),
]
PASSWORD = "a-password-of-a-test"
CONSUMERS = {"kafka": "From Kafka", "mqtt": "From MQTT"}


class FullBus(BusStack):
    """Edge and hub without stand-ins, both brokers with certificates; `hub_from` is the one that the hub reads."""

    def __init__(self, where, hub_from, message):
        super().__init__(where, ["--tags", "16"], hub_from)
        self.message, self.seen, self.listening = message, [], threading.Event()

    def import_flow(self):
        authority = Authority(self.folder / "site")
        self.files, server = authority.issue("otmirror"), authority.issue("broker")
        kafka = Kafka(self.folder / "kafka", server, "otmirror")
        mosquitto = Mosquitto(self.folder / "mosquitto", server)
        self.broker, self.other = (kafka, mosquitto) if self.through == "kafka" else (mosquitto, kafka)
        for broker in (kafka, mosquitto):
            broker.start()
        self.watch(mosquitto.port)
        self.make_topics(kafka.address)
        common = {
            **self.stores(), "kafka.brokers": kafka.address, "kafka.security.protocol": "SSL",
            "mqtt.broker": f"ssl://127.0.0.1:{mosquitto.port}",
        }  # fmt: skip
        edge = {"bus": "kafka,mqtt", "kafka.topic": TOPIC, "mqtt.topic": MQTT_TOPIC, "mqtt.message": self.message}
        self.group = self.take("edge", self.known("opcua", "modbus") | common | edge)
        self.hub = self.take("hub", self.known("victoriametrics", "iceberg") | common)
        for bus, name in CONSUMERS.items():
            state = "STOPPED" if bus == self.through else "DISABLED"
            self.api.schedule(self.api.processor_by_name(self.hub, name).id, state)
        self.api.start(self.hub)

    def known(self, *parts):
        """The parameters that the stack knows, of some parts of the pilot."""
        return {name: value for name, value in self.flow_parameters().items() if name.split(".")[0] in parts}

    def take(self, name, values):
        """Import a flow as it is; all of it has to be there and valid."""
        group = self.api.import_flow(PROJECT / "flows" / f"{name}.json", name, values)
        assert self.api.missing(group) == {}
        assert {c.name: c.errors for c in self.api.components(group) if c.validation != "VALID"} == {}
        assert self.api.invalid_services(group) == []
        return group

    def stores(self):
        authority = x509.load_pem_x509_certificate(self.files.authority.read_bytes())
        keystore, truststore = (self.folder / "site" / f"{name}.p12" for name in ("keystore", "truststore"))
        write_keystore(read_pair(self.files.certificate, self.files.key), authority, keystore, PASSWORD)
        write_truststore(authority, truststore, PASSWORD)
        return {
            "tls.keystore": str(keystore), "tls.truststore": str(truststore),
            "tls.keystore.password": PASSWORD, "tls.truststore.password": PASSWORD,
        }  # fmt: skip

    def settings(self):
        """An ordinary Kafka client's."""
        return {
            "security.protocol": "SSL", "ssl.ca.location": str(self.files.authority),
            "ssl.certificate.location": str(self.files.certificate), "ssl.key.location": str(self.files.key),
        }  # fmt: skip

    def make_topics(self, address):
        """The hub finds one that comes later after minutes only."""
        admin = pytest.importorskip("confluent_kafka.admin")
        client = admin.AdminClient({"bootstrap.servers": address, **self.settings()})
        wanted = [admin.NewTopic(TOPIC, 4, 1), admin.NewTopic("ot.v1.dead-letters", 1, 1)]
        for made in client.create_topics(wanted).values():
            made.result(30)

    def watch(self, port):
        """Subscribe to every MQTT topic, from before the first message on and through outages."""
        mqtt = pytest.importorskip("paho.mqtt.client")
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.client = client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "watcher", protocol=mqtt.MQTTv5)
        context = ssl.create_default_context(cafile=str(self.files.authority))
        context.load_cert_chain(self.files.certificate, self.files.key)
        client.tls_set_context(context)
        client.on_message = lambda _client, _data, message: self.seen.append((message.topic, message.payload))
        client.on_connect = lambda *_told: client.subscribe("ot/v1/#", qos=1)
        client.on_subscribe = lambda *_told: self.listening.set()
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3600
        client.reconnect_delay_set(1, 2)
        client.connect("127.0.0.1", port, keepalive=10, clean_start=False, properties=lasting)
        client.loop_start()
        assert self.listening.wait(30)

    def stop(self):
        super().stop()
        if hasattr(self, "client"):
            self.client.loop_stop()
        if hasattr(self, "other"):
            self.other.stop()


@pytest.mark.parametrize(("hub_from", "message"), [("kafka", "batch"), ("mqtt", "tag")])
def test_brokers_killed_in_mid_run_cost_nothing(hub_from, message):
    with FullBus(folder(f"bus-full-{hub_from}"), hub_from, message) as stack:
        stack.start()
        emitted = run_with_an_outage(stack, stack.other)
        count = sum(emitted.values())
        result = reckoned(stack, emitted)
        assert [source.lost for source in result.sources] == [0, 0]
        kafka = stack.broker if hub_from == "kafka" else stack.other
        assert len(in_order(on_the_topic(kafka, **stack.settings()))) == count
        samples = [(topic, json.loads(line)) for topic, payload in stack.seen for line in payload.splitlines()]
    assert len(in_order((sample["tag"], sample) for _, sample in samples)) == count
    if message == "tag":
        assert {topic for topic, sample in samples if topic != f"ot/v1/{sample['tag']}"} == set()
    else:
        assert {topic.rpartition("/")[0] for topic, _ in samples} == {f"{MQTT_TOPIC}/_batch"}
