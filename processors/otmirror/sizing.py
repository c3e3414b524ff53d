"""How much a mirror of so many tags needs: rates, bytes, thresholds, processes. Every figure comes with its arithmetic.

The constants were measured; docs/sizing.md says when and on what, bench/bytes.py measures the bytes again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from otmirror.errors import MistakesError

NDJSON_B = 237
"""Bytes of a sample in a FlowFile: one line of NDJSON with all of its times and its number."""
KAFKA_B = 47
"""Bytes of a sample in a Kafka log: a record with the tag as its key, in lz4 batches of 16 kB."""
ICEBERG_B = 15
"""Bytes of a sample in the data files of the Iceberg table."""
HOT_B = (0.8, 5.9)
"""Bytes of a sample in VictoriaMetrics: recorded sensors, which repeat values, and noise in every digit."""

CONTENT_MB_S = 64
"""MB of content a second that one Python processor takes from NiFi."""
HOT_STORED_S = 340_000
"""Samples a second that one ToVictoriaMetrics stores once it has the content."""
COLD_STORED_S = 333_000
"""Samples a second that one WriteIceberg commits once it has the content."""
READ_US = 22
"""Microseconds of a core to read one OPC UA tag; a Modbus register takes less than half of that."""
SOURCE_S = 10_000
"""Samples a second that one source processor should read: at this rate it is busy a quarter of the time."""
SOURCE_MB = 185
"""Resident MB of one source's Python process."""
MQTT_S = 16_000
"""Messages a second of one PublishMQTT, MQTT 5 and QoS 1."""
MQTT_BATCH = 2_000
"""Samples in a message of the edge flow with `mqtt.message` = `batch`, at most."""
KAFKA_S = 219_000
"""Records a second of one PublishKafka with a key."""
BUSY = 0.5
"""Share of its rate that a process should need: the other half catches up after an outage."""
HEADROOM = 1.2
"""Back-pressure thresholds over what an outage brings."""
DAY_S = 86_400


@dataclass(frozen=True)
class Need:
    """One line of the answer: what, how much (a number in `unit`) and the arithmetic in words."""

    name: str
    value: float
    unit: str
    how: str

    @property
    def shown(self) -> str:
        """The value as a person reads it."""
        return f"{number(self.value)} {self.unit}".strip()


@dataclass(frozen=True)
class Plant:
    """What is to be mirrored, and what it has to survive."""

    tags: int
    rate: float = 1.0
    """Samples a second of each tag that reach the stores; repeats and moves within the deadband do not."""
    outage_hours: float = 24.0
    """How long a store may be away."""
    retention_days: float = 31.0
    """How long VictoriaMetrics keeps samples."""
    kafka_days: float = 7.0
    """How long Kafka keeps samples."""
    replicas: int = 3
    """Copies of each Kafka partition."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            MistakesError: with every mistake.
        """
        problems = [
            f"{name}: has to be a number above 0, not {value:g}"
            for name, value in (
                ("--tags", self.tags), ("--rate", self.rate), ("--outage-hours", self.outage_hours),
                ("--retention-days", self.retention_days), ("--kafka-days", self.kafka_days),
                ("--replicas", self.replicas),
            )
            if not (math.isfinite(value) and value > 0)
        ]  # fmt: skip
        if problems:
            raise MistakesError(problems)

    @property
    def samples_s(self) -> float:
        """Samples a second."""
        return self.tags * self.rate


def needs(plant: Plant) -> list[Need]:
    """Return everything a plant needs, in the order of a sample's way."""
    return [*_rates(plant), *_flow(plant), *_stores(plant), *_processes(plant)]


