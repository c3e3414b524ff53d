"""The MQTT half: a real mosquitto with TLS and rules, ordinary clients, and the real source and sinks around it.

NiFi's PublishMQTT and ConsumeMQTT are not exercised here: clients do what they would do, and the processors are called
as NiFi calls them.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests
from bus_clients import EXPECTED, WITHIN, Mqtt, context, in_order, sent_rows

from otmirror.embedded.pki import Authority
from otmirror.embedded.processes import free_port, port_is_free, wait_until
from otmirror.pki.authority import Validity

OVER = Validity.lasting(1, datetime.now(timezone.utc) - timedelta(days=3))
TOPIC = "ot/v1/acme/north/_batch/plc"
RULES = "user edge\ntopic write ot/v1/#\nuser hub\ntopic read ot/v1/#\n"


@pytest.fixture
def secured(start_mosquitto, authority, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text(RULES)
    acl.chmod(0o600)
    return start_mosquitto(tls=authority.issue("broker"), acl=acl)


def answer(port: int, tls: ssl.SSLContext) -> bytes:
    """What the broker answers to an MQTT 5 CONNECT; raises or returns nothing when it hangs up."""
    connect = bytes.fromhex("100d00044d5154540502000a000000")
    with socket.create_connection(("127.0.0.1", port), 10) as plain, tls.wrap_socket(
        plain, server_hostname="127.0.0.1"
    ) as line:  # fmt: skip
        line.sendall(connect)
        return line.recv(4)


def refuses(port: int, tls: ssl.SSLContext) -> bool:
    """Whether the broker hangs up without a CONNACK; with TLS 1.3 a client learns that at its first read."""
    try:
        return answer(port, tls) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def test_certificates_are_required(secured, authority, tmp_path):
    edge = authority.issue("edge")
    # 0x20 is a CONNACK; its fourth byte, the reason, is 0: success.
    granted = answer(secured.port, context(edge))
    assert (granted[0], granted[3]) == (0x20, 0)
    assert refuses(secured.port, context(edge, certificate=False))
    stranger = context(edge, certificate=False)
    other = Authority(tmp_path / "other").issue("edge")
    stranger.load_cert_chain(other.certificate, other.key)
    assert refuses(secured.port, stranger)
    late = context(authority.issue("edge-of-yesterday", OVER))
    assert refuses(secured.port, late)


def test_only_a_name_with_a_rule_reaches_the_subscriber(secured, authority):
    hub = Mqtt(secured.port, "hub", authority.issue("hub"))
    hub.subscribe("ot/v1/#")
    for name, payload in (("stranger", b"forged"), ("hub", b"from a reader"), ("edge", b"true")):
        client = Mqtt(secured.port, f"{name}-writer", authority.issue(name))
        client.publish(TOPIC, payload)
        client.close()
    # The broker keeps the order: what came before would be here first.
    assert hub.next() == (TOPIC, b"true")
    assert hub.arrived.empty()
    hub.close()


def test_each_sample_of_a_source_is_once_in_both_stores(secured, authority, batches, both):
    hub = Mqtt(secured.port, "hub", authority.issue("hub"))
    hub.subscribe("$share/otmirror-hub/ot/v1/#")
    edge = Mqtt(secured.port, "edge", authority.issue("edge"))
    for payload in batches:
        edge.publish(TOPIC, payload)
    received = [hub.next()[1] for _ in batches]
    assert in_order([json.loads(line) for payload in received for line in payload.splitlines()]) == EXPECTED
    for payload in received:
        both.write(payload)
    edge.close()
    hub.close()
    rows = both.rows()
    assert rows["victoriametrics"] == sent_rows(batches)
    assert rows["iceberg"] == sent_rows(batches)


@pytest.fixture
def broker(start_mosquitto):
    return start_mosquitto()


@pytest.fixture
def relay(broker) -> Iterator[str]:
    """The address of a relay that publishes to the broker; it answers."""
    port = free_port()
    argv = [sys.executable, "-m", "otmirror.demo.relay", "--port", str(port), "--mqtt", f"127.0.0.1:{broker.port}"]
    with subprocess.Popen(argv) as process:
        assert wait_until(lambda: not port_is_free(port), WITHIN)
        yield f"http://127.0.0.1:{port}/mqtt/ot/v1/acme/north"
        process.kill()


def post(url: str, numbers: range) -> int:
    lines = "".join(f'{{"tag":"a{n % 3}","value":{n}}}\n' for n in numbers)
    return requests.post(f"{url}?message=lines", data=lines, timeout=30).status_code


def test_a_killed_broker_loses_nothing_it_wrote_and_keeps_the_order(broker, relay):
    """Mosquitto acknowledges just before it writes; the kill here is after that write."""
    subscriber = Mqtt(broker.port, "offline")
    subscriber.subscribe("ot/v1/#")
    subscriber.close()
    assert wait_until(lambda: post(relay, range(300)) == 200, WITHIN)
    acknowledged, database = time.time(), Path(broker.folder) / "mosquitto.db"
    # The last write may have been a moment before `acknowledged`: then this waits its two seconds.
    wait_until(lambda: database.exists() and database.stat().st_mtime > acknowledged, 2.0)
    broker.kill()
    assert wait_until(lambda: post(relay, range(300, 600)) == 503, WITHIN)
    broker.start()
    assert wait_until(lambda: post(relay, range(300, 600)) == 200, WITHIN)
    subscriber = Mqtt(broker.port, "offline")
    seen: list[int] = []
    while len(set(seen)) < 600:
        seen.append(json.loads(subscriber.next()[1])["value"])
    subscriber.close()
    first = list(dict.fromkeys(seen))
    for tag in range(3):
        of_tag = [n for n in first if n % 3 == tag]
        assert of_tag == list(range(tag, 600, 3))
