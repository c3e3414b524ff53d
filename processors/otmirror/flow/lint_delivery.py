"""Rules of the flow lint on what keeps samples: connections, retries, queues, scheduling, brokers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from otmirror.flow.lint_model import (
    CONSUME_KAFKA,
    CONSUME_MQTT,
    PUBLISH_KAFKA,
    PUBLISH_MQTT,
    SINKS,
    SOURCES,
    Component,
    Told,
    View,
    fails,
    open_value,
    rule,
)

_ZERO = re.compile(r"0+(\.0*)?\s*[A-Za-z]*")


def _connected(flow: View, processor: Component) -> set[str]:
    return {name for c in flow.out_of(processor) for name in c.get("selectedRelationships") or ()}


def _terminated(processor: Component) -> set[str]:
    return set(processor.get("autoTerminatedRelationships") or ())


def _zero(period: str | None) -> bool:
    return bool(_ZERO.fullmatch((period or "0").strip()))


@rule("relationship-loose", "connect it; end it only if it is the success of a sink")
def relationship_loose(flow: View) -> Told:
    """A relationship that leads nowhere: NiFi will not start the processor."""
    for p in flow.processors:
        for name in sorted(flow.relationships(p) - _connected(flow, p) - _terminated(p)):
            yield p["name"], f"relationship {name!r} is neither connected nor ended"


@rule("relationship-unknown", "remove it or write the name the processor has for it")
def relationship_unknown(flow: View) -> Told:
    """A connection, an end or a retry for a relationship the processor does not have."""
    for p in flow.processors:
        used = _connected(flow, p) | _terminated(p) | set(p.get("retriedRelationships") or ())
        for name in sorted(used - flow.relationships(p)) if p["type"] in flow.known else ():
            yield p["name"], f"relationship {name!r} does not exist"


@rule("relationship-both", "decide: connected or ended")
def relationship_both(flow: View) -> Told:
    """A relationship that is connected and ended."""
    for p in flow.processors:
        for name in sorted(_connected(flow, p) & _terminated(p)):
            yield p["name"], f"relationship {name!r} is connected and ended"


@rule("failure-dropped", "connect it to a retry, a dead-letter topic or a funnel")
def failure_dropped(flow: View) -> Told:
    """FlowFiles that could not be handled are thrown away."""
    for p in flow.processors:
        for name in sorted(filter(fails, _terminated(p))):
            yield p["name"], f"relationship {name!r} is thrown away"


@rule("retry", "let NiFi retry failure and retry, at least once, with a backoff above 0")
def retry(flow: View) -> Told:
    """A sink or publisher that does not try again, or without a pause in between."""
    for p in flow.of_type(*SINKS):
        wanted = {"failure", "retry"} & flow.relationships(p)
        missing = sorted(wanted - set(p.get("retriedRelationships") or ()))
        if missing:
            yield p["name"], f"relationship {', '.join(missing)} is not retried"
        elif (p.get("retryCount") or 0) < 1:
            yield p["name"], "it retries 0 times"
        elif _zero(p.get("maxBackoffPeriod")):
            yield p["name"], "it retries without a backoff"


@rule("queue-unbounded", "set both back-pressure thresholds")
def queue_unbounded(flow: View) -> Told:
    """A queue without back-pressure: it fills the disk."""
    for c in flow.connections:
        if not c.get("backPressureObjectThreshold") or _zero(c.get("backPressureDataSizeThreshold")):
            yield _named(c), "a back-pressure threshold is 0 or missing"


@rule("queue-default", "set thresholds for the outage the queue has to survive (flows/edge.md)")
def queue_default(flow: View) -> Told:
    """A queue before a sink or publisher that nobody sized."""
    for p in flow.of_type(*SINKS):
        for c in flow.into(p):
            size = str(c.get("backPressureDataSizeThreshold")).split()
            if c.get("backPressureObjectThreshold") == 10_000 and size == ["1", "GB"]:
                yield _named(c), "its back-pressure thresholds are NiFi's defaults"


@rule("queue-expires", "set FlowFile expiration to 0 sec: nothing is dropped silently")
def queue_expires(flow: View) -> Told:
    """A queue that drops what waits too long."""
    for c in flow.connections:
        if not _zero(c.get("flowFileExpiration")):
            yield _named(c), f"FlowFiles expire after {c['flowFileExpiration']}"


@rule("dangling-connection", "remove it or add the component")
def dangling_connection(flow: View) -> Told:
    """A connection from or to a component that is not in the flow."""
    for c in flow.connections:
        for end in ("source", "destination"):
            if c[end]["id"] not in flow.ends and c[end].get("type") not in _REMOTE:
                yield _named(c), f"its {end} is not in the flow"


@rule("no-input", "connect something to it or remove it")
def no_input(flow: View) -> Told:
    """A component that waits for input that never comes; loops to itself are no input."""
    for p in flow.processors:
        kind = flow.known.get(p["type"])
        if kind and kind.input == "required" and not flow.into(p, own=False):
            yield p["name"], "nothing leads to it"
    for funnel in _funnels(flow):
        if not flow.into(funnel, own=False):
            yield "Funnel", "nothing leads to it"


@rule("unwanted-input", "remove the connection")
def unwanted_input(flow: View) -> Told:
    """A connection to a component that takes no input."""
    for p in flow.processors:
        kind = flow.known.get(p["type"])
        if kind and kind.input == "forbidden" and flow.into(p):
            yield p["name"], "it takes no input, but a connection leads to it"


@rule("dead-end", "enable it, or disconnect it")
def dead_end(flow: View) -> Told:
    """A disabled processor that others lead to: its queue only fills."""
    for p in flow.processors:
        if p.get("scheduledState") == "DISABLED" and flow.into(p, own=False):
            yield p["name"], "it is disabled, but a connection leads to it"


@rule("running", "write ENABLED (stopped after an import) or DISABLED")
def running(flow: View) -> Told:
    """A processor that would run as soon as the file is imported."""
    for p in flow.processors:
        if p.get("scheduledState") not in ("ENABLED", "DISABLED"):
            yield p["name"], f"its state in the file is {p.get('scheduledState')}"


@rule("no-pause", "set penalty and yield duration above 0")
def no_pause(flow: View) -> Told:
    """A processor that would try again without a pause, at full processor load."""
    for p in flow.processors:
        if _zero(p.get("penaltyDuration")) or _zero(p.get("yieldDuration")):
            yield p["name"], "its penalty or yield duration is 0"


@rule("source-node", "set its execution to the primary node")
def source_node(flow: View) -> Told:
    """A source that would read each device once a node."""
    for p in flow.of_type(*SOURCES):
        if p.get("executionNode") != "PRIMARY":
            yield p["name"], "on a cluster every node would read the devices"


@rule("source-tasks", "set its concurrent tasks to 1")
def source_tasks(flow: View) -> Told:
    """A source with more than one task: more than one connection a device, samples out of order."""
    for p in flow.of_type(*SOURCES):
        if p.get("concurrentlySchedulableTaskCount") != 1:
            yield p["name"], f"it has {p.get('concurrentlySchedulableTaskCount')} concurrent tasks"


@rule("source-run-duration", "set its run duration to 0 ms")
def source_run_duration(flow: View) -> Told:
    """A source whose FlowFiles NiFi commits late: the next read is no proof of the commit then."""
    for p in flow.of_type(*SOURCES):
        if p.get("runDurationMillis"):
            yield p["name"], f"its run duration is {p['runDurationMillis']} ms"


def _differs(flow: View, types: tuple[str, ...], name: str, wanted: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for p in flow.of_type(*types):
        value = flow.value(p, name)
        declared = flow.known[p["type"]].properties[name]
        # A value that exists nowhere is another rule's business.
        possible = value is not None and (not declared.values or value in declared.values)
        if possible and not open_value(value) and value not in wanted:
            yield p["name"], f"property {name!r} is {value}"


@rule("mqtt-qos", "set Quality of Service to 1 or 2")
def mqtt_qos(flow: View) -> Told:
    """Messages that nobody acknowledges."""
    yield from _differs(flow, (PUBLISH_MQTT, CONSUME_MQTT), "Quality of Service(QoS)", ("1", "2"))


@rule("mqtt-version", "set MQTT Specification Version to 5")
def mqtt_version(flow: View) -> Told:
    """MQTT below 5: publishing fails under load with too many publishes in progress."""
    yield from _differs(flow, (PUBLISH_MQTT, CONSUME_MQTT), "MQTT Specification Version", ("5",))


@rule("mqtt-session", "set Session state to false (resume) with an expiry interval")
def mqtt_session(flow: View) -> Told:
    """A session the broker forgets when the connection ends, and with it messages."""
    yield from _differs(flow, (PUBLISH_MQTT, CONSUME_MQTT), "Session state", ("false",))


@rule("kafka-acks", "set acks to all")
def kafka_acks(flow: View) -> Told:
    """Records that are taken for sent before every replica has them."""
    yield from _differs(flow, (PUBLISH_KAFKA,), "acks", ("all",))


@rule("kafka-transactions", "let the connection service read committed records only")
def kafka_transactions(flow: View) -> Told:
    """Records of transactions that were given up are read."""
    services = {s["identifier"]: s for s in flow.services}
    for p in flow.of_type(CONSUME_KAFKA):
        service = services.get(p["properties"].get("Kafka Connection Service") or "")
        if service and flow.value(service, "isolation.level") == "read_uncommitted":
            yield p["name"], f"its connection service {service['name']!r} reads uncommitted records"


@rule("kafka-key", "set Message Key Field or Kafka Key to the tag")
def kafka_key(flow: View) -> Told:
    """Records without a key: a tag's samples spread over partitions and lose their order. Dead letters have none."""
    for p in flow.of_type(PUBLISH_KAFKA):
        if "dead" in (p["properties"].get("Topic Name") or ""):
            continue
        if not flow.value(p, "Message Key Field") and not flow.value(p, "Kafka Key"):
            yield p["name"], "its records have no key"


@rule("kafka-commit", "set Commit Offsets to true")
def kafka_commit(flow: View) -> Told:
    """A consumer that starts from old offsets after every restart."""
    yield from _differs(flow, (CONSUME_KAFKA,), "Commit Offsets", ("true",))


@rule("kafka-offset", "set auto.offset.reset to earliest")
def kafka_offset(flow: View) -> Told:
    """A new consumer group that skips what the topic still has."""
    yield from _differs(flow, (CONSUME_KAFKA,), "auto.offset.reset", ("earliest",))


_REMOTE = ("REMOTE_INPUT_PORT", "REMOTE_OUTPUT_PORT")


def _named(connection: Component) -> str:
    source, destination = connection["source"].get("name"), connection["destination"].get("name")
    return f"connection {connection.get('name') or ''} ({source} -> {destination})"


def _funnels(flow: View) -> list[Component]:
    return [f for group in flow.groups for f in group.get("funnels") or ()]