def _rates(plant: Plant) -> Iterator[Need]:
    rate = plant.samples_s
    yield Need("samples", rate, "/s", f"{plant.tags:,} tags x {plant.rate:g} /s")
    yield Need("samples a day", rate * DAY_S / 1e6, "million", f"{number(rate)} /s x {DAY_S:,} s")
    yield Need("NDJSON", rate * NDJSON_B / 1e6, "MB/s", f"{number(rate)} /s x {NDJSON_B} bytes")
    most = max(rate / MQTT_BATCH, min(_sources(plant) * plant.rate, rate))
    yield Need(
        "MQTT messages, batch",
        most,
        "/s",
        f"the larger of {number(rate)} /s : {MQTT_BATCH:,} and one a source and cycle",
    )
    fits = "one PublishMQTT" if rate <= MQTT_S else f"{math.ceil(rate / MQTT_S)} PublishMQTT"
    yield Need("MQTT messages, tag", rate, "/s", f"one a sample: {fits} at {MQTT_S:,} /s each")
    publishers = _ceil(rate / KAFKA_S)
    yield Need("PublishKafka tasks", publishers, "", f"{number(rate)} /s : {KAFKA_S:,} /s, rounded up")


def _flow(plant: Plant) -> Iterator[Need]:
    seconds = plant.outage_hours * 3600
    content = plant.samples_s * NDJSON_B * seconds
    # One FlowFile a source and cycle; a slow grid still gives one a source.
    flowfiles = max(_sources(plant) * plant.rate, plant.samples_s / MQTT_BATCH) * seconds
    yield Need(
        "content repository", content / 1e9, "GB",
        f"{number(plant.samples_s)} /s x {NDJSON_B} bytes x {plant.outage_hours:g} h; both queues share it",
    )  # fmt: skip
    yield Need(
        "back-pressure, bytes",
        content * HEADROOM / 1e9,
        "GB",
        f"content repository x {HEADROOM:g}, each queue to a store",
    )
    yield Need(
        "back-pressure, objects", flowfiles * HEADROOM, "",
        f"{number(flowfiles / seconds)} FlowFiles/s x {plant.outage_hours:g} h x {HEADROOM:g}",
    )  # fmt: skip


def _stores(plant: Plant) -> Iterator[Need]:
    daily = plant.samples_s * DAY_S
    kafka = daily * KAFKA_B / 1e9
    yield Need("Kafka a day", kafka, "GB", f"samples a day x {KAFKA_B} bytes (lz4), one copy")
    yield Need(
        "Kafka", kafka * plant.kafka_days * plant.replicas, "GB",
        f"{plant.kafka_days:g} days x {plant.replicas} copies",
    )  # fmt: skip
    for kind, size in zip(("recorded", "noisy"), HOT_B, strict=True):
        hot = daily * size / 1e9
        yield Need(f"VictoriaMetrics a day, {kind}", hot, "GB", f"samples a day x {size:g} bytes")
        yield Need(f"VictoriaMetrics, {kind}", hot * plant.retention_days, "GB", f"{plant.retention_days:g} days")
    yield Need("Iceberg a day", daily * ICEBERG_B / 1e9, "GB", f"samples a day x {ICEBERG_B} bytes")
    yield Need("Iceberg a year", daily * 365 * ICEBERG_B / 1e12, "TB", "x 365")


def _processes(plant: Plant) -> Iterator[Need]:
    sources, rate = _sources(plant), plant.samples_s
    yield Need("source processors", sources, "", f"{number(rate)} /s : {SOURCE_S:,} /s, rounded up")
    yield Need("cores for sources", rate * READ_US / 1e6, "", f"{number(rate)} /s x {READ_US} us, on the primary node")
    yield Need("memory for sources", sources * SOURCE_MB / 1e3, "GB", f"{sources:,} x {SOURCE_MB} MB, on each node")
    for name, stored in (("ToVictoriaMetrics", HOT_STORED_S), ("WriteIceberg", COLD_STORED_S)):
        each = 1 / (NDJSON_B / (CONTENT_MB_S * 1e6) + 1 / stored)
        yield Need(
            f"{name} processes", _ceil(rate / (each * BUSY)), "",
            f"{number(rate)} /s : ({number(each)} /s x {BUSY:g}), rounded up; one a node, a second task adds little",
        )  # fmt: skip
    each = 1 / (NDJSON_B / (CONTENT_MB_S * 1e6) + 1 / HOT_STORED_S)
    yield Need(
        "NiFi nodes", _ceil(rate / (each * BUSY)), "",
        "as many as sink processes; three if the mirror has to outlive a node and ZooKeeper runs beside",
    )  # fmt: skip


def _sources(plant: Plant) -> int:
    return _ceil(plant.samples_s / SOURCE_S)


