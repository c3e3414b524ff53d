"""Edge and hub with a real broker between them, through a real NiFi.

The embedded NiFi has no MQTT and Kafka processors: the shipped flows run with these swapped for HTTP ones and a relay
of ordinary clients (otmirror.demo.bus). Exercised here: sources, queues, retries and order of the edge, the record
reader and writer before Kafka, a real broker that is killed, the hub's merging, both sinks. Not exercised: PublishMQTT,
PublishKafka, ConsumeKafka and ConsumeMQTT themselves: test_bus_full.py, with a full NiFi.
"""

import json
import os
import signal
import time

import duckdb
import pytest

from otmirror.clock import SystemClock
from otmirror.demo import run, stores
from otmirror.demo.audit import audit
from otmirror.demo.bus import TOPIC, BusStack
from otmirror.errors import UnavailableError
from otmirror.iceberg import upkeep, views
from otmirror.iceberg.config import Config
from otmirror.iceberg.maintenance import Options

from .pilots import await_that, folder

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1200 + 2 * int(os.environ.get("OTMIRROR_OUTAGE_SECONDS", "15")))]
OUTAGE = float(os.environ.get("OTMIRROR_OUTAGE_SECONDS", "15"))
"""Seconds a broker is away; `make bus-outage` takes five minutes."""
FROZEN = 9.0
"""Seconds the devices do not answer meanwhile; longer than a request's time limit, so that there are bad samples."""


def bus(through, **options):
    pytest.importorskip({"kafka": "confluent_kafka", "mqtt": "paho.mqtt.client"}[through])
    return BusStack(folder(f"bus-{through}"), ["--tags", "16"], through, **options)


def start(stack):
    try:
        stack.start()
    except UnavailableError as error:
        if "was not found" in str(error) or "Maven" in str(error) or "Java" in str(error):
            pytest.skip(str(error))
        raise


def run_with_an_outage(stack, *more):
    """Mirror, kill the broker, mirror on, start it again; return what left the sources once all of it is stored.

    `more` are brokers that go with it. The devices freeze for some of the time too: bad samples, without a value, have
    to come through as well.
    """
    stack.run()
    await_that(lambda: stack.distinct() > 100, 60, "samples before the outage")
    for broker in (stack.broker, *more):
        broker.kill()
    before = sum(run.emitted(stack).values())
    os.kill(stack.plant.pid, signal.SIGSTOP)
    time.sleep(FROZEN)
    os.kill(stack.plant.pid, signal.SIGCONT)
    time.sleep(OUTAGE - FROZEN)  # the length of the outage is what is tested
    waiting = stack._waiting()
    assert sum(run.emitted(stack).values()) > before, "the sources went on"
    assert any(count >= OUTAGE for count in waiting.values()), waiting
    for broker in (stack.broker, *more):
        broker.start()
    await_that(lambda: not any(count >= OUTAGE for count in stack._waiting().values()), 120, "the queue drains")
    stack.stop_sources()
    emitted = run.emitted(stack)
    stack.drain_bus(sum(emitted.values()), 300)
    return emitted


def reckoned(stack, emitted):
    hot = stores.victoriametrics(stack.victoriametrics.url, raw=False)
    rejects = stack.lakehouse.rejects()
    refused = rejects.num_rows if rejects is not None else 0
    result = audit(stack.lakehouse.samples(), hot, refused, emitted, run.declared(stack))
    assert refused == 0, rejects.to_pylist()[:3]
    assert all(source.bad > 0 for source in result.sources), "no bad sample came through"
    return result


def on_the_topic(kafka, **settings):
    """Every record of the topic, partition by partition in its order: key and value."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    known = {"bootstrap.servers": kafka.address, "group.id": "order", "enable.auto.commit": False}
    reader = Consumer(known | settings)
    parts = reader.list_topics(TOPIC, 20).topics[TOPIC].partitions
    reader.assign([TopicPartition(TOPIC, number, OFFSET_BEGINNING) for number in parts])
    ends = sum(reader.get_watermark_offsets(TopicPartition(TOPIC, number), 20)[1] for number in parts)
    found = []
    while len(found) < ends:
        batch = [message for message in reader.consume(10_000, 20) if message.error() is None]
        assert batch, f"{len(found)} of {ends} records"
        found += [(message.key().decode(), json.loads(message.value())) for message in batch]
    reader.close()
    return found


def test_kafka_killed_in_mid_run_loses_nothing_and_keeps_the_order_of_every_tag():
    with bus("kafka") as stack:
        start(stack)
        emitted = run_with_an_outage(stack)
        result = reckoned(stack, emitted)
        assert result.hot_unknown == result.hot_different == result.hot_repeated == 0, result
        assert [source.lost for source in result.sources] == [0, 0]
        records = on_the_topic(stack.broker)
    assert len(in_order(records)) == sum(emitted.values())


def in_order(records):
    """The different samples of records, each with the tag as its key, which come in the order of their tag."""
    latest, seen = {}, set()
    for key, sample in records:
        assert key == sample["tag"]
        identity = (sample["tag"], sample["ts"], sample["source"])
        if identity not in seen:
            assert sample["seq"] > latest.get(key, -1), f"{key} out of order"
            latest[key] = sample["seq"]
            seen.add(identity)
    return seen


def kept_up(stack):
    """The times that the hub's own maintenance reported to be done."""
    maintainer = stack.api.processor_by_name(stack.hub, "Maintain Iceberg")
    events = stack.api.provenance_query({"ProcessorID": maintainer.id})
    return [event for event in events if float(event.attributes.get("otmirror.iceberg.seconds", -1)) >= 0]


def shown_by_the_view(stack):
    samples = stack.lakehouse.samples()
    connection = duckdb.connect()
    connection.register("samples", samples)
    return connection.execute(f"select count(*) from ({views.query('duckdb', 'samples')})").fetchone()[0]


def test_mqtt_killed_and_a_fifth_redelivered_in_another_order_is_stored_once():
    """VictoriaMetrics and the view over Iceberg show each sample once at once, the table after its upkeep."""
    with bus("mqtt", redeliver=0.2, parameters={"iceberg.maintenance": "0/10 * * * * ?"}) as stack:
        start(stack)
        emitted = run_with_an_outage(stack)
        result = reckoned(stack, emitted)
        assert stack.distinct() == sum(emitted.values())
        assert stack.repeated() > 0, "nothing came twice: the test tested nothing"
        assert result.hot_unknown == result.hot_different == result.hot_repeated == 0, result
        assert [source.hot_missing for source in result.sources] == [0, 0]
        assert shown_by_the_view(stack) == sum(emitted.values())
        assert kept_up(stack), "the hub's own maintenance has not run"
        # The hub leaves a day that is not over.
        upkeep.maintain(Config(warehouse=str(stack.lakehouse.warehouse)), Options(include_today=True), SystemClock())
        assert stack.repeated() == 0
        assert stack.distinct() == sum(emitted.values())
