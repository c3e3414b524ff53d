"""A relay before a broker that knows no certificates: ours are asked for, and what they say is passed on."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from relay import Relay, certificates

from otmirror.embedded import haproxy
from otmirror.embedded.brokers import Mosquitto
from otmirror.embedded.processes import wait_until
from otmirror.errors import UnavailableError

mqtt = pytest.importorskip("paho.mqtt.client", reason="speaks MQTT with paho-mqtt")
HELLO = bytes.fromhex("100d00044d5154540402003c000178")
"""What an MQTT client says first: CONNECT of version 3.1.1, client x."""


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates by the names of compose/make-secrets, which takes long to make its own."""
    return certificates(tmp_path_factory.mktemp("relay"), "otmirror-edge", "otmirror-hub", "telegraf", "health")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker as a sibling runs it: in plaintext, open to everybody."""
    server = Mosquitto(tmp_path_factory.mktemp("sibling"))
    try:
        server.start()
    except UnavailableError as error:
        pytest.skip(str(error))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def relay(broker: Mosquitto, secrets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    try:
        haproxy.binary()
    except UnavailableError as error:
        pytest.skip(str(error))
    running = Relay(tmp_path_factory.mktemp("haproxy"), secrets, broker.port)
    running.start()
    yield running
    running.server.stop()


def context(secrets: Path, name: str | None) -> ssl.SSLContext:
    found = ssl.create_default_context(cafile=str(secrets / "ca.pem"))
    # The relay is known by its names in the stack; the test meets it on loopback.
    found.check_hostname = False
    if name:
        found.load_cert_chain(secrets / f"{name}.pem", secrets / f"{name}.key")
    return found


def client(secrets: Path, relay: Relay, name: str) -> tuple[mqtt.Client, threading.Event]:
    connected = threading.Event()
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
    made.tls_set_context(context(secrets, name))
    made.on_connect = lambda *_: connected.set()
    made.connect("127.0.0.1", relay.port)
    made.loop_start()
    return made, connected


def test_edge_and_hub_meet_through_it(secrets: Path, relay: Relay) -> None:
    got: list[tuple[str, bytes]] = []
    arrived, subscribed = threading.Event(), threading.Event()
    hub, hub_in = client(secrets, relay, "otmirror-hub")
    edge, edge_in = client(secrets, relay, "otmirror-edge")
    try:
        assert hub_in.wait(10)
        assert edge_in.wait(10)
        hub.on_subscribe = lambda *_: subscribed.set()
        hub.on_message = lambda _client, _data, message: (got.append((message.topic, message.payload)), arrived.set())
        hub.subscribe("$share/otmirror-hub/ot/v1/#", qos=1)
        assert subscribed.wait(10)
        edge.publish("ot/v1/acme/north/_batch/opcua:plant", b"batch", qos=1).wait_for_publish(10)
        assert arrived.wait(10)
        assert got == [("ot/v1/acme/north/_batch/opcua:plant", b"batch")]
    finally:
        for one in (hub, edge):
            one.disconnect()
            one.loop_stop()


@pytest.mark.parametrize("name", [None, "health"])
def test_nobody_else_gets_through(secrets: Path, relay: Relay, name: str | None) -> None:
    """Without a certificate, and with one of the authority that no client of a bus has."""
    with socket.create_connection(("127.0.0.1", relay.port), 5) as plain:
        plain.settimeout(5)
        try:
            with context(secrets, name).wrap_socket(plain) as wrapped:
                wrapped.sendall(HELLO)
                answer = wrapped.recv(4)
        except OSError:
            answer = b""
    assert answer == b"", "the broker answered"


def test_the_same_bytes_get_through_with_a_bus_clients_certificate(secrets: Path, relay: Relay) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), 5) as plain:
        plain.settimeout(5)
        with context(secrets, "telegraf").wrap_socket(plain) as wrapped:
            wrapped.sendall(HELLO)
            assert wrapped.recv(4) == bytes.fromhex("20020000")


def test_its_health_is_that_of_the_sibling(secrets: Path, relay: Relay, broker: Mosquitto) -> None:
    assert wait_until(relay.healthy, 10)
    broker.stop()
    assert wait_until(lambda: not relay.healthy(), 10)
    broker.start()
    assert wait_until(relay.healthy, 10)