def _ceil(value: float) -> int:
    # 1.0000000000000002 is one.
    return max(1, math.ceil(round(value, 9)))


def number(value: float) -> str:
    """Return a number with three significant digits at least, and none invented: 12,300 or 4.74 or 0.0512."""
    if value == int(value) and value < 1e15:
        return f"{int(value):,}"
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


QUEUE_B, QUEUE_FLOWFILES = 10 * 2**30, 1_000_000
"""Back-pressure of a queue to a store as the flows come: 10 GB of NiFi's, and FlowFiles; the lower one acts."""
BUFFERED = (100, 1_000, 2_000, 10_000, 50_000, 100_000)
"""Samples a second of the buffer table."""


def buffer_s(samples_s: float) -> float:
    """Return how many seconds of samples a queue to a store holds before the sources are not called any more."""
    # One FlowFile a source and second; a large batch is cut.
    flowfiles = max(_sources(Plant(1, samples_s)), samples_s / MQTT_BATCH)
    return min(QUEUE_B / (samples_s * NDJSON_B), QUEUE_FLOWFILES / flowfiles)


def catch_up_s(samples_s: float, outage_s: float) -> float:
    """Return the seconds in which one sink process stores what an outage left, beside what goes on coming."""
    each = 1 / (NDJSON_B / (CONTENT_MB_S * 1e6) + 1 / HOT_STORED_S)
    return samples_s * outage_s / (each - samples_s) if each > samples_s else math.inf


def buffer_table() -> str:
    """Return a Markdown table of buffers and of catching up, for each of BUFFERED."""
    lines = [
        "| samples/s | buffer in each queue | full after | caught up after an outage of 1 h |",
        "|---:|---:|---:|---:|",
    ]
    for rate in BUFFERED:
        seconds = buffer_s(rate)
        lines.append(
            f"| {rate:,} | {number(rate * seconds / 1e6)} million samples | {number(seconds / 60)} min "
            f"({number(seconds / 3600)} h) | {number(catch_up_s(rate, 3600) / 60)} min |"
        )
    return "\n".join(lines) + "\n"


PERIODS = (30, 90, 180, 365)
"""Days of hot retention: phase 1 from the first to the second, phase 2 from the third to the last."""
RATES = (0.1, 1.0)
"""Samples a second and tag of the growth table."""


def growth(samples_s: float, hot_b: float | None, cold_b: float | None) -> list[Need]:
    """Return what the stores grow by at a rate and at measured bytes a sample; None: that store was not measured."""
    stores = (("VictoriaMetrics", hot_b), ("Iceberg", cold_b))
    return [
        Need(
            f"{name}, {days} days", samples_s * DAY_S * days * size / 1e9, "GB",
            f"{number(samples_s)} /s x {DAY_S:,} s x {days} x {number(size)} bytes",
        )
        for name, size in stores if size is not None for days in PERIODS
    ]  # fmt: skip


def growth_table(hot_b: float | None, cold_b: float | None) -> str:
    """Return a Markdown table: GB of each store by tags, rate and days, at bytes a sample that were measured."""
    head = [
        f"{name} {days} d" for name, size in (("hot", hot_b), ("cold", cold_b)) if size is not None for days in PERIODS
    ]
    lines = [
        "| tags | /s | " + " | ".join(f"{column}, GB" for column in head) + " |",
        "|---:|---:|" + "---:|" * len(head),
    ]
    for tags in COLUMNS:
        for rate in RATES:
            cells = (number(need.value) for need in growth(tags * rate, hot_b, cold_b))
            lines.append(f"| {tags:,} | {rate:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


COLUMNS = (1_000, 10_000, 100_000, 1_000_000)
"""Tags of the table in docs/sizing.md."""


def table(rate: float = 1.0, outage_hours: float = 24.0) -> str:
    """Return a Markdown table with one column for each of COLUMNS."""
    answers = [needs(Plant(tags, rate, outage_hours)) for tags in COLUMNS]
    lines = [
        f"| tags at {rate:g} /s | " + " | ".join(f"{tags:,}" for tags in COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    lines += [
        f"| {same[0].name} | " + " | ".join(need.shown for need in same) + " |" for same in zip(*answers, strict=True)
    ]
    return "\n".join(lines) + "\n"
